"""Method ``sam-lad``: objects matched with those of the most alike shots, and measured by them.

SAM-LAD (Peng et al., 2024), training-free. Steps in the paper's order:

1. features of all shots become templates, a coreset of them where they are many (section 3.2);
2. a query's k nearest templates are its references (3.3);
3. object masks, filtered by area, and the objects' feature maps (3.4);
4. DCGA and the Object Matching Module: who is whom (3.5);
5. the Anomaly Measurement Module: how far an object is from those it was matched with (3.6).

Where the paper leaves a gap or its formulas do not hold, docs/sam-lad.md says what was done. Four
branches speak: ``matching`` (who is missing, extra or misplaced, in nats), ``object`` (one is on
the whole not like its references, in their standard deviations), ``measure`` (a place of one is
odd) and ``background`` (what lies outside all objects, by the patch bank). Where an image registers
to the shots pixel by pixel, the patch bank has a say about objects, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.upsampling import FACTORS
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_branch import PatchBranch, PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.protocol import Calibrates, Evidence, FitContext
from fmlad.methods.sam_lad.affinity import Likeness
from fmlad.methods.sam_lad.comparison import (
    Comparison,
    Gauge,
    Matcher,
    before,
    learn_habits,
)
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.confirmation import Witness
from fmlad.methods.sam_lad.match_statistics import Habits
from fmlad.methods.sam_lad.object_maps import ObjectMaps, soft_masks
from fmlad.methods.sam_lad.pooled_gaussian import Wholes
from fmlad.methods.sam_lad.rematching import Surveyor, revised
from fmlad.methods.sam_lad.report import found_differences, matched_objects, on_grid, painted
from fmlad.methods.sam_lad.selection import Selection
from fmlad.methods.sam_lad.state import SamLadState
from fmlad.methods.sam_lad.templates import TemplateIndex, coreset, image_vector
from fmlad.objects.proposals import PROPOSER, view_proposals
from fmlad.scoring.fusion import AdaptiveScaling
from fmlad.views import ImageView

UPSAMPLER = "upsampler"
# The paper's networks: DINOv2 ViT-S/14 on pictures squashed to 224 px, which gives 16 x 16 cells,
# and FeatUp. It does not say which SAM; ViT-H is its authors' largest.
DECLARED: Mapping[str, Mapping[str, str]] = {
    "foundation": {
        "feature_extractor": "dinov2:facebook/dinov2-small#side=224,fit=squash",
        PROPOSER: "sam:facebook/sam-vit-huge",
        UPSAMPLER: "featup:dinov2_jbu_stack_cocostuff",
    }
}
GRID = 128  # cells of the longer side after the paper's x8

# Least and greatest scale of each branch (ours): nats and standard deviations are natural units, in
# which silence on every shot says little and a shot that was misread must not make deaf.
BOUNDS: Mapping[str, tuple[float, float]] = {"matching": (1.5, 4.0), "object": (0.7, 1.4)}
# Of the others it is known that one normal image in n + 1 is odder than n shots; so many shots more
# it takes to trust their largest score as it is (ours).
FEW = 3.0
# The measure of places is in units of the largest usual distance: where the patches keep it silent
# on the shots, less than half of that is no reason to be loud (ours).
LEAST: Mapping[str, float] = {"measure": 0.5}


class SamLad:
    """The method; see the module."""

    name: ClassVar[str] = "sam-lad"
    summary: ClassVar[str] = (
        "training-free: objects matched with those of the most alike shots and measured by them"
    )
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = DECLARED
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"
    typed: ClassVar[tuple[str, ...]] = ("matching", "object")

    def __init__(self, config: SamLadConfig | None = None) -> None:
        self.config = config or SamLadConfig()
        self._patches = PatchBranch()

    @property
    def needs(self) -> tuple[str, ...]:
        """Roles it asks for: an upsampler where maps are to be sharpened."""
        sharper = (UPSAMPLER,) if (self.config.upsample or 1) > 1 else ()
        return ("feature_extractor", PROPOSER, *sharper)

    @property
    def optional(self) -> Mapping[str, tuple[str, ...]]:
        """An upsampler is of use unless the factor is fixed."""
        return {UPSAMPLER: tuple(DECLARED)} if self.config.upsample is None else {}

    @property
    def branches(self) -> tuple[str, ...]:
        """What its evidence speaks in."""
        own = ("measure",) if self.config.light else ("matching", "object", "measure")
        return (*own, "background") if self._with_bank else own

    @property
    def _with_bank(self) -> bool:
        return self.config.background and not self.config.light

    def fit(self, views: Sequence[ImageView], context: FitContext) -> SamLadState:
        """Remembers the shots and learns from matching them with each other."""
        vectors = []
        for view in views:
            vectors.append(image_vector(view.upsampled(1)))
            if len(views) > self.config.templates:
                view.release()  # memory must not grow with shots that are no templates
        numbers = coreset(vectors, self.config.templates)
        kept = [views[number] for number in numbers]
        proposals = []
        for done, view in enumerate(kept, start=1):
            proposals.append(view_proposals(view))
            context.progress(done, len(kept), "looking for objects")
        selection = Selection.learn(proposals)
        templates = tuple(self._maps(view, selection) for view in kept)
        things = [template.things(self.config.descriptor) for template in templates]
        likeness = Likeness.learn(things, self.config.form, self.config.place)
        index = TemplateIndex([template.vector for template in templates])
        context.progress(0, 1, "matching shots with each other")
        matcher = self._matcher(likeness)
        alone = views[0].gentle_copies if len(views) == 1 else ()
        copies = [self._maps(copy, selection) for copy in alone]
        habits, usual, likes = learn_habits(
            templates, index, matcher, self.config.align, self.config.epsilon, copies
        )
        if not self.config.match_statistics:
            habits = habits.unknown()
        reach = likeness.reach if matcher.arranged else inf
        wholes = Wholes.learn(templates, likes, reach) if self._pools else None
        bank = None
        if self._with_bank:
            bank = self._patches.fit(kept, context.rng, context.progress)
        return SamLadState(
            len(views), tuple(numbers), templates, selection, likeness, habits, usual, wholes, bank,
            [index],
        )  # fmt: skip

    def evidence(
        self, view: ImageView, state: SamLadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """What is missing, extra, misplaced, odd in an object, and odd outside all of them."""
        out = frozenset(i for i, number in enumerate(state.numbers) if number in exclude)
        if len(out) == len(state.templates):
            raise OptionError("All shots are excluded; at least one must stay.")
        maps = self._maps(view, state.selection)
        surveyor = self._surveyor(maps, self.compared(maps, state, out), state, out)
        objects = [surveyor.alone(row) for row in range(len(maps))]
        second = revised(surveyor, objects) if self._doubts(state) else surveyor.as_they_are()
        patches = None if state.bank is None else self._patches.compare(view, state.bank, out)
        witness = Witness.of(patches, state.bank) if self.config.confirmation else None
        if witness is not None:
            second = witness.of_comparisons(maps, second)
        comparisons = [one.comparison for one in second]
        chosen = min(second, key=lambda one: one.comparison.cost)
        best = chosen.comparison
        if self._doubts(state):
            objects = surveyor.reconsidered(objects, chosen)
        if witness is not None:
            objects = witness.of_objects(maps, objects)
        if self.config.light:
            objects = [None if one is None or one.matched else one for one in objects]
        absent = {} if self.config.light else chosen.absent
        pictures = painted(
            maps, best, objects, absent, self.config.unmatched, self.config.smoothing
        )
        if witness is not None:
            pictures = witness.of_maps(pictures)
        scores = {
            # Of the references, the half that it fits best: products may come in several types.
            "matching": _mean_of_lesser([comparison.cost for comparison in comparisons]),
            "object": float(pictures["object"].max()),
            "measure": float(pictures["measure"].max()),
        }
        if patches is not None:
            distances = on_grid(patches.distances, (maps.level.shape[-2], maps.level.shape[-1]))
            # What the object of a single shot may look like, nobody knows but its patches.
            alone = witness is not None and witness.alone
            pictures["background"] = distances if alone else self._outside(distances, maps, best)
            scores["background"] = float(pictures["background"].max())
        return Evidence(
            {branch: float(scores[branch]) for branch in self.branches},
            {branch: pictures[branch] for branch in self.branches},
            matched_objects(maps, best),
            [
                difference
                for difference in found_differences(maps, comparisons, best, objects, absent)
                if difference.branch in self.branches
            ],
            self._notes(maps, state, patches),
        )

    def compared(
        self, maps: ObjectMaps, state: SamLadState, out: frozenset[int] = frozenset()
    ) -> list[Comparison]:
        """A query's objects before each of its references, the most alike image first.

        Args:
            maps: Its objects.
            state: What is remembered.
            out: Templates that do not count.
        """
        near = state.index.nearest(maps.vector, self.config.neighbours, out)
        matcher = self._matcher(state.likeness)
        return [
            before(maps, number, state.templates[number], matcher, state.habits, out)
            for number in near
        ]

    def fusion(
        self, left_out: Sequence[Mapping[str, float]], state: SamLadState
    ) -> AdaptiveScaling:
        """PSAD's adaptive scaling, within bounds for the branches in natural units."""
        bounds = {branch: BOUNDS[branch] for branch in self.branches if branch in BOUNDS}
        found = AdaptiveScaling.fit(left_out, bounds, self.config.fusion)
        margin = 1 + FEW / max(len(left_out), 1)
        scales = {
            branch: scale if branch in BOUNDS else max(margin * scale, LEAST.get(branch, 0.0))
            for branch, scale in found.scales.items()
        }
        return replace(found, scales=scales)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> SamLadState:
        """Back from a saved detector."""
        reader = TensorReader(tensors, device)
        with reader.description("bank"):
            sizes = [(int(height), int(width)) for height, width in meta["sizes"]]
            numbers = tuple(int(number) for number in meta["numbers"])
            described = meta["bank"]
            bank = None if described is None else PatchMemory.restore(reader, described)
            shared = bank is not None and meta["shared"] is True
            templates = tuple(
                ObjectMaps.restore(
                    reader,
                    f"template.{number}",
                    size,
                    bank.memory[number].features.levels[0] if bank and shared else None,
                )
                for number, size in enumerate(sizes)
            )
            habits = Habits.restore(reader, [len(template) for template in templates])
            selection = Selection.from_dict(meta["selection"])
            likeness = Likeness.from_dict(meta["likeness"])
            usual, shots = float(meta["usual"]), int(meta["shots"])
            arranged = self._matcher(likeness).arranged
            reach = likeness.reach if arranged else inf
            known = meta["wholes"] is True
            wholes = Wholes.restore(reader, templates, reach) if known else None
        if (bank is not None) != self._with_bank:
            raise CorruptDetectorError("The saved patch bank is not what the options ask for.")
        if (
            not templates
            or len(numbers) != len(templates)
            or sorted(set(numbers)) != list(numbers)
            or not 0 <= numbers[0] <= numbers[-1] < shots
            or not 0 < usual < float("inf")
            or (wholes is not None and not self._pools)
            or (bank is not None and bank.shots != len(templates))
            or len({template.level.shape[1] for template in templates}) != 1
        ):
            raise CorruptDetectorError("The saved bank's description contradicts itself.")
        return SamLadState(
            shots, numbers, templates, selection, likeness, habits, usual, wholes, bank
        )

    def _matcher(self, likeness: Likeness) -> Matcher:
        config = self.config
        return Matcher(
            likeness, config.descriptor, config.matching == "literal", config.temperature
        )

    def _factor(self, view: ImageView) -> int:
        if self.config.upsample is not None:
            return self.config.upsample
        if not view.has(UPSAMPLER):
            return 1
        longer = max(view.upsampled(1).shape[-2:])
        return max(factor for factor in FACTORS if factor == 1 or factor * longer <= GRID)

    def _maps(self, view: ImageView, selection: Selection) -> ObjectMaps:
        """A view's objects, not kept beyond their use: at true size they take 25 MB."""
        key = f"object maps x{self._factor(view)} {selection}"
        known: ObjectMaps | None = view.memo.get(key, lambda: None)()
        if known is not None:  # a template's, which the state keeps
            return known
        proposals, level = view_proposals(view), view.upsampled(self._factor(view))
        seen = proposals.taken(selection.taken(proposals), view.masks(PROPOSER))
        masks = soft_masks(seen.masks, (level.shape[-2], level.shape[-1]))
        maps = ObjectMaps(level, seen.objects, masks, view.size, image_vector(view.upsampled(1)))
        view.memo[key] = weakref.ref(maps)
        return maps

    @property
    def _pools(self) -> bool:
        return self.config.pooled and self.config.align != "none"

    def _doubts(self, state: SamLadState) -> bool:
        """Whether the proposer's cuts are doubted: only a place can be asked."""
        on = self.config.rematching and self.config.align != "none"
        return on and self._matcher(state.likeness).arranged

    def _surveyor(
        self,
        maps: ObjectMaps,
        comparisons: Sequence[Comparison],
        state: SamLadState,
        out: frozenset[int],
    ) -> Surveyor:
        config, gauge = self.config, None
        if state.wholes is not None:
            gauge = Gauge(state.wholes, maps, [c.number for c in comparisons], out)
        return Surveyor(
            maps, comparisons, state.likeness, config.align, config.epsilon, state.usual, gauge
        )

    def _outside(
        self, distances: npt.NDArray[np.float32], maps: ObjectMaps, best: Comparison
    ) -> npt.NDArray[np.float32]:
        """The patch bank's map outside all objects, present or missing."""
        from scipy.ndimage import maximum_filter

        size = (distances.shape[0], distances.shape[1])
        covered = maps.masks.amax(0).numpy() if len(maps) else np.zeros(size)
        for row in np.flatnonzero(best.missing):
            gone = on_grid(best.reference.masks[row].numpy(), size)
            covered = np.maximum(covered, gone)
        # A cell's features reach into its neighbours, so that an odd object has an odd surrounding.
        near = maximum_filter(covered, 3)
        return np.asarray(distances * (1 - near), dtype=np.float32)

    def _notes(
        self, maps: ObjectMaps, state: SamLadState, patches: PatchComparison | None
    ) -> list[str]:
        counts = ", ".join(str(len(template)) for template in state.templates[:16])
        more = ", ..." if len(state.templates) > 16 else ""
        notes = [f"{len(maps)} objects found; the shots have {counts}{more}"]
        if state.likeness.spread is not None:
            notes.append("the shots are arranged alike: the place of objects counts")
        if patches is not None and patches.registered:
            notes.append(patches.note)
        return notes


def _mean_of_lesser(costs: Sequence[float]) -> float:
    return float(np.sort(costs)[: (len(costs) + 1) // 2].mean())
