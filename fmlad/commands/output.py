"""What the commands share: options of one meaning, exit codes, and how they print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.errors import OptionError, UnknownNameError
from fmlad.progress import Progress, silent

if TYPE_CHECKING:
    from fmlad.power import PowerCheck
    from fmlad.shots import ShotReport

FAILED, ANOMALOUS = 1, 3  # exit codes; 2 is the parser's

WORTH_SAYING = 90  # seconds left from which it is said

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Seed = Annotated[int, typer.Option(help="For everything left to chance.")]
Profile = Annotated[
    str | None,
    typer.Option(help="builtin, light or foundation. [default: $FMLAD_PROFILE, else builtin]"),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="Backbone of a role as ROLE=NAME; repeatable."),
]

ENGINES = ("local", "ray")

Engine = Annotated[str, typer.Option(help="local, or ray for many processes or machines.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes, with --engine ray. [default: as many as fit]")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Of a running cluster, with --engine ray. [default: $RAY_ADDRESS, else this machine]"
    ),
]


def group(about: str) -> typer.Typer:
    """A command with sub-commands."""
    return typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)


def check_engine(engine: str, workers: int | None, address: str | None) -> None:
    """OptionError for an engine that does not exist, or what the local one would ignore."""
    if engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    if engine == "local" and (workers is not None or address is not None):
        raise OptionError("--workers and --ray-address go with --engine ray; add it, or leave out.")


def check_files(targets: Mapping[str, Path | None]) -> None:
    """OptionError for an option whose file is a folder, before the work rather than after it."""
    for option, path in targets.items():
        if path is not None and path.is_dir():
            raise OptionError(f"{option} is a file to write, and {path} is a folder; name a file.")


def check_folders(targets: Mapping[str, Path | None]) -> None:
    """OptionError for an option whose folder is a file, before the work rather than after it."""
    for option, path in targets.items():
        if path is not None and path.exists() and not path.is_dir():
            raise OptionError(f"{option} is a folder, and {path} is a file; name a folder.")


def pairs(given: Sequence[str] | None, form: str) -> dict[str, str]:
    """Splits ``NAME=VALUE`` options at the first ``=``; of equal names the last one counts.

    OptionError, saying the ``form`` expected, where there is no ``=`` or no name before it.
    """
    found = {}
    for text in given or ():
        name, equals, content = text.partition("=")
        if not equals or not name.strip():
            raise OptionError(f"Got {text!r}; expected {form}.")
        found[name.strip()] = content.strip()
    return found


def value(text: str) -> Any:
    """A number, true, false or a list, read as JSON; anything else is the text itself."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text


def print_json(data: Any, indent: int | None = 1) -> None:
    """Prints data as JSON; ``indent=None`` puts it on one line."""
    typer.echo(json.dumps(data, indent=indent))


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns, as wide as the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Names are the user's: square brackets in them are no markup.
    table = Table(*map(escape, heading), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    # Into a file or pipe a table must not be cut at some terminal's width.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


@contextmanager
def progress(quiet: bool = False, lines: bool = False) -> Iterator[Progress]:
    """Reports steps as ``report(done, total, what)``, in a bar on standard error.

    Where that is no terminal: a line for each step with ``lines``, else nothing.
    """
    if quiet or not (lines or sys.stderr.isatty()):
        yield silent
        return
    if not sys.stderr.isatty():
        left = _TimeLeft()
        yield lambda done, total, what: typer.echo(
            f"[{done}/{total}] {what}{left(done, total, what)}", err=True
        )
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(
            task, completed=done, total=total, description=escape(what)
        )


class _TimeLeft:
    """The time that a kind of work still takes, in words, by how long it took so far."""

    def __init__(self) -> None:
        self._since = ("", 0.0, 0)

    def __call__(self, done: int, total: int, what: str) -> str:
        kind, start, first = self._since
        if kind != what:
            self._since = (what, time.monotonic(), done)
            return ""
        seconds = (time.monotonic() - start) / max(done - first, 1) * (total - done)
        return f", about {seconds / 60:.0f} min left" if seconds >= WORTH_SAYING else ""


@contextmanager
def interruptible() -> Iterator[None]:
    """Says what is left of long work that Ctrl-C stopped, where it left something."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            typer.echo(str(interrupt), err=True)
        raise


def suspicion(shot: ShotReport, shots: Sequence[ShotReport]) -> str:
    """A line about a shot that may not be normal."""
    alike = "" if shot.nearest is None else f", most like {shots[shot.nearest].name}"
    return f"{shot.name}: far odder than the other shots (score {shot.score:.2f}{alike})."


def print_power(power: PowerCheck) -> None:
    """What a detector catches of altered copies of its shots."""
    typer.echo("What it sees, tried on altered copies of the normal images:")
    for line in power.describe():
        typer.echo(f"  {line}")
