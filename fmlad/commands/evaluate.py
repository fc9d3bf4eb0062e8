"""``fmlad eval``: a saved detector on the test images of a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fmlad.commands import output
from fmlad.commands.output import Device, Json


def evaluate(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    dataset: Annotated[str, typer.Option(help="A dataset by name (see docs/bench.md).")],
    root: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    category: Annotated[str, typer.Option(help="Of the dataset.")] = "",
    subtype: Annotated[str | None, typer.Option(help="Of the category.")] = None,
    images: Annotated[int, typer.Option(min=0, help="Test images of each kind; 0 means all.")] = 0,
    localise: Annotated[
        bool, typer.Option("--localise/--no-localise", help="Measure maps as well.")
    ] = True,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Judge a dataset's test images with a saved detector and print figures."""
    from fmlad.bench.evaluation import evaluate as judge
    from fmlad.bench.model import Task

    task = Task(dataset, str(root), category, subtype, images, localise=localise)
    with output.progress(quiet=as_json, lines=True) as progress:
        found = judge(detector, task, device=device, progress=progress)
    if as_json:
        output.print_json({**asdict(found), "task": task.title})
        return
    typer.echo(f"{task.title}: {len(found.rows)} images")
    for name, value in found.figures.items():
        typer.echo(f"  {name}: {value:.3f}")
    for kind, share in found.alarms.items():
        typer.echo(f"  called anomalous, {kind}: {share:.3f}")
    for note in found.notes:
        typer.echo(f"  note: {note}")
