"""The vocabulary of findings: their kinds, and one sentence for each, the same for every method.

A sentence names the part, says where to look in words, and gives the numbers: "pin missing, second
row, third from the left: expected 15, found 14".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Kind = Literal["missing", "extra", "misplaced", "resized", "recoloured", "defect"]
KINDS: tuple[str, ...] = get_args(Kind)

Box = tuple[float, float, float, float]

# What ``expected`` and ``observed`` are: objects, a share of the image, or an area or a length in
# units of its own whose ratio alone means something.
Measure = Literal["count", "share", "ratio", "length"]

MOST_PLACES = 3  # named in one sentence
WHOLE = 0.7  # share of both sides from which a box is the whole picture: no place to name
# Width of a row, as a share of the distance of rows (of an object's side where there is one); gap
# between rows, as a share of an object's side, and of the widest gap.
SAME_LINE, NEXT_LINE, WIDE_GAP = 0.5, 0.7, 0.45
LEAST_IN_GRID = 6  # objects below which rows and columns are chance
MOST_IN_LINE = 12
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth",
    "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip
UNNAMED = re.compile(r"\bpart ([A-Z]+)(\d*)\b")  # as ``fmlad.objects.names`` writes them


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about one difference, before it is put in words.

    Attributes:
        kind: What sort of difference.
        part: Name of the part: the user's, or ``"part A"``; None for a plain defect, or an object
            that is like nothing in the shots.
        description: What the part looks like, in words; for parts that nobody named.
        expected: What the shots have, in the unit of ``measure``; None where there is no number.
        observed: What the image has.
        measure: What both are.
        boxes: ``xyxy`` in input pixels: each object concerned, or the place of each that is absent;
            none where no place can be named.
        peers: All places of the part, those of ``boxes`` among them, to count rows and columns by;
            may be empty.
        instead: What stands in the part's place, in words.
        reason: In the words of the method, in place of the numbers.
    """

    kind: Kind
    part: str | None = None
    description: str = ""
    expected: float | None = None
    observed: float | None = None
    measure: Measure = "count"
    boxes: tuple[Box, ...] = ()
    peers: tuple[Box, ...] = ()
    instead: str = ""
    reason: str = ""


def sentence(facts: Facts, size: tuple[int, int]) -> str:
    """One plain sentence about a difference in an image of ``size`` ``(H, W)``."""
    # More places than objects: which of them it is cannot be told.
    sure = not _counted(facts) or len(facts.boxes) <= _number(facts)
    place = where(facts.boxes, size, facts.peers) if sure else ""
    head = f"{_what(facts)}, {place}" if place else _what(facts)
    if facts.kind == "defect" and facts.part is None and len(facts.boxes) == 1:
        x1, y1, x2, y2 = facts.boxes[0]
        head += f" ({x2 - x1:.0f} x {y2 - y1:.0f} px)"
    tail = facts.reason or _numbers(facts)
    return f"{head}: {tail}" if tail else head


def renamed(facts: Facts, names: Mapping[str, str]) -> Facts:
    """The facts with the user's names for unnamed parts, ``{"part A": "pin"}``."""
    if facts.part is None or not names:
        return facts
    part = with_names(facts.part, names)
    return replace(facts, part=part, description=facts.description if UNNAMED.search(part) else "")


def with_names(text: str, names: Mapping[str, str]) -> str:
    """A text with the user's names; ``"part A2"``, a kind of part A, becomes ``"pin 2"``."""

    def name(found: re.Match[str]) -> str:
        whole, letter, number = found[0], found[1], found[2]
        if whole in names:
            return names[whole]
        return f"{names[f'part {letter}']} {number}" if f"part {letter}" in names else whole

    return UNNAMED.sub(name, text)


def where(boxes: Sequence[Box], size: tuple[int, int], peers: Sequence[Box] = ()) -> str:
    """Up to three places in words, or "" where there is no single place to name.

    Args:
        boxes: ``xyxy`` in pixels.
        size: Height and width of the image.
        peers: All places of the same part: where they lie in rows or columns, these are counted.
    """
    if not 0 < len(boxes) <= MOST_PLACES:
        return ""
    places = [in_line(box, peers) or region(box, size) for box in boxes]
    named = list(dict.fromkeys(place for place in places if place))
    return " and ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else "".join(named)


def region(box: Box, size: tuple[int, int]) -> str:
    """Which ninth of the image a box has its centre in; "" for one as large as the image."""
    height, width = size
    x1, y1, x2, y2 = box
    if x2 - x1 > WHOLE * width and y2 - y1 > WHOLE * height:
        return ""
    row = min(2, int(1.5 * (y1 + y2) / height))
    column = min(2, int(1.5 * (x1 + x2) / width))
    return (
        ("upper left", "top", "upper right"),
        ("left", "centre", "right"),
        ("lower left", "bottom", "lower right"),
    )[max(row, 0)][max(column, 0)]


def in_line(box: Box, peers: Sequence[Box]) -> str:
    """Row and column of a box among its peers, as a person would count; "" where there are none.

    Rows and columns must be straight, clearly apart and full but for one object a row: a heap has
    none.
    """
    if len(peers) < 3:
        return ""
    corners = np.array(peers, dtype=np.float64)
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    own = int(np.abs(centres - centre).sum(1).argmin())
    width, height = np.median(sides, axis=0).tolist()
    rows, columns = _lines(centres[:, 1], height), _lines(centres[:, 0], width)
    across = _nth(own, columns, "left", "right")
    if len(rows) == 1:
        return across
    if len(columns) == 1:
        return _nth(own, rows, "top", "bottom")
    few = len(peers) < LEAST_IN_GRID
    if few or not rows or not columns or min(map(len, rows)) < len(columns) - 1:
        return ""
    number = next(number for number, row in enumerate(rows) if own in row)
    return f"{ORDINALS[number]} row, {across}"


def _lines(values: np.ndarray, side: float) -> list[list[int]]:
    """Indices in groups along an axis; empty where there are no lines clearly apart.

    Objects may lie anywhere in their cells, so that lines are told by the gaps between them and
    must be narrow beside their distance, not beside an object.
    """
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    apart = np.flatnonzero(gaps > max(NEXT_LINE * side, WIDE_GAP * gaps.max(initial=0.0))) + 1
    lines = [line.tolist() for line in np.split(order, apart)]
    spread = max(float(np.ptp(values[line])) for line in lines)
    centres = np.array([values[line].mean() for line in lines])
    most = SAME_LINE * (side if len(lines) == 1 else float(np.diff(centres).min()))
    return lines if spread <= most and len(lines) <= MOST_IN_LINE else []


def _nth(own: int, lines: list[list[int]], first: str, last: str) -> str:
    """Which line holds one of the objects, counted from the nearer side; "" without lines."""
    if not lines:
        return ""
    index = next(number for number, line in enumerate(lines) if own in line)
    if 2 * index < len(lines):
        return f"{ORDINALS[index]} from the {first}"
    return f"{ORDINALS[len(lines) - 1 - index]} from the {last}"


def _counted(facts: Facts) -> bool:
    """Whether it is about a number of objects."""
    counts = facts.kind in ("missing", "extra") and facts.measure == "count"
    return counts and facts.expected is not None


def _number(facts: Facts) -> int:
    """Objects too few or too many, at least 1."""
    return max(1, round(abs((facts.observed or 0.0) - (facts.expected or 0.0))))


def _what(facts: Facts) -> str:
    name = facts.part or "something"
    if facts.part and facts.description:
        name = f"{name} ({facts.description})"
    counted, number = _counted(facts), _number(facts)
    several = f"{number} x {name}" if counted and number > 1 else name
    if facts.kind == "missing":
        return f"{several} missing"
    if facts.kind == "extra":
        if facts.part is None:
            things = "1 object" if number == 1 else f"{number} objects"
            words = f" ({facts.description})" if facts.description else ""
            return f"{things} unlike any in the normal images{words}"
        return f"{several} too many" if counted else f"{name} where there should be none"
    if facts.kind == "misplaced":
        return f"{name} in the wrong place"
    if facts.kind == "defect":
        return f"{name} looks wrong" if facts.part else "defect"
    change = "of another colour"
    if facts.kind == "resized":
        change = "of another size"
        if facts.expected is not None and facts.observed is not None:
            more, less = ("long", "short") if facts.measure == "length" else ("large", "small")
            change = f"too {more if facts.observed > facts.expected else less}"
    return f"{name} {change}"


def _numbers(facts: Facts) -> str:
    if facts.instead:
        return f"{facts.instead} in its place"
    if facts.kind == "defect":
        return "" if facts.part else "unlike anything in the normal images"
    if facts.expected is None or facts.observed is None or facts.part is None:
        return ""
    if facts.measure in ("ratio", "length"):
        what = "length" if facts.measure == "length" else "area"
        return f"{facts.observed / max(facts.expected, 1e-9):.2f} times the usual {what}"
    if facts.measure == "share":
        return f"{facts.observed:.1%} of the image, {facts.expected:.1%} in the normal images"
    return f"expected {facts.expected:g}, found {facts.observed:g}"
