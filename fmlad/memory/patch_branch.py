"""The patch branch of a method: distances of a query's patches to those of the shots.

Patches are searched around the same place where the query registers to a shot, and anywhere in the
shots otherwise (PSAD's patch bank, section 3.4; CLIP-LAD's Eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fmlad.augment import Symmetry, symmetric_copies
from fmlad.memory.change import smoothed
from fmlad.memory.free_search import FreeSearch, Join, excess
from fmlad.memory.patch_features import PatchFeatures, ShotPatches
from fmlad.memory.patch_memory import PatchMemory, Registered
from fmlad.memory.registration import view_edges
from fmlad.progress import Progress
from fmlad.views import ImageView

NOT_REGISTERED = "did not register to any shot: patches were compared anywhere in them"
RATIO_SHOTS = 8  # left-out shots that set the scale between the two ways of searching


@dataclass(frozen=True)
class PatchComparison:
    """Distances of an image's patches to those of the shots.

    Attributes:
        distances: float32 ``(h, w)``, smoothed; in units of the features.
        registered: Whether patches were compared at the same place of a shot.
        note: What sets this image apart, in words, or "".
    """

    distances: npt.NDArray[np.float32]
    registered: bool
    note: str

    @property
    def score(self) -> float:
        """Largest distance of a patch."""
        return float(self.distances.max())


@dataclass(frozen=True)
class PatchBranch:
    """Settings of the patch branch; see ``BanksConfig`` for their meaning and source.

    Attributes:
        describe: Feature levels and pooled vector of a view; None: the feature extractor's finest
            ``levels``.
    """

    levels: int = 1
    symmetry: Symmetry = "none"
    registration: bool = True
    shot_confidence: float = 0.8
    query_confidence: float = 0.5
    references: int = 8
    window: int = 1
    smoothing: float = 1.0
    variation: float = 0.0
    background: float | None = None
    join: Join = "mean"
    describe: Callable[[ImageView], PatchFeatures] | None = None

    def features(self, view: ImageView, edges: bool = True) -> PatchFeatures:
        """Features of a view; without edges it is never registered."""
        if self.describe is not None:
            return self.describe(view)
        pyramid = view.pyramid()
        compared = tuple(pyramid.levels[s] for s in sorted(pyramid.levels)[: self.levels])
        if not edges:
            return PatchFeatures(compared, pyramid.pooled[0], None)
        return PatchFeatures(compared, pyramid.pooled[0], view_edges(view), pyramid.appearance)

    def fit(
        self, views: Sequence[ImageView], rng: np.random.Generator, progress: Progress
    ) -> PatchMemory:
        """Stores the shots' patches and measures whether the shots register to each other."""
        memory = []
        for index, view in enumerate(views):
            memory.append(ShotPatches(index, self.features(view, self.registration)))
            progress(index + 1, len(views), "looking at shots")
        for index, view in enumerate(views):
            for what, pixels in symmetric_copies(view.pixels, self.symmetry):
                copy = self.features(view.again(pixels, what), edges=False)
                memory.append(ShotPatches(index, copy))
        search = FreeSearch(tuple(memory), self.variation, self.join)
        patches = PatchMemory(search, placed=self.registration)
        if self.background is not None:
            patches = self._learn_background(views, patches, progress)
        return self._learn_place(views, patches, rng, progress) if self.registration else patches

    def compare(
        self, view: ImageView, memory: PatchMemory, exclude: frozenset[int] = frozenset()
    ) -> PatchComparison:
        """Distances of the view's patches from those of the shots that are not excluded."""
        features = self.features(view, memory.placed)
        found: list[Registered] = []
        if memory.placed:
            found = memory.registered(features, exclude, self.query_confidence, self.references)
        if found:
            distances = smoothed(memory.at_place(features, found, self.window), self.smoothing)
        else:
            distances = memory.anywhere(features, exclude, self.smoothing) * memory.ratio
        lost = memory.placed and not found
        return PatchComparison(distances.cpu().numpy(), bool(found), NOT_REGISTERED if lost else "")

    @staticmethod
    def how(memory: PatchMemory) -> str:
        """How patches of every image are compared, in words."""
        if memory.placed:
            return "the normal images register: patches are compared at the same place"
        return "the normal images do not register: patches are compared anywhere in them"

    def _learn_background(
        self, views: Sequence[ImageView], memory: PatchMemory, progress: Progress
    ) -> PatchMemory:
        """The excess of each left-out shot's map, or of those of copies of a single one."""
        trials = [(view, frozenset({number})) for number, view in enumerate(views)]
        if len(views) == 1:
            trials = [(copy, frozenset()) for copy in views[0].gentle_copies]
        excesses = []
        for done, (view, exclude) in enumerate(trials, start=1):
            found = memory.search.map(self.features(view, False), exclude, self.smoothing)
            excesses.append(excess(found))
            progress(done, len(trials), "learning what is normal")
        return replace(memory, background=self.background, excesses=tuple(excesses))

    def _learn_place(
        self,
        views: Sequence[ImageView],
        memory: PatchMemory,
        rng: np.random.Generator,
        progress: Progress,
    ) -> PatchMemory:
        """Whether left-out shots register, and both kinds of distances on them."""
        if len(views) == 1:
            trials = [(copy, frozenset[int]()) for copy in views[0].gentle_copies]
        else:
            count = min(len(views), RATIO_SHOTS)
            chosen = sorted(int(i) for i in rng.choice(len(views), size=count, replace=False))
            trials = [(views[i], frozenset({i})) for i in chosen]
        at_place, anywhere = [], []
        for done, (view, exclude) in enumerate(trials, start=1):
            features = self.features(view)
            found = memory.registered(features, exclude, self.shot_confidence, self.references)
            if found:
                near = memory.at_place(features, found, self.window)
                at_place.append(float(smoothed(near, self.smoothing).max()))
                anywhere.append(float(memory.anywhere(features, exclude, self.smoothing).max()))
            progress(done, len(trials), "comparing shots with each other")
            if 2 * (len(at_place) + len(trials) - done) <= len(trials):
                break  # most do not register, whatever the others do
        return memory.with_place(at_place, anywhere, len(trials))
