"""The parts that the shots have, for people to look at and to name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmlad.objects.instances import as_box
from fmlad.objects.parts import Parts
from fmlad.sentences import Box


@dataclass(frozen=True)
class Part:
    """One part of the shots.

    Attributes:
        name: As findings name it.
        description: What it looks like, in words; "" for parts of a prompt set.
        counts: Objects of it in each shot that the method remembers.
        shot: Index of a shot that shows it, or None.
        box: One of its objects there, ``xyxy`` in that shot's pixels, or None.
    """

    name: str
    description: str
    counts: tuple[int, ...]
    shot: int | None = None
    box: Box | None = None

    def describe(self) -> str:
        """Name, description and usual number in one line."""
        least, most = min(self.counts, default=0), max(self.counts, default=0)
        number = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"{self.name} ({self.description}): {number}"
            if self.description
            else f"{self.name}: {number}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "counts": list(self.counts), "box": self.box and list(self.box)}


def inventory(
    parts: Parts,
    names: Sequence[str],
    descriptions: Sequence[str],
    level: int,
    shots: Sequence[int],
) -> list[Part]:
    """Parts of one level, in the order of their names.

    Args:
        parts: Of the shots.
        names: Of each group.
        descriptions: Of each group, in words.
        level: Index of the level.
        shots: Index of each of its shots among all of the detector's.
    """
    found = []
    for number, group in enumerate(parts.groups):
        if group.level != level:
            continue
        counts = tuple(round(count) for count in group.counts)
        shot = row = None
        if len(group.members):
            member = int(group.members[np.argmax(parts.objectness[group.members])])
            shot, row = int(parts.shot[member]), int(parts.row[member])
        box = None if shot is None or row is None else as_box(parts.shots[shot].boxes[row])
        index = None if shot is None else shots[shot]
        found.append(Part(names[number], descriptions[number], counts, index, box))
    return sorted(found, key=lambda part: (len(part.name), part.name))
