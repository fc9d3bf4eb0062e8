"""Classes of part labels, for the methods that learn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.backbones.roles import Encoder
from fmlad.errors import OptionError
from fmlad.objects.inventory import Part
from fmlad.objects.names import letter
from fmlad.objects.pieces import pieces

Labels = npt.NDArray[np.integer[Any]]

MOST_CLASSES = 256  # background included: labels are kept as bytes


def class_names(labels: Sequence[Labels], given: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the classes but the background: the given ones, or letters.

    Args:
        labels: Integer ``(H, W)`` each, one or more.
        given: Empty where there are none.

    Raises:
        OptionError: The labels are none of parts, or more than their names.
    """
    least, most = min(int(one.min()) for one in labels), max(int(one.max()) for one in labels)
    if least < 0 or not 0 < most < MOST_CLASSES:
        raise OptionError(
            f"Labels are 0 for the background and 1 to {MOST_CLASSES - 1} for parts, and at least "
            f"one part is labelled; these are {least} to {most}."
        )
    if given and len(given) < most:
        raise OptionError(f"There are {len(given)} names for labels up to {most}; give one a part.")
    return given or tuple(f"part {letter(row)}" for row in range(most))


def label_digest(label: Labels) -> str:
    """Of a label map, for what a checkpoint belongs to."""
    data = np.ascontiguousarray(label, dtype=np.int64)
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()


def listed_parts(
    names: Sequence[str], maps: Sequence[Labels], sizes: Sequence[tuple[int, int]]
) -> list[Part]:
    """The classes, with the number of their pieces in each shot.

    Args:
        names: Of the classes but the background.
        maps: Of the shots, ``(h, w)`` each.
        sizes: Height and width of their images, in pixels.
    """
    found = []
    for row, name in enumerate(names, start=1):
        own = [pieces(labels == row) for labels in maps]
        areas = [int((labels == row).sum()) for labels in maps]
        best = int(np.argmax(areas))
        box = own[best].boxes(sizes[best])[0] if areas[best] else None
        counts = tuple(one.count for one in own)
        found.append(Part(name, "", counts, best if areas[best] else None, box))
    return found


def present_encoder(encoder: Encoder | None, method: str) -> Encoder:
    """The backbone in the role ``encoder``.

    Raises:
        OptionError: There is none.
    """
    if encoder is None:
        raise OptionError(f"The method {method!r} needs a backbone in the role 'encoder'.")
    return encoder
