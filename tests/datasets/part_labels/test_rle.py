"""COCO's run-length codes, against codes worked out by hand and a coder written for this test."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fmlad.datasets.part_labels.rle import decoded, uncompressed


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs of a mask, column by column, beginning with 0."""
    lengths, last = [0], False
    for value in mask.T.ravel().tolist():
        if value != last:
            lengths.append(0)
            last = value
        lengths[-1] += 1
    return lengths


def compressed(lengths: list[int]) -> str:
    signs = []
    for place, length in enumerate(lengths):
        rest = length - lengths[place - 2] if place > 2 else length
        while True:
            piece, rest = rest & 31, rest >> 5
            ends = rest == (-1 if piece & 16 else 0)
            signs.append(chr(48 + (piece if ends else piece | 32)))
            if ends:
                break
    return "".join(signs)


@pytest.mark.parametrize(
    ("rows", "lengths", "text"),
    [
        # What pycocotools writes of these three.
        ([[1, 1], [1, 1]], [0, 4], "04"),
        ([[0, 0], [0, 1]], [3, 1], "31"),
        ([[0, 0], [0, 0]], [4], "4"),
        # Column by column: a mask that is not its own transpose.
        ([[0, 1, 1], [0, 0, 0]], [2, 1, 1, 1, 1], "21100"),
    ],
)
def test_small_masks(rows: list[list[int]], lengths: list[int], text: str) -> None:
    mask = np.array(rows, bool)
    assert uncompressed(text) == lengths
    for counts in (lengths, text):
        assert np.array_equal(decoded(counts, (mask.shape[0], mask.shape[1])), mask)


def test_numbers_of_several_pieces_and_differences_below_nothing() -> None:
    assert uncompressed("\\9") == [300]  # 12 and more, then 9
    assert uncompressed("`0") == [16]  # bit five of a last piece would be the sign
    assert uncompressed(":::K") == [10, 10, 10, 5]  # 5 - 10 = -5


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 40))))
def test_what_is_encoded_is_decoded(mask: np.ndarray) -> None:
    size = (mask.shape[0], mask.shape[1])
    lengths = runs(mask)
    assert np.array_equal(decoded(lengths, size), mask)
    assert uncompressed(compressed(lengths)) == lengths
    assert np.array_equal(decoded(compressed(lengths), size), mask)


@given(st.lists(st.integers(0, 2**31), max_size=8))
def test_lengths_of_any_size_survive(lengths: list[int]) -> None:
    assert uncompressed(compressed(lengths)) == lengths


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ([3], "3 pixels long, not 4"),
        ([5, -1], "shorter than nothing"),
        ("é", "not part of"),
        ("P", "cut off"),
        ("P" * 99, "not part of"),
        ("", "0 pixels"),
    ],
)
def test_what_is_no_code_is_said(counts: list[int] | str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        decoded(counts, (2, 2))


@given(st.text(max_size=20))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert decoded(text, (3, 3)).shape == (3, 3)
