"""The two tables of the regression tasks, from files and from their publishers."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_files import NOWHERE, cut_short, data_of, write_housing, write_wine
from experiments.datasets import tables
from experiments.datasets.tables import load_housing, load_wine
from experiments.errors import UserError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError("no network here")

    monkeypatch.setattr("experiments.datasets.tables.download_url_to_file", refuse)


class TestWineQuality:
    def test_halves_are_stratified_and_only_the_white_training_half_is_cut(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path)
        assert data.group_names == ("red", "white")
        assert data.counts(data.train) == [20, 5]
        assert data.counts(data.test) == [20, 50]
        assert data.train.inputs.shape == (25, 11)

    def test_features_are_scaled_by_the_training_half_alone(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path, imbalance="none")
        assert data.train.inputs.mean(dim=0).abs().max() < 1e-6
        assert data.train.inputs.std(dim=0, correction=0) == pytest.approx(1, abs=1e-6)
        assert data.test.inputs.mean(dim=0).abs().max() > 1e-3

    def test_groups_are_the_wines(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path)
        # White wines lie 7 deviations above the red ones in every feature.
        assert (data.test.inputs.mean(dim=1) > 0).long().tolist() == data.test.groups.tolist()

    def test_real_tables_have_the_papers_sizes(self, real_data):
        data = data_of("wine-quality", real_data)
        assert data.counts(data.train) == [799, 244]
        assert len(data.train) + len(data.test) == 1043 + 3249
        assert 5.5 < data.test.targets.mean() < 6.2

    def test_another_table_is_named(self, tmp_path):
        write_wine(tmp_path)
        (tmp_path / "tabular" / "winequality-red.csv").write_text("a,b\n1,2\n")
        with pytest.raises(UserError, match=r"winequality-red\.csv: expected the columns fixed acidity, .*quality"):
            load_wine(tmp_path)

    def test_the_real_files_are_the_published_ones(self, real_data):
        for name in ("winequality-red.csv", "winequality-white.csv"):
            content = (real_data / "tabular" / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == tables.PUBLISHED[name][1]


class TestCaliforniaHousing:
    def test_gaps_and_islands_go_and_the_rest_is_halved_and_cut(self, tmp_path):
        write_housing(tmp_path, sizes=(48, 80, 120, 160, 5), num_gaps=8)
        data = data_of("california-housing", tmp_path)
        assert data.group_names == ("<1H OCEAN", "INLAND", "NEAR BAY", "NEAR OCEAN")
        assert data.counts(data.test) == [40, 20, 80, 60]
        assert data.counts(data.train) == [2, 20, 4, 3]
        assert data.train.inputs.shape == (29, 8)

    def test_targets_and_groups_stay_with_their_rows(self, tmp_path):
        table = write_housing(tmp_path)
        data = data_of("california-housing", tmp_path)
        values = table["median_house_value"].to_numpy(np.float32)
        for target, group in zip(data.test.targets.numpy(), data.test.groups.tolist(), strict=True):
            (row,) = np.flatnonzero(values == target)
            assert table["ocean_proximity"][row] == data.group_names[group]

    def test_dollars_and_hundred_thousands_are_the_same(self, tmp_path):
        table = write_housing(tmp_path / "authors")
        dollars = table.assign(median_house_value=(100_000 * table["median_house_value"]).round())
        (tmp_path / "usual" / "tabular").mkdir(parents=True)
        dollars.to_csv(tmp_path / "usual" / "tabular" / "housing.csv", index=False)
        first, second = (load_housing(tmp_path / name)["median_house_value"] for name in ("authors", "usual"))
        assert first.tolist() == pytest.approx(second.tolist())
        assert first.max() < 5.1

    def test_real_table_has_the_papers_sizes(self, real_data):
        data = data_of("california-housing", real_data, imbalance="none")
        assert (len(data.train), len(data.test)) == (10_214, 10_214)
        cut = data_of("california-housing", real_data)
        halves = dict(zip(data.group_names, data.counts(data.train), strict=True))
        assert cut.counts(cut.train) == [
            int(0.05 * halves["<1H OCEAN"]), halves["INLAND"], int(0.05 * halves["NEAR BAY"]),
            int(0.05 * halves["NEAR OCEAN"]),
        ]  # fmt: skip
        # The authors' notebook prints the mean value of each group.
        table = load_housing(real_data).dropna()
        means = table.groupby("ocean_proximity")["median_house_value"].mean()
        assert means["INLAND"] == pytest.approx(1.248969, abs=1e-6)

    def test_the_published_file_is_ours_with_the_values_in_dollars(self, real_data):
        table = pd.read_csv(real_data / "tabular" / "housing.csv")
        table["median_house_value"] = (100_000 * table["median_house_value"]).round()
        content = table.assign(**table.drop(columns="ocean_proximity").astype(float)).to_csv(index=False)
        assert hashlib.sha256(content.encode()).hexdigest() == tables.PUBLISHED["housing.csv"][1]

    def test_another_table_is_named(self, tmp_path):
        table = write_housing(tmp_path)
        table.drop(columns="households").to_csv(tmp_path / "tabular" / "housing.csv", index=False)
        with pytest.raises(UserError, match=r"housing\.csv: expected the columns .*households"):
            load_housing(tmp_path)


FILES = [("wine-quality", "winequality-red.csv"), ("wine-quality", "winequality-white.csv"),
         ("california-housing", "housing.csv")]  # fmt: skip


@pytest.mark.parametrize(("task", "file"), FILES)
@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.999])
def test_a_cut_file_is_named(tmp_path, task, file, share):
    write_wine(tmp_path)
    write_housing(tmp_path)
    cut_short(tmp_path / "tabular" / file, share)
    with pytest.raises(UserError, match=rf"{file} cannot be read"):
        data_of(task, tmp_path)


@pytest.mark.parametrize(("task", "file"), FILES)
def test_a_last_line_without_its_end_is_a_cut(tmp_path, task, file):
    write_wine(tmp_path)
    write_housing(tmp_path)
    path = tmp_path / "tabular" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{file} cannot be read.*line \d+ is not whole"):
        data_of(task, tmp_path)


def test_a_line_with_a_gap_is_named(tmp_path):
    write_wine(tmp_path)
    path = tmp_path / "tabular" / "winequality-red.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[7] = ";" + lines[7].partition(";")[2]
    path.write_text("".join(lines))
    with pytest.raises(UserError, match=r"winequality-red\.csv .*line 8 is not whole"):
        load_wine(tmp_path)


@pytest.mark.parametrize(("task", "file"), FILES)
def test_a_missing_table_names_the_folder_the_layout_and_the_source(tmp_path, no_network, task, file):
    write_wine(tmp_path)
    write_housing(tmp_path)
    (tmp_path / "tabular" / file).unlink()
    with pytest.raises(UserError) as caught:
        data_of(task, tmp_path)
    for part in (str(tmp_path), f"tabular/{file}", "https://", "no network here", "--data-root", "LEARN2MIX_DATA"):
        assert part in str(caught.value)


def test_looking_for_a_table_leaves_no_folder_behind(no_network):
    with pytest.raises(UserError):
        data_of("wine-quality")
    assert not NOWHERE.exists()


def publish(monkeypatch: pytest.MonkeyPatch, file: Path, sha256: str | None = None) -> None:
    """Let the publisher of the housing table be a file here."""
    known = sha256 or hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(tables.PUBLISHED, "housing.csv", (file.parent.as_uri(), known))


def test_a_table_that_is_not_there_is_fetched(tmp_path, monkeypatch):
    write_housing(tmp_path / "publisher")
    file = tmp_path / "publisher" / "tabular" / "housing.csv"
    publish(monkeypatch, file)
    fetched = load_housing(tmp_path / "here")
    assert len(fetched) == 405
    assert (tmp_path / "here" / "tabular" / "housing.csv").read_bytes() == file.read_bytes()


def test_what_comes_with_another_hash_is_not_kept(tmp_path, monkeypatch):
    write_housing(tmp_path / "publisher")
    publish(monkeypatch, tmp_path / "publisher" / "tabular" / "housing.csv", sha256="0" * 64)
    with pytest.raises(UserError, match=r"invalid hash value"):
        load_housing(tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_download_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(tables.PUBLISHED, "housing.csv", ((tmp_path / "nowhere").as_uri(), "0"))
    with pytest.raises(UserError, match=r"nowhere/housing\.csv"):
        load_housing(tmp_path / "here")
    assert list(tmp_path.iterdir()) == []
