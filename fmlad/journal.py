"""The changes that a detector went through since it was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

What = Literal["accept", "remove", "undo"]


@dataclass(frozen=True)
class Change:
    """One change of the shots. Nothing of it has a say in any score.

    Attributes:
        time: When, UTC, as ``2026-03-01T12:30:00+00:00``.
        what: ``"accept"`` (images became shots), ``"remove"`` (a shot was taken out) or ``"undo"``
            (the last accepted images were taken out).
        names: Names of the images.
        keys: Hashes of their pixels.
        threshold_before: The threshold before; None where nothing was decided.
        threshold_after: The threshold after.
        part_names: The user's names for parts before.
    """

    time: str
    what: What
    names: tuple[str, ...]
    keys: tuple[str, ...]
    threshold_before: float | None
    threshold_after: float | None
    part_names: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **vars(self), "names": list(self.names), "keys": list(self.keys),
            "part_names": dict(self.part_names),
        }  # fmt: skip


def now() -> str:
    """The time for an entry."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def last_accepted(journal: Sequence[Change], keys: Sequence[str]) -> list[int]:
    """Which shots the last accept added that was not undone.

    Args:
        journal: All changes, oldest first.
        keys: Pixel hash of each shot there is now.

    Returns:
        Indices of shots, ascending; empty where there is nothing to take back. Accepted images
        that were all removed since are passed over.
    """
    left: list[list[str]] = []  # keys that each accept added and nothing took out since
    for change in journal:
        if change.what == "accept":
            left.append(list(change.keys))
            continue
        for key in change.keys:
            latest = next((added for added in reversed(left) if key in added), [key])
            latest.remove(key)
    return _indices(next((added for added in reversed(left) if added), []), keys)


def _indices(wanted: Sequence[str], keys: Sequence[str]) -> list[int]:
    """For each wanted key the last shot with it that is not taken yet: accepted ones come last."""
    found: set[int] = set()
    for key in wanted:
        indices = (index for index in reversed(range(len(keys))) if keys[index] == key)
        found |= set([index for index in indices if index not in found][:1])
    return sorted(found)
