"""What ``sam-lad`` remembers of the shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.sam_lad.matching import Affinity, MatchStatistics
from fmlad.methods.sam_lad.object_maps import ObjectMaps
from fmlad.methods.sam_lad.pooled_gaussian import PooledGaussian
from fmlad.methods.sam_lad.selection import Selection
from fmlad.methods.sam_lad.templates import TemplateIndex


def _filled(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """A checked dataclass, every field of which must have been saved."""
    return kind(**{one.name: data[one.name] for one in fields(kind)})


@dataclass(frozen=True)
class Learned:
    """What matching the templates with each other taught; ours, the paper learns nothing.

    Attributes:
        affinity: Units of matching.
        statistics: What matching is like between templates.
        baseline: Normal mean distance of an object to a single like of it.
        gaussian: Objects as wholes; None where that is not asked for or the shots are too few.
    """

    affinity: Affinity
    statistics: MatchStatistics
    baseline: float
    gaussian: PooledGaussian | None

    def tensors(self) -> dict[str, Tensor]:
        """On the CPU."""
        named = {f"statistics.{name}": tensor for name, tensor in self.statistics.tensors().items()}
        if self.gaussian is not None:
            named |= {
                f"gaussian.{name}": tensor for name, tensor in self.gaussian.tensors().items()
            }
        return named

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "affinity": asdict(self.affinity),
            "baseline": self.baseline,
            "gaussian": self.gaussian is not None,
        }

    @classmethod
    def restore(
        cls, reader: TensorReader, meta: Mapping[str, Any], templates: Sequence[ObjectMaps]
    ) -> Learned:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            LookupError, TypeError, ValueError: The description is unusable.
        """
        affinity, baseline = _filled(Affinity, meta["affinity"]), float(meta["baseline"])
        if not 0 < baseline < float("inf"):
            raise ValueError(f"the normal distance is {baseline}")
        statistics = MatchStatistics.restore(reader, [len(template) for template in templates])
        known = meta["gaussian"] is True
        gaussian = PooledGaussian.restore(reader, templates, affinity.reach) if known else None
        return cls(affinity, statistics, baseline, gaussian)


@dataclass(frozen=True)
class SamLadState:
    """What the method remembers.

    Attributes:
        shots: Number of shots given.
        numbers: Which of them each template is.
        templates: Their objects.
        selection: Which proposals are objects.
        learned: What the templates taught; None with the preset ``"paper"``.
        bank: For what lies outside all objects; None if not asked for.
    """

    shots: int
    numbers: tuple[int, ...]
    templates: tuple[ObjectMaps, ...]
    selection: Selection
    learned: Learned | None
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
        named = {} if self.learned is None else self.learned.tensors()
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
            "selection": asdict(self.selection),
            "learned": None if self.learned is None else self.learned.meta(),
            "bank": None if self.bank is None else self.bank.meta(),
        }

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> SamLadState:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or contradicts itself.
        """
        reader = TensorReader(tensors, device)
        with reader.description("bank"):
            sizes = [(int(height), int(width)) for height, width in meta["sizes"]]
            shots, numbers = int(meta["shots"]), tuple(int(number) for number in meta["numbers"])
            described, learned = meta["bank"], meta["learned"]
            bank = None if described is None else PatchMemory.restore(reader, described)
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
            known = None if learned is None else Learned.restore(reader, learned, templates)
            selection = _filled(Selection, meta["selection"])
        return cls(shots, numbers, templates, selection, known, bank)
