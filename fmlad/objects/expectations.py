"""Rules that a user declares for a part (``docs/prompts.md``), checked on one image in parts.

A broken rule scores 1 for each object too many, too few or out of place, so that no shot is needed
to know the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fmlad.findings import Box, Kind
from fmlad.objects.instances import Instance, PartMap
from fmlad.prompts import PromptSet, Relation

Unit = Literal["count", "share", "misplaced"]

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


@dataclass(frozen=True)
class Reading:
    """What one image shows of one declared rule.

    Attributes:
        part: Name of the part that the rule is about.
        rule: In words: ``"6 x 'die'"``.
        unit: What ``observed`` is: ``"count"``, ``"share"`` (of the parts' area, in [0, 1]) or
            ``"misplaced"`` (objects that break a relation).
        observed: What the image has.
        broken: How the rule is broken; None where it holds.
    """

    part: str
    rule: str
    unit: Unit
    observed: float
    broken: Broken | None


def readings(prompts: PromptSet, seen: PartMap) -> list[Reading]:
    """What an image shows of each declared rule, in the order of the parts."""
    found: list[Reading] = []
    for index, part in enumerate(prompts.parts, start=1):
        if part.expect is None:
            continue
        own = _of(seen, index)
        if part.expect.count is not None:
            found.append(_count(part.name, part.expect.count, own))
        if part.expect.share is not None:
            found.append(_share(part.name, part.expect.share, seen, index))
        for relation in part.expect.relations:
            others = _of(seen, 1 + prompts.part_names.index(relation.part))
            found.append(_relation(part.name, relation, own, others))
    return found


def broken(prompts: PromptSet, seen: PartMap) -> list[Broken]:
    """All declared rules that an image breaks, in the order of the parts."""
    return [one.broken for one in readings(prompts, seen) if one.broken is not None]


def _of(seen: PartMap, part: int) -> list[Instance]:
    return [instance for instance in seen.instances if instance.part == part]


def _boxes(instances: Sequence[Instance]) -> tuple[Box, ...]:
    return tuple(instance.box for instance in instances)


def _count(name: str, wanted: tuple[int, int], own: Sequence[Instance]) -> Reading:
    least, most = wanted
    number = len(own)
    rule_count = f"{least}" if least == most else f"{least} to {most}"
    rule = f"{rule_count} x {name!r}"
    wrong = None
    if not least <= number <= most:
        bound = float(least if number < least else most)
        kind: Kind = "missing" if number < least else "extra"
        text = f"the rule says {rule_count}, found {number}"
        score = abs(number - bound)
        wrong = Broken(kind, name, bound, float(number), _boxes(own), score, text)
    return Reading(name, rule, "count", float(number), wrong)


def _share(name: str, wanted: tuple[float, float], seen: PartMap, index: int) -> Reading:
    least, most = wanted
    foreground = int((seen.labels > 0).sum())
    share = float((seen.labels == index).sum()) / max(foreground, 1)
    area = f"{least:.0%} to {most:.0%} of the parts' area"
    rule = f"{area} to be {name!r}"
    wrong = None
    if not least <= share <= most:
        bound = least if share < least else most
        text = f"the rule says {area}, found {share:.0%}"
        score = 1 + abs(share - bound) / SHARE_UNIT
        wrong = Broken("resized", name, bound, share, _boxes(_of(seen, index)), score, text)
    return Reading(name, rule, "share", share, wrong)


def _relation(
    name: str, relation: Relation, own: Sequence[Instance], others: Sequence[Instance]
) -> Reading:
    misplaced = [instance for instance in own if not _holds(relation, instance, others)]
    rule, number = f"{name!r} {relation.kind} {relation.part!r}", float(len(misplaced))
    wrong = None
    if misplaced:
        so = f"{relation.kind} {relation.part}"
        text = f"the rule says {so}; {len(misplaced)} of {len(own)} not so"
        wrong = Broken("misplaced", name, None, number, _boxes(misplaced), number, text)
    return Reading(name, rule, "misplaced", number, wrong)


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
