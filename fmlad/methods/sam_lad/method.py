"""Method ``sam-lad``: objects matched with those of the most alike shots, and measured by them.

SAM-LAD (Peng et al., 2024), training-free. Steps in the paper's order:

1. features of all shots become templates, a coreset of them where they are many (section 3.2);
2. a query's k nearest templates are its references (3.3, Eq. 2);
3. object masks, filtered by area, and the objects' feature maps (3.4);
4. DCGA and the Object Matching Module (OMM): who is whom (3.5, Eqs. 4 to 10);
5. the Anomaly Measurement Module (AMM): how far an object is from those it was matched with (3.6,
   Eqs. 11 to 16).

``preset="paper"`` is that and nothing else (``paper.py``). The default adds what docs/sam-lad.md
lists and has four branches: ``matching`` (what is missing, extra or misplaced, in nats), ``object``
(z-score of one whole object), ``measure`` (distances of its places) and ``background`` (what lies
outside all objects, by the patch branch).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.upsampling import FACTORS
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.memory.patch_branch import PatchBranch, PatchComparison
from fmlad.methods.protocol import Calibrates, Evidence, FitContext
from fmlad.methods.sam_lad import paper
from fmlad.methods.sam_lad.comparison import (
    Comparison,
    Matcher,
    before,
    learn_statistics,
)
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.matching import Affinity
from fmlad.methods.sam_lad.object_maps import ObjectMaps, soft_masks
from fmlad.methods.sam_lad.pooled_gaussian import PooledGaussian
from fmlad.methods.sam_lad.rematching import Confirmation, Rematcher, rematched
from fmlad.methods.sam_lad.report import (
    found_differences,
    labelled,
    matched_objects,
    on_grid,
    painted,
)
from fmlad.methods.sam_lad.selection import Selection
from fmlad.methods.sam_lad.state import Learned, SamLadState
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
NEIGHBOURS = 16  # references (ours)
GRID = 128  # cells of the longer side after the paper's x8

# Least and greatest scale of each branch in its own unit, nats or standard deviations, whatever the
# left-out shots score (ours).
BOUNDS: Mapping[str, tuple[float, float]] = {"matching": (1.5, 4.0), "object": (0.7, 1.4)}
# Of n + 1 normal images one has a larger score than the n shots: their largest score is raised by a
# share of FEW / n (ours).
FEW = 3.0
# The unit of places is the largest distance of a normal object; half is the least scale (ours).
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
        alone = self.config.light or self._published
        own = ("measure",) if alone else ("matching", "object", "measure")
        return (*own, "background") if self._with_bank else own

    @property
    def _with_bank(self) -> bool:
        return self.config.background and not self.config.light and not self._published

    @property
    def _published(self) -> bool:
        return self.config.preset == "paper"

    @property
    def _neighbours(self) -> int:
        return self.config.neighbours or (paper.NEIGHBOURS if self._published else NEIGHBOURS)

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
        index = TemplateIndex([template.vector for template in templates])
        alone = views[0].gentle_copies if len(views) == 1 and not self._published else ()
        copies = [self._maps(copy, selection) for copy in alone]
        context.progress(0, 1, "matching shots with each other")
        learned = None if self._published else self._learned(templates, index, copies)
        bank = None
        if self._with_bank:
            bank = self._patches.fit(kept, context.rng, context.progress)
        return SamLadState(len(views), tuple(numbers), templates, selection, learned, bank, [index])

    def _learned(
        self,
        templates: Sequence[ObjectMaps],
        index: TemplateIndex,
        copies: Sequence[ObjectMaps],
    ) -> Learned:
        """Units of matching and measurement, from matching the templates with each other."""
        described = [template.described(self.config.descriptor) for template in templates]
        affinity = Affinity.learn(described, self.config.form, self.config.place)
        matcher = self._matcher(affinity)
        statistics, baseline, likes = learn_statistics(
            templates, index, matcher, self.config.align, self.config.epsilon, copies
        )
        if not self.config.match_statistics:
            statistics = statistics.unknown()
        gaussian = PooledGaussian.learn(templates, likes, affinity.reach) if self._pools else None
        return Learned(affinity, statistics, baseline, gaussian)

    def evidence(
        self, view: ImageView, state: SamLadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Scores, maps and typed differences of a query, over all steps of the module."""
        out = frozenset(i for i, number in enumerate(state.numbers) if number in exclude)
        if len(out) == len(state.templates):
            raise OptionError("All shots are excluded; at least one must stay.")
        maps = self._maps(view, state.selection)
        learned = state.learned
        if learned is None:
            return self._as_published(maps, state, out)
        rematcher = self._rematcher(maps, self.compared(maps, state, out), learned, out)
        objects = [rematcher.alone(row) for row in range(len(maps))]
        second = (
            rematched(rematcher, objects) if self._rematches(learned) else rematcher.as_they_are()
        )
        patches = None if state.bank is None else self._patches.compare(view, state.bank, out)
        confirmation = Confirmation.of(patches, state.bank) if self.config.confirmation else None
        if confirmation is not None:
            second = confirmation.of_comparisons(maps, second)
        comparisons = [one.comparison for one in second]
        chosen = min(second, key=lambda one: one.comparison.cost)
        best = chosen.comparison
        if self._rematches(learned):
            objects = rematcher.reconsidered(objects, chosen)
        if confirmation is not None:
            objects = confirmation.of_objects(maps, objects)
        if self.config.light:
            objects = [None if one is None or one.matched else one for one in objects]
        absent = {} if self.config.light else chosen.absent
        pictures = painted(
            maps, best, objects, absent, self.config.unmatched, self.config.smoothing
        )
        if confirmation is not None:
            pictures = confirmation.of_maps(pictures)
        scores = {
            # Of the references, the half that it fits best: products may come in several types.
            "matching": _mean_of_lesser([comparison.cost for comparison in comparisons]),
            "object": float(pictures["object"].max()),
            "measure": float(pictures["measure"].max()),
        }
        if patches is not None:
            distances = on_grid(patches.distances, (maps.level.shape[-2], maps.level.shape[-1]))
            # What the object of a single shot may look like, nobody knows but its patches.
            alone = confirmation is not None and confirmation.alone
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

    def _as_published(self, maps: ObjectMaps, state: SamLadState, out: frozenset[int]) -> Evidence:
        """The final map of the paper, which names no score of an image: its largest value."""
        near = state.index.nearest(maps.vector, self._neighbours, out)
        references = [state.templates[number] for number in near]
        config = self.config
        found, partners = paper.final_map(
            maps, references, config.epsilon, config.unmatched, config.light
        )
        return Evidence(
            {"measure": float(found.max())},
            {"measure": found.numpy()},
            labelled(maps, partners[0], references[0]),
            notes=self._notes(maps, state, None),
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
        if state.learned is None:
            raise OptionError("With the preset 'paper', objects are compared by final_map alone.")
        near = state.index.nearest(maps.vector, self._neighbours, out)
        matcher, statistics = self._matcher(state.learned.affinity), state.learned.statistics
        return [
            before(maps, number, state.templates[number], matcher, statistics, out)
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
        state = SamLadState.restore(tensors, meta, device)
        pooled = state.learned is not None and state.learned.gaussian is not None
        if (
            (state.bank is not None) != self._with_bank
            or (state.learned is None) != self._published
            or (pooled and not self._pools)
        ):
            raise CorruptDetectorError("What was saved is not what the options ask for.")
        return state

    def _matcher(self, affinity: Affinity) -> Matcher:
        return Matcher(affinity, self.config.descriptor, self.config.temperature)

    def _factor(self, view: ImageView) -> int:
        if self.config.upsample is not None:
            return self.config.upsample
        if not view.has(UPSAMPLER):
            return 1
        longer = max(view.upsampled(1).shape[-2:])
        return max(factor for factor in FACTORS if factor == 1 or factor * longer <= GRID)

    def _maps(self, view: ImageView, selection: Selection) -> ObjectMaps:
        """A view's objects, not kept beyond their use: at true size they take 25 MB."""
        key = f"object maps x{self._factor(view)} {selection} {self._published}"
        known: ObjectMaps | None = view.memo.get(key, lambda: None)()
        if known is not None:  # a template's, which the state keeps
            return known
        proposals, level = view_proposals(view), view.upsampled(self._factor(view))
        seen = proposals.taken(selection.taken(proposals), view.masks(PROPOSER))
        masks = soft_masks(seen.masks, (level.shape[-2], level.shape[-1]), self._published)
        maps = ObjectMaps(level, seen.objects, masks, view.size, image_vector(view.upsampled(1)))
        view.memo[key] = weakref.ref(maps)
        return maps

    @property
    def _pools(self) -> bool:
        return self.config.pooled and self.config.align != "none"

    def _rematches(self, learned: Learned) -> bool:
        """Whether objects are measured again in the references' boxes: where places count."""
        on = self.config.rematching and self.config.align != "none"
        return on and self._matcher(learned.affinity).arranged

    def _rematcher(
        self,
        maps: ObjectMaps,
        comparisons: Sequence[Comparison],
        learned: Learned,
        out: frozenset[int],
    ) -> Rematcher:
        config, scorer = self.config, None
        if learned.gaussian is not None:
            among = [comparison.number for comparison in comparisons]
            scorer = partial(learned.gaussian.z_scores_of_boxes, maps, among, out)
        return Rematcher(
            maps,
            comparisons,
            learned.affinity,
            config.align,
            config.epsilon,
            learned.baseline,
            scorer,
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
        # A cell's features reach into its neighbours.
        near = maximum_filter(covered, 3)
        return np.asarray(distances * (1 - near), dtype=np.float32)

    def _notes(
        self, maps: ObjectMaps, state: SamLadState, patches: PatchComparison | None
    ) -> list[str]:
        counts = ", ".join(str(len(template)) for template in state.templates[:16])
        more = ", ..." if len(state.templates) > 16 else ""
        notes = [f"{len(maps)} objects found; the shots have {counts}{more}"]
        if state.learned is not None and state.learned.affinity.spread is not None:
            notes.append("the shots are arranged alike: the place of objects counts")
        if patches is not None and patches.registered:
            notes.append(patches.note)
        return notes


def _mean_of_lesser(costs: Sequence[float]) -> float:
    return float(np.sort(costs)[: (len(costs) + 1) // 2].mean())
