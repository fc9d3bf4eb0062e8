"""COCO's run-length codes: a mask as the lengths of its runs, column by column.

Runs of 0 and 1 take turns, and the first is of 0. The compressed form is text: from the fourth
length on, the difference to the last but one is written, in pieces of five bits, the lowest first.
A piece is the character of code 48 plus its value; its sixth bit says that more pieces follow. Bit
five of the last piece is the sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_FIRST, _LAST = 48, 48 + 63  # character codes
_DIFFERENCES = 3  # lengths that are written as they are
_LONGEST = 13  # pieces of one number: more than 64 bits are no length


def decoded(counts: Sequence[int] | str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask ``(H, W)`` from its lengths, or from their compressed form.

    Raises:
        ValueError: They are no run-length code of a mask of that size.
    """
    lengths = uncompressed(counts) if isinstance(counts, str) else list(counts)
    height, width = size
    if any(length < 0 for length in lengths):
        raise ValueError("a run is shorter than nothing")
    if sum(lengths) != height * width:
        raise ValueError(f"its runs are {sum(lengths)} pixels long, not {height * width}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def uncompressed(text: str) -> list[int]:
    """Lengths of runs from their compressed form.

    Raises:
        ValueError: It has characters that no such text has, or ends in the middle of a number.
    """
    lengths: list[int] = []
    number = bits = 0
    for sign in text:
        code = ord(sign)
        if not _FIRST <= code <= _LAST or bits > 5 * _LONGEST:
            raise ValueError(f"{sign!r} is not part of a run-length code")
        piece = code - _FIRST
        number |= (piece & 31) << bits
        bits += 5
        if piece & 32:
            continue
        if piece & 16:
            number -= 1 << bits
        if len(lengths) >= _DIFFERENCES:
            number += lengths[-2]
        lengths.append(number)
        number = bits = 0
    if bits:
        raise ValueError("the run-length code is cut off")
    return lengths
