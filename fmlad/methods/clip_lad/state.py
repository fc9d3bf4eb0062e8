"""State of CLIP-LAD, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fmlad.errors import CorruptDetectorError, PromptError
from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.clip_lad.coarse_to_fine import Stages, Wording
from fmlad.methods.clip_lad.histogram import ClassMemory
from fmlad.methods.clip_lad.wording import restore_wording, wording_tensors
from fmlad.objects.clusters import Clusters
from fmlad.prompts import PromptSet


@dataclass(frozen=True)
class ClipLadState:
    """State of a fitted detector.

    Attributes:
        wording: The prompt set with the vectors of its exemplars.
        clusters: Centroids; None where regions come from elsewhere, or without shots.
        classes: The shots in parts; None without shots.
        patches: Their patches; None without that branch, or without shots.
    """

    wording: Wording
    clusters: Clusters | None
    classes: ClassMemory | None
    patches: PatchMemory | None

    @property
    def shots(self) -> int:
        """Number of shots; 0 for a detector from prompts alone."""
        return len(self.classes.shots) if self.classes else 0

    @property
    def prompts(self) -> PromptSet:
        """The prompt set."""
        return self.wording.prompts

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        found = wording_tensors(self.wording)
        if self.clusters is not None:
            found["centroids"] = self.clusters.centroids
        for memory in (self.classes, self.patches):
            found |= memory.tensors() if memory is not None else {}
        return found

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        return {
            "prompts": self.prompts.to_dict(),
            "parts": list(self.prompts.part_names),
            "centroids": self.clusters is not None,
            "shots": self.shots,
            "patches": self.patches.meta() if self.patches else None,
        }

    @classmethod
    def restore(cls, reader: TensorReader, meta: Mapping[str, Any], stages: Stages) -> ClipLadState:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        with reader.description("shots"):
            try:
                prompts = PromptSet.from_dict(meta["prompts"])
            except PromptError as error:
                raise CorruptDetectorError(f"The saved prompt set is not valid: {error}") from None
            if list(prompts.part_names) != meta["parts"]:
                raise CorruptDetectorError("The saved prompt set has other parts.")
            wording = restore_wording(reader, prompts, stages)
            known = meta["centroids"]
            clusters = Clusters(reader.take("centroids", (None, None))) if known else None
            classes = ClassMemory.restore(reader, wording.names) if meta["shots"] else None
            described = meta["patches"]
            patches = None if described is None else PatchMemory.restore(reader, described)
        state = cls(wording, clusters, classes, patches)
        if state.shots != meta["shots"] or (patches and patches.shots != state.shots):
            raise CorruptDetectorError("The saved banks remember different shots.")
        return state
