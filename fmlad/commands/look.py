"""``fmlad look``: what each backbone sees in an image, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Backbones, Device, Json, Profile
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.backbone_outputs import Step

PAGE = "look.html"


def look(
    image: Annotated[str, typer.Argument(help="An image.")],
    words: Annotated[
        str | None,
        typer.Option(
            help="What to look for: 'screw, nut', or 'prompts:NAME' for the words of a prompt set. "
            "[default: what the tagger sees]"
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the pictures and their page.")
    ] = Path("look"),
    profile: Profile = None,
    backbone: Backbones = None,
    role: Annotated[
        list[str] | None, typer.Option(help="Of the backbones to ask; repeatable. [default: all]")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw what each backbone sees: tags, boxes, masks, similarity to words, features.

    Exits with 1 if one of them could not be asked; the others are.
    """
    from fmlad.backbone_outputs import STEPS
    from fmlad.backbone_outputs import look as asked

    output.check_folders({"--out": out})
    with output.progress(quiet=as_json) as progress:
        steps = asked(
            image,
            words or (),
            profile=profile,
            backbones=output.pairs(backbone, "--backbone ROLE=NAME"),
            roles=role or STEPS,
            device=device,
            progress=progress,
        )
    pictures = _write(out, image, steps)
    if as_json:
        listed = [
            {**step.to_dict(), "pictures": [str(path) for path in paths]}
            for step, paths in zip(steps, pictures, strict=True)
        ]
        output.print_json({"page": str(out / PAGE), "steps": listed})
    for step, paths in () if as_json else zip(steps, pictures, strict=True):
        if step.problem:
            said = f"error: {step.role} ({step.backbone}) could not be asked: {step.problem}"
            typer.echo(said, err=True)
            continue
        typer.echo(f"{step.role} ({step.backbone})")
        for line in step.lines:
            typer.echo(f"    {line}")
        for path in paths:
            typer.echo(f"    {path}")
    if not as_json:
        typer.echo(f"Page: {out / PAGE}")
    if any(step.problem for step in steps):
        raise typer.Exit(FAILED)


def _write(out: Path, image: str, steps: Sequence[Step]) -> list[list[Path]]:
    """The page and the pictures; paths of the latter, a list a step."""
    from fmlad.backbone_outputs import GROUNDED, STEPS
    from fmlad.report import write

    written: list[list[Path]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Of an earlier call: they would be taken for this one's.
        for role in (*STEPS, GROUNDED):
            for old in out.glob(f"{role.replace(' ', '_')}*.png"):
                old.unlink()
        for step in steps:
            stem = step.role.replace(" ", "_")
            several = len(step.pictures) > 1
            paths = [
                out / f"{stem}{f'_{number}' if several else ''}.png"
                for number in range(1, len(step.pictures) + 1)
            ]
            for path, (_, picture) in zip(paths, step.pictures, strict=True):
                picture.save(path)
            written.append(paths)
    except OSError as error:
        raise OptionError(f"The pictures cannot be written to {out}: {error}.") from error
    write(out / PAGE, "look.html", title=f"What the backbones see in {Path(image).name}",
          steps=steps)  # fmt: skip
    return written
