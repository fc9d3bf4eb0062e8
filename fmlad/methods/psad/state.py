"""State of PSAD: the trained segmenter, and what is remembered of every training image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.memory.part_vectors import VectorBank
from fmlad.memory.patch_bank import PatchBank
from fmlad.methods.psad.config import (
    LEAST_AREA,
    LEAST_OF_AREA,
    LEAST_OF_FEATURE,
    PsadConfig,
)
from fmlad.methods.psad.segmentation import PartSegmentation

Bytes = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

COLOURS = 3  # values of a mean colour
PRESENT = 0.5  # of the median area of a class: from there on it counts in full (ours)
SEGMENTER = "segmenter"  # prefix of its tensors


@dataclass(frozen=True)
class Seen:
    """One image as the banks see it.

    Attributes:
        size: Height and width of the image in pixels.
        labels: uint8 ``(h, w)``, a small map of its parts.
        histogram: float32 ``(K,)``: share of the pixels of each class.
        composition: float32 ``(K - 1, C)``: mean features; C is 0 without that bank.
        colours: float32 ``(K - 1, 3)``: mean Lab colour of each class, zeros where it is absent.
        patches: float32 ``(h, w, C)``, or None without that bank.
    """

    size: tuple[int, int]
    labels: Bytes
    histogram: Vectors
    composition: Vectors
    colours: Vectors
    patches: Tensor | None


@dataclass(frozen=True)
class PsadState:
    """State of a fitted detector.

    Attributes:
        names: The classes without the background.
        segmenter: Fixed, whichever training image is left out.
        shots: Number of shots; the first training images.
        keys: Pixel hash of each training image, the unlabeled ones after the shots.
        seen: The training images.
        patches: ``M_patch``, which shares its memory with them, or None without that bank.
        config: Of the method.
    """

    names: tuple[str, ...]
    segmenter: PartSegmentation
    shots: int
    keys: tuple[str, ...]
    seen: tuple[Seen, ...]
    patches: PatchBank | None
    config: PsadConfig

    @classmethod
    def remember(
        cls, names: tuple[str, ...], segmenter: PartSegmentation, shots: int, keys: Sequence[str],
        seen: Sequence[Seen], config: PsadConfig,
    ) -> PsadState:  # fmt: skip
        """Fills the banks with what was seen of the training images."""
        maps = [one.patches for one in seen if one.patches is not None]
        bank = PatchBank(maps, config.share) if maps else None
        if bank is not None:
            seen = [replace(one, patches=own) for one, own in zip(seen, bank.maps, strict=True)]
        return cls(names, segmenter, shots, tuple(keys), tuple(seen), bank, config)

    @cached_property
    def histograms(self) -> VectorBank:
        """``M_hist``."""
        vectors = np.stack([one.histogram for one in self.seen])
        steady = self.config.steady
        least = np.maximum(LEAST_AREA, LEAST_OF_AREA * vectors.mean(0)) if steady else 0.0
        return VectorBank(vectors, least, steady)

    @cached_property
    def compositions(self) -> VectorBank:
        """``M_comp``; the embeddings of the classes one after the other."""
        vectors = np.stack([self.composition(one) for one in self.seen])
        if not self.config.steady:
            return VectorBank(vectors)
        known = np.stack([_appearance(one) for one in self.seen])
        present = known[np.stack([one.histogram[1:] for one in self.seen]) > 0]
        spread = present.std(0) if len(present) else np.zeros(known.shape[-1])
        features = known.shape[-1] - COLOURS
        weights = np.ones(known.shape[-1], np.float32)
        weights[features:] = np.sqrt(features / COLOURS)  # as much in all as the features
        least, weights = (
            np.tile(one, len(self.names)) for one in (LEAST_OF_FEATURE * spread, weights)
        )
        return VectorBank(vectors, least, strict=True, weights=weights)

    def composition(self, seen: Seen) -> Vectors:
        """The embeddings of an image's classes one after the other, ``((K - 1) * C,)``.

        The mean of a class is 0 where it is absent. With the preset ``"cpu"`` (ours) it shrinks to
        0 as the area falls below half of what training images have, so that a few stray pixels of a
        class that is not there weigh little; and the mean colour stands beside the features, of
        which small encoders put little into theirs.
        """
        if not self.config.steady:
            return seen.composition.ravel()
        there = np.minimum(1, seen.histogram[1:] / (PRESENT * self._areas))
        return np.asarray(_appearance(seen) * there[:, None], dtype=np.float32).ravel()

    @cached_property
    def _areas(self) -> Vectors:
        """Median share of each class where it is present, ``(K - 1,)``; 1 where it never is."""
        areas = np.stack([one.histogram[1:] for one in self.seen])
        shown = np.where(areas > LEAST_AREA, areas, np.nan)
        shown[:, np.isnan(shown).all(0)] = 1
        return np.asarray(np.nanmedian(shown, axis=0), dtype=np.float32)

    @cached_property
    def colour_spread(self) -> Vectors:
        """How far the colour of each class is from the nearest training image's, ``(K - 1,)``.

        The largest distance in Lab over the training images that have it; 0 with fewer than two.
        """
        found = np.zeros(len(self.names), np.float32)
        for row in range(len(self.names)):
            own = [one.colours[row] for one in self.seen if (one.labels == row + 1).any()]
            if len(own) > 1:
                gaps = np.linalg.norm(np.stack(own)[:, None] - np.stack(own)[None], axis=-1)
                np.fill_diagonal(gaps, np.inf)
                found[row] = gaps.min(1).max()
        return found

    def index(self, key: str) -> int | None:
        """Which training image has these pixels, or None."""
        return self.keys.index(key) if key in self.keys else None

    def tensors(self) -> dict[str, Tensor]:
        """Segmenter and banks, on the CPU."""
        named = {f"{SEGMENTER}.{name}": one for name, one in self.segmenter.tensors().items()}
        for name in ("histogram", "composition", "colours"):
            stacked = np.stack([getattr(one, name) for one in self.seen])
            named[name] = torch.from_numpy(np.ascontiguousarray(stacked))
        for number, one in enumerate(self.seen):
            named[f"{number}.labels"] = torch.from_numpy(one.labels.copy())
            if one.patches is not None:
                named[f"{number}.patches"] = one.patches.cpu().clone()
        return named

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        return {
            "names": list(self.names),
            "segmenter": self.segmenter.meta(),
            "shots": self.shots,
            "keys": list(self.keys),
            "sizes": [list(one.size) for one in self.seen],
            "patches": self.patches is not None,
        }


def _appearance(seen: Seen) -> Vectors:
    """Mean features and mean colour of each class, ``(K - 1, C + 3)``."""
    return np.concatenate([seen.composition, seen.colours], axis=1)


def restored(
    reader: TensorReader, meta: Mapping[str, Any], segmenter: PartSegmentation, config: PsadConfig
) -> PsadState:
    """Inverse of :meth:`PsadState.tensors` and :meth:`PsadState.meta`, but for the segmenter.

    Raises:
        CorruptDetectorError: Something is missing or of another shape or dtype.
        LookupError, TypeError, ValueError: The description is unusable.
    """
    names, keys = tuple(map(str, meta["names"])), tuple(map(str, meta["keys"]))
    count, classes = len(keys), 1 + len(names)
    histograms = reader.take("histogram", (count, classes)).cpu().numpy()
    compositions = reader.take("composition", (count, classes - 1, None)).cpu().numpy()
    colours = reader.take("colours", (count, classes - 1, 3)).cpu().numpy()
    labels = [reader.take(f"{n}.labels", (None, None), torch.uint8) for n in range(count)]
    patches: list[Tensor | None] = [None] * count
    channels = None
    for number in range(count if meta["patches"] is True else 0):
        own = reader.take(f"{number}.patches", (None, None, channels))
        patches[number], channels = own, own.shape[2]
    if (
        not 0 < int(meta["shots"]) <= count
        or not names
        or any(one is not None and one.numel() == 0 for one in patches)
        or any(one.numel() == 0 or int(one.max()) >= classes for one in labels)
    ):
        raise CorruptDetectorError("The saved banks' description contradicts itself.")
    maps = (one.cpu().numpy() for one in labels)
    sizes = [(int(height), int(width)) for height, width in meta["sizes"]]
    fields = zip(sizes, maps, histograms, compositions, colours, patches, strict=True)
    seen = tuple(Seen(*one) for one in fields)
    return PsadState.remember(names, segmenter, int(meta["shots"]), keys, seen, config)
