"""``fmlad weights``: what pretrained weights there are, whether they are here, and carrying them.

A profile stands for those of its weights that this version can load and that are not optional;
``--all`` takes the others too, and a name always means that one.
"""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.commands.output import Json, group, print_json, print_table, progress
from fmlad.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from fmlad.backbones.catalogue import Weights

weights_cli = group(
    "Pretrained weights: list, fetch, check, and carry to a machine without a network."
)

Name = Annotated[
    str, typer.Argument(help="A profile (light, foundation), a backbone name, or a local folder.")
]
Every = Annotated[
    bool,
    typer.Option("--all", help="Of a profile, also optional weights and those yet to be used."),
]


@weights_cli.command("list")
def list_weights(
    profile: Annotated[str | None, typer.Argument(help="Only those of this profile.")] = None,
    as_json: Json = False,
) -> None:
    """List the weights of the profiles and some others, and which are on this machine."""
    from fmlad.backbones.catalogue import catalogue, say_size
    from fmlad.backbones.hub import find

    if profile is not None and profile not in _profiles():
        raise UnknownNameError.of("profile", profile, _profiles())
    entries = [w for w in catalogue() if profile is None or profile in w.profiles]
    if as_json:
        print_json([
            {
                **asdict(w), "size_bytes": w.size, "loads": _loads(w),
                "where": str(place) if (place := find(w)) else None,
            }
            for w in entries
        ])  # fmt: skip
    elif not entries:
        typer.echo(f"Profile {profile!r} needs no weights.")
    else:
        rows = [
            (
                w.name, w.role, say_size(w.size), w.licence, "here" if find(w) else "not here",
                "used" if _loads(w) else "to come", w.note,
            )
            for w in entries
        ]  # fmt: skip
        print_table(("backbone", "role", "size", "licence", "", "this version", "note"), rows)


@weights_cli.command()
def where(name: Name, as_json: Json = False) -> None:
    """Print the folder or file in use, or what is missing.

    Exits with 1 if anything is missing.
    """
    from fmlad.backbones.hub import describe_absence, find

    chosen = _choose(name, every=True)
    places = {weights.name: find(weights) for weights in chosen}
    if as_json:
        print_json({name: place and str(place) for name, place in places.items()})
    for weights in () if as_json else chosen:
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
    from fmlad.backbones.hub import fetch, find

    for weights in _choose(name, every):
        if place := find(weights):
            typer.echo(f"{weights.name}: already here, {place}")
            continue
        typer.echo(f"{weights.name}: {fetch(weights, announce=typer.echo)}")


@weights_cli.command()
def check(name: Name, every: Every = False, as_json: Json = False) -> None:
    """Examine weights here: files, hashes, structure.

    Exits with 1 if anything is missing or wrong.
    """
    from fmlad.backbones import bundle
    from fmlad.backbones.hub import wrong_hash

    chosen = _choose(name, every)
    with progress(quiet=as_json) as told:
        reports = [bundle.check(weights, told) for weights in chosen]
    if as_json:
        print_json([
            {**asdict(r), "where": r.where and str(r.where), "ok": not r.problems} for r in reports
        ])  # fmt: skip
    for weights, report in () if as_json else zip(chosen, reports, strict=True):
        verdict = "ok" if not report.problems else "WRONG" if report.where else "MISSING"
        typer.echo(f"{report.name}: {verdict}")
        if report.where:
            typer.echo(f"    {report.where}")
        for file, found in report.files.items():
            pinned = "as pinned" if weights.pinned(file) else "not pinned"
            pinned = "WRONG" if wrong_hash(file, found, weights) else pinned
            typer.echo(f"    {found}  {file} ({pinned})")
        for problem in report.problems:
            typer.echo(f"    {problem}")
    if any(report.problems for report in reports):
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
    from fmlad.backbones import bundle
    from fmlad.backbones.catalogue import say_size

    chosen = _choose(name, every)
    if not chosen:
        raise OptionError(f"Profile {name!r} needs no weights; there is nothing to bundle.")
    with progress(quiet=as_json) as told:
        names = bundle.bundle(chosen, out, told)
    size = out.stat().st_size
    if as_json:
        print_json({"bundle": str(out), "size_bytes": size, "weights": names})
    else:
        typer.echo(f"{out} ({say_size(size)}): {', '.join(names)}")
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
    from fmlad.backbones import bundle, hub

    with progress(quiet=as_json) as told:
        placed = bundle.unbundle(bundled, to, told)
    if as_json:
        print_json({name: str(place) for name, place in placed.items()})
        return
    for name, place in placed.items():
        typer.echo(f"{name}: {place}")
    if to is not None and to.resolve() != hub.root().resolve():
        typer.echo(f"To use them: export {hub.FOLDER_VARIABLE}={to.resolve()}")


def _choose(name: str, every: bool) -> list[Weights]:
    """The weights that a profile or a name stands for."""
    from fmlad.backbones.catalogue import catalogue, describe
    from fmlad.backbones.hub import HUB_IDENTIFIER
    from fmlad.backbones.wheels import distribution_of
    from fmlad.profiles import list_backbones

    if name in _profiles():
        entries = [weights for weights in catalogue() if name in weights.profiles]
        chosen = [w for w in entries if every or (not w.optional and _loads(w))]
        if not chosen:
            typer.echo(f"Profile {name!r} needs no weights.", err=True)
        elif left := len(entries) - len(chosen):
            typer.echo(f"{left} optional or not used by this version: left out.", err=True)
        return chosen
    weights = describe(name)
    source = weights.source
    elsewhere = HUB_IDENTIFIER.fullmatch(source) or distribution_of(source)
    if not (weights.files or elsewhere or (source and Path(source).expanduser().exists())):
        if name.startswith("builtin:") and name in list_backbones():
            raise OptionError(
                f"{name} is installed with fmlad: there is nothing to fetch, check or carry. "
                f"`fmlad weights check builtin` examines what comes from a package."
            )
        known = [*_profiles(), *(entry.name for entry in catalogue())]
        raise UnknownNameError.of("profile, backbone or folder", name, known)
    return [weights]


def _profiles() -> list[str]:
    from fmlad.profiles import PROFILES

    return sorted(PROFILES)


def _loads(weights: Weights) -> bool:
    """Whether this version has a backbone for it."""
    from fmlad.profiles import list_backbones

    return any(fnmatchcase(weights.name, pattern) for pattern in list_backbones())
