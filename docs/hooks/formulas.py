"""Formulas as MathML, which browsers show without a script."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.DOTALL)


def on_page_content(html_of_page: str, **_: object) -> str:
    """Put MathML in the place of each formula in TeX."""

    def to_mathml(match: re.Match[str]) -> str:
        tag, bracket, tex = match.groups()
        mathml = convert(html.unescape(tex), display="block" if bracket == "[" else "inline")
        return f'<{tag} class="formula">{mathml}</{tag}>'

    return FORMULA.sub(to_mathml, html_of_page)
