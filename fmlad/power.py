"""What a fitted detector will see, tried on damaged and rearranged copies of its shots (ours).

No anomaly is needed. Each copy is judged as a new image would be, its own shot left out where the
method allows that, and counts as caught above the threshold. With fewer shots to judge by than the
detector has, that is a little pessimistic; with one shot, where copies are judged by the very image
they were made from, it is far too optimistic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from fmlad import pipeline, synthetic
from fmlad.backbones.pooling import holders
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.objects.instances import resized
from fmlad.objects.proposals import AUTOMATIC, PROPOSER, ProposalSource
from fmlad.prediction import Prediction
from fmlad.progress import Progress, silent
from fmlad.regions import Regions
from fmlad.synthetic import (
    DAMAGES,
    REARRANGEMENTS,
    SCRATCH_LENGTH,
    SCRATCH_WIDTH,
    Copy,
    Damage,
    Rearrangement,
)
from fmlad.views import BackboneSet, ImageView

COPIES = 6  # of each kind
SHOTS = 8  # whose copies are made, at most
QUALITY = 0.6  # of a proposal, from which it is a part
LEAST, MOST = 0.001, 0.15  # share of the image that a part covers
TRIES = 8  # parts tried until one has a free place to go to
ENOUGH = 24  # copies after which a branch that heard none of them is called noise
FEW = 0.5  # share caught below which something is said about it

Bools = npt.NDArray[np.bool_]


@checked_dataclass(frozen=True)
class Caught:
    """How many copies of one kind were caught.

    Attributes:
        kind: What was done to the shots.
        size: Of what was done, share of the longer side: its mean extent.
        caught: Copies above the threshold.
        in_place: Of those, how many have their first finding where the change is.
        of: Copies made.
        branches: Branch -> copies on which it alone is above what it says of any unaltered shot.
    """

    kind: Damage | Rearrangement
    size: float
    caught: int
    in_place: int
    of: int
    branches: Mapping[str, int]


@dataclass(frozen=True)
class PowerCheck:
    """What of damaged and rearranged copies of the shots a detector catches.

    Attributes:
        rows: One a kind; none for kinds that could not be made.
        shots: Number of shots that copies were made of.
    """

    rows: tuple[Caught, ...]
    shots: int

    def share(self, kinds: Sequence[str]) -> float | None:
        """Share of copies of some kinds that are caught, in [0, 1]; None where there are none."""
        rows = [row for row in self.rows if row.kind in kinds]
        return sum(row.caught for row in rows) / sum(row.of for row in rows) if rows else None

    @property
    def silent(self) -> Mapping[str, str]:
        """Branch -> why it is no better than noise on these shots.

        Such a branch scores no altered copy higher than the unaltered shot that it scores highest.
        It keeps its say in the score. Nothing is said of branches after fewer than ``ENOUGH``
        copies.
        """
        copies = sum(row.of for row in self.rows)
        heard: dict[str, int] = {}
        for row in self.rows:
            for branch, count in row.branches.items():
                heard[branch] = heard.get(branch, 0) + count
        if copies < ENOUGH:
            return {}
        why = (
            f"no better than noise on these shots: it scores none of {copies} altered copies "
            f"higher than every unaltered shot"
        )
        return {branch: why for branch, count in heard.items() if count == 0}

    def describe(self) -> list[str]:
        """A line for each kind, then what can be done about the weak ones."""
        lines = [
            f"{NAMES[row.kind]} ({_extent(row)} of the longer side): {row.caught} of {row.of} "
            f"found, {row.in_place} of them in place"
            for row in self.rows
        ]
        lines += [f"{branch}: {why}" for branch, why in self.silent.items()]
        damage, composition = self.share(DAMAGES), self.share(REARRANGEMENTS)
        if composition is None:
            lines.append("no single part could be told from the rest, so none was moved or removed")
        if damage is not None and damage < FEW:
            lines.append(
                "small damage will often be missed: more normal images, or pictures cropped "
                "closer to the product, help"
            )
        if composition is not None and composition < FEW:
            lines.append(
                "missing, extra and misplaced parts will often be missed: more normal images help, "
                "or a prompt set that names the parts"
            )
        if self.shots == 1:
            lines.append(
                "with one normal image this is far too optimistic: it cannot know how others differ"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"rows": [asdict(row) for row in self.rows], "shots": self.shots}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PowerCheck:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: Something is missing or of another type.
        """
        try:
            rows = TypeAdapter(tuple[Caught, ...]).validate_python(data["rows"])
            shots = TypeAdapter(int).validate_python(data["shots"], strict=True)
        except (ValidationError, KeyError, TypeError) as error:
            what = f"The power check of the saved detector is unreadable: {data!r}."
            raise CorruptDetectorError(what) from error
        return cls(rows, shots)


NAMES: Mapping[Damage | Rearrangement, str] = {
    "scratch": "scratches",
    "stain": "stains",
    "missing": "a part missing",
    "extra": "a part too many",
    "misplaced": "a part in another place",
    "recoloured": "a part of another colour",
}


def power_check(
    fitted: pipeline.Fitted,
    views: Sequence[ImageView],
    backbone_set: BackboneSet,
    *,
    copies: int = COPIES,
    seed: int = 0,
    progress: Progress = silent,
) -> PowerCheck:
    """Shows a detector altered copies of its shots.

    Args:
        fitted: The fitted method.
        views: Its shots.
        backbone_set: What parts are found with, where it proposes masks; the embedded proposer
            otherwise.
        copies: Of each kind.
        seed: Which shots, parts and places.
        progress: Called as ``progress(done, total, what)``.

    Raises:
        OptionError: There are no shots, or no threshold.
    """
    if not views or fitted.calibration.threshold is None:
        raise OptionError(
            "A power check needs a detector with its shots in memory and a threshold."
        )
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(views))[:SHOTS].tolist())
    seen = [pipeline.limited(view, fitted.regions) for view in views]
    alone = pipeline.alone_shots(fitted.method, fitted.state)
    excluded = {index: pipeline.left_out(fitted.method, index, seen, alone) for index in chosen}
    unaltered = [pipeline.judge(views[i], fitted, excluded[i]).branch_scores for i in chosen]
    usual = {branch: max(one[branch] for one in unaltered) for branch in unaltered[0]}
    if PROPOSER not in backbone_set.backbones:
        backbone_set = _with_proposer(backbone_set)
    inside = {i: _inside(views[i], fitted.regions) for i in chosen}
    source: ProposalSource = getattr(fitted.state, "source", AUTOMATIC)
    parts = {}
    for i in chosen:
        found = parts_of(views[i].through(backbone_set), source)
        parts[i] = [part for part in found if inside[i][part].all()]
    kinds = (*DAMAGES, *REARRANGEMENTS)
    rows = []
    for number, kind in enumerate(kinds):
        made: list[tuple[Copy, Prediction]] = []
        for turn in range(copies):
            index = chosen[turn % len(chosen)]
            copy = _copy(kind, views[index], parts[index], inside[index], rng)
            if copy is not None:
                altered = views[index].again(copy.pixels, f"with {kind}")
                made.append((copy, pipeline.judge(altered, fitted, excluded[index])))
            progress(number * copies + turn + 1, len(kinds) * copies, "trying altered copies")
        if made:
            rows.append(_row(kind, made, usual))
    return PowerCheck(tuple(rows), len(chosen))


def parts_of(view: ImageView, source: ProposalSource = AUTOMATIC) -> list[Bools]:
    """Masks ``(H, W)`` of single parts that can be taken away: small, whole, holding nothing."""
    masks = source.masks(view).best()
    shares = masks.masks.mean(axis=(1, 2))
    edges = [masks.masks[:, 0], masks.masks[:, -1], masks.masks[:, :, 0], masks.masks[:, :, -1]]
    cut = np.logical_or.reduce([edge.any(axis=1) for edge in edges])
    good = (masks.scores >= QUALITY) & (shares >= LEAST) & (shares <= MOST) & ~cut
    good &= ~holders(masks.masks)
    return [resized(mask, view.size) for mask in masks.masks[good]]


def _with_proposer(backbone_set: BackboneSet) -> BackboneSet:
    from fmlad import profiles

    names = profiles.resolve((PROPOSER,), "builtin")
    found = profiles.load_backbones(names, backbone_set.device)
    return BackboneSet({**backbone_set.backbones, **found}, device=backbone_set.device)


def _inside(view: ImageView, regions: Regions | None) -> Bools:
    """Where a copy of an image may be altered, ``(H, W)``."""
    return np.ones(view.size, bool) if regions is None else regions.mask_for(view)


def _copy(
    kind: Damage | Rearrangement,
    view: ImageView,
    parts: list[Bools],
    inside: Bools,
    rng: np.random.Generator,
) -> Copy | None:
    """A copy of an image that is altered inside alone; None where that cannot be done."""
    if kind == "scratch" or kind == "stain":
        product = np.logical_or.reduce(parts) if parts else inside
        return _limited(synthetic.damaged(kind, view.pixels, product, rng), view, inside)
    for index in rng.permutation(len(parts))[:TRIES].tolist():
        found = synthetic.rearranged(kind, view.pixels, parts, index, rng)
        # A part is put down inside, or it is another change than it says.
        if found is not None and inside[found.changed].all():
            return _limited(found, view, inside)
    return None


def _limited(copy: Copy, view: ImageView, inside: Bools) -> Copy:
    """A copy without what was altered outside."""
    if inside.all():
        return copy
    pixels = np.where(inside[..., None], copy.pixels, view.pixels)
    return replace(copy, pixels=pixels, changed=copy.changed & inside)


def _row(
    kind: Damage | Rearrangement,
    made: Sequence[tuple[Copy, Prediction]],
    usual: Mapping[str, float],
) -> Caught:
    caught = [(copy, found) for copy, found in made if found.is_anomalous]
    sizes = [np.sqrt(copy.changed.sum()) / max(copy.changed.shape) for copy, _ in made]
    heard = {
        branch: sum(found.branch_scores[branch] > limit for _, found in made)
        for branch, limit in usual.items()
    }
    placed = sum(_in_place(copy, found) for copy, found in caught)
    return Caught(kind, float(np.mean(sizes)), len(caught), placed, len(made), heard)


def _in_place(copy: Copy, found: Prediction) -> bool:
    """Whether the first finding's box touches the change and is not far larger than it."""
    if not found.findings or found.findings[0].box is None:
        return False
    x1, y1, x2, y2 = found.findings[0].box
    rows, columns = np.nonzero(copy.changed)
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    touches = x1 < high[0] and x2 > low[0] and y1 < high[1] and y2 > low[1]
    own = max(high[0] - low[0], high[1] - low[1])
    return bool(touches and max(x2 - x1, y2 - y1) < 3 * own + 0.1 * max(copy.changed.shape))


def _extent(row: Caught) -> str:
    if row.kind == "scratch":
        return f"{SCRATCH_WIDTH:.1%} wide, {SCRATCH_LENGTH:.0%} long"
    return f"{row.size:.0%}"
