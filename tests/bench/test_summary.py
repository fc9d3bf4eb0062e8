"""Tables: means, spreads, intervals and comparisons against plain recomputation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.bench.bootstrap import ImageDraws, interval, over_seeds
from fmlad.bench.model import Cell, CellResult, Entry, ImageRecord, Task
from fmlad.bench.runner import image_figures
from fmlad.bench.summary import Line, aufc, compare, summarise
from fmlad.datasets.model import Kind
from fmlad.errors import OptionError, UnknownNameError

KINDS: tuple[Kind, ...] = ("good", "logical", "structural")


def rows(scores: Mapping[str, Sequence[float]], seconds: float = 1.0) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(f"{kind}/{i}", kind, None, float(score), 0.5, seconds, i % 2 == 0)
        for kind in KINDS
        for i, score in enumerate(scores.get(kind, ()))
    )


def result(
    label: str = "a",
    category: str = "x",
    shots: int = 1,
    seed: int = 0,
    lift: float = 1.0,
    figures: Mapping[str, float] | None = None,
    **more: float,
) -> CellResult:
    rng = np.random.default_rng([seed, shots, len(label), *category.encode()])
    scores = {kind: rng.normal(lift * (kind != "good"), 1, 12) for kind in KINDS}
    made = rows(scores)
    cell = Cell(Entry(label, "banks"), Task("scenes", "r", category), shots, seed)
    return CellResult(cell, ("s",), made, {**image_figures(made), **(figures or {})}, {}, more)


def the_line(lines: Sequence[Line], task: str, shots: int = 1, label: str = "a") -> Line:
    (found,) = [
        line for line in lines if (line.task, line.shots, line.entry.label) == (task, shots, label)
    ]
    return found


def test_means_and_deviations_over_seeds() -> None:
    cells = [result(seed=seed) for seed in (2, 0, 1)]
    (line,) = summarise(cells, draws=0)
    values = [cell.figures["auroc_micro"] for cell in cells]
    figure = line.figures["auroc_micro"]
    assert figure.mean == pytest.approx(np.mean(values))
    assert figure.std == pytest.approx(np.std(values, ddof=1))
    assert figure.low is None
    assert line.seeds == (0, 1, 2)
    assert line.images == 36


def test_one_seed_has_no_spread_but_an_interval() -> None:
    figure = summarise([result()])[0].figures["auroc_micro"]
    assert figure.std is None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.mean < figure.high


def test_an_average_is_over_all_tasks_of_the_dataset_or_not_given() -> None:
    cells = [result(category=c, seed=s) for c in ("x", "y") for s in (0, 1)]
    cells += [result("b", "x", seed=s) for s in (0, 1)]
    lines = summarise(cells, draws=50)
    average = the_line(lines, "")
    assert average.tasks == 2
    by_seed = [
        np.mean([c.figures["f1_max"] for c in cells[:4] if c.cell.seed == seed]) for seed in (0, 1)
    ]
    assert average.figures["f1_max"].mean == pytest.approx(np.mean(by_seed))
    assert average.figures["f1_max"].std == pytest.approx(np.std(by_seed, ddof=1))
    assert not [line for line in lines if line.entry.label == "b" and not line.task]


def test_an_average_takes_the_seeds_that_all_tasks_have() -> None:
    cells = [result(category="x", seed=s) for s in (0, 1)] + [result(category="y", seed=1)]
    assert the_line(summarise(cells, draws=0), "").seeds == (1,)
    cells = [result(category="x", seed=0), result(category="y", seed=1)]
    assert all(line.task for line in summarise(cells, draws=0))


def test_flags_say_what_was_handed_over() -> None:
    cell = result(normals_beyond_k=3.0)
    told = Entry("p", "clip-lad", prompts="category")
    prompted = CellResult(
        Cell(told, cell.cell.task, 1, 0), cell.shots, cell.rows, cell.figures, {}, cell.cost
    )
    plain, other = summarise([cell, prompted], draws=0)
    assert (plain.category_prompts, plain.normals_beyond_k) == (False, 3)
    assert other.category_prompts


def test_latency_is_over_fresh_rows_alone() -> None:
    cells = [result(p50_seconds=9.0, fit_seconds=1.0), result(seed=1, fit_seconds=3.0)]
    slow = ImageRecord("stale", "good", None, 0.0, None, 1e6, False)
    cells[1] = CellResult(
        cells[1].cell, ("s",), (*cells[1].rows, slow), cells[1].figures, {}, cells[1].cost
    )
    (line,) = summarise(cells, draws=0)
    assert line.cost["p50_seconds"] == line.cost["p95_seconds"] == 1.0
    assert line.cost["fit_seconds"] == 2.0


def test_tables_do_not_hang_on_the_order_of_cells() -> None:
    cells = [result(category=c, seed=s) for c in ("x", "y") for s in (0, 1)]
    assert summarise(cells)[0] == summarise([cells[1], cells[0], *cells[2:]])[0]


scores = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None)
@given(good=scores, logical=scores, structural=st.lists(st.integers(0, 6), max_size=6))
def test_every_draw_is_the_metric_of_the_drawn_images(
    good: list[int], logical: list[int], structural: list[int]
) -> None:
    made = rows({"good": good, "logical": logical, "structural": structural})
    draws = ImageDraws.of([made], np.random.default_rng(0), 5)
    for index in range(5):
        drawn = [row for row in made for _ in range(int(draws.counts[row.name][index]))]
        assert len(drawn) == len(made)
        expected = image_figures(drawn)
        for name in ("auroc_micro", "auroc_mean"):
            if name in expected:
                assert draws.figure(name, made)[index] == pytest.approx(expected[name])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth, hits, trials = 0.7602, 0, 120  # of two normal distributions one deviation apart
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        made = rows({"good": rng.normal(0, 1, 40), "logical": rng.normal(1, 1, 40)})
        draws = ImageDraws.of([made], np.random.default_rng(0), 200)
        low, high = interval(draws.figure("auroc_micro", made))
        hits += low <= truth <= high
    assert 0.87 <= hits / trials <= 0.99


def test_seeds_widen_an_interval() -> None:
    rng = np.random.default_rng(0)
    steady = [np.full(2000, 0.8), np.full(2000, 0.8), np.full(2000, 0.8)]
    apart = [np.full(2000, value) for value in (0.6, 0.8, 1.0)]
    assert interval(over_seeds(steady, rng)) == pytest.approx((0.8, 0.8))
    low, high = interval(over_seeds(apart, rng))
    assert low < 0.7
    assert high > 0.9


def test_a_comparison_is_signed_paired_and_symmetric() -> None:
    cells = [result("a", c, k, s, 1.0) for c in "xy" for k in (1, 4) for s in (0, 1)]
    cells += [result("b", c, k, s, 2.5) for c in "xy" for k in (1, 4) for s in (0, 1)]
    forth, back = compare(cells, "a", "b"), compare(cells, "b", "a")
    assert [(one.dataset, one.shots, one.cells) for one in forth] == [
        ("scenes", 1, 4),
        ("scenes", 4, 4),
        ("", None, 8),
    ]
    for one, other in zip(forth, back, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.wins == pytest.approx(1 - other.wins)
        assert one.low == pytest.approx(-other.high)  # type: ignore[operator]
        assert one.high is not None
        assert one.high < 0
        assert one.difference < 0


def test_where_less_is_better_less_wins() -> None:
    few = replace(result("a"), figures={"fpr95": 0.1})
    many = replace(result("b"), figures={"fpr95": 0.4})
    (found,) = compare([few, many], "a", "b", "fpr95")
    assert found.difference == pytest.approx(-0.3)
    assert found.wins == 1


def test_what_two_share_is_in_every_draw_of_their_difference() -> None:
    one = result("a")
    twin = CellResult(
        Cell(Entry("b", "banks"), one.cell.task, 1, 0), one.shots, one.rows, one.figures
    )
    (found,) = compare([one, twin], "a", "b")
    assert (found.difference, found.low, found.high, found.wins) == (0, 0, 0, 0.5)


def test_a_figure_that_cannot_be_drawn_again_has_no_interval() -> None:
    cells = [result(label, figures={"aupro": v}) for label, v in (("a", 0.7), ("b", 0.4))]
    (found,) = compare(cells, "a", "b", "aupro")
    assert found.difference == pytest.approx(0.3)
    assert found.low is None


def test_comparisons_of_nothing_say_so() -> None:
    cells = [result("aa", shots=1), result("bb", shots=2)]
    with pytest.raises(UnknownNameError, match="Did you mean 'bb'"):
        compare(cells, "aa", "bbb")
    with pytest.raises(OptionError, match="no finished cell in common"):
        compare(cells, "aa", "bb")
    cells = [result("aa"), result("bb")]
    with pytest.raises(UnknownNameError, match="auroc_micro"):
        compare(cells, "aa", "bb", "auroc_macro")
    shorter = CellResult(cells[1].cell, ("s",), cells[1].rows[1:], cells[1].figures)
    with pytest.raises(OptionError, match="judged different images"):
        compare([cells[0], shorter], "aa", "bb")


def test_the_area_under_the_curve_of_f1_is_normalised_over_shots() -> None:
    def at(values: Mapping[int, float]) -> float | None:
        cells = [result(shots=k, figures={"f1_max": v}) for k, v in values.items()]
        return aufc(summarise(cells, draws=0), "a", "scenes")

    assert at({1: 0.5, 2: 0.5, 4: 0.5, 8: 0.5}) == pytest.approx(0.5)
    # Trapezoids over k itself: 0.5 * 1 + 0.75 * 2 + 0.9 * 4 over 7.
    assert at({1: 0.4, 2: 0.6, 4: 0.9, 8: 0.9}) == pytest.approx((0.5 + 1.5 + 3.6) / 7)
    assert at({1: 0.4, 2: 0.6, 4: 0.9}) is None
