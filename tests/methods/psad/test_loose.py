"""Loose parts: which ones they are, and where they may be laid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fmlad.methods.psad.loose import laid, loose_pieces
from fmlad.methods.psad.segmenter_data import Square

TRAY, FIXED, LOOSE = 1, 2, 3
SIDE = 96


def product(at: tuple[int, int]) -> Square:
    """A tray with a part that lies still, and a bar that lies at ``at``."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[8:72, 8:88] = TRAY
    labels[12:20, 12:20] = FIXED
    row, column = at
    labels[row : row + 5, column : column + 12] = LOOSE
    colours = np.array([[0, 0, 0], [120, 120, 120], [200, 0, 0], [0, 0, 200]], np.uint8)
    return Square(colours[labels], (80, SIDE), labels)


SQUARES = [product((30, 20)), product((60, 60)), product((40, 70))]


def changed(one: Square, by: Square) -> npt.NDArray[np.bool_]:
    assert one.labels is not None
    assert by.labels is not None
    return one.labels != by.labels


def test_a_class_is_loose_where_its_pieces_do_not_recur_at_their_places() -> None:
    pieces = loose_pieces(SQUARES)
    assert {piece.label for piece in pieces} == {LOOSE}
    assert {piece.ground for piece in pieces} == {TRAY}
    assert [int(piece.mask.sum()) for piece in pieces] == [60, 60, 60]


def test_one_image_says_nothing_of_what_is_loose() -> None:
    assert loose_pieces(SQUARES[:1]) == []


def test_what_parts_lie_on_is_no_piece_though_it_shows_through_them() -> None:
    squares = [product((30, 20)), product((60, 60))]
    for square, row in zip(squares, (40, 50), strict=True):
        assert square.labels is not None
        square.labels[row : row + 9, 30:39] = LOOSE
        square.labels[row + 3 : row + 6, 33:36] = TRAY  # a hole
    assert TRAY not in {piece.label for piece in loose_pieces(squares)}


def test_pieces_are_laid_on_their_ground_alone_and_with_their_own_pixels() -> None:
    pieces, rng = loose_pieces(SQUARES), np.random.default_rng(0)
    grown = 0
    for _ in range(20):
        copy = laid(SQUARES[0], pieces, 3, rng)
        new = changed(copy, SQUARES[0])
        assert copy.labels is not None
        assert SQUARES[0].labels is not None
        assert set(np.unique(SQUARES[0].labels[new])) <= {TRAY}
        assert set(np.unique(copy.labels[new])) <= {LOOSE}
        assert (copy.pixels[~new] == SQUARES[0].pixels[~new]).all()
        # The rim of a turned piece is mixed with the black around it; blue stays the strongest.
        blue = copy.pixels[new].astype(int)
        assert (blue[:, 2] >= blue[:, :2].max(axis=1, initial=0)).all()
        grown += bool(new.any())
    assert grown >= 10


def test_nothing_to_lay_leaves_the_image() -> None:
    assert laid(SQUARES[0], [], 3, np.random.default_rng(0)) is SQUARES[0]
