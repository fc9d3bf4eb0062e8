"""Objects as wholes: one Gaussian an object, with a covariance that all objects share.

Equation 11 fits a Gaussian to the k references of a place, which with few references knows next to
nothing of how an object may vary. But objects vary alike: whatever is written by hand leans, and
whatever lies loose turns a little. So the differences between matched objects of the shots,
whichever objects they are, say together how one may differ from its likes (ours). Objects are
brought upon each other by their boxes and compared as one vector each.

Where the shots are arranged, an object also resembles what belongs in its place more than what
belongs elsewhere. How much more is the second half of its surprise: a changed order leaves every
object a good one of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.methods.sam_lad.object_maps import LEAST_SIDE, ObjectMaps

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Like = tuple[int, int]
"""Number of a template, and of an object of it."""
Scorer = Callable[[Floats, Sequence[Like]], Floats]
"""z-scores of boxes of a query before some likes."""

CELLS = 6  # a side of the grid that boxes are brought to
RIDGE = 3.0  # of the covariance, in its own mean variances: there are few differences
MOST = 300  # differences that are remembered
LEAST_SHOTS = 3  # below, no shot can be judged by the variation of the others
LEAST, TYPICAL, PRIOR = 1e-12, 0.25, 8.0  # of a square; of the spread, and how many it stands for
FOREIGN = 3.0  # spreads from which a shot's object is none to go by
NOBODY = -1  # no like


def brought(maps: ObjectMaps, boxes: Floats) -> Floats:
    """What lies in some boxes, brought to a common grid; float64 ``(n, CELLS * CELLS * C)``.

    Args:
        maps: Of the image.
        boxes: ``(n, 4)``, ``xyxy`` in [0, 1]. A square of the longer side is read.
    """
    level = maps.level
    if len(boxes) == 0:
        return np.zeros((0, CELLS * CELLS * level.shape[1]))
    half = np.array(maps.half)
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = np.maximum(((high - low) * half).max(1), LEAST_SIDE)
    steps = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, -1, 2)
    points = ((low + high) / 2)[:, None] + offsets * sides[:, None, None] / half
    grid = level.new_tensor(2 * points - 1)[None]
    found = F.grid_sample(level, grid, padding_mode="border", align_corners=False)[0]
    return found.permute(1, 2, 0).reshape(len(boxes), -1).double().cpu().numpy()


@dataclass(frozen=True)
class _Metric:
    """Mahalanobis distances by some differences (Woodbury: never ``D x D``).

    Attributes:
        projection: ``(D, r)``: what the differences explain, to be taken off.
        ridge: Of the covariance.
        known: ``(T, r)``: the projections of all objects of the templates.
    """

    projection: Floats
    ridge: float
    known: Floats

    @classmethod
    def of(cls, differences: Floats, vectors: Floats) -> _Metric:
        factors = differences / np.sqrt(max(len(differences), 1))
        inner = factors @ factors.T
        ridge = max(RIDGE * float(np.trace(inner)) / vectors.shape[1], LEAST)
        lower = np.linalg.cholesky(inner + ridge * np.eye(len(factors)))
        projection = np.linalg.solve(lower, factors).T
        return cls(projection, ridge, vectors @ projection)

    def squared(self, here: Floats, there: Floats, there_known: Floats) -> Floats:
        """Squared distances ``(m, n)`` of ``(m, D)`` to ``(n, D)``."""
        full = _squares(here, there)
        explained = _squares(here @ self.projection, there_known)
        return np.maximum((full - explained) / self.ridge, LEAST)


@dataclass(frozen=True)
class PooledGaussian:
    """The objects of all templates as wholes, and how such objects vary.

    Attributes:
        vectors: float64 ``(T, D)``, of all objects of all templates in their order.
        places: float64 ``(T, 2)``, ``Objects.places``.
        owner: int64 ``(T,)``: template of each.
        starts: Where each template's objects begin.
        pairs: int64 ``(p, 2)``: objects of two templates that were matched with each other.
        baseline: float64 ``(T,)``: surprise of each before the other templates; NaN without likes.
        reach: Displacement from which an object belongs elsewhere; infinite where none does.
    """

    vectors: Floats
    places: Floats
    owner: Ints
    starts: tuple[int, ...]
    pairs: Ints
    baseline: Floats
    reach: float
    _metrics: dict[frozenset[int], _Metric] = field(default_factory=dict, repr=False)

    @classmethod
    def learn(
        cls, templates: Sequence[ObjectMaps], likes: Sequence[Ints], reach: float
    ) -> PooledGaussian | None:
        """Looks at each template through the others; None where they are too few.

        Args:
            templates: All of them.
            likes: Per template ``(n, Z)``: each object's like in each template, ``NOBODY`` for
                none.
            reach: See the class.
        """
        starts = _starts(templates)
        pairs = [
            (starts[one] + row, starts[other] + int(like))
            for one, found in enumerate(likes)
            for (row, other), like in np.ndenumerate(found)
            if other < one and like != NOBODY
        ]
        if len(templates) < LEAST_SHOTS or not pairs:
            return None
        if len(pairs) > MOST:  # an even selection: the same every time
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, MOST).astype(int)]
        unknown = np.full(starts[-1], np.nan)
        blank = cls._of(templates, np.array(pairs, np.int64), unknown, reach)
        baseline = unknown.copy()
        for number, found in enumerate(likes):
            among = [other for other in range(len(templates)) if other != number]
            for row in range(len(found)):
                own = [(other, int(found[row, other])) for other in among]
                own = [like for like in own if like[1] != NOBODY]
                if own:
                    at = starts[number] + row
                    baseline[at] = blank.surprise(
                        blank.vectors[[at]], own, among, frozenset({number})
                    )[0]
        # To what a saved detector keeps, so that one loaded again thinks the same.
        return cls._of(templates, blank.pairs, baseline.astype(np.float32).astype(float), reach)

    @classmethod
    def _of(
        cls, templates: Sequence[ObjectMaps], pairs: Ints, baseline: Floats, reach: float
    ) -> PooledGaussian:
        rows = [range(len(template)) for template in templates]
        vectors = [
            brought(template, np.array([template.box(row) for row in some]).reshape(-1, 4))
            for template, some in zip(templates, rows, strict=True)
        ]
        places = np.concatenate([template.objects.places for template in templates])
        owner = np.repeat(np.arange(len(templates)), [len(template) for template in templates])
        starts = _starts(templates)
        return cls(np.concatenate(vectors), places, owner, starts, pairs, baseline, reach)

    def z_scores_of_boxes(
        self,
        query: ObjectMaps,
        among: Sequence[int],
        exclude: frozenset[int],
        boxes: Floats,
        own: Sequence[Like],
    ) -> Floats:
        """:meth:`z_score` of what lies in boxes ``(m, 4)`` of a query, in [0, 1]; ``(m,)``."""
        return self.z_score(brought(query, boxes), own, among, exclude)

    def z_score(
        self, vectors: Floats, own: Sequence[Like], among: Sequence[int], exclude: frozenset[int]
    ) -> Floats:
        """How far objects are from their likes, ``(m,)``, >= 0, in standard deviations of shots.

        Args:
            vectors: ``(m, D)``, of objects that all stand for the same.
            own: Their likes, at least one.
            among: Templates in question.
            exclude: Templates that do not count.
        """
        values = self.baseline[~np.isin(self.owner, list(exclude)) & np.isfinite(self.baseline)]
        if not len(values):
            return np.zeros(len(vectors))
        centre = float(np.median(values))
        robust = 1.4826 * float(np.median(np.abs(values - centre)))
        squares = len(values) * robust**2 + PRIOR * TYPICAL**2
        spread = float(np.sqrt(squares / (len(values) + PRIOR)))
        rows = np.array([self.starts[number] + row for number, row in own])
        odd = (np.nan_to_num(self.baseline[rows]) - centre) / spread > FOREIGN
        if 2 * odd.sum() <= len(own):  # a shot's object that was cut wrongly is no like
            own = [like for like, foreign in zip(own, odd, strict=True) if not foreign]
        return np.maximum((self.surprise(vectors, own, among, exclude) - centre) / spread, 0)

    def surprise(
        self, vectors: Floats, own: Sequence[Like], among: Sequence[int], exclude: frozenset[int]
    ) -> Floats:
        """Log distance to the Gaussian of the likes, and log ratio of the nearest to a rival."""
        metric = self._metric(exclude)
        rows = np.array([self.starts[number] + row for number, row in own])
        mean = self.vectors[rows].mean(0, keepdims=True)
        known = metric.known[rows].mean(0, keepdims=True)
        apart = metric.squared(vectors, mean, known)[:, 0] / (1 + 1 / len(rows))
        surprise = 0.5 * np.log(np.maximum(apart, LEAST))
        gaps = np.linalg.norm(self.places - self.places[rows].mean(0), axis=1)
        rivals = np.flatnonzero((gaps > self.reach) & np.isin(self.owner, list(among)))
        if len(rivals):
            both = np.concatenate([rows, rivals])
            squares = metric.squared(vectors, self.vectors[both], metric.known[both])
            nearest = squares[:, : len(rows)].min(1), squares[:, len(rows) :].min(1)
            surprise = surprise + 0.5 * np.log(nearest[0] / nearest[1])
        return np.asarray(surprise, dtype=np.float64)

    def _metric(self, exclude: frozenset[int]) -> _Metric:
        if exclude not in self._metrics:
            out = np.isin(self.owner[self.pairs], list(exclude)).any(1)
            pairs = self.pairs[~out] if not out.all() else self.pairs
            differences = (self.vectors[pairs[:, 0]] - self.vectors[pairs[:, 1]]) / np.sqrt(2)
            self._metrics[exclude] = _Metric.of(differences, self.vectors)
        return self._metrics[exclude]

    def tensors(self) -> dict[str, Tensor]:
        """float32, to be saved; vectors are made again from the templates."""
        baseline = np.where(np.isfinite(self.baseline), self.baseline, UNKNOWN)
        return {
            "pairs": torch.from_numpy(self.pairs.astype(np.float32)),
            "baseline": torch.from_numpy(baseline.astype(np.float32)),
        }

    @classmethod
    def restore(
        cls, reader: TensorReader, templates: Sequence[ObjectMaps], reach: float
    ) -> PooledGaussian:
        """Inverse of :meth:`tensors`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            ValueError: A pair is of objects that do not exist.
        """
        total = sum(len(template) for template in templates)
        pairs = reader.take("gaussian.pairs", (None, 2)).cpu().numpy().astype(np.int64)
        baseline = reader.take("gaussian.baseline", (total,)).cpu().double().numpy()
        if not len(pairs) or pairs.min() < 0 or pairs.max() >= total:
            raise ValueError("matched objects that do not exist")
        return cls._of(templates, pairs, np.where(baseline <= UNKNOWN, np.nan, baseline), reach)


UNKNOWN = -1e6  # in a file, which holds finite numbers alone


def _starts(templates: Sequence[ObjectMaps]) -> tuple[int, ...]:
    counts = [len(template) for template in templates]
    return (0, *np.cumsum(counts).tolist())


def _squares(here: Floats, there: Floats) -> Floats:
    cross = here @ there.T
    found = np.square(here).sum(1)[:, None] + np.square(there).sum(1) - 2 * cross
    return np.asarray(found, dtype=np.float64)
