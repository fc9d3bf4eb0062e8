"""What a fitted ``csad`` detector remembers, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.methods.csad.patch_histogram import HistogramModel
from fmlad.methods.csad.segmentation import Segmenter, SegmenterSource
from fmlad.methods.csad.student_teacher import FittedStudents
from fmlad.methods.shared_encoder import SharedEncoder

Bytes = npt.NDArray[np.uint8]
SEGMENTER, STUDENTS = "segmenter", "students"  # prefixes of their tensors
REMEMBERED = 128  # cells on a side of the labels that are remembered


@dataclass(frozen=True)
class Histograms:
    """The branch of patch histograms.

    Attributes:
        segmenter: What tells the parts.
        models: One a grid.
        maps: uint8 ``(N, REMEMBERED, REMEMBERED)``: small label maps of the training images, the
            shots first.
        shares: float64 ``(N, K - 1)``: their class histograms.
    """

    segmenter: Segmenter
    models: tuple[HistogramModel, ...]
    maps: Bytes
    shares: npt.NDArray[np.float64]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes but the background."""
        return self.segmenter.names

    def nearest(self, shares: npt.NDArray[np.float64]) -> Bytes:
        """Small label map of the training image with the closest class histogram (appendix D)."""
        gaps = np.abs(self.shares - shares).sum(1)
        return np.asarray(self.maps[int(gaps.argmin())])


@dataclass(frozen=True)
class CsadState:
    """State of a fitted detector.

    Attributes:
        encoder: Shared by segmenter and teacher.
        shots: Number of shots; the first training images.
        sizes: Height and width in pixels of each shot.
        histograms: None without that branch.
        students: None without that branch.
    """

    encoder: SharedEncoder
    shots: int
    sizes: tuple[tuple[int, int], ...]
    histograms: Histograms | None
    students: FittedStudents | None

    def tensors(self) -> dict[str, Tensor]:
        """Segmenter, histograms and students, on the CPU; not the encoder."""
        named: dict[str, Tensor] = {}
        if self.students is not None:
            named |= {f"{STUDENTS}.{n}": one for n, one in self.students.tensors().items()}
        if (own := self.histograms) is not None:
            named |= {f"{SEGMENTER}.{n}": one for n, one in own.segmenter.tensors().items()}
            named["maps"] = torch.from_numpy(own.maps.copy())
            named["shares"] = torch.from_numpy(own.shares.copy())
            for model in own.models:
                named[f"{model.grid}.mean"] = torch.from_numpy(model.mean.copy())
                named[f"{model.grid}.precision"] = torch.from_numpy(model.precision.copy())
        return named

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        own, students = self.histograms, self.students
        return {
            "shots": self.shots,
            "sizes": [list(one) for one in self.sizes],
            SEGMENTER: None if own is None else own.segmenter.meta(),
            "grids": [] if own is None else [[one.grid, one.scale] for one in own.models],
            STUDENTS: None if students is None else students.meta(),
        }


def restored(
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    device: str,
    encoder: SharedEncoder,
    source: SegmenterSource,
) -> CsadState:
    """Inverse of :meth:`CsadState.tensors` and :meth:`CsadState.meta`.

    Raises:
        CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
    """
    reader = TensorReader(_others(tensors), device)
    with reader.description("detector"):
        shots = int(meta["shots"])
        sizes = tuple((int(height), int(width)) for height, width in meta["sizes"])
        students = histograms = None
        if meta[STUDENTS] is not None:
            own = _under(tensors, STUDENTS)
            students = FittedStudents.restore(own, meta[STUDENTS], device, encoder)
        if meta[SEGMENTER] is not None:
            own = _under(tensors, SEGMENTER)
            segmenter = source.restore(own, meta[SEGMENTER], device, encoder)
            histograms = _histograms(reader, meta["grids"], segmenter)
    known = shots if histograms is None else len(histograms.maps)
    if not 0 < shots <= known or len(sizes) != shots or (histograms or students) is None:
        raise CorruptDetectorError("The description of the saved detector contradicts itself.")
    return CsadState(encoder, shots, sizes, histograms, students)


def _histograms(
    reader: TensorReader, grids: Sequence[tuple[int, float]], segmenter: Segmenter
) -> Histograms:
    foreground = segmenter.classes - 1
    maps = reader.take("maps", (None, REMEMBERED, REMEMBERED), torch.uint8).cpu().numpy()
    shares = reader.take("shares", (len(maps), foreground), torch.float64).cpu().numpy()
    models = []
    for pair in grids:
        grid, scale = int(pair[0]), float(pair[1])
        length = grid**2 * foreground
        mean = reader.take(f"{grid}.mean", (length,), torch.float64).cpu().numpy()
        precision = reader.take(f"{grid}.precision", (length, length), torch.float64).cpu().numpy()
        if grid < 1 or not 0 < scale < np.inf:
            raise ValueError("grid or scale")
        models.append(HistogramModel(grid, mean, precision, scale))
    if not models or foreground < 1 or not len(maps) or int(maps.max()) > foreground:
        raise CorruptDetectorError("The saved histograms do not fit their classes.")
    return Histograms(segmenter, tuple(models), maps, shares)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): one for n, one in tensors.items() if n.startswith(start)}


def _others(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: one
        for name, one in tensors.items()
        if not name.startswith((f"{SEGMENTER}.", f"{STUDENTS}."))
    }
