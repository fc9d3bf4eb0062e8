"""Counterparts take the same place and have about the same form, whatever their colour."""

from __future__ import annotations

import numpy as np

from fmlad.objects.appearance import LIGHTNESS, SIZE, Objects
from fmlad.objects.counterparts import NOBODY, counterparts
from tests.methods.banks.test_combinations import image


def test_colours_do_not_count() -> None:
    one = image(colours=(0, 0, 3))
    assert counterparts(one, image(colours=(5, -4, -3))).tolist() == [0, 1, 2]


def test_order_does_not_count() -> None:
    one, other = image(), image().rows(np.array([True, True, True]))
    turned = Objects(**{name: getattr(other, name)[[2, 0, 1]] for name in vars(other)})
    assert counterparts(one, turned).tolist() == [1, 2, 0]


def test_what_is_far_in_place_or_form_is_no_counterpart() -> None:
    one, other = image(), image()
    other.places[0] = 1.0, -0.9
    other.appearance[1, SIZE] += 9
    other.appearance[2, LIGHTNESS] += 9
    assert counterparts(one, other).tolist() == [NOBODY, NOBODY, 2]


def test_without_objects_there_are_no_counterparts() -> None:
    none = image().rows(np.zeros(3, bool))
    assert counterparts(image(), none).tolist() == [NOBODY] * 3
    assert counterparts(none, image()).tolist() == []
