"""Method ``sam-lad``: objects matched with those of the nearest shots, and measured by them.

SAM-LAD (Peng et al., 2024), training-free. Steps in the paper's order:

1. features of all shots become templates, a coreset of them where they are many (section 3.2);
2. a query's k nearest templates are its references (3.3, Eq. 2);
3. object masks, filtered by area, and the objects' feature maps (3.4);
4. DCGA and the Object Matching Module (OMM): which objects are the same (3.5, Eqs. 4 to 10);
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
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from fmlad.backbones.upsampling import FACTORS
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_branch import PatchBranch
from fmlad.memory.templates import coreset, image_vector
from fmlad.methods.protocol import Calibrates, Evidence, FitContext
from fmlad.methods.sam_lad import paper
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.matching import (
    Affinity,
    Matcher,
    MatchStatistics,
    ReferenceMatch,
    describe,
    match_reference,
    match_templates,
)
from fmlad.methods.sam_lad.measurement import (
    NOBODY,
    Counterpart,
    ObjectScorer,
    PooledGaussian,
    normal_distance,
)
from fmlad.methods.sam_lad.rematching import Confirmation, FloatMap, Rematched, Rematcher
from fmlad.methods.sam_lad.report import found_differences, labelled, matched_objects, painted
from fmlad.methods.sam_lad.state import Learned, SamLadState
from fmlad.objects.feature_maps import ObjectMaps, on_grid, soft_masks
from fmlad.objects.inventory import Part
from fmlad.objects.proposals import AUTOMATIC, PROPOSER, ProposalSource
from fmlad.objects.selection import Selection
from fmlad.scoring.fusion import AdaptiveScaling
from fmlad.views import ImageView

UPSAMPLER = "upsampler"
# The paper's networks: DINOv2 ViT-S/14 on pictures squashed to 224 px, which gives 16 x 16 cells,
# and FeatUp. It does not say which SAM; ViT-H is its authors' largest.
# On "builtin" hand-made cells and masks: learned masks lose 0.10 AUROC on digits (docs/sam-lad.md).
DECLARED: Mapping[str, Mapping[str, str]] = {
    "builtin": {"feature_extractor": "builtin:handmade@1", PROPOSER: "builtin:regions@2"},
    "foundation": {
        "feature_extractor": "dinov2:facebook/dinov2-small#side=224,fit=squash",
        PROPOSER: "sam:facebook/sam-vit-huge",
        UPSAMPLER: "featup:dinov2_jbu_stack_cocostuff",
    },
}
NEIGHBOURS = 16  # references (ours)
MEASURED = 64  # matched objects of the shots that set the unit of measurement
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
        "training-free: objects matched with those of the nearest shots and measured by them"
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
        return ("feature_extractor", *self._source.roles, *sharper)

    @property
    def optional(self) -> Mapping[str, tuple[str, ...]]:
        """An upsampler is of use unless the factor is fixed."""
        return {UPSAMPLER: ("foundation",)} if self.config.upsample is None else {}

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches of its evidence."""
        alone = self.config.light or self._published
        own = ("measure",) if alone else ("matching", "object", "measure")
        return (*own, "background") if self._with_bank else own

    @property
    def _source(self) -> ProposalSource:
        return ProposalSource(self.config.proposals, self.config.phrases)

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
        # 3.2: the template bank, a coreset of the shots
        vectors = []
        for view in views:
            vectors.append(image_vector(view.upsampled(1)))
            if len(views) > self.config.templates:
                view.release()  # memory must not grow with shots that are no templates
        numbers = coreset(vectors, self.config.templates)
        kept = [views[number] for number in numbers]
        # 3.4.2, 3.4.3: which masks are objects, and their feature maps
        source = self._source.learned(kept, context.progress)
        selection = Selection.learn([source.proposals(view) for view in kept])
        templates = tuple(self._object_maps(view, selection, source) for view in kept)
        state = SamLadState(len(views), tuple(numbers), templates, selection, None, None, source)
        if self._published:
            return state
        # What the default adds: units of matching and measurement, and the patch bank
        copies = views[0].gentle_copies if len(views) == 1 else ()
        context.progress(0, 1, "matching shots with each other")
        learned = self._learned(
            state, [self._object_maps(copy, selection, source) for copy in copies]
        )
        bank = None
        if self._with_bank:
            bank = self._patches.fit(kept, context.rng, context.progress)
        return replace(state, learned=learned, bank=bank)

    def _learned(self, state: SamLadState, copies: Sequence[ObjectMaps]) -> Learned:
        """Units of matching and measurement, from matching the templates with each other.

        A single template shows no variation but that of its gently altered ``copies``.
        """
        config, templates = self.config, state.templates
        described = [describe(template, config.descriptor) for template in templates]
        affinity = Affinity.learn(described, config.form, config.place)
        matcher = self._matcher(affinity)
        matches = match_templates(templates, state.index, matcher)
        statistics = MatchStatistics.learn(templates, matches)
        share = -(-MEASURED // len(templates))  # of each pair of templates
        matched = [
            (templates[number], row, Counterpart(other, templates[other], partner))
            for (number, other), found in matches.items()
            for row, partner in found.pairs[:share].tolist()
        ][:MEASURED]
        for copy in copies:
            pairs = matcher(copy, templates[0]).pairs.tolist()
            matched += [(copy, row, Counterpart(0, templates[0], one)) for row, one in pairs]
        gaussian = None
        if config.pooled and config.align != "none":
            counterparts = [np.full((len(one), len(templates)), NOBODY) for one in templates]
            for (number, other), found in matches.items():
                here, there = templates[number], templates[other]
                counterparts[number][:, other] = matcher.in_place(found.partner, here, there)
            gaussian = PooledGaussian.learn(templates, counterparts, affinity.reach)
        return Learned(
            affinity,
            statistics if config.match_statistics else statistics.unknown(),
            normal_distance(matched, config.align, config.epsilon),
            gaussian,
        )

    def evidence(
        self, view: ImageView, state: SamLadState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Scores, maps and typed differences of a query, over all steps of the module."""
        out = frozenset(i for i, number in enumerate(state.numbers) if number in exclude)
        if len(out) == len(state.templates):
            raise OptionError("All shots are excluded; at least one must stay.")
        config, learned = self.config, state.learned
        # 3.4: objects and their feature maps, Eq. 3
        maps = self._object_maps(view, state.selection, state.source)
        if learned is None:
            return self._as_published(maps, state, out)
        # 3.3, 3.5: the references (Eq. 2), and the query matched with each (Eqs. 4 to 10)
        matches = self.matched(maps, state, out)
        # 3.6: each object measured by its counterparts (Eqs. 11, 12)
        numbers = [one.number for one in matches]
        scorer = ObjectScorer(
            config.align, config.epsilon, learned.baseline, learned.gaussian, numbers, out
        )
        rematcher = Rematcher(maps, matches, scorer, learned.affinity.reach)
        objects = rematcher.alone()
        # Ours: objects that were cut differently, and what patches confirm
        on = config.rematching and config.align != "none" and learned.affinity.arranged
        found = rematcher.rematched(objects) if on else [Rematched(one) for one in matches]
        patches = None if state.bank is None else self._patches.compare(view, state.bank, out)
        confirmation = Confirmation.of(patches, state.bank) if config.confirmation else None
        if confirmation is not None:
            found = confirmation.of_matches(maps, found)
        best = min(found, key=lambda one: one.match.cost)
        if on:
            objects = rematcher.reconsidered(objects, best)
        if confirmation is not None:
            objects = confirmation.of_objects(maps, objects)
        # Eqs. 13 to 16: maps of matched and unmatched objects
        if config.light:
            objects = [None if one is None or one.matched else one for one in objects]
            best = replace(best, absent={})
        pictures = painted(maps, best, objects, config.unmatched, config.smoothing)
        if confirmation is not None:
            pictures = confirmation.of_maps(pictures)
        if patches is not None:
            distances = on_grid(patches.distances, maps.grid)
            # With a single shot, only its patches tell what its objects may look like.
            alone = confirmation is not None and confirmation.alone
            pictures["background"] = distances if alone else _outside(distances, maps, best.match)
        scores = {branch: float(one.max()) for branch, one in pictures.items()}
        # Of the references, the half that it fits best: products may come in several types.
        costs = np.sort([one.match.cost for one in found])
        scores["matching"] = float(costs[: (len(costs) + 1) // 2].mean())
        differences = found_differences(
            maps, [one.match for one in found], best, objects, state.names
        )
        return Evidence(
            {branch: scores[branch] for branch in self.branches},
            {branch: pictures[branch] for branch in self.branches},
            matched_objects(maps, best.match),
            [difference for difference in differences if difference.branch in self.branches],
            _notes(maps, state),
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
            notes=_notes(maps, state),
        )

    def matched(
        self, maps: ObjectMaps, state: SamLadState, out: frozenset[int] = frozenset()
    ) -> list[ReferenceMatch]:
        """A query's objects matched with each of its references, the nearest image first.

        The templates ``out`` do not count.
        """
        if state.learned is None:
            raise OptionError("With the preset 'paper', objects are compared by final_map alone.")
        matcher, statistics = self._matcher(state.learned.affinity), state.learned.statistics
        return [
            match_reference(maps, number, state.templates[number], matcher, statistics, out)
            for number in state.index.nearest(maps.vector, self._neighbours, out)
        ]

    def notes(self, state: SamLadState) -> list[str]:
        """What holds for every image."""
        found = [self._patches.how(state.bank)] if state.bank is not None else []
        if state.learned is not None and state.learned.affinity.arranged:
            found.append("the objects of the normal images are arranged alike: their places count")
        return found

    def parts(self, state: SamLadState) -> list[Part]:
        """The parts that findings name."""
        return state.names.inventory(state.numbers)

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
        state = SamLadState.restore(TensorReader(tensors, device), meta, self._source)
        learned, pooled = state.learned, self.config.pooled and self.config.align != "none"
        if (
            (state.bank is not None) != self._with_bank
            or (learned is None) != self._published
            or (learned is not None and learned.gaussian is not None and not pooled)
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

    def _object_maps(
        self, view: ImageView, selection: Selection, source: ProposalSource = AUTOMATIC
    ) -> ObjectMaps:
        """A view's objects, not kept beyond their use: at true size they take 25 MB."""
        key = f"object maps x{self._factor(view)} {selection} {self._published} {source}"
        known: ObjectMaps | None = view.memo.get(key, lambda: None)()
        if known is not None:  # a template's, which the state keeps
            return known
        proposals, level = source.proposals(view), view.upsampled(self._factor(view))
        chosen = proposals.taken(selection.taken(proposals), source.masks(view))
        masks = soft_masks(chosen.masks, (level.shape[-2], level.shape[-1]), self._published)
        maps = ObjectMaps(level, chosen.objects, masks, view.size, image_vector(view.upsampled(1)))
        view.memo[key] = weakref.ref(maps)
        return maps


def _outside(distances: FloatMap, maps: ObjectMaps, best: ReferenceMatch) -> FloatMap:
    """The patch bank's map outside all objects, present or missing."""
    from scipy.ndimage import maximum_filter

    covered = maps.masks.amax(0).numpy() if len(maps) else np.zeros(maps.grid)
    for row in np.flatnonzero(best.missing):
        covered = np.maximum(covered, on_grid(best.reference.masks[row], maps.grid))
    # A cell's features reach into its neighbours.
    return np.asarray(distances * (1 - maximum_filter(covered, 3)), dtype=np.float32)


def _notes(maps: ObjectMaps, state: SamLadState) -> list[str]:
    """Said where the number of objects is none of the shots'."""
    counts = [len(template) for template in state.templates]
    if min(counts) <= len(maps) <= max(counts):
        return []
    usual = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return [f"{len(maps)} objects found; the normal images have {usual}"]
