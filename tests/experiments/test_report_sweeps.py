"""What compares sections: settings that were varied, and tables of all tasks."""

from experiments.report.collect import collect
from experiments.report.intervals import Effect, Interval
from experiments.report.sweeps import sweep_table, sweeps
from experiments.report.tables import overview_table
from made_up import record, write
from report_tables import cell, rows, section_of


class TestSweeps:
    def swept(self, folder, *configs: dict, methods=("learn2mix", "classical")) -> list:
        """Sections of two seeds; learn2mix's error is lr x batch_size, classical's twice that."""
        for number, config in enumerate(configs):
            end = config.get("lr", 0.01) * config.get("batch_size", 100)
            for factor, method in enumerate(methods, start=1):
                runs = (record(method, seed, [9.0, factor * (end + seed)], config=config) for seed in (0, 1))
                write(folder / str(number), *runs)
        return sweeps(collect([folder])[0])

    def test_a_setting_of_the_task_has_a_row_a_method_and_the_ratio_at_each_value(self, folder):
        (sweep,) = self.swept(folder, *({"lr": lr} for lr in (0.1, 0.01, 1.0)))
        table = sweep_table(sweep)
        assert table.title == "toy: error by lr"
        assert list(table.cells) == ["error", "0.01", "0.1", "1"]
        names = ("learn2mix", "classical", "learn2mix / classical")
        of_learner, of_classical, ratio = ([row for row in rows(table) if row[0] == name] for name in names)
        assert [row[1] for row in of_learner] == ["at 1/2", "at the end"]
        assert of_learner[1][2:] == tuple(Interval.of([end, end + 1]).show() for end in (1, 10, 100))
        assert of_classical[1][2:] == tuple(Interval.of([2 * end, 2 * (end + 1)]).show() for end in (1, 10, 100))
        assert ratio == [("learn2mix / classical", "at the end", *["0.500 [0.500, 0.500] lower"] * 3)]

    def test_of_two_settings_in_a_grid_one_is_swept_and_the_other_tells_lines_apart(self, folder):
        grid = [{"optimizer": name, "batch_size": size} for name in ("SGD", "Adam") for size in (1000, 250, 500)]
        (sweep,) = self.swept(folder, *grid)
        assert (sweep.setting, sweep.values) == ("batch_size", [250, 500, 1000])
        expected = {f"{method} (optimizer={name})" for method in ("learn2mix", "classical") for name in ("SGD", "Adam")}
        assert sweep.lines.keys() == expected
        ratios = [row for row in rows(sweep_table(sweep)) if "/" in row[0]]
        assert {row[0] for row in ratios} == {f"learn2mix (optimizer={name}) / classical" for name in ("SGD", "Adam")}

    def test_settings_varied_one_at_a_time_are_swept_each(self, folder):
        configs = ({"lr": lr, "batch_size": size} for lr, size in ((0.1, 8), (0.2, 8), (0.1, 9)))
        both = self.swept(folder, *configs)
        assert {sweep.setting: sweep.values for sweep in both} == {"lr": [0.1, 0.2], "batch_size": [8, 9]}

    def test_a_methods_own_setting_has_the_baseline_beside_it(self, folder):
        for rate, error in ((0.1, 4.0), (0.5, 3.0), (0.02, 5.0)):
            runs = (record("learn2mix", seed, [9.0, error + seed], config={"mixing_rate": rate}) for seed in (0, 1))
            write(folder / f"rate-{rate}", *runs)
        write(folder, *(record("classical", seed, [9.0, 6.0]) for seed in (0, 1)))
        (sweep,) = sweeps(collect([folder])[0])
        table = sweep_table(sweep)
        assert list(table.cells) == ["error", "0.02", "0.1", "0.5"]
        assert rows(table)[1] == ("learn2mix", "at the end", *(Interval.of([e, e + 1]).show() for e in (5, 4, 3)))
        assert rows(table)[3] == ("classical", "at the end", *["6.00 ± 0.00"] * 3)
        assert rows(table)[4][2:] == tuple(Effect.of([e, e + 1], [6, 6]).show() for e in (5, 4, 3))

    def test_values_of_several_methods_stand_in_their_order(self, folder):
        for method, rates in (("learn2mix", (0.1, 0.5)), ("static", (0.02, 0.1))):
            for rate in rates:
                write(folder / f"{method}-{rate}", record(method, 0, [9.0, 4.0], config={"mixing_rate": rate}))
        (sweep,) = sweeps(collect([folder])[0])
        assert sweep.values == [0.02, 0.1, 0.5]

    def test_without_classical_there_is_no_ratio_and_without_several_values_no_sweep(self, folder):
        (sweep,) = self.swept(folder / "a", {"lr": 0.1}, {"lr": 0.2}, methods=("learn2mix",))
        assert {row[0] for row in rows(sweep_table(sweep))} == {"learn2mix"}
        assert self.swept(folder / "b", {"lr": 0.1}) == []


class TestOverview:
    def test_the_worst_and_the_largest_group_have_a_line_a_task(self, folder):
        ends = {"learn2mix": ([1, 2], [2, 2.5]), "classical": ([2, 6], [2, 5.5]), "static": ([1, 1], [1, 1])}
        runs = {(name, seed): record(name, seed, [1.0]) for name in ends for seed in (0, 1)}
        for (name, seed), run in runs.items():
            run["history"][-1]["test_by_group"] = ends[name][seed]
        table = overview_table("Worst and largest group", [section_of(folder, *runs.values())])
        assert cell(table, "toy", "classical") == Interval.of([6.0, 5.5]).show()
        assert cell(table, "toy", "static") == "1.00 ± 0.00"
        assert cell(table, "toy", "ratio, worst group") == Effect.of([2.0, 2.5], [6.0, 5.5]).show()
        assert cell(table, "toy", "ratio, largest group") == Effect.of([1.0, 2.0], [2.0, 2.0]).show()
        assert (
            overview_table("Worst and largest group", [section_of(folder / "other", record("classical", 0, [1.0]))])
            is None
        )

    def test_the_gap_weighs_the_groups_in_training_as_the_test_part_does(self, folder):
        # In training the rare group, of half the test part's samples, has an error of 3, the common one one of 1.
        ends = {"classical": (4.0, 4.0), "learn2mix": (4.0, 5.0)}
        runs = [record(name, seed, [end]) for name, of_seeds in ends.items() for seed, end in enumerate(of_seeds)]
        for run in runs:
            run["history"][-1]["train_by_group"] = [1.0, 3.0]
        table = overview_table("Training against test", [section_of(folder, *runs)])
        gap = Effect.of([2.0, 3.0], [2.0, 2.0], is_ratio=False)
        assert rows(table) == [
            ("toy", "classical", "2.00 ± 0.00", "4.00 ± 0.00", "2.00 ± 0.00", "-"),
            ("toy", "learn2mix", "2.00 ± 0.00", Interval.of([4, 5]).show(), Interval.of([2, 3]).show(), gap.show(None)),
        ]

    def test_a_group_that_was_not_drawn_at_the_end_leaves_the_gap_unknown(self, folder):
        run = record("classical", 0, [4.0])
        run["history"][-1]["train_by_group"] = [1.0, None]
        assert overview_table("Training against test", [section_of(folder, run)]) is None
