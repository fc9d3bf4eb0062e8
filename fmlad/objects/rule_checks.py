"""Declared rules tried on normal images: one that most of them break is wrong itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fmlad.errors import CorruptDetectorError
from fmlad.objects.expectations import Reading, Unit

SUSPECT = 0.5  # share of the normal images that break a rule, from which the rule is doubted


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RuleCheck:
    """One declared rule on all shots.

    Attributes:
        part: Name of the part that the rule is about.
        rule: In words: ``"6 x 'die'"``.
        unit: What ``counted`` is: ``"count"``, ``"share"`` (of the parts' area, in [0, 1]) or
            ``"misplaced"`` (objects that break a relation).
        broken_by: Names of the shots that break it.
        of: Number of shots.
        counted: What was found in each shot, in order.
    """

    part: str
    rule: str
    unit: Unit
    broken_by: tuple[str, ...]
    of: int
    counted: tuple[float, ...]

    @property
    def suspect(self) -> bool:
        """Whether half of the shots or more break it."""
        return bool(self.broken_by) and len(self.broken_by) >= SUSPECT * self.of

    def describe(self) -> str:
        """One line: what was expected, how many shots break it, and what was found in all."""
        shown = [f"{one:.0%}" if self.unit == "share" else f"{one:.0f}" for one in self.counted]
        found = ", ".join(shown) + (" not so" if self.unit == "misplaced" else "")
        images = f"normal image{'' if self.of == 1 else 's'}"
        if not self.broken_by:
            agree = "agrees" if self.of == 1 else "agree"
            return f"expected {self.rule}; {self.of} of {self.of} {images} {agree} ({found})"
        verb = "has" if len(self.broken_by) == 1 else "have"
        what = {
            "count": f"{verb} another count",
            "share": f"{verb} another share",
            "misplaced": f"{verb} objects elsewhere",
        }[self.unit]
        share = f"{len(self.broken_by)} of {self.of} {images}"
        return f"expected {self.rule}; {share} {what} ({found})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def rule_checks(names: Sequence[str], read: Sequence[Sequence[Reading]]) -> tuple[RuleCheck, ...]:
    """Each rule on all shots.

    Args:
        names: Of the shots.
        read: For each shot the readings of all rules, in the same order for each.
    """
    found = []
    for rule in zip(*read, strict=True):
        first = rule[0]
        broken = [name for name, one in zip(names, rule, strict=True) if one.broken is not None]
        counted = tuple(one.observed for one in rule)
        found.append(
            RuleCheck(first.part, first.rule, first.unit, tuple(broken), len(rule), counted)
        )
    return tuple(found)


def restore_rule_checks(data: Sequence[Mapping[str, Any]]) -> tuple[RuleCheck, ...]:
    """Back from :meth:`RuleCheck.to_dict` of each.

    Raises:
        CorruptDetectorError: Something is missing or of another type.
    """
    try:
        return TypeAdapter(tuple[RuleCheck, ...]).validate_python(data)
    except ValidationError as error:
        what = f"The rule checks of the saved detector are unreadable: {data!r}."
        raise CorruptDetectorError(what) from error
