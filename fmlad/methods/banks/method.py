"""Method ``banks``: training-free memory of the shots.

PSAD's three banks (Kim et al., AAAI 2024, section 3.4) over parts that nobody named:

- patch: an image is as odd as its oddest patch is far from every patch of the shots, compared
  around the same place where the image registers to a shot;
- histogram: how many objects of each part there are, how large they are and where they lie;
- composition: what each part looks like on the average.

Each speaks on the scale of the shots left out in turn (adaptive scaling, PSAD section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.augment import SYMMETRIES, Symmetry, symmetric_copies
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import Reader
from fmlad.memory.patch_memory import Found, Look, PatchMemory, Remembered, smoothed
from fmlad.methods.banks.arrangement import moved
from fmlad.methods.banks.confirmation import confirmed, sureness
from fmlad.methods.banks.differences import Scene, differences, paint, segmentation
from fmlad.methods.banks.object_memory import ObjectMemory
from fmlad.methods.protocol import Difference, Evidence, Progress
from fmlad.objects.appearance import Floats, Offers, see
from fmlad.objects.consensus import Kinds, agree
from fmlad.prediction import Segmentation
from fmlad.scoring.fusion import AdaptiveScaling, Combine
from fmlad.views import ImageView

BANKS = ("patch", "histogram", "composition")
OF_PARTS = ("histogram", "composition")
PROPOSER = "mask_proposer"
RATIO_SHOTS = 8  # left-out shots that set the scale between the two ways of searching

# Smallest and largest scale of each branch (ours). Counts are measured in nats, a unit that needs
# no shots to be understood: one object too many after four equal counts is worth about 2 of them
# beyond chance, twice the oddest patch of the shots.
BOUNDS: Mapping[str, tuple[float, float]] = {"histogram": (1.0, 6.0), "composition": (2.0, 8.0)}


@dataclass(frozen=True)
class BanksConfig:
    """Options of the method.

    Attributes:
        banks: Banks to use, out of ``"patch"``, ``"histogram"`` and ``"composition"``; the latter
            two ask for a mask proposer.
        levels: Number of pyramid levels compared, finest first; their distances are averaged
            (ours; one level is best for small defects, more see larger ones).
        symmetry: Mirrored and turned copies of the shots to remember as well, for products without
            a fixed orientation: ``"none"``, ``"flips"``, ``"rotations"`` or ``"all"`` (ours).
        registration: Whether to look for the same place at all (ours).
        hierarchy: Whether to count at all levels of likeness or at the finest alone (ours).
        place: Whether the place of parts counts where the shots are arranged alike (ours).
        scaling: Whether branches are scaled by the left-out shots (PSAD) or added as they are.
        fusion: ``"norm"`` of the scaled branches or their ``"maximum"`` (both ours), or their
            ``"sum"`` (PSAD; with one shot always).
        shot_confidence: Edge correlation from which shots count as registered to each other; place
            is asked for when most of them are (ours).
        query_confidence: The same for a query; lower, because what is wrong with it costs
            correlation, while a registration by chance stays far below (ours).
        references: At most this many shots, the nearest by pooled features, are registered (ours;
            SAM-LAD's template bank has 2).
        window: Half width in cells of the search around the same place (ours).
        smoothing: Gaussian sigma in cells on the distance map; makes the maximum robust against
            one odd cell (PatchCore: sigma 4 px at a stride of 8 px is half a cell).
    """

    banks: Sequence[str] = BANKS
    levels: int = 1
    symmetry: Symmetry = "none"
    registration: bool = True
    hierarchy: bool = True
    place: bool = True
    scaling: bool = True
    fusion: Combine = "norm"
    shot_confidence: float = 0.8
    query_confidence: float = 0.5
    references: int = 8
    window: int = 1
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        banks: object = self.banks
        if isinstance(banks, str | list):  # one name, or what JSON made of the tuple
            object.__setattr__(self, "banks", (banks,) if isinstance(banks, str) else tuple(banks))
        fits = isinstance(self.banks, tuple) and all(bank in BANKS for bank in self.banks)
        if not fits or not self.banks:
            raise OptionError(f"banks={self.banks!r} is not possible; available: {BANKS}.")
        if self.symmetry not in SYMMETRIES:
            raise OptionError(f"symmetry={self.symmetry!r} is not one of {SYMMETRIES}.")
        for name in ("registration", "hierarchy", "place", "scaling"):
            if not isinstance(getattr(self, name), bool):
                value = getattr(self, name)
                raise OptionError(f"{name} must be True or False, got {value!r}.")
        if self.fusion not in get_args(Combine):
            raise OptionError(f"fusion={self.fusion!r} is not one of {get_args(Combine)}.")
        for name, low, high, kind in (
            ("levels", 1, 8, int),
            ("shot_confidence", 0.0, 1.0, float),
            ("query_confidence", 0.0, 1.0, float),
            ("references", 1, 1000, int),
            ("window", 0, 16, int),
            ("smoothing", 0.0, 16.0, float),
        ):
            value = getattr(self, name)
            fits = isinstance(value, int if kind is int else (int, float))
            if isinstance(value, bool) or not fits or not low <= value <= high:
                raise OptionError(
                    f"{name} must be {kind.__name__} in [{low}, {high}], got {value!r}."
                )


@dataclass(frozen=True)
class BanksState:
    """What the banks remember.

    Attributes:
        patches: The patch bank; it also knows how images register to the shots.
        objects: For the banks of parts; None where there is no mask proposer.
    """

    patches: PatchMemory
    objects: ObjectMemory | None

    @property
    def shots(self) -> int:
        """Number of shots."""
        return self.patches.shots

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        return {**self.patches.tensors(), **(self.objects.tensors() if self.objects else {})}

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        return {
            "patches": self.patches.meta(),
            "objects": self.objects.meta() if self.objects else None,
        }


@dataclass(frozen=True)
class Compared:
    """An image's patches before those of the shots.

    Attributes:
        distances: ``(h, w)``, smoothed.
        registered: Whether it registered to a shot and they were compared at the same place.
        note: The same in words.
    """

    distances: npt.NDArray[np.float32]
    registered: bool
    note: str


class Banks:
    """The method; see the module."""

    name: ClassVar[str] = "banks"
    summary: ClassVar[str] = (
        "training-free memory of the shots' patches and parts: counts, sizes, places, looks"
    )
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(self, config: BanksConfig | None = None) -> None:
        self.config = config or BanksConfig()

    @property
    def needs(self) -> tuple[str, ...]:
        """Roles it asks for: a mask proposer where a bank of parts was asked for."""
        return ("feature_extractor", PROPOSER) if self._of_parts else ("feature_extractor",)

    @property
    def branches(self) -> tuple[str, ...]:
        """One branch a bank."""
        return tuple(self.config.banks)

    @property
    def _of_parts(self) -> bool:
        return any(bank in OF_PARTS for bank in self.config.banks)

    def fit(
        self,
        views: Sequence[ImageView],
        *,
        labels: Sequence[npt.NDArray[np.integer]] | None,
        unlabeled: Sequence[ImageView],
        prompts: Any,
        rng: np.random.Generator,
        progress: Progress,
    ) -> BanksState:
        """Remembers the shots and learns whether place means anything among them."""
        memory, offers = [], []
        for index, view in enumerate(views):
            memory.append(Remembered(index, self._look(view)))
            if self._of_parts:
                offers.append(self._offers(view))
            progress(index + 1, len(views), "remembering shots")
        for index, view in enumerate(views):
            for what, pixels in symmetric_copies(view.pixels, self.config.symmetry):
                look = self._look(view.again(pixels, what), edges=False)
                memory.append(Remembered(index, look))
        patches = PatchMemory(tuple(memory), placed=self.config.registration)
        if self.config.registration:
            patches = self._learn_place(views, patches, rng, progress)
        return BanksState(patches, self._remembered(offers) if self._of_parts else None)

    def evidence(
        self, view: ImageView, state: BanksState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Distances of the view's patches and deviations of its parts from the shots."""
        banks = self.branches
        scores: dict[str, float] = {}
        maps: dict[str, npt.NDArray[np.float32]] = {}
        notes: list[str] = []
        patches = None
        if "patch" in banks or state.patches.placed:
            patches = self.compared(view, state, exclude)
            if "patch" in banks:
                maps["patch"] = patches.distances
                scores["patch"] = float(patches.distances.max())
                notes.append(patches.note)
        named: list[Difference] = []
        labels: Segmentation | None = None
        if state.objects is not None:
            scene = self._scene(view, state.objects, exclude)
            objects, into = scene.seen.objects, scene.into
            deviations = scene.framed.model.deviations(
                objects, None if into is None else moved(objects.places, into)
            )
            if into is not None:
                notes.append("its objects are arranged as in the shots: their places were compared")
            deviations = [d for d in deviations if d.branch in banks]
            lit: Floats | None = None  # how surely each cell changed, where nobody else says so
            if patches is not None and patches.registered and state.patches.usual > 0:
                ratio, alone = patches.distances / state.patches.usual, state.shots == 1
                deviations = confirmed(deviations, scene, ratio, alone)
                lit = sureness(ratio, alone) if alone else None
            level = self._look(view).levels[0]
            size = (level.shape[-2], level.shape[-1])
            for branch in OF_PARTS:
                if branch in banks:
                    scores[branch] = max(
                        (d.score for d in deviations if d.branch == branch), default=0.0
                    )
                    painted = paint(deviations, scene, size, branch)
                    maps[branch] = painted if lit is None else painted * lit.astype(np.float32)
            named = differences(deviations, scene)
            labels = segmentation(scene)
        return Evidence(scores, maps, labels, named, tuple(notes))

    def compared(
        self, view: ImageView, state: BanksState, exclude: frozenset[int] = frozenset()
    ) -> Compared:
        """Distances of the view's patches from the shots', at the same place if it registers."""
        look, memory = self._look(view), state.patches
        found: list[Found] = []
        if memory.placed:
            least, references = self.config.query_confidence, self.config.references
            found = memory.registered(look, exclude, least, references)
        if found:
            distances = memory.at_place(look, found, self.config.window)
            shots = "the shot" if len(found) == 1 else f"{len(found)} shots"
            note = f"registered to {shots}: patches were compared at the same place"
        else:
            distances = memory.anywhere(look, exclude) * memory.ratio
            note = "patches were compared anywhere in the shots"
            if memory.placed:
                note = f"did not register to any shot: {note}"
        smooth = smoothed(distances, self.config.smoothing).cpu().numpy()
        return Compared(smooth, bool(found), note)

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: BanksState) -> AdaptiveScaling:
        """PSAD's adaptive scaling, within bounds for the banks in natural units.

        Copies of a single shot say how much its patches differ from themselves, which is far less
        than from any other image: there a norm would hear the patch bank alone, so banks add up.
        """
        if not self.config.scaling:
            return AdaptiveScaling.plain(self.branches)
        combine: Combine = "sum" if state.shots == 1 else self.config.fusion
        return AdaptiveScaling.fit(left_out, BOUNDS, combine, by_mean=("histogram",))

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> BanksState:
        """Back from a saved detector."""
        reader = Reader(tensors, device)
        try:
            patches = PatchMemory.restore(reader, meta["patches"])
            described = meta["objects"]
            objects = None if described is None else ObjectMemory.restore(reader, described)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise CorruptDetectorError(f"The saved bank's description is bad: {error!r}.") from None
        reader.finish()
        if (objects is not None) != self._of_parts:
            raise CorruptDetectorError("The saved bank's objects are not what its banks need.")
        if objects is not None and len(objects.shots) != patches.shots:
            raise CorruptDetectorError("The saved banks remember different shots.")
        if len(patches.memory[0].look.levels) > self.config.levels:
            raise CorruptDetectorError("The saved bank holds more levels than it compares.")
        return BanksState(patches, objects)

    def _look(self, view: ImageView, edges: bool = True) -> Look:
        levels = view.pyramid().levels
        compared = tuple(levels[stride] for stride in sorted(levels)[: self.config.levels])
        return Look(compared, view.pyramid().pooled[0], view.edges if edges else None)

    def _offers(self, view: ImageView) -> Offers:
        if "offers" not in view.memo:
            levels = view.pyramid().levels
            view.memo["offers"] = see(view.pixels, view.masks(PROPOSER), levels[min(levels)])
        offers: Offers = view.memo["offers"]
        return offers

    def _remembered(self, offers: Sequence[Offers]) -> ObjectMemory:
        """Objects that the shots agree on."""
        taken = agree(offers)
        objects = [o.objects.rows(rows) for o, rows in zip(offers, taken, strict=True)]
        kinds = [Kinds.of(o, rows) for o, rows in zip(offers, taken, strict=True)]
        return ObjectMemory.learn(objects, kinds, self.config.hierarchy, self.config.place)

    def _scene(self, view: ImageView, memory: ObjectMemory, exclude: frozenset[int]) -> Scene:
        framed = memory.model(exclude)
        offers = self._offers(view)
        seen = offers.taken(memory.parse(offers, exclude), view.masks(PROPOSER))
        seen = replace(seen, objects=framed.model.settled(seen.objects))
        return Scene(seen, framed, framed.into(seen.objects), view.size)

    def _learn_place(
        self,
        views: Sequence[ImageView],
        memory: PatchMemory,
        rng: np.random.Generator,
        progress: Progress,
    ) -> PatchMemory:
        """Do left-out shots register, and how do the two ways of searching compare on them?"""
        if len(views) == 1:
            trials = [(copy, frozenset[int]()) for copy in views[0].gentle_copies]
        else:
            count = min(len(views), RATIO_SHOTS)
            chosen = sorted(int(i) for i in rng.choice(len(views), size=count, replace=False))
            trials = [(views[i], frozenset({i})) for i in chosen]
        at_place, anywhere = [], []
        least, references = self.config.shot_confidence, self.config.references
        for done, (view, exclude) in enumerate(trials, start=1):
            look = self._look(view)
            found = memory.registered(look, exclude, least, references)
            if found:
                near = memory.at_place(look, found, self.config.window)
                at_place.append(float(smoothed(near, self.config.smoothing).max()))
                free = memory.anywhere(look, exclude)
                anywhere.append(float(smoothed(free, self.config.smoothing).max()))
            progress(done, len(trials), "comparing shots with each other")
            if 2 * (len(at_place) + len(trials) - done) <= len(trials):
                break  # most do not register, whatever the others do
        return memory.with_place(at_place, anywhere, len(trials))
