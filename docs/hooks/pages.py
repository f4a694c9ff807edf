"""The pages of the site: README.md is its home, the index in docs/README.md its navigation."""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

# Pages that live elsewhere in the repository, by their places on the site.
FROM_ELSEWHERE = {
    "index.md": "README.md",
    "experiments/index.md": "experiments/README.md",
    "experiments/long-tails.md": "experiments/long-tails/README.md",
}
# Where the repository lives, if the package says so: links that leave the pages go there, else they become text.
HOME = re.search(r'^Repository = "(.*?)/?"', (ROOT / "pyproject.toml").read_text(encoding="utf8"), flags=re.MULTILINE)

LINK = re.compile(r"(?<!!)\[([^\]\n]*(?:\n[^\]\n]+)?)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"(!\[[^\]]*\])\(([^)\s]+)\)")


def sections(index: str) -> list[dict[str, list[dict[str, str]]]]:
    """Return the navigation that an index in Markdown gives: a section per heading, a page per row of its table."""
    _, *parts = re.split(r"^## ", index, flags=re.MULTILINE)
    found = []
    for part in parts:
        pages = [{title: page} for title, page in re.findall(r"^\| \[(.*?)\]\((.*?\.md)\)", part, flags=re.MULTILINE)]
        if pages:
            found.append({part.partition("\n")[0].strip(): pages})
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the sections of the index between the home page and the reference."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf8")
    home, *rest = config.nav
    config.nav = [home, *sections(index), *rest]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere."""
    for place, source in FROM_ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def unneeded(markdown: str, page: Page) -> list[str]:
    """Return which columns beside the text a page does without."""
    if 'class="grid"' in markdown:  # two columns of code need the width
        return ["navigation", "toc"]
    if page.is_homepage:
        return ["navigation"]
    return [] if re.search(r"^(## |::: )", markdown, flags=re.MULTILINE) else ["toc"]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between files of the repository links between pages."""
    page.meta["hide"] = unneeded(markdown, page)
    source = FROM_ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    home = HOME and f"{HOME[1]}/blob/main/"

    def moved(target: str) -> str | None:
        """Return a link's target as seen from this page, None where it is no page."""
        if home and target.startswith(home):
            target = os.path.relpath(target.removeprefix(home), posixpath.dirname(source) or ".")
        if re.match(r"[a-z]+:|#", target):
            return target
        path, mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        places = {other: place for place, other in FROM_ELSEWHERE.items()} | {"docs/README.md": "index.md"}
        place = places.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(place) is None:
            return home and home + path + mark + anchor
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + mark + anchor

    def link(match: re.Match[str]) -> str:
        target = moved(match[2])
        return match[1] if target is None else f"[{match[1]}]({target})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    for number in range(0, len(parts), 2):
        parts[number] = LINK.sub(link, parts[number])
        parts[number] = PICTURE.sub(lambda match: f"{match[1]}({moved(match[2]) or match[2]})", parts[number])
    return "".join(parts)
