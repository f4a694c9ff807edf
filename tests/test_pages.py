"""The pages as files, without what builds them: links lead somewhere, and the reference has every public name."""

import ast
import re
from pathlib import Path

import pytest

import learn2mix

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("reference/*.md")), ROOT / "README.md"]
REFERENCE = "\n".join(page.read_text(encoding="utf8") for page in sorted(DOCS.glob("reference/*.md")))

# Modules whose names users import: those in their __all__, which a helper among the integrations does without.
MODULES = ["functional.py", "calibration.py", "plotting.py", "data/__init__.py"]
MODULES += [f"integrations/{path.name}" for path in (ROOT / "learn2mix" / "integrations").glob("*.py")]


def prose(page):
    """A page without its code."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Anchors of a page as code hosts and the site make them of headings, and those that it names itself."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a (?:name|id)="(.*?)">', text))


def public_names(file):
    """The names in a module's ``__all__``, as its source tells them."""
    for node in ast.parse((ROOT / "learn2mix" / file).read_text(encoding="utf8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return ast.literal_eval(node.value)
    return []


def full_names():
    for name in learn2mix.__all__:
        yield f"learn2mix.{name}"
    for file in MODULES:
        module = "learn2mix." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for name in public_names(file):
            yield f"{module}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_the_checker_sees_links_and_anchors():
    assert "](#a-billion-samples)" in prose(DOCS / "data-sets.md")
    assert "a-billion-samples" in anchors(DOCS / "data-sets.md")
    assert "no-such-heading" not in anchors(DOCS / "data-sets.md")


def test_the_reference_has_every_public_name():
    listed = set(re.findall(r"^::: ([\w.]+)", REFERENCE, flags=re.MULTILINE))
    listed |= {
        f"learn2mix.functional.{name}" for name in re.findall(r"^        - (\w+)$", REFERENCE, flags=re.MULTILINE)
    }
    names = set(full_names())
    assert {"learn2mix.MixedLoader", "learn2mix.functional.apportion", "learn2mix.plotting.plot_proportions"} <= names
    assert names - listed == set()


def test_the_overview_of_the_reference_names_them_too():
    overview = (DOCS / "reference" / "index.md").read_text(encoding="utf8")
    names = {name for name in full_names() if ".functional." not in name} - {"learn2mix.ZeroLagLoader"}
    assert names - set(re.findall(r"\]\[([\w.]+)\]", overview)) == set()


def test_every_page_of_the_reference_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf8")
    for page in DOCS.glob("reference/*.md"):
        assert f"reference/{page.name}" in navigation
