"""Who does the cells: this process one by one, or workers. The numbers are the same bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fmlad.bench.model import Cell, Outcome
from fmlad.bench.worker import attempt
from fmlad.errors import UnknownNameError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Does cells."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """Yields what came of each cell as it is done, in any order.

        A cell that raises is a :class:`FailedCell`, and the rest goes on.
        """
        ...


class LocalEngine:
    """This process, one cell after the other in the given order."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """See :class:`Engine`."""
        for cell in cells:
            yield attempt(cell, device, threads)


def make_engine(engine: str | Engine) -> Engine:
    """An engine by name, or the one that is given.

    Raises:
        UnknownNameError: There is no such engine.
        MissingDependencyError: Its package is not installed.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    if engine == "local":
        return LocalEngine()
    from fmlad.bench.ray_engine import RayEngine

    return RayEngine()
