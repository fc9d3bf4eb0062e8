"""Pseudo-labels of drawn products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fmlad.errors import CheckpointError, OptionError, UnknownNameError
from fmlad.methods.csad.pseudo_config import PseudoConfig, pseudo_config
from fmlad.methods.csad.pseudo_labels import PseudoLabels, clustered, joined, make_pseudo_labels
from fmlad.methods.csad.report import write_report
from fmlad.views import ImageView
from tests.methods.csad.drawn import Proposer, backbones, colours, product, views_of

CONFIG = pseudo_config("cpu", rotations=2)


def made(views: list[ImageView], config: PseudoConfig = CONFIG, **options: object) -> PseudoLabels:
    return make_pseudo_labels(views, colours, "colours", config, **options)  # type: ignore[arg-type]


def test_discs_and_bars_are_classes() -> None:
    found = made(views_of(12))
    assert found.names == ("part A", "part B")
    assert len(found.rows) >= 10
    for seed in found.rows:
        labels = product(seed)[1]
        assert (found.labels[seed] == labels).mean() > 0.98  # discs are more, and so class 1
    assert found.notes == (
        "pseudo-labels: no tags were given, so nothing was grounded; automatic masks alone",
        f"pseudo-labels: 2 classes of components, learned from {len(found.rows)} of 12 normal "
        f"images whose class areas agree",
    )


def test_an_image_that_lacks_a_part_is_not_learned_from() -> None:
    through = backbones()
    views = [*views_of(12, through), *views_of(1, through, first=12, bar=False)]
    found = made(views)
    assert 12 not in found.rows
    assert len(found.labels) == 13


def test_the_paper_takes_all_members_and_its_code_half() -> None:
    views = views_of(16)
    options = {"rotations": 2, "size": 1.5, "largest": False}
    paper = made(views, pseudo_config("paper", **options))
    code = made(views, pseudo_config("code", **options))
    assert 0 < len(code.rows) <= len(paper.rows) // 2 + 2
    assert set(code.rows) <= set(paper.rows)


def test_without_a_grounder_the_notes_say_so() -> None:
    found = made(views_of(6), pseudo_config("cpu", rotations=1, tags=("disc",)))
    assert "no backbone grounds tags" in found.notes[0]


def test_masks_and_vectors_are_made_once(tmp_path: Path) -> None:
    proposer = Proposer()
    first = made(views_of(5, backbones(proposer)), folder=tmp_path)
    assert proposer.asked == 5
    # Killed, and begun anew: images are looked at afresh, and nothing is asked.
    again = made(views_of(5, backbones(proposer)), folder=tmp_path, resume=True)
    assert proposer.asked == 5
    for one, other in zip(first.labels, again.labels, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.rows == again.rows
    # Another bandwidth needs no masks; other rotations do.
    other_way = pseudo_config("cpu", rotations=2, bandwidth=0.5)
    made(views_of(5, backbones(proposer)), other_way, folder=tmp_path, resume=True)
    assert proposer.asked == 5
    made(views_of(5, backbones(proposer)), pseudo_config("cpu", rotations=3), folder=tmp_path,
         resume=True)  # fmt: skip
    assert proposer.asked == 10
    made(views_of(5, backbones(proposer)), folder=tmp_path)
    assert proposer.asked == 15


def test_damaged_components_are_told(tmp_path: Path) -> None:
    made(views_of(2), folder=tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="damaged"):
        made(views_of(2), folder=tmp_path, resume=True)


def test_nothing_to_learn_from_is_told() -> None:
    with pytest.raises(OptionError, match="found no component"):
        made(views_of(2, discs=0, bar=False))
    tiny = pseudo_config("cpu", rotations=1, bandwidth=1e-6, frequent=0.9)
    with pytest.raises(OptionError, match="None of 30 components recurs in 9"):
        made(views_of(10), tiny)


def test_options_that_do_not_exist_are_told() -> None:
    with pytest.raises(UnknownNameError, match="option of the pseudo-labels"):
        pseudo_config("cpu", rotation=3)
    with pytest.raises(OptionError, match="rotations=0"):
        pseudo_config("cpu", rotations=0)


def test_the_bandwidth_is_as_fine_as_members_recur() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(at, 0.1, (20, 4)) for at in (0, 4, 10)])
    found, bandwidth = clustered(points, 15, None)
    assert found.max() == 2
    assert (found >= 0).all()
    # Chosen by hand, near clusters are one.
    assert clustered(points, 15, 9.0)[0].max() == 1
    assert bandwidth < 5
    assert clustered(np.ones((6, 2)), 3, None)[0].tolist() == [0] * 6


def test_facts_weigh_as_told() -> None:
    rng = np.random.default_rng(0)
    vectors, facts = rng.normal(size=(8, 6)), rng.normal(size=(8, 5))
    weighed = joined(
        vectors.astype(np.float32), facts.astype(np.float32),
        pseudo_config("paper", projection=0, size=2.0, colour=0.5), 0,
    )  # fmt: skip
    np.testing.assert_allclose(weighed[:, 6:], facts * [2, 0, 0.5, 0.5, 0.5], rtol=1e-6)
    paper = joined(vectors.astype(np.float32), facts.astype(np.float32), pseudo_config("paper"), 0)
    assert paper.shape == (8, 512)


def test_the_page_of_stages_says_what_became_of_masks(tmp_path: Path) -> None:
    through = backbones(Proposer(halves=True))
    views = [*views_of(12, through), *views_of(1, through, first=12, bar=False)]
    found = made(views)
    page = write_report(tmp_path / "stages", views, found, CONFIG, most=4).read_text()
    assert page.count("<section") == 4
    assert "6 masks: not among the proposer&#39;s own choice" in page
    assert "3 masks: kept as components" in page
    assert "the image counts as unlabelled" in page
    assert page.count("<img") >= 12
