"""Another reading of proposals, where the laws of the other images ask for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from fmlad.objects.appearance import Proposals
from fmlad.objects.choices import Choices
from fmlad.objects.nesting import excluding
from fmlad.objects.rereading import reread
from tests.objects.test_consensus import no_offers, pin, pins, proposals

Bools = npt.NDArray[np.bool_]


def miscount(expected: int, nats: float = 2.0) -> Callable[[Bools], float]:
    """Disagreement with a law of one count."""
    return lambda kept: nats * abs(int(kept.sum()) - expected)


def choices(whole: bool) -> Choices:
    return Choices.together(
        [Choices.of(image, image.preferred) for image in (pins(whole, n) for n in range(3))]
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_reading_that_the_laws_ask_for(whole: bool) -> None:
    image = pins(not whole)
    found = reread(image, image.preferred, choices(whole), miscount(2 if whole else 4))
    assert found.tolist() == pins(whole).preferred.tolist()


@pytest.mark.parametrize("whole", [True, False])
def test_one_of_two_objects_read_otherwise(whole: bool) -> None:
    image = pins(whole)
    kept = image.preferred.copy()
    kept[:3] = ~kept[:3]
    found = reread(image, kept, choices(whole), miscount(2 if whole else 4))
    assert found.tolist() == image.preferred.tolist()


def test_no_law_no_other_reading() -> None:
    image = pins(False)
    found = reread(image, image.preferred, choices(True), lambda kept: 3.0)
    np.testing.assert_array_equal(found, image.preferred)
    # Nor where it agrees already, whatever the others keep.
    found = reread(image, image.preferred, choices(True), lambda kept: 0.0)
    np.testing.assert_array_equal(found, image.preferred)


def test_what_the_others_never_kept_is_not_taken() -> None:
    rectangles, own = pin(8, 8, True)
    image = proposals([*rectangles, (40, 44, 2, 6)], [*own, False])
    others = Choices.of(image, image.preferred)
    found = reread(image, image.preferred, others, miscount(2))
    np.testing.assert_array_equal(found, image.preferred)


def test_quality_speaks_against_a_reading() -> None:
    def image(quality: float) -> Proposals:
        rectangles, own = pin(8, 8, False)
        return proposals(rectangles, own, [quality, 0.95, 0.95])

    for quality, taken in ((0.9, True), (0.45, False)):  # 2 * log(0.95 / 0.45) = 1.5 nats
        found = reread(image(quality), image(quality).preferred, choices(True), miscount(1, 1.0))
        assert bool(found[0]) == taken


def test_readings_never_hold_what_excludes_each_other() -> None:
    image = pins(True)
    for expected in range(8):
        found = reread(image, image.preferred, choices(False), miscount(expected))
        assert not excluding(image)[np.ix_(found, found)].any()


def test_nothing_on_offer() -> None:
    nothing = no_offers()
    assert len(reread(nothing, nothing.preferred, choices(True), miscount(2))) == 0
