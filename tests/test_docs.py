"""Every Python block in docs/ runs, page by page, from top to bottom."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import NAN
from learn2mix import MixedBatchSampler

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# Run by tests of their own, some of them on two processes: test_cli.py, test_distributed.py, test_accelerate.py, ...
ELSEWHERE = {"accelerate", "coming-from", "configuration", "distributed", "many-machines"}
LANGUAGES = {"python", "sh"}  # only the first is run

pytestmark = pytest.mark.filterwarnings("ignore:The dataloader, .*does not have many workers")


def blocks(page):
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)


def run(page):
    """Run a page's blocks in one namespace; errors name the page and its line."""
    text, namespace = page.read_text(encoding="utf8"), {"__name__": page.stem}
    for code in (code for language, code in blocks(page) if language == "python"):
        line = text[: text.index(code)].count("\n")
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def seeded():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in ELSEWHERE], ids=lambda page: page.stem)
def test_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {language for language, _ in blocks(page)} <= LANGUAGES  # a block without a name would not be run
    run(page)


def test_there_are_pages():
    assert {"annealing", "alternating", "objective", "own-mixer", "validation"} <= {page.stem for page in PAGES}


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf8")
    assert {page.name for page in PAGES if page.stem != "README"} == set(re.findall(r"\]\((.*?\.md)\)", index))


def test_the_source_s_annealing_example_prints_its_schedule(capsys):
    run(DOCS / "annealing.md")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("t=")]
    gammas = [0.1 + 0.8 * (1 - math.cos(math.pi * t / 9)) / 2 for t in range(10)]
    assert [line.split(", sample")[0] for line in lines] == [f"t={t:02d}, gamma={g:.2f}" for t, g in enumerate(gammas)]
    assert sum("('X'" in line for line in lines) == 5
    assert blocks(DOCS / "annealing.md")[0][1].count("\n") <= 8  # the source's own takes 32


def test_exponentiated_gradient_is_the_formula_in_20_lines(capsys):
    page = DOCS / "own-mixer.md"
    (code,) = (code for _, code in blocks(page) if "class ExponentiatedGradient" in code)
    assert len([line for line in code[code.index("class") :].splitlines() if line.strip()]) <= 20
    mixer = run(page)["ExponentiatedGradient"](step_size=0.5, smoothing=0.1)
    mixer.attach([0.5, 0.3, 0.2, 0.0], ["a", "b", "c", "empty"])
    mixer.update(np.array([1.0, 2.0, 4.0, NAN]))
    grown = [math.exp(0.5 * loss) for loss in (1.0, 2.0, 4.0)]
    mix = [0.9 * value / sum(grown) + 0.1 / 3 for value in grown]
    np.testing.assert_allclose(mixer.proportions, [*mix, 0.0], rtol=1e-12)
    mixer.update(np.array([1e4, NAN, 0.0, NAN]))  # the second was not seen: it keeps its share; nothing overflows
    rest = mix[0] + mix[2]
    np.testing.assert_allclose(
        mixer.proportions, [0.9 * rest + 0.1 / 3, 0.9 * mix[1] + 0.1 / 3, 0.1 / 3, 0], rtol=1e-12
    )
    mixer.update(np.array([NAN] * 4))
    assert mixer.proportions.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["LearningProgress", "PowerLaw"])
def test_the_other_rules_of_one_s_own_move_as_they_say_resume_and_are_short(name, tmp_path):
    page = DOCS / "own-mixer.md"
    (code,) = (code for _, code in blocks(page) if f"class {name}(" in code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    kind = run(page)[name]
    labels = [0] * 50 + [1] * 50

    def path(sampler, num_batches):
        for index in sampler:
            # The first group is learned as the square root of its draws, the second hardly.
            exponent = np.where(np.array(labels)[index] == 0, 0.5, 0.05)
            sampler.observe((sampler.draws.sum() + 1.0) ** -exponent)
            sampler.mixes.append(sampler.mixer.proportions.tolist())
            if len(sampler.mixes) == num_batches:
                break
        return sampler.mixes

    def sampler():
        made = MixedBatchSampler(labels, kind(), batch_size=10, num_batches=40)
        made.mixes = []
        return made

    whole, stopped, resumed = sampler(), sampler(), sampler()
    unbroken = path(whole, 40)
    assert max(share for share, _ in unbroken) > 0.55  # the one that is learned gets most
    first = path(stopped, 15)
    resumed.load_state_dict(stopped.state_dict())
    assert first + path(resumed, 40) == unbroken
