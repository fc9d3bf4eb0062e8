"""What a prompt set is made of: parts, exemplars, and what the user expects of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

Decide = Literal["patch", "region"]
RelationKind = Literal["left of", "right of", "above", "below", "inside"]
MOST_COUNT = 9999


@dataclass(frozen=True)
class Exemplar:
    """A part shown instead of named: a picture, relative to the prompt file.

    ``box`` is ``(x1, y1, x2, y2)`` in its pixels, or None for the whole of it (a crop).
    """

    image: str
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Relation:
    """Where every instance of a part lies with respect to another part: ``above 'text label'``."""

    kind: RelationKind
    part: str


@dataclass(frozen=True)
class Expectation:
    """A rule that the user declares for a part, each None or empty where not declared.

    Attributes:
        count: Least and most instances an image, both included.
        share: Least and most share of the foreground's area, in [0, 1].
        relations: Where it lies.
    """

    count: tuple[int, int] | None = None
    share: tuple[float, float] | None = None
    relations: tuple[Relation, ...] = ()

    def rules(self) -> list[int | str]:
        """As it is written in a file, one entry a rule: ``[15, "30%..40%", "left of nut"]``."""
        found: list[int | str] = []
        if self.count is not None:
            least, most = self.count
            found.append(least if least == most else f"{least}..{most}")
        if self.share is not None:
            found.append("..".join(f"{100 * bound:g}%" for bound in self.share))
        return [*found, *(f"{relation.kind} {relation.part}" for relation in self.relations)]


@dataclass(frozen=True)
class PromptPart:
    """One fine class: words, synonyms of which the best counts, or exemplars.

    ``decide``: whether each place (``"patch"``) or each region as a whole is given to a part.
    """

    name: str
    words: tuple[str, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    decide: Decide = "patch"
    expect: Expectation | None = None


RULE_HELP = (
    "write a count (15), a range of counts (2..3), a share of the foreground (30%..40%) or a "
    "relation (left of X, right of X, above X, below X, inside X), or a list of these"
)
_COUNTS = re.compile(r"([0-9]{1,4})(?:\s*\.\.\s*([0-9]{1,4}))?")
_SHARES = re.compile(
    r"([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%\s*\.\.\s*([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%"
)
_RELATION = re.compile(rf"({'|'.join(get_args(RelationKind))})\s+(\S.*)")
# Along which order a relation runs, and whether the part itself comes first in it.
DIRECTIONS = {
    "left of": ("across", True),
    "right of": ("across", False),
    "above": ("down", True),
    "below": ("down", False),
    "inside": ("inside", True),
}


def read_rule(rule: Any) -> Relation | tuple[str, float, float] | None:
    """One expectation: a relation, or ``("count" | "share", low, high)``; None if it is neither."""
    if isinstance(rule, int) and not isinstance(rule, bool):
        return ("count", rule, rule) if 0 <= rule <= MOST_COUNT else None
    if not isinstance(rule, str):
        return None
    text = " ".join(rule.split())
    if counts := _COUNTS.fullmatch(text):
        return "count", int(counts[1]), int(counts[2] or counts[1])
    if shares := _SHARES.fullmatch(text):
        return "share", round(float(shares[1]) / 100, 6), round(float(shares[2]) / 100, 6)
    if relation := _RELATION.fullmatch(text):
        return Relation(cast(RelationKind, relation[1]), relation[2])
    return None
