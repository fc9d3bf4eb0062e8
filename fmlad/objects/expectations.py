"""Rules that a user declares for a part (``docs/prompts.md``), checked on one image in parts.

A broken rule scores 1 for each object too many, too few or out of place, so that no shot is needed
to know the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlad.findings import Box, Kind
from fmlad.objects.instances import Instance, PartMap
from fmlad.prompts import Expectation, PromptSet, Relation

SHARE_UNIT = 0.05  # of the foreground: each so much beyond the range adds 1 (ours)


@dataclass(frozen=True)
class Broken:
    """One declared rule that an image breaks.

    Attributes:
        kind: ``missing`` or ``extra`` (a count), ``resized`` (a share), ``misplaced`` (a relation).
        part: Name of the part that the rule is about.
        expected: The bound of the count or share that is broken; None for a relation.
        observed: What the image has.
        boxes: Of the objects concerned, ``xyxy`` in input pixels; may be empty.
        score: 1 or more.
        text: The rule and what was found instead, in a clause.
    """

    kind: Kind
    part: str
    expected: float | None
    observed: float | None
    boxes: tuple[Box, ...]
    score: float
    text: str


def has_rules(prompts: PromptSet) -> bool:
    """Whether anything is declared at all."""
    return any(part.expect is not None for part in prompts.parts)


def broken(prompts: PromptSet, seen: PartMap) -> list[Broken]:
    """All declared rules that an image breaks, in the order of the parts."""
    found: list[Broken] = []
    for index, part in enumerate(prompts.parts, start=1):
        if part.expect is None:
            continue
        own = _of(seen, index)
        found += _count(part.name, part.expect, own)
        found += _share(part.name, part.expect, seen, index)
        for relation in part.expect.relations:
            others = _of(seen, 1 + prompts.part_names.index(relation.part))
            found += _relation(part.name, relation, own, others)
    return found


def _of(seen: PartMap, part: int) -> list[Instance]:
    return [instance for instance in seen.instances if instance.part == part]


def _boxes(instances: Sequence[Instance]) -> tuple[Box, ...]:
    return tuple(instance.box for instance in instances)


def _count(name: str, expect: Expectation, own: Sequence[Instance]) -> list[Broken]:
    if expect.count is None:
        return []
    least, most = expect.count
    number = len(own)
    if least <= number <= most:
        return []
    bound = float(least if number < least else most)
    kind: Kind = "missing" if number < least else "extra"
    wanted = f"{least}" if least == most else f"{least} to {most}"
    text = f"the rule says {wanted}, found {number}"
    return [Broken(kind, name, bound, float(number), _boxes(own), abs(number - bound), text)]


def _share(name: str, expect: Expectation, seen: PartMap, index: int) -> list[Broken]:
    if expect.share is None:
        return []
    least, most = expect.share
    foreground = int((seen.labels > 0).sum())
    share = float((seen.labels == index).sum()) / max(foreground, 1)
    if least <= share <= most:
        return []
    bound = least if share < least else most
    wanted = f"{least:.0%} to {most:.0%} of the parts' area"
    text = f"the rule says {wanted}, found {share:.0%}"
    score = 1 + abs(share - bound) / SHARE_UNIT
    return [Broken("resized", name, bound, share, _boxes(_of(seen, index)), score, text)]


def _relation(
    name: str, relation: Relation, own: Sequence[Instance], others: Sequence[Instance]
) -> list[Broken]:
    wrong = [instance for instance in own if not _holds(relation, instance, others)]
    if not wrong:
        return []
    text = f"the rule says {relation.kind} {relation.part}; {len(wrong)} of {len(own)} not so"
    number = float(len(wrong))
    return [Broken("misplaced", name, None, number, _boxes(wrong), number, text)]


def _holds(relation: Relation, one: Instance, others: Sequence[Instance]) -> bool:
    x, y = _centre(one)
    if relation.kind == "inside":
        return any(o.box[0] <= x <= o.box[2] and o.box[1] <= y <= o.box[3] for o in others)
    centres = np.array([_centre(other) for other in others]).reshape(-1, 2)
    holds = {
        "left of": x < centres[:, 0],
        "right of": x > centres[:, 0],
        "above": y < centres[:, 1],
        "below": y > centres[:, 1],
    }[relation.kind]
    return bool(holds.all())


def _centre(instance: Instance) -> tuple[float, float]:
    x1, y1, x2, y2 = instance.box
    return (x1 + x2) / 2, (y1 + y2) / 2
