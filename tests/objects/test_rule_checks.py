"""Declared rules tried on several images."""

from __future__ import annotations

import json

import pytest

from fmlad.errors import CorruptDetectorError
from fmlad.objects.expectations import broken, readings
from fmlad.objects.rule_checks import restore_rule_checks, rule_checks
from tests.objects.test_expectations import BOLTS, NUTS, prompts, scene

FEW, MORE = scene(NUTS, BOLTS), scene([*NUTS, (0, 40)], BOLTS)


def test_every_rule_is_read_whether_it_holds_or_not() -> None:
    wanted = prompts('[2, "40%..60%", left of bolt]')
    found = readings(wanted, FEW)
    assert [(one.part, one.unit, one.observed) for one in found] == [
        ("nut", "count", 2), ("nut", "share", 0.5), ("nut", "misplaced", 0),
    ]  # fmt: skip
    assert [one.broken for one in found] == [None] * 3
    assert [one.broken for one in readings(wanted, MORE) if one.broken] == broken(wanted, MORE)
    assert [one.observed for one in readings(wanted, MORE)] == [3, 0.6, 0]
    assert readings(prompts("2"), MORE)[0].broken is not None


@pytest.mark.parametrize(
    ("images", "suspect", "told"),
    [
        ([FEW, FEW], False, "expected 2 x 'nut'; 2 of 2 normal images agree (2, 2)"),
        ([FEW], False, "expected 2 x 'nut'; 1 of 1 normal image agrees (2)"),
        ([FEW, FEW, MORE], False, "1 of 3 normal images has another count (2, 2, 3)"),
        ([FEW, MORE], True, "1 of 2 normal images has another count (2, 3)"),
        ([MORE, MORE], True, "expected 2 x 'nut'; 2 of 2 normal images have another count (3, 3)"),
    ],
)
def test_a_rule_that_half_of_the_images_break_is_suspect(
    images: list, suspect: bool, told: str
) -> None:
    names = [f"image {number}" for number in range(len(images))]
    (check,) = rule_checks(names, [readings(prompts("2"), image) for image in images])
    assert check.suspect is suspect
    assert told in check.describe()
    assert check.of == len(images)
    assert check.broken_by == tuple(n for n, i in zip(names, images, strict=True) if i is MORE)
    assert restore_rule_checks(json.loads(json.dumps([check.to_dict()]))) == (check,)


def test_shares_and_relations_have_words_of_their_own() -> None:
    wanted = prompts('["70%..80%", right of bolt]')
    share, place = rule_checks(["a", "b"], [readings(wanted, one) for one in (FEW, MORE)])
    assert "2 of 2 normal images have another share (50%, 60%)" in share.describe()
    assert "2 of 2 normal images have objects elsewhere (2, 3 not so)" in place.describe()
    assert (share.rule, place.rule) == (
        "70% to 80% of the parts' area to be 'nut'",
        "'nut' right of 'bolt'",
    )


def test_no_rules_no_checks() -> None:
    assert rule_checks(["a"], [[]]) == ()


@pytest.mark.parametrize("data", [[{}], [{"part": 5}], ["x"]])
def test_rubbish_is_refused(data: list) -> None:
    with pytest.raises(CorruptDetectorError, match="rule checks"):
        restore_rule_checks(data)
