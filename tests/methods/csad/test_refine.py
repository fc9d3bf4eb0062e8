"""From masks to components, and what became of the others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fmlad.methods.csad.pseudo_config import pseudo_config
from fmlad.methods.csad.refine import refine
from tests.methods.csad.drawn import BoxFinder, Proposer, backbones, product, views_of

PLAIN = pseudo_config("paper")
UPPER, LOWER = (0.0, 0.0, 128.0, 48.0), (0.0, 48.0, 128.0, 96.0)


def test_the_proposers_own_choice_is_taken_where_it_offers_one() -> None:
    view = views_of(1, backbones(Proposer(halves=True)))[0]
    found = refine(view, PLAIN)
    assert Counter(found.fates) == {"kept": 3, "not preferred": 6}
    labels = product(0)[1]
    assert (found.kept.any(0) == (labels > 0)).mean() > 0.98
    assert found.grounding is None
    assert not found.background.any()


def test_without_a_choice_parts_win_over_wholes() -> None:
    view = views_of(1, backbones(Proposer(halves=True, preferred=False)))[0]
    found = refine(view, PLAIN)
    assert Counter(found.fates) == {"kept": 6, "combination": 3}
    assert found.background[0, 0]  # prompted at the corners
    labels = product(0)[1]
    assert (found.background == (labels == 0)).mean() > 0.98


def test_the_fine_mode_drops_what_is_not_grounded() -> None:
    finder = BoxFinder({"bar": [LOWER]})
    view = views_of(1, backbones(Proposer(), grounder=finder))[0]
    config = pseudo_config("paper", mode="fine", tags=("bar",), filter_by_grounding=True)
    found = refine(view, config)
    assert Counter(found.fates) == {"kept": 1, "not grounded": 2}
    assert found.grounding is not None
    assert set(np.unique(found.grounding)) == {0, 1}
    without = refine(view, pseudo_config("paper", mode="fine", tags=("bar",)))
    assert Counter(without.fates) == {"kept": 3}


def test_background_tags_take_masks_away() -> None:
    finder = BoxFinder({"zip-lock bag": [LOWER], "disc": [UPPER]})
    view = views_of(1, backbones(Proposer(), grounder=finder))[0]
    config = pseudo_config("paper", mode="fine", tags=("zip-lock bag", "disc"), background=("bag",))
    found = refine(view, config)
    assert Counter(found.fates) == {"kept": 2, "background": 1}
    assert found.background[80, 40:60].any()


def test_the_coarse_mode_has_grounded_masks() -> None:
    finder = BoxFinder({"disc": [UPPER], "bar": [LOWER]})
    view = views_of(1, backbones(Proposer(preferred=False), grounder=finder))[0]
    found = refine(view, pseudo_config("paper", tags=("disc", "bar")))
    assert Counter(found.fates) == {"kept": 2}  # both discs are one mask
    assert found.kept[0].sum() > 700


def test_unsure_boxes_are_left_out() -> None:
    finder = BoxFinder({"disc": [UPPER], "bar": [LOWER]}, score=0.2)
    view = views_of(1, backbones(Proposer(), grounder=finder))[0]
    config = pseudo_config("paper", mode="coarse", tags=("disc",), box_threshold=0.3)
    assert len(refine(view, config).masks) == 0


@pytest.mark.parametrize("mode", ["auto", "coarse", "fine"])
def test_without_a_grounder_tags_are_not_asked_for(mode: str) -> None:
    config = pseudo_config("paper", mode=mode, tags=("disc",))
    found = refine(views_of(1)[0], config)
    assert found.grounding is None
    assert len(found.kept) == 3
