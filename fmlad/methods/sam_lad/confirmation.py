"""Where an image registers to the shots, objects and patches check each other, as in ``banks``.

A proposer that cuts one image differently leaves objects without a like, and measures whole objects
by others, though not a pixel has changed. Where patches can be compared at the same place, they
know: what lies in an unchanged box is as it should be, and only cells that changed light up (ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fmlad.memory.change import changed, sureness
from fmlad.memory.patch_branch import PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.sam_lad.comparison import Comparison, ObjectScore
from fmlad.methods.sam_lad.object_maps import ObjectMaps
from fmlad.methods.sam_lad.rematching import Rematched
from fmlad.methods.sam_lad.report import FloatMap, on_grid
from fmlad.objects.appearance import Floats


@dataclass(frozen=True)
class Confirmation:
    """The patches of an image that registers to the shots.

    Attributes:
        patches: ``(h, w)``, distances to the same place over the normal one of a normal image.
        alone: Whether there is only one shot.
    """

    patches: npt.NDArray[np.float32]
    alone: bool

    @classmethod
    def of(cls, compared: PatchComparison | None, bank: PatchMemory | None) -> Confirmation | None:
        """None where there is no patch bank, or the image does not register."""
        if compared is None or bank is None or not compared.registered or bank.baseline <= 0:
            return None
        return cls(compared.distances / np.float32(bank.baseline), bank.shots == 1)

    def of_comparisons(self, query: ObjectMaps, found: Sequence[Rematched]) -> list[Rematched]:
        """Comparisons in which what did not change costs nothing."""
        here = self._changed(query)
        return [self._confirmed(one, here) for one in found]

    def of_objects(
        self, query: ObjectMaps, objects: Sequence[ObjectScore | None]
    ) -> list[ObjectScore | None]:
        """Objects, each z-score times how surely the place of the object changed."""
        return [None if one is None else self._scored(query, one) for one in objects]

    def of_maps(self, maps: Mapping[str, FloatMap]) -> dict[str, FloatMap]:
        """Maps in which only cells light up that changed."""
        sure = sureness(self.patches, self.alone).astype(np.float32)
        return {
            name: one * on_grid(sure, (one.shape[0], one.shape[1])) for name, one in maps.items()
        }

    def _confirmed(self, one: Rematched, here: Floats) -> Rematched:
        comparison: Comparison = one.comparison
        there = self._changed(comparison.reference)
        kept = replace(
            comparison,
            missing=comparison.missing * there,
            extra=comparison.extra * here,
            moved=comparison.moved * here,
        )
        absent = {
            row: replace(place, whole=place.z_score * float(there[row]))
            for row, place in one.absent.items()
        }
        return replace(one, comparison=kept, absent=absent)

    def _scored(self, query: ObjectMaps, one: ObjectScore) -> ObjectScore:
        rows, columns = one.measured.block
        height, width = query.size
        up, across = height / query.level.shape[-2], width / query.level.shape[-1]
        box = [columns.start * across, rows.start * up, columns.stop * across, rows.stop * up]
        sure = changed(np.array([box]), query.size, self.patches, self.alone)
        return replace(one, whole=one.z_score * float(sure[0]))

    def _changed(self, image: ObjectMaps) -> Floats:
        """How surely the place of each object of the query, or of a reference, changed."""
        return changed(image.objects.boxes, image.size, self.patches, self.alone)
