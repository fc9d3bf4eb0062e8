"""Method ``clip-lad``: areas and counts of the parts of a prompt set, and patches.

CLIP-LAD (anonymous submission to ICLR 2025), training-free:

- coarse-to-fine segmentation (section 3.1): clusters of places, foreground by coarse words, parts
  by fine ones;
- histogram: areas of the parts against the nearest shot (Eq. 2, corrected);
- patch: largest distance of a patch to the nearest patch of the shots, over several levels (Eq. 3,
  corrected: it prints a maximum over the memory where the minimum is meant);
- both scores together by their Mahalanobis distance (Eq. 4, corrected).

Ours are three more branches: ``count``, objects of each part against the counts of the shots,
``layout``, their places and sizes, and ``declared``, the rules of a prompt set that has any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError, PromptError
from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_branch import PatchBranch
from fmlad.memory.patch_features import PatchFeatures
from fmlad.methods.clip_lad.coarse_to_fine import (
    ALIGNER,
    PROPOSER,
    Wording,
    by_clusters,
    foreground_share,
    parse,
)
from fmlad.methods.clip_lad.config import BOUNDS, UNITS, ClipLadConfig
from fmlad.methods.clip_lad.differences import (
    class_maps,
    declared,
    learned,
    misfits,
    odd_map,
    rules_map,
    segmentation,
)
from fmlad.methods.clip_lad.histogram import ClassMemory, relative
from fmlad.methods.clip_lad.kinds import KindsState, kinds_of
from fmlad.methods.clip_lad.state import ClipLadState
from fmlad.methods.clip_lad.wording import MakeView, check_words, damage, make_ready
from fmlad.methods.protocol import Aims, Calibrates, Difference, Evidence, FitContext
from fmlad.objects import clusters as clustering
from fmlad.objects.clusters import Clusters
from fmlad.objects.expectations import Reading, broken, has_rules, readings
from fmlad.objects.instances import GRID
from fmlad.objects.inventory import Part
from fmlad.prompts import PromptGroup, Prompts, PromptSet, load_prompts
from fmlad.scoring.fusion import AdaptiveScaling, Fusion
from fmlad.scoring.mahalanobis import ENOUGH, Mahalanobis
from fmlad.views import ImageView

Maps = dict[str, npt.NDArray[np.float32]]

EXTRACTOR = "feature_extractor"
RULES_ALONE = (
    "no normal images: the declared composition is judged, and damage only by words for it, on "
    "profiles that read"
)


class ClipLad:
    """The method; see the module."""

    name: ClassVar[str] = "clip-lad"
    summary: ClassVar[str] = (
        "training-free: parts named by a prompt set, their areas and counts, and patches"
    )
    needs: ClassVar[tuple[str, ...]] = (ALIGNER,)
    # The embedded aligner has no stages to compare patches on and judges size and shape of objects.
    optional: ClassVar[Mapping[str, tuple[str, ...]]] = {
        PROPOSER: ("builtin",),
        EXTRACTOR: ("builtin",),
    }
    takes: ClassVar[tuple[str, ...]] = ("prompts",)
    # On "builtin" all measurements of this method are of the hand-made cells.
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "builtin": {EXTRACTOR: "builtin:handmade@1"}
    }
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"
    aims: ClassVar[Aims] = {
        "damage": {"branches": ("patch",)},
        "composition": {"branches": ("histogram", "count", "layout", "declared")},
    }
    validation_scales: ClassVar[bool] = True  # as in the paper
    typed: ClassVar[tuple[str, ...]] = ("histogram", "count", "layout", "declared")

    def __init__(self, config: ClipLadConfig | None = None) -> None:
        self.config = config or ClipLadConfig()
        self._patches = PatchBranch(
            registration=False, smoothing=self.config.smoothing, describe=self._features
        )

    @property
    def branches(self) -> tuple[str, ...]:
        """What it was asked to use."""
        return tuple(self.config.branches)

    def fit(self, views: Sequence[ImageView], context: FitContext) -> ClipLadState | KindsState:
        """Divides the shots into parts and stores their areas, counts and patches."""
        chosen = as_prompts(context.prompts)
        if isinstance(chosen, PromptGroup):
            return self._fit_kinds(chosen, views, context)
        return self._fit_one(chosen, views, context)

    def _fit_kinds(
        self, group: PromptGroup, views: Sequence[ImageView], context: FitContext
    ) -> KindsState:
        """Each kind of a group of prompt sets by itself, to the shots of that kind."""
        for one in group.sets.values():
            check_words(one, views[0])
        own = kinds_of(group, self.config.stage, views)
        fitted = {
            kind: self._fit_one(group.sets[kind], [views[i] for i in indices], context)
            for kind, indices in own.items()
        }
        pooled = torch.stack([self._features(view).pooled for view in views]).cpu()
        return KindsState(group, fitted, own, pooled)

    def _fit_one(
        self, chosen: PromptSet, views: Sequence[ImageView], context: FitContext
    ) -> ClipLadState:
        check_words(chosen, views[0])
        wording = make_ready(chosen, self.config.stage, views, views[0].again)
        clusters = None
        if by_clusters(views[0], self.config.stage):
            clusters = self.choose_clusters(views, wording, context.rng)
        seen = []
        for index, view in enumerate(views):
            seen.append(relative(parse(view, wording, clusters), view.size))
            context.progress(index + 1, len(views), "dividing shots into parts")
        patches = None
        if "patch" in self.branches:
            patches = self._patches.fit(views, context.rng, context.progress)
        return ClipLadState(wording, clusters, ClassMemory(wording.names, tuple(seen)), patches)

    def from_prompts(self, prompts: PromptSet, make_view: MakeView) -> ClipLadState:
        """The state without a single shot.

        Raises:
            PromptError: A word cannot be grounded, or there is nothing to judge by.
            OptionError: The options leave no branch that works without shots.
        """
        probe = make_view(np.zeros((64, 64, 3), np.uint8), "an empty picture")
        check_words(prompts, probe)
        if not has_rules(prompts) and not probe.reads:
            raise PromptError(
                f"The prompt set {prompts.name!r} declares nothing, so without shots there is "
                f"nothing to judge by on a profile that does not read. Say what is expected of a "
                f"part (expect: 6, see docs/prompts.md), or give shots."
            )
        ruled = "declared" in self.branches and self.config.stage != "coarse"
        if not (ruled and has_rules(prompts)) and not (probe.reads and "patch" in self.branches):
            raise OptionError(
                f"branches={self.branches!r} with stage={self.config.stage!r} leave nothing to "
                f"judge by without shots: rules need the branch 'declared' and fine words, damage "
                f"the branch 'patch' and a profile that reads. Change them, or give shots."
            )
        return ClipLadState(make_ready(prompts, self.config.stage, [], make_view), None, None, None)

    def evidence(
        self,
        view: ImageView,
        state: ClipLadState | KindsState,
        exclude: frozenset[int] = frozenset(),
    ) -> Evidence:
        """Areas, counts and patches compared with the shots, and the declared rules."""
        if isinstance(state, KindsState):
            near = self._features(view).pooled if self.config.route == "nearest" else None
            kind, own = state.kind_of(view, near, exclude)
            found_there = self.evidence(view, state.fitted[kind], own)
            return replace(found_there, notes=(*found_there.notes, f"judged as {kind!r}"))
        seen = parse(view, state.wording, state.clusters)
        scores: dict[str, float] = {}
        maps: Maps = {}
        found: list[Difference] = []
        if state.classes is not None:
            comparison = state.classes.compare(seen, exclude, self.config.distance)
            scores["histogram"] = comparison.distance
            scores["count"] = float(comparison.surprises.sum())
            for branch in ("histogram", "count"):
                maps[branch] = class_maps(seen, comparison, state.classes, branch == "count")
            found += learned(seen, comparison, state.classes, view.size)
            if "layout" in self.branches:
                odd = state.classes.odd(seen, view.size, exclude)
                scores["layout"], maps["layout"] = sum(one.surprise for one in odd), odd_map(odd)
                found += misfits(odd, state.classes.names, view.size)
        if state.patches is not None:
            patches = self._patches.compare(view, state.patches, exclude)
            scores["patch"], maps["patch"] = patches.score, patches.distances
        if self.config.stage != "coarse":
            rules = broken(state.prompts, seen)
            scores["declared"] = float(sum(rule.score for rule in rules))
            maps["declared"] = rules_map(rules, view.size)
            found += declared(rules)
        else:
            scores["declared"], maps["declared"] = 0.0, np.zeros((GRID, GRID), np.float32)
        if state.classes is None and view.reads:
            scores["patch"], maps["patch"] = damage(view, state.prompts)
        used = self.branches
        return Evidence(
            {branch: score for branch, score in scores.items() if branch in used},
            _same_size({branch: one for branch, one in maps.items() if branch in used}),
            segmentation(seen, state.wording.names, view.size),
            tuple(difference for difference in found if difference.branch in used),
        )

    def alone(self, state: ClipLadState | KindsState) -> frozenset[int]:
        """Shots that are the only one of their kind, so that no other can judge them."""
        return state.alone if isinstance(state, KindsState) else frozenset()

    def notes(self, state: ClipLadState | KindsState) -> list[str]:
        """What holds for every image."""
        if isinstance(state, KindsState):
            return [state.note(), *self.notes(next(iter(state.fitted.values())))]
        if state.classes is None:
            return [RULES_ALONE]
        return [] if state.patches is None else [self._patches.how(state.patches)]

    def parts(self, state: ClipLadState | KindsState) -> list[Part]:
        """The parts of the prompt set, or of those of all kinds: a name that several have, once."""
        if isinstance(state, KindsState):
            found: dict[str, Part] = {}
            for part in (part for one in state.fitted.values() for part in self.parts(one)):
                before = found[part.name].counts if part.name in found else ()
                found[part.name] = replace(part, counts=(*before, *part.counts))
            return list(found.values())
        if state.classes is None:
            return []
        names, shots = state.classes.names, state.classes.shots
        counts = np.array([shot.counts(len(names)) for shot in shots]).astype(int)
        return [Part(name, "", tuple(counts[:, i].tolist())) for i, name in enumerate(names)]

    def rule_readings(self, view: ImageView, state: ClipLadState | KindsState) -> list[Reading]:
        """What a view shows of each declared rule; none where they are not asked for.

        None with several kinds either, whose rules differ.
        """
        if isinstance(state, KindsState):
            return []
        unused = "declared" not in self.branches or self.config.stage == "coarse"
        if unused or not has_rules(state.prompts):
            return []
        return readings(state.prompts, parse(view, state.wording, state.clusters))

    def fusion(
        self, left_out: Sequence[Mapping[str, float]], state: ClipLadState | KindsState
    ) -> Fusion:
        """As the options say; raw scores are of validation images where there are any."""
        if self.config.fusion == "mahalanobis":
            # Copies of a single shot give far too small a scale for patches.
            lonely = 1 if isinstance(state, ClipLadState) else len(state.alone)
            if state.shots > lonely or len(left_out) >= ENOUGH * len(left_out[0]):
                # Where objects lie loosely the shots surprise each other as well.
                odd = [scores.get("layout", 0.0) for scores in left_out]
                units = {**UNITS, "layout": max(UNITS["layout"], *odd)}
                return Mahalanobis.fit(left_out, units, self.config.two_sided)
            return AdaptiveScaling.fit(left_out, BOUNDS, "sum")
        return AdaptiveScaling.fit(left_out, BOUNDS, self.config.fusion)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> ClipLadState | KindsState:
        """Back from a saved detector."""
        if "kinds" in meta:
            return KindsState.restore(
                tensors, meta, device, lambda own, of: self._restore_one(own, of, device)
            )
        return self._restore_one(tensors, meta, device)

    def _restore_one(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> ClipLadState:
        state = ClipLadState.restore(TensorReader(tensors, device), meta, self.config.stage)
        wanted = bool(state.shots) and "patch" in self.branches
        if (state.patches is not None) != wanted:
            raise CorruptDetectorError("The saved patches do not fit the branches.")
        return state

    def choose_clusters(
        self, views: Sequence[ImageView], wording: Wording, rng: np.random.Generator
    ) -> Clusters:
        """Clusters of some shots, as many as the options say."""
        pyramids = [view.pyramid(ALIGNER) for view in views]
        if self.config.clusters != "auto":
            return Clusters.fit(pyramids, int(self.config.clusters), rng)

        def foreground(clusters: Clusters, index: int) -> float:
            return foreground_share(views[index], wording, clusters)

        return clustering.choose(pyramids, foreground, rng)

    def _features(self, view: ImageView) -> PatchFeatures:
        """Stages of the aligner, unit length; levels of the feature extractor where it has none."""
        pyramid = view.pyramid(ALIGNER)
        if pyramid.stages:
            levels = tuple(F.normalize(stage, dim=1) for stage in pyramid.stages)
            return PatchFeatures(levels, pyramid.pooled[0], None)
        if view.has(EXTRACTOR):
            pyramid = view.pyramid(EXTRACTOR)
        strides = sorted(pyramid.levels)[: self.config.levels]
        return PatchFeatures(tuple(pyramid.levels[s] for s in strides), pyramid.pooled[0], None)


def as_prompts(prompts: Any) -> Prompts:
    """The argument ``prompts`` as a set or a group; OptionError where there is none."""
    if isinstance(prompts, (PromptSet, PromptGroup)):
        return prompts
    if prompts is None:
        raise OptionError(
            "The method 'clip-lad' needs a prompt set: prompts=NAME or FILE (see "
            "fmlad.list_prompt_sets()), or use method='banks', which needs none."
        )
    return load_prompts(prompts)


def _same_size(maps: Maps) -> Maps:
    """Maps resized to the largest one."""
    size = max((one.shape for one in maps.values()), key=lambda shape: shape[0] * shape[1])
    result = {}
    for branch, one in maps.items():
        resized = F.interpolate(torch.from_numpy(one)[None, None], size, mode="nearest")
        result[branch] = resized[0, 0].numpy()
    return result
