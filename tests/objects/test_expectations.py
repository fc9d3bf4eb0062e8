"""Declared rules, each kept and broken."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.objects.expectations import broken, has_rules
from fmlad.objects.instances import GRID, Instance, PartMap
from fmlad.prompts import PromptSet


def prompts(rule: str) -> PromptSet:
    return PromptSet.from_text(
        "coarse: {background: [background]}\n"
        "fine:\n"
        f"  nut: {{words: [red nut], expect: {rule}}}\n"
        "  bolt: {words: [blue bolt]}\n"
    )


def scene(nuts: list[tuple[int, int]], bolts: list[tuple[int, int]], side: int = 8) -> PartMap:
    labels = np.zeros((GRID, GRID), np.int64)
    found = []
    for part, places in ((1, nuts), (2, bolts)):
        for x, y in places:
            labels[y : y + side, x : x + side] = part
            box = (float(x), float(y), float(x + side), float(y + side))
            found.append(Instance(part, box, side**2 / GRID**2))
    return PartMap(labels, tuple(found))


NUTS, BOLTS = [(0, 0), (0, 20)], [(40, 30), (40, 50)]


@pytest.mark.parametrize(
    ("rule", "seen", "kind", "score"),
    [
        ("2", scene(NUTS, BOLTS), None, 0),
        ("4", scene(NUTS, BOLTS), "missing", 2),
        ("1", scene(NUTS, BOLTS), "extra", 1),
        ("0", scene(NUTS, BOLTS), "extra", 2),
        ("1..2", scene(NUTS, BOLTS), None, 0),
        ("3..5", scene(NUTS, BOLTS), "missing", 1),
        ("40%..60%", scene(NUTS, BOLTS), None, 0),
        ("70%..80%", scene(NUTS, BOLTS), "resized", 1 + 0.2 / 0.05),
        ("10%..20%", scene([], []), "resized", 1 + 0.1 / 0.05),
        ("left of bolt", scene(NUTS, BOLTS), None, 0),
        ("right of bolt", scene(NUTS, BOLTS), "misplaced", 2),
        ("above bolt", scene(NUTS, BOLTS), None, 0),
        ("below bolt", scene([(0, 60), (0, 0)], BOLTS, side=4), "misplaced", 1),
        ("left of bolt", scene(NUTS, []), None, 0),
        ("inside bolt", scene([(42, 32)], [(40, 30)], side=6), None, 0),
        ("inside bolt", scene(NUTS, BOLTS), "misplaced", 2),
        ("inside bolt", scene(NUTS, []), "misplaced", 2),
        ("inside bolt", scene([], BOLTS), None, 0),
    ],
)
def test_rules(rule: str, seen: PartMap, kind: str | None, score: float) -> None:
    found = broken(prompts(rule), seen)
    assert [one.kind for one in found] == ([kind] if kind else [])
    if found:
        assert found[0].score == pytest.approx(score)
        assert found[0].score >= 1
        assert found[0].part == "nut"
        assert found[0].text.startswith("the rule says ")


def test_every_broken_rule_speaks() -> None:
    found = broken(prompts("[5, right of bolt]"), scene(NUTS, BOLTS))
    assert [(one.kind, one.expected, one.observed) for one in found] == [
        ("missing", 5.0, 2.0),
        ("misplaced", None, 2.0),
    ]
    assert len(found[0].boxes) == 2


def test_a_set_without_rules() -> None:
    assert has_rules(prompts("3"))
    plain = PromptSet.from_text("coarse: {background: [background]}\nfine: {nut: [red nut]}\n")
    assert not has_rules(plain)
    assert broken(plain, scene(NUTS, [])) == []
