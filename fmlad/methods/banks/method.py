"""Method ``banks``: training-free memory of the shots.

PSAD's three banks (Kim et al., AAAI 2024, section 3.4) over parts that nobody named:

- patch: an image is as odd as its oddest patch is far from every patch of the shots, compared
  around the same place where the image registers to a shot;
- histogram: how many objects of each part there are, how large they are and where they lie;
- composition: what each part looks like on the average.

Each is measured on the scale of the shots left out in turn (adaptive scaling, PSAD section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.memory.change import sureness
from fmlad.memory.patch_branch import PatchBranch, PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.banks.config import BOUNDS, OF_PARTS, BanksConfig
from fmlad.methods.banks.differences import Scene, confirmed, differences, paint, segmentation
from fmlad.methods.banks.object_memory import ObjectMemory
from fmlad.methods.banks.parts_model import Deviation
from fmlad.methods.protocol import Calibrates, Evidence, FitContext
from fmlad.objects.arrangement import moved
from fmlad.objects.consensus import Kinds, agree
from fmlad.objects.proposals import PROPOSER, view_proposals
from fmlad.scoring.fusion import AdaptiveScaling, Combine
from fmlad.views import ImageView

Map = npt.NDArray[np.float32]


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


class Banks:
    """The method; see the module."""

    name: ClassVar[str] = "banks"
    summary: ClassVar[str] = (
        "training-free memory of the shots' patches and parts: counts, sizes, places, appearance"
    )
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    calibrates_by: ClassVar[Calibrates] = "leave-one-out"

    def __init__(self, config: BanksConfig | None = None) -> None:
        self.config = config or BanksConfig()
        self._patches = PatchBranch(
            self.config.levels,
            self.config.symmetry,
            self.config.registration,
            self.config.shot_confidence,
            self.config.query_confidence,
            self.config.references,
            self.config.window,
            self.config.smoothing,
        )

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

    def fit(self, views: Sequence[ImageView], context: FitContext) -> BanksState:
        """Remembers the shots and learns whether place means anything among them."""
        patches = self._patches.fit(views, context.rng, context.progress)
        objects = self._learn_objects(views) if self._of_parts else None
        return BanksState(patches, objects)

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
            notes.append(patches.note)
        if state.objects is None:
            return Evidence(scores, maps, notes=tuple(notes))
        scene = self._scene(view, state.objects, exclude)
        if scene.into is not None:
            notes.append("its objects are arranged as in the shots: their places were compared")
        deviations, lit = self._deviations(scene, patches, state)
        level = self._patches.features(view, edges=False).levels[0]
        size = (level.shape[-2], level.shape[-1])
        for branch in [one for one in OF_PARTS if one in self.branches]:
            own = [d.score for d in deviations if d.branch == branch]
            scores[branch] = max(own, default=0.0)
            painted = paint(deviations, scene, size, branch)
            maps[branch] = painted if lit is None else painted * lit
        return Evidence(
            scores, maps, segmentation(scene), differences(deviations, scene), tuple(notes)
        )

    def fusion(self, left_out: Sequence[Mapping[str, float]], state: BanksState) -> AdaptiveScaling:
        """PSAD's adaptive scaling, within bounds for the banks in natural units.

        Copies of a single shot say how much its patches differ from themselves, which is far less
        than from any other image: a norm would then be the patch bank's score alone, so banks add
        up.
        """
        if not self.config.scaling:
            return AdaptiveScaling.plain(self.branches)
        combine: Combine = "sum" if state.shots == 1 else self.config.fusion
        return AdaptiveScaling.fit(left_out, BOUNDS, combine, by_mean=("histogram",))

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> BanksState:
        """Back from a saved detector."""
        reader = TensorReader(tensors, device)
        with reader.description("bank"):
            patches = PatchMemory.restore(reader, meta["patches"])
            described = meta["objects"]
            objects = None if described is None else ObjectMemory.restore(reader, described)
        if (objects is not None) != self._of_parts:
            raise CorruptDetectorError("The saved bank's objects are not what its banks need.")
        if objects is not None and len(objects.shots) != patches.shots:
            raise CorruptDetectorError("The saved banks remember different shots.")
        if len(patches.memory[0].features.levels) > self.config.levels:
            raise CorruptDetectorError("The saved bank holds more levels than it compares.")
        return BanksState(patches, objects)

    def _learn_objects(self, views: Sequence[ImageView]) -> ObjectMemory:
        """Objects of the shots, chosen so that like proposals are taken alike."""
        proposals = [view_proposals(view) for view in views]
        taken = agree(proposals)
        objects = [p.objects.rows(rows) for p, rows in zip(proposals, taken, strict=True)]
        kinds = [Kinds.of(p, rows) for p, rows in zip(proposals, taken, strict=True)]
        return ObjectMemory.learn(objects, kinds, self.config.hierarchy, self.config.place)

    def _scene(self, view: ImageView, memory: ObjectMemory, exclude: frozenset[int]) -> Scene:
        framed = memory.model(exclude)
        proposals = view_proposals(view)
        seen = proposals.taken(memory.parse(proposals, exclude), view.masks(PROPOSER))
        seen = replace(seen, objects=framed.model.settled(seen.objects))
        return Scene(seen, framed, framed.into(seen.objects), view.size)

    def _deviations(
        self, scene: Scene, patches: PatchComparison | None, state: BanksState
    ) -> tuple[list[Deviation], Map | None]:
        """Deviations of its parts; where patches can confirm them, those that they confirm.

        Returns:
            The deviations, and for a single shot ``(h, w)`` in [0, 1]: how surely a cell changed.
        """
        objects, into = scene.seen.objects, scene.into
        places = None if into is None else moved(objects.places, into)
        found = scene.framed.model.deviations(objects, places)
        found = [d for d in found if d.branch in self.branches]
        if patches is None or not patches.registered or state.patches.baseline <= 0:
            return found, None
        ratio, alone = patches.distances / state.patches.baseline, state.shots == 1
        found = confirmed(found, scene, ratio, alone)
        return found, sureness(ratio, alone).astype(np.float32) if alone else None
