"""Draws: nested, apart from the test, the same for everybody."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.bench.draw import digest, draw, open_task, some
from fmlad.bench.model import ALL, Task
from fmlad.datasets.model import Dataset, Sample
from fmlad.errors import DatasetError, OptionError
from tests.bench.support import load


def pool(normal: int, odd: int) -> Dataset:
    """A dataset that lists its normal images in train and test; nothing is on disk."""
    good = tuple(Sample(f"{i:03d}", Path(f"{i}.png"), "good") for i in range(normal))
    bad = tuple(Sample(f"odd/{i:03d}", Path(f"odd{i}.png"), "logical") for i in range(odd))
    return Dataset("pool", "", None, Path(), good[::-1], (), (*good, *bad))


@given(normal=st.integers(3, 40), seed=st.integers(0, 1000), data=st.data())
def test_more_shots_contain_fewer_and_none_is_tested(
    normal: int, seed: int, data: st.DataObject
) -> None:
    few = data.draw(st.integers(1, normal - 2))
    many = data.draw(st.integers(few, normal - 1))
    dataset = pool(normal, 2)
    small, large = draw(dataset, few, seed), draw(dataset, many, seed)
    assert large.shots[:few] == small.shots
    assert len(set(large.shots)) == many
    for drawn in (small, large):
        shots = {sample.path for sample in drawn.shots}
        assert not shots & {sample.path for sample in drawn.test}
        assert len(drawn.test) + len(shots) == len(dataset.test)


def test_draws_differ_by_seed_and_not_by_the_order_of_listing() -> None:
    dataset = pool(30, 2)
    assert draw(dataset, 4, 0).shots != draw(dataset, 4, 1).shots
    turned = replace(dataset, train=dataset.train[::-1])
    assert draw(dataset, 4, 0).shots == draw(turned, 4, 0).shots


def test_all_means_all(pictures: Path) -> None:
    dataset = load("board", str(pictures))
    drawn = draw(dataset, ALL, 0)
    assert sorted(s.name for s in drawn.shots) == sorted(s.name for s in dataset.train)


def test_a_single_pool_must_leave_a_normal_image() -> None:
    for shots in (5, ALL):
        with pytest.raises(OptionError, match="no normal image is left"):
            draw(pool(5, 2), shots, 0)


def test_too_many_shots() -> None:
    with pytest.raises(OptionError, match="has 5 training images; 6 shots"):
        draw(pool(5, 2), 6, 0)


def test_pairs_draw_nothing(pictures: Path) -> None:
    dataset = load("pairs", str(pictures))
    assert draw(dataset, 1, 0) == draw(dataset, 1, 5)
    assert draw(dataset, 1, 0).shots == ()


@given(
    st.lists(st.sampled_from(("good", "logical")), min_size=1), st.integers(1, 12), st.booleans()
)
def test_at_most_so_many_of_each_kind_in_order(kinds: list[str], images: int, spread: bool) -> None:
    samples = [
        Sample(str(i), Path(str(i)), kind)  # type: ignore[arg-type]
        for i, kind in enumerate(kinds)
    ]
    chosen = some(samples, images, spread)
    assert [int(s.name) for s in chosen] == sorted(int(s.name) for s in chosen)
    for kind in ("good", "logical"):
        own = [s for s in samples if s.kind == kind]
        mine = [s for s in chosen if s.kind == kind]
        assert len(mine) == min(images, len(own))
        if not spread:
            assert mine == own[: len(mine)]
    assert some(samples, 0) == tuple(samples)


def test_spread_is_even() -> None:
    samples = [Sample(str(i), Path(str(i)), "good") for i in range(100)]
    assert [int(s.name) for s in some(samples, 4)] == [12, 37, 62, 87]


def test_a_task_needs_normal_and_anomalous_images(pictures: Path) -> None:
    for path in (pictures / "good").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"kinds \['logical', 'structural'\]"):
        open_task(Task("board", str(pictures), ""))


def test_a_copy_of_a_shot_is_not_tested(pictures: Path, tmp_path: Path) -> None:
    for name, source in (("a", "train/00"), ("b", "train/01"), ("a (1)", "train/00")):
        (tmp_path / f"{name}.png").write_bytes((pictures / f"{source}.png").read_bytes())
    good = tuple(Sample(n, tmp_path / f"{n}.png", "good") for n in ("a", "b", "a (1)"))
    dataset = Dataset("folder", "", None, tmp_path, good[:1], (), (*good, *pool(1, 1).test[1:]))
    drawn = draw(dataset, 1, 0)
    assert [sample.name for sample in drawn.test] == ["b", "odd/000"]


def test_a_digest_tells_images_apart_and_not_where_they_lie(pictures: Path, tmp_path: Path) -> None:
    before = digest(load("board", str(pictures)))
    shutil.copytree(pictures, tmp_path / "copy")
    assert digest(load("board", str(tmp_path / "copy"))) == before
    first = next((tmp_path / "copy").rglob("*.png"))
    first.write_bytes(first.read_bytes() + b" ")
    assert digest(load("board", str(tmp_path / "copy"))) != before
