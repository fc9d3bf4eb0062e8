"""Which shots an undo takes back."""

from __future__ import annotations

from typing import Any

import pytest

from fmlad.journal import Change, last_accepted


def changes(*told: tuple[str, str]) -> list[Change]:
    return [Change("now", what, tuple(keys), tuple(keys), 1.0, 1.0) for what, keys in told]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "keys", "expected"),
    [
        ([], "ab", []),
        ([("accept", "c")], "abc", [2]),
        ([("accept", "cd")], "abcd", [2, 3]),
        ([("accept", "c"), ("accept", "d")], "abcd", [3]),
        ([("accept", "c"), ("accept", "d"), ("undo", "d")], "abc", [2]),
        ([("accept", "c"), ("undo", "c")], "ab", []),
        ([("accept", "c"), ("undo", "c"), ("accept", "c")], "abc", [2]),
        # Of two shots with the same pixels the accepted one goes, and the first stays.
        ([("accept", "a")], "aba", [2]),
        ([("accept", "a"), ("undo", "a")], "ab", []),
        # What was removed since is passed over.
        ([("accept", "cd"), ("remove", "c")], "abd", [2]),
        ([("accept", "c"), ("accept", "d"), ("remove", "d")], "abc", [2]),
        ([("accept", "c"), ("remove", "a")], "bc", [1]),
        ([("accept", "cc")], "acc", [1, 2]),
    ],
)
def test_the_last_accept_that_is_still_there(
    told: list[tuple[str, str]], keys: str, expected: list[Any]
) -> None:
    assert last_accepted(changes(*told), list(keys)) == expected
