"""``fmlad weights``: what pretrained weights there are, whether they are here, and carrying them.

A profile stands for those of its weights that this version can load and that are not optional;
``--all`` takes the others too, and a name always means that one.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.errors import FmladError, OptionError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fmlad.backbones.weights_catalogue import Weights

weights_cli = typer.Typer(
    help="Pretrained weights: list, fetch, check, and carry to a machine without a network.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BUILTIN = "builtin"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
Name = Annotated[
    str,
    typer.Argument(help="A profile (light, foundation), a backbone name, or a local folder."),
]
Every = Annotated[
    bool,
    typer.Option("--all", help="Of a profile, also optional weights and those yet to be used."),
]


@weights_cli.command("list")
def list_weights(
    profile: Annotated[str | None, typer.Argument(help="Only those of this profile.")] = None,
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/weights.md.")
    ] = False,
) -> None:
    """List the weights of the profiles and some others, and which are on this machine."""
    from fmlad.backbones.weights_catalogue import catalogue, markdown_table, say_size

    entries = list(catalogue()) if profile is None else _of_profile(profile)
    if markdown:
        typer.echo(markdown_table(entries))
        return
    if as_json:
        _print_json(
            [
                {**weights.to_dict(), "where": _where(weights), "loads": _loads(weights)}
                for weights in entries
            ]
        )
        return
    if not entries:
        typer.echo(f"Profile {profile!r} needs no weights.")
        return
    rows: list[tuple[str, ...]] = []
    for weights in entries:
        here = "here" if _where(weights) else "not here"
        state = "used" if _loads(weights) else "to come"
        size = say_size(weights.size).removeprefix("size ")
        rows.append((weights.name, weights.role, size, weights.licence, here, state, weights.note))
    _print_table(("backbone", "role", "size", "licence", "", "this version", "note"), rows)


@weights_cli.command()
def where(name: Name, as_json: Json = False) -> None:
    """Print the folder or file in use, or what is missing.

    Exits with 1 if anything is missing.
    """
    from fmlad.backbones.weights_check import describe_absence

    chosen = _choose(name, every=True)
    places = {weights.name: _where(weights) for weights in chosen}
    if as_json:
        _print_json(places)
    else:
        for weights in chosen:
            place = places[weights.name]
            said = place or describe_absence(weights)
            typer.echo(said if place and len(chosen) == 1 else f"{weights.name}: {said}")
    if not all(places.values()):
        raise typer.Exit(1)


@weights_cli.command()
def pull(name: Name, every: Every = False) -> None:
    """Fetch weights that are not here yet.

    Says first what, how large and under what licence. Into the Hugging Face cache, whose
    environment variables are honoured; offline it fails at once.
    """
    from fmlad.backbones.weights_fetch import fetch

    for weights in _choose(name, every):
        place = _where(weights)
        if place:
            typer.echo(f"{weights.name}: already here, {place}")
            continue
        folder = fetch(
            weights.source,
            family=weights.family or None,
            announce=lambda text, label=weights.name: typer.echo(f"{label}: {text}"),  # type: ignore[misc]
        )
        typer.echo(f"{weights.name}: {folder}")


@weights_cli.command()
def check(name: Name, every: Every = False, as_json: Json = False) -> None:
    """Examine weights here: files, hashes, structure.

    Exits with 1 if anything is missing or wrong.
    """
    from fmlad.backbones import weights_check
    from fmlad.backbones.weights_catalogue import say_size

    chosen = _choose(name, every)
    with _progress(quiet=as_json) as progress:
        reports = [weights_check.check(weights, progress) for weights in chosen]
    if as_json:
        _print_json([report.to_dict() for report in reports])
    for report in reports if not as_json else ():
        verdict = "ok" if report.ok else "WRONG" if report.where else "MISSING"
        typer.echo(f"{report.name}: {verdict}")
        if report.where:
            typer.echo(f"    {report.where}")
        for file in report.files:
            agreed = {None: "not pinned", file.sha256: "as pinned"}.get(file.pinned, "WRONG")
            typer.echo(f"    {file.sha256}  {file.name} ({say_size(file.size)}, {agreed})")
        for problem in report.problems:
            typer.echo(f"    {problem}")
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@weights_cli.command()
def bundle(
    name: Name,
    out: Annotated[Path, typer.Argument(help="The tar file to write.")],
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Pack weights that are here into one file.

    For a machine without a network; they are checked first.
    """
    from fmlad.backbones import weights_bundle
    from fmlad.backbones.weights_catalogue import say_size

    chosen = _choose(name, every)
    if not chosen:
        raise OptionError(f"Profile {name!r} needs no weights; there is nothing to bundle.")
    with _progress(quiet=as_json) as progress:
        names = weights_bundle.bundle(chosen, out, progress)
    if as_json:
        _print_json({"bundle": str(out), "size_bytes": out.stat().st_size, "weights": names})
        return
    typer.echo(f"{out} ({say_size(out.stat().st_size)}): {', '.join(names)}")
    typer.echo(f"On the other machine: fmlad weights unbundle {out.name}")


@weights_cli.command()
def unbundle(
    bundled: Annotated[Path, typer.Argument(help="A file that `fmlad weights bundle` wrote.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder to unpack into; name it in $FMLAD_WEIGHTS then.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a bundle and put its weights in place.

    The same names then find them: in $FMLAD_WEIGHTS, or fmlad's folder in the user's data.
    """
    from fmlad.backbones import weights, weights_unbundle

    with _progress(quiet=as_json) as progress:
        placed = weights_unbundle.unbundle(bundled, to, progress)
    if as_json:
        _print_json({name: str(place) for name, place in placed})
        return
    for name, place in placed:
        typer.echo(f"{name}: {place}")
    if to is not None and to.resolve() != weights.root().resolve():
        typer.echo(f"To use them: export {weights.FOLDER_VARIABLE}={to.resolve()}")


def _choose(name: str, every: bool) -> list[Weights]:
    """The weights that a profile or a name stands for."""
    from fmlad.backbones.weights import HUB_IDENTIFIER
    from fmlad.backbones.weights_catalogue import catalogue, describe

    if name in _profiles():
        entries = _of_profile(name)
        chosen = [w for w in entries if every or (not w.optional and _loads(w))]
        if not chosen:
            typer.echo(f"Profile {name!r} needs no weights.", err=True)
        elif len(chosen) < len(entries):
            left = len(entries) - len(chosen)
            typer.echo(f"{left} optional or not used by this version: left out.", err=True)
        return chosen
    weights = describe(name)
    local = weights.source and Path(weights.source).expanduser().exists()
    if not (weights.files or local or HUB_IDENTIFIER.fullmatch(weights.source)):
        known = [*_profiles(), *(entry.name for entry in catalogue())]
        raise UnknownNameError.of("profile, backbone or folder", name, known)
    return [weights]


def _profiles() -> list[str]:
    from fmlad.backbones.weights_catalogue import catalogue

    return sorted({BUILTIN, *(name for weights in catalogue() for name in weights.profiles)})


def _of_profile(profile: str) -> list[Weights]:
    from fmlad.backbones.weights_catalogue import of_profile

    if profile not in _profiles():
        raise UnknownNameError.of("profile", profile, _profiles())
    return list(of_profile(profile))


def _where(weights: Weights) -> str | None:
    from fmlad.backbones.weights import find

    try:
        place = find(weights.source, family=weights.family or None)
    except FmladError:  # a folder of that name that holds something else
        return None
    return str(place) if place else None


def _loads(weights: Weights) -> bool:
    """Whether this version has a backbone for it."""
    from fnmatch import fnmatchcase

    from fmlad.profiles import list_backbones

    return any(fnmatchcase(weights.name, pattern) for pattern in list_backbones())


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=1))


def _print_table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*heading, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # Into a file or pipe a table must not be cut at some terminal's width.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _progress(quiet: bool) -> AbstractContextManager[Callable[[int, int, str], None]]:
    from fmlad.commands.output import progress as of_the_command_line

    return of_the_command_line(quiet)
