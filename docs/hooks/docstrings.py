"""Docstrings of the library, whose references and formulas are in Sphinx's markup, as Markdown."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|attr|data):`~?([\w.]+)`")
FORMULA = re.compile(r"^( *)\.\. math:: *(.*\n(?:\1 +\S.*\n)*)", flags=re.MULTILINE)
PAGE = re.compile(r"\(docs/([\w-]+)\.md\)")


class ToMarkdown(griffe.Extension):
    """Rewrites each docstring before it is read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of all that a package defines."""
        waiting: list[griffe.Object] = [pkg]
        while waiting:
            obj = waiting.pop()
            if obj.docstring is not None:
                obj.docstring.value = to_markdown(obj.docstring.value, obj)
            waiting += [member for member in obj.members.values() if not member.is_alias]


def to_markdown(text: str, obj: griffe.Object) -> str:
    """Return a docstring in Markdown; names in it are looked up in its class, its module, and the library's."""
    scopes = [scope for scope in (obj, obj.parent, obj.module) if scope is not None]

    def reference(match: re.Match[str]) -> str:
        name = match[1]
        first = name.partition(".")[0]
        for scope in scopes:
            if first in scope.members and not scope.members[first].is_alias:
                return f"[`{name}`][{scope.path}.{name}]"
        short = name.removeprefix("learn2mix.")
        return f"[`{short}`][learn2mix.{short}]"

    def formula(match: re.Match[str]) -> str:
        indent, tex = match.groups()
        return f"{indent}$$\n{indent}{' '.join(tex.split())}\n{indent}$$\n"

    text = text.replace("\nExample:\n", "\nExamples:\n") + "\n"  # the name that the reader of docstrings knows
    text = ROLE.sub(reference, FORMULA.sub(formula, text))
    return PAGE.sub(r"([\1](../\1.md))", text).rstrip("\n")
