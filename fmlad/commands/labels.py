"""``fmlad labels``: part labels of normal images, checked and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Backbones, Device, Json, Profile, Seed
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from PIL import Image

    from fmlad.datasets.part_labels import PartLabels
    from fmlad.loading import Picture

PAGE = "labels.html"
SIDE = 1000  # px of the longer side, to which small images are enlarged about

labels_cli = output.group("Check and draw part labels: label images, labelme, COCO, scenes' slots.")

Shots = Annotated[list[str], typer.Argument(help="Normal images: a folder, or files.")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        help="Folder of label images (PNG), of labelme's or a COCO file, or such a JSON file.",
    ),
]


@labels_cli.command("check")
def check(shots: Shots, labels: Labels, as_json: Json = False) -> None:
    """List all that is wrong or odd about the labels of some images.

    Exits with 1 if something is wrong.
    """
    from fmlad.datasets.part_labels import examine
    from fmlad.part_label_inputs import is_auto, shot_files

    if is_auto(labels):
        raise OptionError("labels='auto' are made, not read; `fmlad labels show` draws them.")
    files, unreadable = shot_files(shots)
    found = examine(labels, files)
    problems = [*unreadable, *found.problems]
    names = [] if found.labels is None else list(found.labels.names)
    without = [files[index].name for index in found.unlabelled]
    if as_json:
        output.print_json(
            {
                "labels": labels,
                "source": None if found.labels is None else found.labels.source,
                "classes": names,
                "images": len(files),
                "unlabelled": without,
                "problems": problems,
                "warnings": list(found.warnings),
            }
        )
    else:
        for problem in problems:
            typer.echo(f"wrong: {problem}")
        for warning in found.warnings:
            typer.echo(f"odd: {warning}")
        labelled = len(files) - len(without)
        typer.echo(f"{labelled} of {len(files)} images have a label.")
        if found.labels is not None:
            typer.echo(f"Classes: {', '.join(names)} ({found.labels.source}).")
        number = len(problems)
        plural = "" if number == 1 else "s"
        typer.echo(f"{number} problem{plural} found." if number else "Nothing is wrong.")
    if problems:
        raise typer.Exit(FAILED)


@labels_cli.command("show")
def show(
    shots: Shots,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            help="Folder of label images (PNG), of labelme's or a COCO file, or such a JSON file; "
            "or 'auto': the parts that are found without labels.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the pictures and their page.")
    ] = Path("labels-shown"),
    prompts: Annotated[
        str | None, typer.Option(help="With --labels auto: a prompt set that names the parts.")
    ] = None,
    profile: Profile = None,
    backbone: Backbones = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw the labels of some images, with the pixels of each class."""
    from fmlad.automatic_labels import auto_labels
    from fmlad.datasets.part_labels import read_part_labels
    from fmlad.loading import load_pictures
    from fmlad.part_label_inputs import is_auto, picture_shot

    output.check_folders({"--out": out})
    automatic = is_auto(labels)
    if not automatic and (prompts or profile or backbone):
        raise OptionError("--prompts, --profile and --backbone go with --labels auto.")
    pictures = load_pictures(shots)
    if automatic:
        with output.progress(quiet=as_json) as progress:
            found = auto_labels(
                pictures, prompts=prompts, profile=profile, device=device, seed=seed,
                backbones=output.pairs(backbone, "--backbone ROLE=NAME"), progress=progress,
            )  # fmt: skip
    else:
        found = read_part_labels(labels, [picture_shot(one) for one in pictures])
    drawn = _drawn(pictures, found)
    _write(out, found, drawn)
    if as_json:
        output.print_json(
            {
                "page": str(out / PAGE),
                "source": found.source,
                "classes": list(found.names),
                "images": [
                    {key: value for key, value in one.items() if key != "shown"} for one in drawn
                ],
                "unlabelled": _unlabelled(pictures, found),
            }
        )
        return
    rows = []
    for name in found.names:
        counts = [one["pixels"][name] for one in drawn]
        seen = [count for count in counts if count]
        rows.append([name, f"{len(seen)} of {len(drawn)}", str(min(counts)), str(max(counts))])
    output.print_table(["class", "images", "least pixels", "most pixels"], rows)
    if without := _unlabelled(pictures, found):
        typer.echo(f"Without a label: {', '.join(without)}")
    typer.echo(f"Page: {out / PAGE}")


def _unlabelled(pictures: Sequence[Picture], found: PartLabels) -> list[str]:
    pairs = zip(pictures, found.maps, strict=True)
    return [name for (name, _), label in pairs if label is None]


def _drawn(pictures: Sequence[Picture], found: PartLabels) -> list[dict[str, Any]]:
    """Each labelled image with its regions outlined, and what is counted in it."""
    import numpy as np
    from PIL import Image
    from scipy import ndimage

    from fmlad.draw import named_regions

    drawn = []
    for index, ((name, pixels), label) in enumerate(zip(pictures, found.maps, strict=True)):
        if label is None:
            continue
        regions = {
            part: int(ndimage.label(label == number, structure=np.ones((3, 3)))[1])
            for number, part in enumerate(found.names)
            if number
        }
        larger = max(1, round(SIDE / max(label.shape)))  # room for names
        large = Image.fromarray(pixels).resize((larger * label.shape[1], larger * label.shape[0]))
        shown = named_regions(large, label.repeat(larger, 0).repeat(larger, 1), found.names)
        drawn.append(
            {
                "name": name,
                "picture": f"{index + 1:03d}.png",
                "pixels": found.pixels(index),
                "regions": regions,
                "shown": shown,
            }
        )
    return drawn


def _write(out: Path, found: PartLabels, drawn: Sequence[dict[str, Any]]) -> None:
    """The pictures and their page."""
    from fmlad.draw import part_colour
    from fmlad.report import write

    try:
        out.mkdir(parents=True, exist_ok=True)
        for one in drawn:
            picture: Image.Image = one["shown"]
            picture.save(out / one["picture"])
            one["picture"] = str(out / one["picture"])
    except OSError as error:
        raise OptionError(f"The pictures cannot be written to {out}: {error}.") from error
    legend = [
        (name, "#{:02x}{:02x}{:02x}".format(*part_colour(number)))
        for number, name in enumerate(found.names)
        if number
    ]
    write(out / PAGE, "labels.html", title="Part labels", source=found.source, legend=legend,
          images=drawn)  # fmt: skip
