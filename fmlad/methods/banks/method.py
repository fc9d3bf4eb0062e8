"""Method ``banks``: training-free memory of the shots.

PSAD's three banks (Kim et al., AAAI 2024, section 3.4) over unnamed parts:

- patch: largest distance of a patch to the nearest patch of the shots, searched around the same
  place where the image registers to a shot;
- histogram: number, area and places of the objects of each part;
- composition: mean features of each part;
- combination: which sizes, proportions and colours go together (ours).

Each is divided by the scores of the shots left out in turn (adaptive scaling, PSAD section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.change import sureness
from fmlad.memory.patch_branch import PatchBranch, PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.banks.config import BOUNDS, BY_MEAN, OF_PARTS, BanksConfig
from fmlad.methods.banks.differences import Scene, confirmed, differences, paint, segmentation
from fmlad.methods.banks.object_memory import ObjectMemory, read_together
from fmlad.methods.banks.parts_model import Deviation
from fmlad.methods.protocol import Aims, Calibrates, Evidence, FitContext
from fmlad.objects.arrangement import moved
from fmlad.objects.choices import Choices
from fmlad.objects.fixtures import Fixture, at_fixtures, fixtures
from fmlad.objects.inventory import Part, inventory
from fmlad.objects.proposals import AUTOMATIC, ProposalSource
from fmlad.scoring.fusion import AdaptiveScaling, Combine
from fmlad.views import ImageView

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BanksState:
    """State of the banks.

    Attributes:
        patches: The patch bank, with what registration needs.
        objects: For the banks of parts; None without them.
        source: Where their objects come from.
    """

    patches: PatchMemory
    objects: ObjectMemory | None
    source: ProposalSource = AUTOMATIC

    @property
    def shots(self) -> int:
        """Number of shots."""
        return self.patches.shots

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """What lies at the same place in all shots while other objects move."""
        return self.objects.fixtures if self.objects else ()

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        return {**self.patches.tensors(), **(self.objects.tensors() if self.objects else {})}

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        return {
            "patches": self.patches.meta(),
            "objects": self.objects.meta() if self.objects else None,
            **self.source.to_dict(),
        }


class Banks:
    """The method; see the module."""

    name: ClassVar[str] = "banks"
    summary: ClassVar[str] = (
        "training-free memory of the shots' patches and parts: counts, sizes, places, appearance"
    )
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"
    aims: ClassVar[Aims] = {"damage": {"banks": ("patch",)}, "composition": {"banks": OF_PARTS}}

    def __init__(self, config: BanksConfig | None = None) -> None:
        self.config = config or BanksConfig()
        if not self._of_parts and self._source != AUTOMATIC:
            raise OptionError(
                "proposals= and phrases= are for the banks of parts, and banks="
                f"{self.config.banks} has none; leave them out, or add 'histogram'."
            )
        self._patches = PatchBranch(
            self.config.levels,
            self.config.symmetry,
            self.config.registration,
            self.config.shot_confidence,
            self.config.query_confidence,
            self.config.references,
            self.config.window,
            self.config.smoothing,
            self.config.variation,
            self.config.background,
            "product",
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Roles it asks for: those of proposals where a bank of parts was asked for."""
        return ("feature_extractor", *(self._source.roles if self._of_parts else ()))

    @property
    def branches(self) -> tuple[str, ...]:
        """One branch a bank."""
        return tuple(self.config.banks)

    @property
    def _source(self) -> ProposalSource:
        return ProposalSource(self.config.proposals, self.config.phrases)

    @property
    def _of_parts(self) -> bool:
        return any(bank in OF_PARTS for bank in self.config.banks)

    def fit(self, views: Sequence[ImageView], context: FitContext) -> BanksState:
        """Remembers the shots and learns whether place means anything among them."""
        patches = self._patches.fit(views, context.rng, context.progress)
        if not self._of_parts:
            return BanksState(patches, None)
        source = self._source.learned(views, context.progress)
        return BanksState(patches, self._learn_objects(views, source), source)

    def evidence(
        self, view: ImageView, state: BanksState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Distances of the view's patches and deviations of its parts from the shots."""
        scores: dict[str, float] = {}
        maps: dict[str, Map] = {}
        notes: list[str] = []
        patches = None
        if "patch" in self.branches or state.patches.placed:
            patches = self._patches.compare(view, state.patches, exclude)
        if patches is not None and "patch" in self.branches:
            scores["patch"], maps["patch"] = patches.score, patches.distances
            notes += [patches.note] if patches.note else []
        if state.objects is None:
            return Evidence(scores, maps, notes=tuple(notes))
        scene = self._scene(view, state.objects, state.source, exclude)
        if scene.framed.frames is not None and scene.transform is None:
            notes.append("its objects do not lie as in the shots: their places were not compared")
        deviations, change = self._deviations(scene, patches, state)
        grid = view.pyramid().cells if patches is None else patches.distances
        size = (grid.shape[-2], grid.shape[-1])
        for branch in [one for one in OF_PARTS if one in self.branches]:
            own = [d.score for d in deviations if d.branch == branch]
            scores[branch] = max(own, default=0.0)
            painted = paint(deviations, scene, size, branch)
            maps[branch] = painted if change is None else painted * change
        return Evidence(
            scores, maps, segmentation(scene), differences(deviations, scene), tuple(notes)
        )

    def notes(self, state: BanksState) -> list[str]:
        """What holds for every image."""
        found = [self._patches.how(state.patches)] if "patch" in self.branches else []
        if state.objects is not None and state.objects.model().frames is not None:
            found.append("the objects of the normal images are arranged alike: their places count")
        return found

    def parts(self, state: BanksState) -> list[Part]:
        """The parts that findings name."""
        if state.objects is None:
            return []
        framed = state.objects.model()
        model = framed.model
        level = model.naming_level()
        return inventory(model.parts, model.names, model.descriptions, level, framed.shots)

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: BanksState) -> AdaptiveScaling:
        """PSAD's adaptive scaling, within bounds for the banks in natural units.

        Copies of a single shot give far too small a scale for patches: a norm would then be the
        patch bank's score alone, so the banks' scores are added.
        """
        if not self.config.scaling:
            return AdaptiveScaling.plain(self.branches)
        combine: Combine = "sum" if state.shots == 1 else self.config.fusion
        return AdaptiveScaling.fit(left_out, BOUNDS, combine, by_mean=BY_MEAN)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> BanksState:
        """Back from a saved detector."""
        reader = TensorReader(tensors, device)
        with reader.description("bank"):
            patches = PatchMemory.restore(reader, meta["patches"])
            described = meta["objects"]
            objects = None if described is None else ObjectMemory.restore(reader, described)
            source = self._source.restored(meta) if described else AUTOMATIC
        if (objects is not None) != self._of_parts:
            raise CorruptDetectorError("The saved bank's objects are not what its banks need.")
        if objects is not None and len(objects.shots) != patches.shots:
            raise CorruptDetectorError("The saved banks remember different shots.")
        if len(patches.memory[0].features.levels) > self.config.levels:
            raise CorruptDetectorError("The saved bank holds more levels than it compares.")
        return BanksState(patches, objects, source)

    def _learn_objects(self, views: Sequence[ImageView], source: ProposalSource) -> ObjectMemory:
        """Objects of the shots: the proposals that are kept by consensus."""
        proposals = [source.proposals(view) for view in views]
        kept = list(zip(proposals, read_together(proposals, self.config.hierarchy), strict=True))
        objects = [one.objects.rows(rows) for one, rows in kept]
        choices = [Choices.distinct(one, rows) for one, rows in kept]
        fixed = fixtures(objects, [view.size for view in views])
        if self.config.fixtures == "drop":
            objects = [
                one.rows(~at_fixtures(one, view.size, fixed))
                for one, view in zip(objects, views, strict=True)
            ]
        hierarchy, place = self.config.hierarchy, self.config.place
        return ObjectMemory.learn(objects, choices, hierarchy, place, fixed)

    def _scene(
        self,
        view: ImageView,
        memory: ObjectMemory,
        source: ProposalSource,
        exclude: frozenset[int],
    ) -> Scene:
        framed = memory.model(exclude)
        proposals = source.proposals(view)
        dropped = None
        if self.config.fixtures == "drop":
            dropped = at_fixtures(proposals.objects, view.size, memory.fixtures)
        seen = proposals.taken(memory.select(proposals, exclude, dropped), source.masks(view))
        seen = replace(seen, objects=framed.model.pooled(seen.objects))
        return Scene(seen, framed, framed.transform(seen.objects), view.size)

    def _deviations(
        self, scene: Scene, patches: PatchComparison | None, state: BanksState
    ) -> tuple[list[Deviation], Map | None]:
        """Deviations of its parts; where patches are compared in place, those that they confirm.

        Returns:
            The deviations, and for a single shot the chance ``(h, w)`` that a cell changed.
        """
        objects, transform = scene.seen.objects, scene.transform
        places = None if transform is None else moved(objects.places, transform)
        config = self.config
        found = scene.framed.model.deviations(objects, places, config.loose_places)
        found = [d for d in found if d.branch in self.branches]
        if "combination" in self.branches:
            found += scene.framed.unlike(objects, config.extents, config.relations, config.together)
            found.sort(key=lambda deviation: -deviation.score)
        if patches is None or not patches.registered or state.patches.baseline <= 0:
            return found, None
        ratio, alone = patches.distances / state.patches.baseline, state.shots == 1
        found = confirmed(found, scene, ratio, alone)
        return found, sureness(ratio, alone).astype(np.float32) if alone else None
