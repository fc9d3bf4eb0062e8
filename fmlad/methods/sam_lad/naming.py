"""Names of objects: those of one look among the templates are one part (ours)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fmlad.objects.appearance import Objects
from fmlad.objects.inventory import Part, inventory
from fmlad.objects.names import describe, part_descriptions, part_names
from fmlad.objects.parts import Parts

FINEST = 0  # level of similarity: digits of one shape, not of one colour
Name = tuple[str | None, str]  # of the part, or None; and what it looks like


class PartNames:
    """Parts of the templates' objects, by name."""

    def __init__(self, templates: Sequence[Objects]) -> None:
        """From the objects of each template."""
        self._parts = Parts(templates)
        self._names = part_names(self._parts, FINEST)
        self._descriptions = part_descriptions(self._parts)
        self._first = np.cumsum([0, *(len(one) for one in templates)])

    def inventory(self, shots: Sequence[int]) -> list[Part]:
        """The parts; ``shots`` are the indices of the templates among all shots."""
        return inventory(self._parts, self._names, self._descriptions, FINEST, shots)

    def of_template(self, number: int, row: int) -> Name:
        """Of an object of a template."""
        owner = int(self._parts.levels[FINEST].owner[self._first[number] + row])
        if owner >= 0:
            return self._names[owner], self._descriptions[owner]
        return None, describe(self._parts.shots[number].appearance[[row]])

    def of_image(self, objects: Objects) -> list[Name]:
        """Of each object of an image."""
        owners = self._parts.assign(objects)[FINEST].tolist()
        return [
            (self._names[owner], self._descriptions[owner])
            if owner >= 0
            else (None, describe(objects.appearance[[row]]))
            for row, owner in enumerate(owners)
        ]
