"""Docstrings of the library, whose references and formulas are in Sphinx's markup, as Markdown."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(class|meth|func|attr|data):`~?([\w.]+)`")
FORMULA = re.compile(r"^( *)\.\. math:: *(.*\n(?:\1 +\S.*\n)*)", flags=re.MULTILINE)
PAGE = re.compile(r"\(docs/([\w-]+)\.md\)")


class ToMarkdown(griffe.Extension):
    """Rewrites each docstring before it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None:
            return
        owner = obj if obj.is_class else obj.parent if obj.parent is not None and obj.parent.is_class else None

        def reference(match: re.Match[str]) -> str:
            role, name = match.groups()
            if role in ("meth", "attr") and "." not in name and owner is not None:
                return f"[`{name}`][{owner.path}.{name}]"
            target = name if name.startswith("learn2mix.") else f"learn2mix.{name}"
            return f"[`{name.removeprefix('learn2mix.')}`][{target}]"

        def formula(match: re.Match[str]) -> str:
            indent, tex = match.groups()
            return f"{indent}$$\n{indent}{' '.join(tex.split())}\n{indent}$$\n"

        text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n") + "\n"  # the name that the reader knows
        text = FORMULA.sub(formula, text)
        text = ROLE.sub(reference, text)
        obj.docstring.value = PAGE.sub(r"([\1](../\1.md))", text).rstrip("\n")
