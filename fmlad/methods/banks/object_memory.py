"""The shots' objects, remembered; and the parts model of any selection of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.methods.banks.parts_model import PartsModel
from fmlad.objects.appearance import Floats, Objects, Proposals
from fmlad.objects.arrangement import Arrangement, arrange, composed, inverse, moved
from fmlad.objects.consensus import Kinds, parse

COLUMNS = {"appearance": 7, "features": None, "boxes": 4, "places": 2, "objectness": 1}
KIND_COLUMNS = 8  # point, quality, taken

# Share of the landmarks that must agree, and their number: between shots, where nothing is wrong,
# and for a query, which may lack some. Heaps of six objects reach 0.75 by chance (ours).
SHOT_SHARE, SHOT_AGREEING = 0.85, 4
QUERY_SHARE, QUERY_AGREEING = 0.6, 3
BASES = 8  # shots tried as the one that the others are arranged by
TRIED = 3  # shots a query is arranged by, of which the best counts


@dataclass(frozen=True)
class ObjectMemory:
    """What the histogram and the composition bank remember.

    Attributes:
        shots: Objects of each shot.
        kinds: What was on offer in each shot and what of it was taken.
        hierarchy: Whether to count at all levels of likeness.
        frames: Per shot the ``(2, 3)`` transform of its positions into a common frame; None for a
            shot that does not fit. Empty where place means nothing.
    """

    shots: tuple[Objects, ...]
    kinds: tuple[Kinds, ...]
    hierarchy: bool
    frames: tuple[Floats | None, ...] = ()
    _models: dict[frozenset[int], Framed] = field(default_factory=dict, repr=False)

    @classmethod
    def learn(
        cls, shots: Sequence[Objects], kinds: Sequence[Kinds], hierarchy: bool, place: bool
    ) -> ObjectMemory:
        """Remembers objects, and where they lie if the shots agree on that.

        Args:
            shots: Objects of each shot.
            kinds: What was taken in each.
            hierarchy: Whether to count at all levels of likeness.
            place: Whether to look for a common arrangement at all.
        """
        memory = cls(tuple(shots), tuple(kinds), hierarchy)
        frames = memory._arranged() if place else ()
        return cls(memory.shots, memory.kinds, hierarchy, frames)

    def parse(self, proposals: Proposals, exclude: frozenset[int]) -> npt.NDArray[np.bool_]:
        """What to take of an image, by what was taken in the shots but some."""
        kinds = [k for number, k in enumerate(self.kinds) if number not in exclude]
        if len(kinds) == 1:  # one image alone tells nothing of what is usual
            return proposals.own
        return parse(proposals, Kinds.together(kinds))

    def model(self, exclude: frozenset[int] = frozenset()) -> Framed:
        """The parts of all shots but some."""
        if exclude in self._models:
            return self._models[exclude]
        kept = tuple(i for i in range(len(self.shots)) if i not in exclude)
        shots = [self.shots[i] for i in kept]
        placed = [i for i in kept if self.frames and self.frames[i] is not None]
        frames: dict[int, Floats] | None = None
        places = None
        if 2 * len(placed) > len(kept) and len(placed) > 1:
            # A shot that does not fit is taken as it lies: its positions then widen the slots.
            frames = {i: _or_identity(self.frames[i]) for i in kept}
            places = [moved(self.shots[i].places, frames[i]) for i in kept]
        model = PartsModel(shots, places, self.hierarchy)
        framed = Framed(model, kept, frames, tuple(placed))
        if not exclude:  # the one that is asked for again and again
            self._models[exclude] = framed
        return framed

    def tensors(self) -> dict[str, Tensor]:
        """All arrays, float32, transforms float64."""
        named = {}
        for number, objects in enumerate(self.shots):
            for name, tensor in objects.tensors().items():
                columns = tensor[:, None] if tensor.ndim == 1 else tensor
                named[f"objects.{number}.{name}"] = columns.contiguous()
        for number, kinds in enumerate(self.kinds):
            parts = [kinds.points, kinds.quality[:, None], kinds.taken[:, None]]
            table = np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)
            named[f"kinds.{number}"] = torch.from_numpy(table)
        for number, frame in enumerate(self.frames):
            if frame is not None:
                named[f"frames.{number}"] = torch.from_numpy(
                    np.ascontiguousarray(frame, np.float32)
                )
        return named

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "shots": len(self.shots),
            "hierarchy": self.hierarchy,
            "framed": [frame is not None for frame in self.frames],
        }

    @classmethod
    def restore(cls, reader: TensorReader, meta: Mapping[str, Any]) -> ObjectMemory:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            KeyError, TypeError, ValueError: The description is unusable.
        """
        count = int(meta["shots"])
        shots = []
        for number in range(count):
            arrays = {
                name: _array(reader, f"objects.{number}.{name}", (None, columns))
                for name, columns in COLUMNS.items()
            }
            arrays["objectness"] = arrays["objectness"][:, 0]
            if len({len(array) for array in arrays.values()}) != 1:
                raise CorruptDetectorError(f"The objects of the saved shot {number} do not agree.")
            shots.append(Objects(**arrays))
        if not shots or len({s.features.shape[1] for s in shots}) != 1:
            raise CorruptDetectorError("The saved objects are empty or of different backbones.")
        tables = [_array(reader, f"kinds.{i}", (None, KIND_COLUMNS)) for i in range(count)]
        kinds = [Kinds(table[:, :-2], table[:, -2], table[:, -1] > 0.5) for table in tables]
        framed = [bool(there) for there in meta["framed"]]
        if len(framed) not in (0, count):
            raise CorruptDetectorError("The saved arrangement is of other shots.")
        frames = tuple(
            _array(reader, f"frames.{i}", (2, 3)) if there else None
            for i, there in enumerate(framed)
        )
        return cls(tuple(shots), tuple(kinds), bool(meta["hierarchy"]), frames)

    def _arranged(self) -> tuple[Floats | None, ...]:
        """Each shot's transform to the shot that most fit to; empty where most fit to none."""
        count = len(self.shots)
        if count == 1:
            return ()
        model = self.model().model
        settled = [model.settled(objects) for objects in self.shots]
        best: tuple[Floats | None, ...] = ()
        most = (count - 1) / 2  # of the others
        for base in range(min(count, BASES)):
            frames: list[Floats | None] = []
            for number, objects in enumerate(settled):
                found = None if number == base else _arrange(model, objects, settled[base])
                fits = (
                    found is not None
                    and found.share >= SHOT_SHARE
                    and found.agreeing >= SHOT_AGREEING
                )
                matrix = found.matrix.astype(np.float32).astype(float) if found and fits else None
                frames.append(np.eye(2, 3) if number == base else matrix)
            fitting = sum(frame is not None for frame in frames) - 1
            if fitting >= max(most, 1):
                best, most = tuple(frames), fitting + 0.5
        return best


@dataclass(frozen=True)
class Framed:
    """A parts model and the way into its common frame.

    Attributes:
        model: The model.
        shots: Indices of its shots.
        frames: Per shot the ``(2, 3)`` transform into the common frame; None where the shots are
            not arranged alike.
        placed: Those of its shots that fit.
    """

    model: PartsModel
    shots: tuple[int, ...]
    frames: Mapping[int, Floats] | None
    placed: tuple[int, ...]

    def into(self, objects: Objects) -> Floats | None:
        """The transform of an image's positions into the common frame, if it is arranged alike."""
        if self.frames is None:
            return None
        found: list[tuple[Arrangement, int]] = []
        for shot in self.placed[:TRIED]:
            other = self.model.parts.shots[self.shots.index(shot)]
            arrangement = _arrange(self.model, objects, other)
            if arrangement is not None:
                found.append((arrangement, shot))
        if not found:
            return None
        best, shot = max(found, key=lambda pair: pair[0].share)
        if best.share < QUERY_SHARE or best.agreeing < QUERY_AGREEING:
            return None
        return composed(self.frames[shot], best.matrix)

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
            back = composed(inverse(into), self.frames[self.shots[shot]])
        centre = (moved(objects.places[number : number + 1], back)[0] + half) * longer / 2
        box = objects.boxes[number]
        size = (box[2:] - box[:2]) / 2
        low, high = centre - size, centre + size
        limit = 2 * half * longer / 2
        return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def _arrange(model: PartsModel, one: Objects, other: Objects) -> Arrangement | None:
    like = model.like(one, other)
    return arrange(one.places, other.places, like, (one.objectness, other.objectness))


def _or_identity(frame: Floats | None) -> Floats:
    return np.eye(2, 3) if frame is None else frame


def _array(reader: TensorReader, name: str, shape: tuple[int | None, int | None]) -> Floats:
    return reader.take(name, shape).cpu().double().numpy()
