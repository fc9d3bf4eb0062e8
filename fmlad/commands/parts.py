"""``fmlad parts``: the parts that a detector tells apart, and their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import Json
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.detector import Detector


def parts(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Name a part, as 'part A=pin'; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a picture of each part here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the parts that findings speak of, with pictures; give them names."""
    from fmlad.detector import Detector

    fitted = Detector.load(detector)
    if name:
        fitted.name_parts(output.pairs(name, "--name 'part A=pin'"))
        fitted.save(detector)
    if out is not None and _write(fitted, out) == 0:
        typer.echo("No pictures were written: the detector keeps no small pictures of its shots.")
    known = fitted.parts
    if as_json:
        output.print_json([part.to_dict() for part in known])
        return
    for part in known:
        typer.echo(part.describe())
    if not known:
        typer.echo(f"The method {fitted.method!r} of this detector tells no parts apart.")


def _write(fitted: Detector, out: Path) -> int:
    """Pictures of the parts; how many."""
    written = 0
    try:
        out.mkdir(parents=True, exist_ok=True)
        for part in fitted.parts:
            if (picture := fitted.part_picture(part.name)) is not None:
                safe = "".join(sign if sign.isalnum() else "-" for sign in part.name)
                picture.save(out / f"{safe}.png")
                written += 1
    except OSError as error:
        raise OptionError(f"The pictures cannot be written to {out}: {error}.") from error
    return written
