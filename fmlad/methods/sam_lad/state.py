"""What ``sam-lad`` remembers of the shots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_memory import PatchMemory
from fmlad.memory.templates import TemplateIndex
from fmlad.methods.sam_lad.matching import Affinity, MatchStatistics
from fmlad.methods.sam_lad.measurement import PooledGaussian
from fmlad.methods.sam_lad.naming import PartNames
from fmlad.objects.feature_maps import ObjectMaps
from fmlad.objects.proposals import AUTOMATIC, ProposalSource
from fmlad.objects.selection import Selection


def _filled(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """A checked dataclass, every field of which must have been saved."""
    return kind(**{one.name: data[one.name] for one in fields(kind)})


@dataclass(frozen=True)
class Learned:
    """What was learned by matching the templates with each other; ours, the paper learns nothing.

    Attributes:
        affinity: Units of matching.
        statistics: How often objects of templates are matched.
        baseline: Normal mean distance of an object to a single counterpart.
        gaussian: Of whole objects; None where that is not asked for or the shots are too few.
    """

    affinity: Affinity
    statistics: MatchStatistics
    baseline: float
    gaussian: PooledGaussian | None


@dataclass(frozen=True)
class SamLadState:
    """What the method remembers.

    Attributes:
        shots: Number of shots given.
        numbers: Which of them each template is.
        templates: Their objects.
        selection: Which proposals are objects.
        learned: By matching the templates; None with the preset ``"paper"``.
        bank: For what lies outside all objects; None if not asked for.
        source: Where proposals come from.
    """

    shots: int
    numbers: tuple[int, ...]
    templates: tuple[ObjectMaps, ...]
    selection: Selection
    learned: Learned | None
    bank: PatchMemory | None
    source: ProposalSource = AUTOMATIC

    @cached_property
    def index(self) -> TemplateIndex:
        """Search among the templates."""
        return TemplateIndex([template.vector for template in self.templates])

    @cached_property
    def names(self) -> PartNames:
        """Of the templates' objects."""
        return PartNames([template.objects for template in self.templates])

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        parts = {f"template.{i}": template.tensors() for i, template in enumerate(self.templates)}
        if self.learned is not None:
            parts["statistics"] = self.learned.statistics.tensors()
            if self.learned.gaussian is not None:
                parts["gaussian"] = self.learned.gaussian.tensors()
        named = {f"{part}.{name}": t for part, some in parts.items() for name, t in some.items()}
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
        learned = self.learned
        return {
            "shots": self.shots,
            "shared": all(self._shared(number) for number in range(len(self.templates))),
            "numbers": list(self.numbers),
            "sizes": [list(template.size) for template in self.templates],
            "selection": asdict(self.selection),
            **self.source.to_dict(),
            "learned": learned
            and {
                "affinity": asdict(learned.affinity),
                "baseline": learned.baseline,
                "gaussian": learned.gaussian is not None,
            },
            "bank": self.bank and self.bank.meta(),
        }

    @classmethod
    def restore(
        cls, reader: TensorReader, meta: Mapping[str, Any], source: ProposalSource = AUTOMATIC
    ) -> SamLadState:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or contradicts itself.
        """
        with reader.description("bank"):
            sizes = [(int(height), int(width)) for height, width in meta["sizes"]]
            shots, numbers = int(meta["shots"]), tuple(int(number) for number in meta["numbers"])
            bank = None if meta["bank"] is None else PatchMemory.restore(reader, meta["bank"])
            levels: list[Tensor | None] = [None] * len(sizes)
            if bank is not None and meta["shared"] is True:
                levels = [one.features.levels[0] for one in bank.memory]
            templates = tuple(
                ObjectMaps.restore(reader, f"template.{number}", size, level)
                for number, (size, level) in enumerate(zip(sizes, levels, strict=True))
            )
            if (
                not templates
                or len(numbers) != len(templates)
                or sorted(set(numbers)) != list(numbers)
                or not 0 <= numbers[0] <= numbers[-1] < shots
                or (bank is not None and bank.shots != len(templates))
                or len({(t.level.shape[1], len(t.vector)) for t in templates}) != 1
            ):
                raise ValueError("the templates contradict each other")
            learned = None
            if (known := meta["learned"]) is not None:
                affinity, baseline = _filled(Affinity, known["affinity"]), float(known["baseline"])
                if not 0 < baseline < float("inf"):
                    raise ValueError(f"the normal distance is {baseline}")
                statistics = MatchStatistics.restore(reader, [len(one) for one in templates])
                gaussian = None
                if known["gaussian"] is True:
                    gaussian = PooledGaussian.restore(reader, templates, affinity.reach)
                learned = Learned(affinity, statistics, baseline, gaussian)
            selection = _filled(Selection, meta["selection"])
            source = source.restored(meta)
        return cls(shots, numbers, templates, selection, learned, bank, source)
