"""Rules about numbers of boxes, as in ``"6 in 3-10 without trays.txt"``.

rule      = condition {";" condition} ["in" range] ["without" file]
condition = ["class" number ":"] range
range     = number | number "-" number
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from fmlad.errors import OptionError

FORMS = (
    '"6" (exactly six boxes), "4-8" (four to eight), "class 2: 1-3" (one to three of class 2), '
    '"6; class 0: 0" (both), each with "in 3-10" behind (only images with 3 to 10 boxes are '
    'considered) and "without FILE" (images listed in that file are left out)'
)
_RANGE = r"([0-9]{1,6})(?:\s*-\s*([0-9]{1,6}))?"
_CONDITION = re.compile(rf"\s*(?:class\s+(\d{{1,6}})\s*:\s*)?{_RANGE}\s*")
_RULE = re.compile(rf"(?P<conditions>.*?)(?:\bin\s+{_RANGE}\s*)?(?:\bwithout\s+(\S+)\s*)?")


@dataclass(frozen=True)
class Range:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __contains__(self, number: int) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Condition:
    """How many boxes there are to be: of one class, or of all (None)."""

    number: Range
    label: int | None = None

    def broken(self, labels: Counter[int]) -> str | None:
        """What is wrong with an image with so many boxes of each class, or None."""
        found = labels.total() if self.label is None else labels[self.label]
        if found in self.number:
            return None
        boxes = "1 box" if found == 1 else f"{found} boxes"
        return boxes if self.label is None else f"{boxes} of class {self.label}"

    def __str__(self) -> str:
        return f"{self.number}" if self.label is None else f"class {self.label}: {self.number}"


@dataclass(frozen=True)
class BoxRule:
    """When an image is normal, and which images are considered at all.

    All ``conditions`` must hold in a normal image; ``considered`` are total numbers of boxes (None:
    all); ``without`` names the file that lists images to leave out.
    """

    conditions: tuple[Condition, ...]
    considered: Range | None = None
    without: str | None = None

    @classmethod
    def parse(cls, text: str) -> BoxRule:
        """Reads a rule; OptionError where it is none."""
        whole = _RULE.fullmatch(text)
        texts = (whole["conditions"] if whole else "").split(";")
        parts = [*map(_CONDITION.fullmatch, texts)]
        conditions = tuple(
            Condition(_range(m[2], m[3], text), int(m[1]) if m[1] else None) for m in parts if m
        )
        if whole is None or len(conditions) < len(parts):
            raise OptionError(f"{text!r} is no rule about boxes; expected one of: {FORMS}.")
        considered = _range(whole[2], whole[3], text) if whole[2] else None
        return cls(conditions, considered, whole[4])

    def broken(self, labels: Counter[int]) -> str | None:
        """The first condition that does not hold, in words; None for a normal image."""
        return next((what for c in self.conditions if (what := c.broken(labels))), None)

    def __str__(self) -> str:
        text = "; ".join(map(str, self.conditions))
        if self.considered is not None:
            text += f" in {self.considered}"
        return text if self.without is None else f"{text} without {self.without}"


def _range(low: str, high: str | None, text: str) -> Range:
    found = Range(int(low), int(low if high is None else high))
    if found.low > found.high:
        raise OptionError(f"{text!r} has the range {found}; expected the smaller number first.")
    return found
