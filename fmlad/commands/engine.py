"""What the commands that can work on many machines share: ``--engine`` and what goes with it."""

from __future__ import annotations

from typing import Annotated

import typer

from fmlad.errors import OptionError, UnknownNameError

ENGINES = ("local", "ray")

Engine = Annotated[str, typer.Option(help="local, or ray for many processes or machines.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes, with --engine ray. [default: as many as fit]"),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Of a running cluster, with --engine ray. [default: $RAY_ADDRESS, else this machine]"
    ),
]


def check_engine(engine: str, workers: int | None, address: str | None) -> None:
    """Refuses an engine that does not exist, and what the local one would ignore.

    Raises:
        OptionError: As said.
    """
    if engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    if engine == "local" and (workers is not None or address is not None):
        raise OptionError("--workers and --ray-address go with --engine ray; add it, or leave out.")
