"""How long work tells of itself."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called as ``progress(done, total, what)``."""


def silent(done: int, total: int, what: str) -> None:
    """Reports nothing."""
