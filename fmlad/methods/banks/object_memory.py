"""The objects of the shots, and the parts model of any selection of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.methods.banks.combinations import Combinations
from fmlad.methods.banks.parts_model import LEAST, Deviation, PartsModel
from fmlad.objects.appearance import Objects, Proposals
from fmlad.objects.arrangement import Arrangement, arrange, composed, inverse, moved
from fmlad.objects.arrays import Bools, Floats
from fmlad.objects.choices import Choices
from fmlad.objects.consensus import consensus, select
from fmlad.objects.fixtures import Fixture
from fmlad.objects.rereading import reread

CHOICE_COLUMNS = 9  # point, quality, kept

# Least share of inliers, and their number: between shots, where nothing is wrong, and for a query,
# which may lack some. Heaps of six objects reach 0.75 by chance (ours).
SHOT_SHARE, SHOT_INLIERS = 0.85, 4
QUERY_SHARE, QUERY_INLIERS = 0.6, 3
LEAST_SHOTS, MOST_SHOTS = 3, 16  # that are read again by the others; of more, one weighs little
BASES = 8  # shots tried as the reference of the others
TRIED = 3  # shots to which a query is arranged, of which the best counts


@dataclass(frozen=True)
class ObjectMemory:
    """State of the histogram and the composition bank.

    Attributes:
        shots: Objects of each shot.
        choices: The proposals of each shot and which of them were kept.
        hierarchy: Whether to count at all levels of similarity.
        frames: Per shot the ``(2, 3)`` transform of its positions into a common frame; None for a
            shot that does not fit. Empty where the shots have no common arrangement.
        fixtures: What lies at the same place in all shots while others move.
    """

    shots: tuple[Objects, ...]
    choices: tuple[Choices, ...]
    hierarchy: bool
    frames: tuple[Floats | None, ...] = ()
    fixtures: tuple[Fixture, ...] = ()
    _models: dict[frozenset[int], Framed] = field(default_factory=dict, repr=False)

    @classmethod
    def learn(
        cls,
        shots: Sequence[Objects],
        choices: Sequence[Choices],
        hierarchy: bool,
        place: bool,
        fixtures: Sequence[Fixture] = (),
    ) -> ObjectMemory:
        """Objects of the shots, and their common arrangement if there is one."""
        memory = cls(tuple(shots), tuple(choices), hierarchy, fixtures=tuple(fixtures))
        return replace(memory, frames=memory._arranged(), _models={}) if place else memory

    def select(
        self, proposals: Proposals, exclude: frozenset[int], dropped: Bools | None = None
    ) -> Bools:
        """Which proposals of an image are kept, ``(n,)``, by the shots that are not excluded.

        Without those ``dropped``, ``(n,)``, which have their say in what else is kept.

        A shot that is left out is normal and is read again by the others as when it was learned; a
        query is not, because then seven dice, two of which touch, would be read as six.
        """
        counted = np.ones(len(proposals.preferred), bool) if dropped is None else ~dropped
        choices = [one for number, one in enumerate(self.choices) if number not in exclude]
        if len(choices) == 1:  # a single image is no evidence of what recurs
            return proposals.preferred & counted
        together = Choices.together(choices)
        kept = select(proposals, together) & counted
        if not exclude or len(choices) < LEAST_SHOTS - 1 or len(self.shots) > MOST_SHOTS:
            return kept
        return read_again(proposals, kept, together, self.model(exclude).model) & counted

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
            # A shot that does not fit keeps its own positions, which widen the slots.
            known = {i: self.frames[i] for i in kept}
            frames = {i: np.eye(2, 3) if f is None else f for i, f in known.items()}
            places = [moved(self.shots[i].places, frames[i]) for i in kept]
        model = PartsModel(shots, places, self.hierarchy)
        framed = Framed(model, kept, frames, tuple(placed))
        if not exclude:  # the one that is asked for again and again
            self._models[exclude] = framed
        return framed

    def tensors(self) -> dict[str, Tensor]:
        """All arrays, float32."""
        named: dict[str, Tensor] = {}
        for number, objects in enumerate(self.shots):
            named |= objects.tensors(f"objects.{number}.")
        for number, one in enumerate(self.choices):
            table = np.column_stack([one.points, one.quality, one.kept])
            named[f"choices.{number}"] = torch.from_numpy(table.astype(np.float32))
        for number, frame in enumerate(self.frames):
            if frame is not None:
                named[f"frames.{number}"] = torch.from_numpy(frame.astype(np.float32))
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "shots": len(self.shots),
            "hierarchy": self.hierarchy,
            "framed": [frame is not None for frame in self.frames],
            "fixtures": [fixture.to_dict() for fixture in self.fixtures],
        }

    @classmethod
    def restore(cls, reader: TensorReader, meta: Mapping[str, Any]) -> ObjectMemory:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            KeyError, TypeError, ValueError: The description is unusable.
        """
        count = int(meta["shots"])
        shots = [Objects.restore(reader, f"objects.{number}.") for number in range(count)]
        if not shots or len({s.features.shape[1] for s in shots}) != 1:
            raise CorruptDetectorError("The saved objects are empty or of different backbones.")
        tables = [_array(reader, f"choices.{i}", (None, CHOICE_COLUMNS)) for i in range(count)]
        choices = [Choices(table[:, :-2], table[:, -2], table[:, -1] > 0.5) for table in tables]
        framed = [bool(there) for there in meta["framed"]]
        if len(framed) not in (0, count):
            raise CorruptDetectorError("The saved arrangement is of other shots.")
        frames = tuple(
            _array(reader, f"frames.{i}", (2, 3)) if there else None
            for i, there in enumerate(framed)
        )
        fixtures = tuple(Fixture.from_dict(fixture) for fixture in meta["fixtures"])
        return cls(tuple(shots), tuple(choices), bool(meta["hierarchy"]), frames, fixtures)

    def _arranged(self) -> tuple[Floats | None, ...]:
        """Each shot's transform to the shot that most fit to; empty where most fit to none."""
        count = len(self.shots)
        if count == 1:
            return ()
        model = self.model().model
        pooled = [model.pooled(objects) for objects in self.shots]
        best: tuple[Floats | None, ...] = ()
        most = (count - 1) / 2  # of the others
        for base in range(min(count, BASES)):
            frames: list[Floats | None] = []
            for number, objects in enumerate(pooled):
                found = None if number == base else _arrange(model, objects, pooled[base])
                if found and (found.share < SHOT_SHARE or found.inliers < SHOT_INLIERS):
                    found = None
                matrix = found.matrix.astype(np.float32).astype(float) if found else None
                frames.append(np.eye(2, 3) if number == base else matrix)
            fitting = sum(frame is not None for frame in frames) - 1
            if fitting >= max(most, 1):
                best, most = tuple(frames), fitting + 0.5
        return best


@dataclass(frozen=True)
class Framed:
    """A parts model and the transforms into its common frame.

    Attributes:
        model: The model.
        shots: Indices of its shots.
        frames: Per shot the ``(2, 3)`` transform into the common frame; None without one.
        placed: Those of its shots that fit.
    """

    model: PartsModel
    shots: tuple[int, ...]
    frames: Mapping[int, Floats] | None
    placed: tuple[int, ...]

    @cached_property
    def combinations(self) -> Combinations:
        """How attributes of the shots' objects vary together."""
        return Combinations(self.model.parts.shots)

    def unlike(
        self, objects: Objects, extents: bool = True, relations: bool = True, together: bool = True
    ) -> list[Deviation]:
        """Deviations of the combination bank: what does not go together as in the shots."""
        parts, level = self.model.parts, self.model.naming_level()
        found = []
        for one in self.combinations.unlike(objects, extents, relations, together):
            if one.score <= LEAST:
                continue
            here = (parts.shot == self.combinations.base) & np.isin(parts.row, one.slots)
            owner = int(parts.levels[level].owner[here][0])
            group = owner if owner >= 0 else None
            found.append(Deviation("combination", one.kind, group, level, one.score, one.rows))
        return found

    def transform(self, objects: Objects) -> Floats | None:
        """``(2, 3)`` from an image's positions to the common frame; None if it does not fit."""
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
        if best.share < QUERY_SHARE or best.inliers < QUERY_INLIERS:
            return None
        return composed(self.frames[shot], best.matrix)

    def box_in(self, row: int, transform: Floats | None, half: Floats, longer: int) -> Floats:
        """Box of a shot's object, point ``row``, moved into an image: ``xyxy`` in its pixels.

        Args:
            transform: Of the image into the common frame; None: the same relative place.
            half: The image's half width and half height in halves of its longer side, which has
                ``longer`` pixels.
        """
        parts = self.model.parts
        shot, number = int(parts.shot[row]), int(parts.row[row])
        objects = parts.shots[shot]
        back = np.eye(2, 3)
        if transform is not None and self.frames is not None:
            back = composed(inverse(transform), self.frames[self.shots[shot]])
        centre = (moved(objects.places[number : number + 1], back)[0] + half) * longer / 2
        box = objects.boxes[number]
        size = (box[2:] - box[:2]) / 2
        low, high = centre - size, centre + size
        limit = 2 * half * longer / 2
        return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def read_together(proposals: Sequence[Proposals], hierarchy: bool) -> list[Bools]:
    """Which proposals of each shot are kept: consensus, and each shot read again by the others.

    A shot is judged by the first reading of the others, so that their order does not matter. Three
    shots are the fewest of which two can agree against one.
    """
    kept = consensus(proposals)
    if not LEAST_SHOTS <= len(proposals) <= MOST_SHOTS:
        return kept
    read = []
    for number, (one, rows) in enumerate(zip(proposals, kept, strict=True)):
        others = [
            (other, known)
            for index, (other, known) in enumerate(zip(proposals, kept, strict=True))
            if index != number
        ]
        model = PartsModel([other.objects.rows(known) for other, known in others], None, hierarchy)
        choices = Choices.together([Choices.distinct(other, known) for other, known in others])
        read.append(read_again(one, rows, choices, model))
    return read


def read_again(proposals: Proposals, kept: Bools, choices: Choices, model: PartsModel) -> Bools:
    """A reading of an image, or one that agrees better with the parts model of others."""
    return reread(
        proposals, kept, choices, lambda rows: model.disagreement(proposals.objects.rows(rows))
    )


def _arrange(model: PartsModel, one: Objects, other: Objects) -> Arrangement | None:
    similar = model.similar(one, other)
    return arrange(one.places, other.places, similar, (one.objectness, other.objectness))


def _array(reader: TensorReader, name: str, shape: tuple[int | None, int | None]) -> Floats:
    return reader.take(name, shape).cpu().double().numpy()
