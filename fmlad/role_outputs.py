"""Role outputs as named arrays, for memory and for the disk cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.roles import Boxes, Masks, Pyramid, Tag

STAGE = "stage "  # prefix of the names of stages among the tensors of a pyramid

Arrays = Mapping[str, npt.NDArray[Any]]
Tags = tuple[Tag, ...]
Output = TypeVar("Output")


@dataclass(frozen=True)
class Form(Generic[Output]):
    """How one kind of output is kept.

    Attributes:
        kind: Start of its cache keys.
        names: Arrays that it cannot do without.
        pack: Output -> arrays.
        unpack: The inverse.
    """

    kind: str
    names: frozenset[str]
    pack: Callable[[Output], Arrays]
    unpack: Callable[[Arrays], Output]


def _packed(masks: Masks) -> Arrays:
    """Eight pixels of a mask a byte."""
    height, width = masks.masks.shape[1:]
    parts: dict[str, npt.NDArray[Any]] = {
        "bits": np.packbits(masks.masks.reshape(len(masks), height * width), axis=1),
        "size": np.array([height, width], np.int64),
        "boxes": masks.boxes,
        "scores": masks.scores,
    }
    optional = {"preferred": masks.preferred, "phrases": masks.phrases}
    return parts | {name: array for name, array in optional.items() if array is not None}


def _unpacked(parts: Arrays) -> Masks:
    height, width = parts["size"].tolist()
    flat = np.unpackbits(parts["bits"], axis=1, count=height * width).view(bool)
    masks = flat.reshape(len(flat), height, width)
    masks.flags.writeable = False
    preferred, phrases = parts.get("preferred"), parts.get("phrases")
    return Masks(masks, parts["boxes"], parts["scores"], preferred, phrases)


def _tags(parts: Arrays) -> Tags:
    words = json.loads(parts["words"].tobytes())
    return tuple(Tag(word, score) for word, score in zip(words, parts["scores"], strict=True))


MASKS = Form("masks", frozenset({"bits", "size", "boxes", "scores"}), _packed, _unpacked)
BOXES: Form[Boxes] = Form(
    "boxes",
    frozenset({"boxes", "phrases", "scores"}),
    lambda found: {"boxes": found.boxes, "phrases": found.phrases, "scores": found.scores},
    lambda parts: Boxes(parts["boxes"], parts["phrases"], parts["scores"]),
)
TAGS: Form[Tags] = Form(
    "tags",
    frozenset({"words", "scores"}),
    lambda tags: {
        "words": np.frombuffer(json.dumps([tag.word for tag in tags]).encode(), np.uint8),
        "scores": np.array([tag.score for tag in tags], np.float64),
    },
    _tags,
)


def pyramid_tensors(pyramid: Pyramid) -> dict[str, Tensor]:
    """A pyramid as named tensors."""
    tensors = {str(stride): level for stride, level in pyramid.levels.items()}
    # Two digits: names are put back in order by sorting them.
    tensors |= {f"{STAGE}{number:02d}": stage for number, stage in enumerate(pyramid.stages)}
    if pyramid.appearance is not None:
        tensors["appearance"] = pyramid.appearance
    return {**tensors, "pooled": pyramid.pooled}


def pyramid_of(tensors: Mapping[str, Tensor]) -> Pyramid | None:
    """Inverse of :func:`pyramid_tensors`; None where something is missing."""
    if "pooled" not in tensors:
        return None
    stages = sorted(name for name in tensors if name.startswith(STAGE))
    levels = {int(name): tensor for name, tensor in tensors.items() if name.isdecimal()}
    return Pyramid(
        levels,
        tensors["pooled"],
        tuple(tensors[name] for name in stages),
        tensors.get("appearance"),
    )
