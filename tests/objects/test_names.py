"""Words for what can be seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fmlad.backbones.embedded.builtin import lab
from fmlad.objects.appearance import (
    COLOUR_UNIT,
    ELONGATION_UNIT,
    SIZE_UNIT,
    SOLIDITY_UNIT,
    Objects,
)
from fmlad.objects.names import describe, letter, part_descriptions, part_names
from fmlad.objects.parts import Parts

Floats = npt.NDArray[np.float64]


def look(
    rgb: tuple[int, int, int] = (119, 119, 119),
    share: float = 0.03,
    ratio: float = 1.0,
    solidity: float = 1.0,
) -> Floats:
    colour = 100 * lab(torch.tensor(rgb).reshape(1, 3, 1, 1).float() / 255)[0, :, 0, 0].numpy()
    form = [
        math.log(share) / SIZE_UNIT,
        math.log(ratio) / ELONGATION_UNIT,
        solidity / SOLIDITY_UNIT,
    ]
    return np.array([*(colour / COLOUR_UNIT), 0.1, *form])


def objects(appearance: list[Floats]) -> Objects:
    n = len(appearance)
    table = np.array(appearance).reshape(-1, 7)
    return Objects(table, table[:, :3].copy(), np.zeros((n, 4)), np.zeros((n, 2)), np.ones(n))


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((200, 30, 40), "red"),
        ((255, 0, 0), "red"),
        ((235, 130, 20), "orange"),
        ((240, 215, 30), "yellow"),
        ((40, 140, 50), "green"),
        ((0, 255, 0), "green"),
        ((40, 70, 190), "blue"),
        ((0, 120, 220), "blue"),
        ((120, 40, 160), "purple"),
        ((250, 130, 180), "pink"),
        ((230, 40, 130), "pink"),
        ((120, 75, 30), "brown"),
        ((20, 20, 22), "dark"),
        ((130, 130, 128), "grey"),
        ((240, 240, 238), "light"),
        ((0, 0, 0), "dark"),
        ((255, 255, 255), "light"),
    ],
)
def test_colours(rgb: tuple[int, int, int], word: str) -> None:
    assert describe(np.array([look(rgb)])) == f"{word} compact"


@pytest.mark.parametrize(
    ("share", "ratio", "solidity", "words"),
    [
        (0.001, 1.0, 1.0, "small grey compact"),
        (0.03, 1.0, 1.0, "grey compact"),
        (0.5, 1.0, 1.0, "large grey compact"),
        (0.03, 6.0, 1.0, "grey long"),
        (0.03, 1.7, 1.0, "grey"),
        (0.03, 1.0, 0.6, "grey irregular"),
        (0.001, 6.0, 0.6, "small grey long"),
    ],
)
def test_sizes_and_shapes(share: float, ratio: float, solidity: float, words: str) -> None:
    assert describe(np.array([look(share=share, ratio=ratio, solidity=solidity)])) == words


def test_every_hue_has_a_name() -> None:
    known = {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"}
    met = set()
    for degrees in range(-180, 181):
        angle = math.radians(degrees)
        for lightness in (30, 70):
            row = look()
            row[:3] = np.array([lightness, 60 * math.cos(angle), 60 * math.sin(angle)])
            row[:3] /= COLOUR_UNIT
            word, rest = describe(row[None]).split(" ", 1)
            assert rest == "compact"
            met.add(word)
    assert met == known


def test_neighbours_across_the_turn_of_the_circle_are_alike() -> None:
    rows = []
    for degrees in (179.9, -179.9):
        row = look()
        angle = math.radians(degrees)
        row[:3] = np.array([60, 40 * math.cos(angle), 40 * math.sin(angle)]) / COLOUR_UNIT
        rows.append(row[None])
    assert describe(rows[0]) == describe(rows[1]) == "green compact"


def test_what_is_of_all_colours_has_none() -> None:
    assert describe(np.array([look((255, 0, 0)), look((0, 0, 255))])) == "compact"
    assert describe(np.array([look((200, 30, 40)), look((210, 30, 40))])) == "red compact"


def test_parts_have_letters_the_most_frequent_first_and_wider_groups_say_what_they_hold() -> None:
    # Two reds far enough apart to be two parts, near enough to share their words.
    kinds = [look((120, 10, 10)), look((255, 60, 60)), look((40, 70, 190))]
    shot = [kind + 0.01 * i for i in range(2) for kind in kinds] + [kinds[2] + 0.02]
    parts = Parts([objects(shot)] * 4)
    names = part_names(parts, 0)
    said = part_descriptions(parts)
    finest = {
        name: words
        for name, words, group in zip(names, said, parts.groups, strict=True)
        if group.level == 0
    }
    assert finest == {"part A": "blue compact", "part B": "red compact", "part C": "red compact"}
    for name, group in zip(names, parts.groups, strict=True):
        if group.facet == "any":
            assert name == "object"
        elif name in finest:  # of whatever level
            own = [g for n, g in zip(names, parts.groups, strict=True) if n == name]
            assert all(set(g.members.tolist()) == set(own[0].members.tolist()) for g in own)


def test_finer_groups_are_kinds_of_a_part() -> None:
    kinds = [look((250, 60, 60)), look((60, 90, 250)), look((60, 200, 90))]
    parts = Parts([objects([kind + 0.01 * i for i in range(2) for kind in kinds])] * 4)
    level = [number for number, one in enumerate(parts.levels) if one.facet == "form"][-1]
    names = part_names(parts, level)
    groups = zip(names, parts.groups, strict=True)
    assert {name for name, group in groups if group.level == level} == {"part A"}
    groups = zip(names, parts.groups, strict=True)
    finest = sorted(name for name, group in groups if group.level == 0)
    assert finest == ["part A2", "part A3", "part A4"]


def test_letters_go_on_after_the_last() -> None:
    assert [letter(rank) for rank in (0, 25, 26, 51, 52, 701, 702)] == [
        "A", "Z", "AA", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip
