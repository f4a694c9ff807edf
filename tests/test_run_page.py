"""The page of a run: what it says is true of the history, and it is small and safe whatever the names."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import CASES, made_up, moving
from learn2mix import Learn2Mix, MixedBatchSampler, report
from learn2mix.run_page.charts import DARK, LIGHT, NUM_SOLID, spread
from learn2mix.run_page.facts import Facts


class Text(HTMLParser):
    """The text of a page that a reader sees, and the tags."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self._hidden = [], [], 0
        self.feed(str(page))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self._hidden:
            self.text.append(data)


def text_of(page):
    return re.sub(r"\s+", " ", " ".join(Text(page).text))


def test_the_verdict_says_what_moved_most():
    text = text_of(report(moving([0.33, 0.33, 0.34], [0.4, 0.3, 0.3], [0.52, 0.28, 0.2])))
    assert "web rose from 0.33 to 0.52, code fell from 0.34 to 0.20." in text
    assert "Over the whole run, requested and realised shares are the same." in text


def test_the_verdict_tells_a_swing_from_a_mix_at_rest():
    assert "web swung between 0 and 1; the mix ended where it began." in text_of(
        report(moving([1, 0], [0, 1], [1, 0], names=["web", "books"]))
    )
    assert "The mix held still: no share moved by more than 0.005." in text_of(
        report(moving([0.5, 0.5], [0.504, 0.496], [0.5, 0.5], names=["web", "books"]))
    )


def test_what_was_asked_and_not_given_is_told():
    history = moving([0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    realised = history.realised + np.array([[0.0] * 3, [-0.09, 0.2, -0.11], [0.0] * 3])
    text = text_of(report(replace(history, realised=realised)))
    assert "differ by at most 0.10 (books)." in text


def test_the_largest_change_of_each_group_is_dated():
    share = [0.2] * 4 + [0.3, 0.4] + [0.4] * 3 + [0.35]
    text = text_of(report(moving(*[[x, 1 - x] for x in share], names=["web", "books"])))
    assert "web rose from 0.20 to 0.40 batches 30 to 50" in text
    assert "books fell from 0.80 to 0.60 batches 30 to 50" in text


def test_passes_and_coverage_of_the_extremes_are_told():
    history = moving([0.5, 0.5], [0.5, 0.5], names=["web", "books"])
    text = text_of(report(replace(history, passes=np.array([[0, 0], [0.37, 12.3]]))))
    assert "Most repeated: books, 12 passes over its samples." in text
    assert "Least seen: web, 37% of its samples." in text


def test_a_run_that_has_not_begun_says_so():
    text = text_of(report(made_up(3, 1)))
    assert "No batch has been observed yet." in text
    assert "Requested against realised" not in text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_page_is_well_formed_and_names_are_text(case):
    history = case()
    parsed = Text(report(history, title="<i>title</i> & so on"))
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"link", "img", "iframe"}
    assert [attrs for tag, attrs in parsed.tags if tag == "script" and "src" in attrs] == []
    assert sum(tag == "i" and not attrs for tag, attrs in parsed.tags) == 0, "a title or name became a tag"
    text = re.sub(r"\s+", " ", " ".join(parsed.text))
    assert "<i>title</i> & so on" in text
    for name in history.group_names:
        assert re.sub(r"\s+", " ", str(name)).strip() in text
    assert "http" not in str(report(history))
    assert "nan" not in text.lower().replace("finance", "")


def test_ten_thousand_groups_are_still_a_small_page():
    page = report(made_up(10_000, 100))
    assert len(str(page)) < 300_000
    assert "the other 9,901, pooled" in text_of(page)
    assert len(str(report(made_up(10, 100)))) < 120_000


def test_no_name_can_leave_the_values_of_the_script():
    page = str(report(made_up(2, names=["</script><script>alert(1)</script>", "b"])))
    (values,) = re.findall(r'id="values">(.*?)</script>', page, flags=re.DOTALL)
    assert set(json.loads(values)) == {"whole", "charts"}
    assert "<script>alert" not in page


def test_it_is_written_shown_and_told(tmp_path):
    page = report(made_up(2, names=["Käse", "dog"]), tmp_path / "run.html", title="Ä run")
    assert (tmp_path / "run.html").read_text(encoding="utf8") == str(page)
    page.save(str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "run.html").read_bytes()
    assert repr(page) == "<run page 'Ä run': 2 groups, 390 batches>"
    (frame,) = [attrs for tag, attrs in Text(page._repr_html_()).tags if tag == "iframe"]
    assert frame["srcdoc"] == str(page)


def test_what_is_no_history_is_refused():
    for wrong, kind in ((3, "int"), (None, "NoneType"), (Learn2Mix(), "Learn2Mix")):
        with pytest.raises(TypeError, match=rf"history must be .*, got {kind}; pass sampler\.history"):
            report(wrong)

    class Sampler:
        history = made_up()

    with pytest.raises(TypeError, match=r"history must be .*, got Sampler; pass its \.history"):
        report(Sampler())


def test_the_path_of_the_mix_has_steps_as_high_as_the_shares():
    history = moving([0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [0.875, 0.125], names=["web", "books"])
    page = str(report(history))
    mix = page[page.index('data-chart="mix"') :]
    ticks = re.findall(r'top:([\d.]+)px">([\d.]+)<', page[page.index('class="chart') :])
    (y_0, share_0), *_, (y_1, share_1) = [(float(y), float(share)) for y, share in ticks[:3]]
    for group in range(2):
        path = re.search(rf'class="line g{group}" d="(.*?)"', mix)[1]
        assert set(re.findall("[A-Z]", path)) <= set("MHV"), "no slants"
        x, y, at = 0.0, 0.0, {}
        for command, numbers in re.findall(r"([MHV])([\d. ]+)", path):
            if command == "M":
                x, y = map(float, numbers.split())
            elif command == "V":
                y = float(numbers)
            else:
                at |= dict.fromkeys(range(int(x), int(numbers)), y)
                x = float(numbers)
        for step in range(31):
            share = share_0 + (at[int((step + 0.5) * 1000 / 31)] - y_0) * (share_1 - share_0) / (y_1 - y_0)
            assert share == pytest.approx(history.proportions[min(3, step // 10), group], abs=0.002)


@pytest.mark.parametrize("num_batches", [40, 1300], ids=["every update a row", "every fourth one"])
def test_requested_is_the_mean_of_what_the_batches_were_asked_for(num_batches):
    labels = [0] * 30 + [1] * 20 + [2] * 10
    sampler = MixedBatchSampler(labels, Learn2Mix(0.4), batch_size=6, num_batches=num_batches)
    asked, rng = [], np.random.default_rng(0)
    for batch in sampler:
        sampler.observe(rng.exponential(size=len(batch)))
        asked.append(sampler.last_observed.proportions)
    history = sampler.history
    expected = [np.mean(asked[a:b], axis=0) for a, b in zip(history.steps[:-1], history.steps[1:], strict=True)]
    np.testing.assert_allclose(history.requested[1:], expected, atol=1e-9)
    assert np.isnan(history.requested[0]).all()
    facts = Facts(history)
    np.testing.assert_allclose(facts.mean_requested, np.mean(asked, axis=0), atol=1e-9)
    np.testing.assert_allclose(facts.mean_realised, sampler.realised, atol=1e-9)


def test_what_was_seen_is_pooled_by_sample():
    rng = np.random.default_rng(0)
    history = made_up(3, 200, every=3)
    num_samples = history.realised[1:] * 3 * history.batch_size
    facts = Facts(history)
    assert len(facts.window_edges) == 61
    for window, (begin, end) in enumerate(zip(facts.window_edges[:-1], facts.window_edges[1:], strict=True)):
        rows = [row for row in range(1, 200) if begin < history.steps[row] <= end]
        group = int(rng.integers(3))
        seen = [row for row in rows if num_samples[row - 1, group]]
        total = sum(history.losses[row, group] * num_samples[row - 1, group] for row in seen)
        expected = total / sum(num_samples[row - 1, group] for row in seen)
        assert facts.losses[window, group] == pytest.approx(expected)
        assert facts.realised[window, group] == pytest.approx(np.mean([history.realised[row, group] for row in rows]))


@given(st.lists(st.floats(-50, 350), min_size=1, max_size=12))
def test_labels_keep_their_distance_and_their_order(places):
    moved = np.array(spread(places, distance=20, height=280))
    order = np.argsort(places, kind="stable")
    assert (np.diff(moved[order]) >= 20 - 1e-9).all()
    assert moved.min() >= 0
    assert moved.max() <= 280 + 1e-9
    clipped = np.clip(places, 0, 280)
    if len(places) == 1 or np.diff(np.sort(clipped)).min() >= 20:
        assert moved == pytest.approx(clipped), "nothing is moved without need"


# Machado, Oliveira and Fernandes 2009, severity 1: what linear RGB is to eyes that miss a kind of cone.
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def lab(colour, eyes):
    """A colour as some eyes see it, in a space where 2 is a difference that one can just see."""
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(np.array(eyes) @ linear, 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES.values(), ids=EYES)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_solid_lines_are_told_apart_by_all_eyes_and_so_are_dashed_ones(colours, eyes):
    assert len(colours) == 8
    for alike in (colours[:NUM_SOLID], colours[NUM_SOLID:]):
        for one, other in combinations([lab(colour, eyes) for colour in alike], 2):
            assert np.linalg.norm(one - other) > 10
