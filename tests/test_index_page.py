"""What a package index shows of the built wheel, and what CITATION.cff says."""

import re
import zipfile
from email.parser import Parser
from html.parser import HTMLParser
from urllib.parse import urlparse

import pytest
from markdown_it import MarkdownIt

import fresh_environment
from fresh_environment import ROOT
from learn2mix import __version__

README = (ROOT / "README.md").read_text(encoding="utf8")
HOME = fresh_environment.project()["project"]["urls"]["Repository"]


class Targets(HTMLParser):
    """The links and the pictures of a page, Markdown's and HTML's own."""

    def __init__(self, markdown):
        super().__init__()
        self.found = []
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, value) for name, value in attrs if name in ("href", "src", "srcset")]


def code_blocks(markdown):
    return [token.content for token in MarkdownIt("commonmark").parse(markdown) if token.type == "fence"]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """What the wheel says of itself."""
    with zipfile.ZipFile(fresh_environment.build_wheel(tmp_path_factory.mktemp("wheel"))) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf8"))


@pytest.fixture(scope="module")
def page(metadata):
    """The long description."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    return metadata.get_payload()


def test_it_is_the_readme_with_every_link_and_picture_whole(page):
    found = Targets(page).found
    assert len(found) == len(Targets(README).found) > 10
    assert {urlparse(target).scheme for _, target in found} == {"https"}


def test_links_into_the_repository_lead_to_a_file_and_pictures_to_its_content(page):
    into = [(tag, target.removeprefix(HOME)) for tag, target in Targets(page).found if target.startswith(HOME)]
    assert into
    for tag, path in into:
        kind, branch, name = path.strip("/").split("/", 2)
        assert (kind, branch) == ("raw" if tag == "img" else "blob", "main")
        assert (ROOT / name.partition("#")[0]).exists(), name


def test_the_formula_is_text_and_no_code_is_changed(page):
    assert README.count("$$") == 2  # one formula; a second would need a text of its own in pyproject.toml
    assert "$" not in re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
    (formula,) = [block for block in code_blocks(page) if block not in code_blocks(README)]
    assert formula.startswith("a  <-  a + gamma * (S / sum(S) - a)")
    assert [block for block in code_blocks(page) if block != formula] == code_blocks(README)


def test_the_metadata_say_what_an_index_asks_for(metadata):
    assert metadata["Name"] == "learn2mix"
    assert metadata["Version"] == __version__
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Requires-Python"] == ">=3.10"
    urls = dict(text.split(", ") for text in metadata.get_all("Project-URL"))
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= urls.keys()
    classifiers = metadata.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)} <= set(classifiers)
    core = {re.match(r"[\w-]+", text)[0] for text in metadata.get_all("Requires-Dist") if "extra ==" not in text}
    assert core == {"numpy", "torch", "pytorch-lightning", "torchmetrics"}


def test_the_extras_are_those_that_the_issue_of_a_missing_package_can_name(metadata):
    extras = {"benchmark-peers", "dev", "docs", "experiments", "hf", "plot"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    code = "".join(path.read_text(encoding="utf8") for path in ROOT.glob("[el]*/**/*.py"))
    named = set(re.findall(r'with needs_extra\("([\w-]+)"\)', code))
    assert {"plot", "experiments"} <= named <= extras


def test_the_public_home_is_named_in_pyproject_toml_alone():
    owner = urlparse(HOME).path.strip("/")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert set(re.findall(r"github\.com/([\w-]+/[\w-]+)", text)) == {owner}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and (path.name == ".github" or path.name[0] != ".")]
    files = [path for place in folders for path in place.rglob("*.*")] + [
        path for path in ROOT.iterdir() if path.is_file()
    ]
    files = [path for path in files if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".cff"}]
    assert [path.name for path in files if owner in path.read_text(encoding="utf8")] == ["pyproject.toml"]


def test_the_citation_names_this_version_and_the_paper():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    yaml = pytest.importorskip("yaml").safe_load(citation)
    assert {"cff-version", "message", "title", "authors", "license"} <= yaml.keys()
    assert yaml["version"] == __version__
    assert yaml["license"] == "MIT"
    (paper,) = yaml["references"]
    assert "2412.16482" in paper["doi"]
    assert {"type", "title", "authors", "year"} <= paper.keys()
