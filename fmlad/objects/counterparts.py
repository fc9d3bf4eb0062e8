"""Which object of one image is which of another, when the products come in several types.

A red and a blue cable, or connectors of two and of five clamps, are counterparts although they are
different parts: they take the same place and have about the same form. Colours do not count.
"""

from __future__ import annotations

import numpy as np

from fmlad.objects.appearance import ELONGATION, SIZE, SOLIDITY, Objects
from fmlad.objects.arrangement import distances
from fmlad.objects.arrays import Floats, Ints

NEAR = 0.2  # halves of the longer side that weigh as much as one unit of form (ours)
FORM_UNIT = 2.0  # of an appearance's units: counterparts may differ in size by types (ours)
FAR = 3.0  # form and place beyond which two objects are no counterparts (ours)
NOBODY = -1


def counterparts(one: Objects, other: Objects) -> Ints:
    """Row of the counterpart in ``other`` of each object, or ``NOBODY``, int64 ``(n,)``."""
    from scipy.optimize import linear_sum_assignment

    partner = np.full(len(one), NOBODY, np.int64)
    if not len(one) or not len(other):
        return partner
    gaps = distances(form_and_place(one), form_and_place(other))
    rows, columns = linear_sum_assignment(np.minimum(gaps, FAR) ** 2)
    near = gaps[rows, columns] < FAR
    partner[rows[near]] = columns[near]
    return partner


def form_and_place(objects: Objects) -> Floats:
    """Points ``(n, 5)``: form in ``FORM_UNIT`` and place in ``NEAR``."""
    form = objects.appearance[:, [SIZE, ELONGATION, SOLIDITY]] / FORM_UNIT
    return np.concatenate([form, objects.places / NEAR], axis=1)
