"""What ``sam-lad`` remembers of the shots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.sam_lad.affinity import Likeness
from fmlad.methods.sam_lad.match_statistics import Habits
from fmlad.methods.sam_lad.object_maps import ObjectMaps
from fmlad.methods.sam_lad.pooled_gaussian import Wholes
from fmlad.methods.sam_lad.selection import Selection
from fmlad.methods.sam_lad.templates import TemplateIndex


@dataclass(frozen=True)
class SamLadState:
    """What the method remembers.

    Attributes:
        shots: Number of shots given.
        numbers: Which of them each template is.
        templates: Their objects.
        selection: Which proposals are objects.
        likeness: Units of matching.
        habits: What matching is like between templates.
        usual: Usual mean distance of an object to a single like of it.
        wholes: Objects as wholes; None where that is not asked for or the shots are too few.
        bank: For what lies outside all objects; None if not asked for.
    """

    shots: int
    numbers: tuple[int, ...]
    templates: tuple[ObjectMaps, ...]
    selection: Selection
    likeness: Likeness
    habits: Habits
    usual: float
    wholes: Wholes | None
    bank: PatchMemory | None
    _index: list[TemplateIndex] = field(default_factory=list, repr=False)

    @property
    def index(self) -> TemplateIndex:
        """Search among the templates."""
        if not self._index:
            self._index.append(TemplateIndex([t.vector for t in self.templates]))
        return self._index[0]

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        named = {f"habits.{k}": t for k, t in self.habits.tensors().items()}
        if self.wholes is not None:
            named |= {f"wholes.{name}": tensor for name, tensor in self.wholes.tensors().items()}
        for number, template in enumerate(self.templates):
            named |= {f"template.{number}.{k}": t for k, t in template.tensors().items()}
        if self.bank is not None:
            named |= self.bank.tensors()
            for number in range(len(self.templates)):
                if self._shared(number):  # once is enough
                    del named[f"template.{number}.level"]
        return named

    def _shared(self, number: int) -> bool:
        """Whether the patch bank remembers a template's very features."""
        level = self.templates[number].level
        return self.bank is not None and any(
            level is kept for kept in self.bank.memory[number].features.levels
        )

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "shots": self.shots,
            "shared": all(self._shared(number) for number in range(len(self.templates))),
            "numbers": list(self.numbers),
            "sizes": [list(template.size) for template in self.templates],
            "selection": self.selection.to_dict(),
            "likeness": self.likeness.to_dict(),
            "usual": self.usual,
            "wholes": self.wholes is not None,
            "bank": None if self.bank is None else self.bank.meta(),
        }
