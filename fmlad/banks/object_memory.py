"""The shots' objects, remembered; and the parts model of any selection of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from fmlad.banks.parts_model import PartsModel
from fmlad.banks.patch_memory import Found, PatchMemory, Remembered
from fmlad.banks.saved import Reader
from fmlad.errors import CorruptDetectorError
from fmlad.segmentation.describe import Floats, Objects

COLUMNS = {"looks": 7, "features": None, "boxes": 4, "places": 2, "weights": 1}


@dataclass(frozen=True)
class ObjectMemory:
    """What the histogram and the composition bank remember.

    Attributes:
        shots: Objects of each shot.
        halves: Half width and half height of each shot, the longer one is 1.
        hierarchy: Whether to count at all levels of likeness.
    """

    shots: tuple[Objects, ...]
    halves: tuple[tuple[float, float], ...]
    hierarchy: bool
    _models: dict[frozenset[int], PartsModel] = field(default_factory=dict, repr=False)

    def model(self, exclude: frozenset[int], patches: PatchMemory | None, least: float) -> Framed:
        """The parts of all shots but some, in the frame of the first of them.

        Args:
            exclude: Shots to leave out.
            patches: For registration; None where place means nothing.
            least: Confidence from which two shots count as registered.
        """
        kept = [i for i in range(len(self.shots)) if i not in exclude]
        frames = _frames(patches, kept, least) if patches is not None else None
        if exclude not in self._models:
            shots = [self.shots[i] for i in kept]
            places = None
            if frames is not None:
                places = [moved(self.shots[i].places, frames[i]) for i in kept]
            model = PartsModel(shots, places, self.hierarchy)
            if exclude:
                return Framed(model, tuple(kept), frames)
            self._models[exclude] = model
        return Framed(self._models[exclude], tuple(kept), frames)

    def tensors(self) -> dict[str, Tensor]:
        """All arrays, float32."""
        named = {}
        for number, objects in enumerate(self.shots):
            for name, tensor in objects.tensors().items():
                named[f"objects.{number}.{name}"] = tensor.reshape(len(objects), -1).contiguous()
        return named

    def meta(self) -> dict[str, Any]:
        """Shapes of the shots."""
        return {"halves": [list(half) for half in self.halves], "hierarchy": self.hierarchy}

    @classmethod
    def restore(cls, reader: Reader, meta: Mapping[str, Any]) -> ObjectMemory:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            KeyError, TypeError, ValueError: The description is unusable.
        """
        halves = tuple((float(x), float(y)) for x, y in meta["halves"])
        shots = []
        for number in range(len(halves)):
            arrays = {
                name: reader.take(f"objects.{number}.{name}", (None, columns))
                .cpu()
                .double()
                .numpy()
                for name, columns in COLUMNS.items()
            }
            arrays["weights"] = arrays["weights"][:, 0]
            if len({len(array) for array in arrays.values()}) != 1:
                raise CorruptDetectorError(f"The objects of the saved shot {number} do not agree.")
            shots.append(Objects(**arrays))
        if not shots or len({s.features.shape[1] for s in shots}) != 1:
            raise CorruptDetectorError("The saved objects are empty or of different backbones.")
        return cls(tuple(shots), halves, bool(meta["hierarchy"]))


@dataclass(frozen=True)
class Framed:
    """A parts model and the way into its common frame.

    Attributes:
        model: The model.
        shots: Indices of its shots.
        frames: Per shot the ``(2, 3)`` transform into the common frame; None where the shots do
            not register to each other.
    """

    model: PartsModel
    shots: tuple[int, ...]
    frames: Mapping[int, Floats] | None

    def places(self, objects: Objects, found: Sequence[Found]) -> tuple[Floats, Floats] | None:
        """Positions of an image's objects in the common frame, and the transform.

        Args:
            objects: Of the image.
            found: Shots to which the image registers.
        """
        if self.frames is None:
            return None
        usable = [(item, r) for item, r in found if item.shot in self.frames]
        if not usable:
            return None
        item, registration = max(usable, key=lambda pair: pair[1].confidence)
        into = composed(self.frames[item.shot], registration.matrix.double().numpy())
        return moved(objects.places, into), into

    def box_in(self, row: int, into: Floats | None, half: Floats, longer: int) -> Floats:
        """Where a shot's object would lie in an image: ``xyxy`` in its pixels.

        Args:
            row: Point of the model.
            into: The image's transform into the common frame; None: the same relative place.
            half: The image's half width and half height in halves of its longer side.
            longer: The image's longer side in pixels.
        """
        parts = self.model.parts
        shot, number = int(parts.shot[row]), int(parts.row[row])
        objects = parts.shots[shot]
        back = np.eye(2, 3)
        if into is not None and self.frames is not None:
            back = composed(_inverse(into), self.frames[self.shots[shot]])
        centre = (moved(objects.places[number : number + 1], back)[0] + half) * longer / 2
        box = objects.boxes[number]
        size = (box[2:] - box[:2]) / 2
        low, high = centre - size, centre + size
        limit = 2 * half * longer / 2
        return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def moved(points: Floats, matrix: Floats) -> Floats:
    """Points ``(n, 2)`` under a ``(2, 3)`` transform."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def composed(second: Floats, first: Floats) -> Floats:
    """The ``(2, 3)`` transform that does ``first``, then ``second``."""
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )


def _inverse(matrix: Floats) -> Floats:
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def _frames(patches: PatchMemory, kept: Sequence[int], least: float) -> dict[int, Floats] | None:
    """Transforms of the shots into the frame of the first; None unless most of them register."""
    by_shot: dict[int, Remembered] = {
        item.shot: item for item in patches.memory if item.look.edges is not None
    }
    base = by_shot[kept[0]]
    frames = {kept[0]: np.eye(2, 3)}
    for shot in kept[1:]:
        registration = patches.between(by_shot[shot], base)
        if registration.confidence >= least:
            frames[shot] = registration.matrix.double().numpy()
    if 2 * len(frames) <= len(kept):
        return None
    # A shot that did not register is taken as it lies: its positions then widen the slots.
    return {shot: frames.get(shot, np.eye(2, 3)) for shot in kept}
