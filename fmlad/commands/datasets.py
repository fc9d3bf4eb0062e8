"""``fmlad datasets`` and ``fmlad scenes``: what a folder holds, and sample pictures to fill one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Json, Seed
from fmlad.errors import FmladError

if TYPE_CHECKING:
    from fmlad.datasets import Dataset

SPLITS = ("train", "validation")
KINDS = ("good", "logical", "structural", "anomalous")

datasets_cli = output.group("Datasets: the layouts that are known, and what a folder holds of one.")


@datasets_cli.command("list")
def list_layouts(as_json: Json = False) -> None:
    """List the datasets that can be read."""
    from fmlad.datasets.catalogue import LAYOUTS

    if as_json:
        output.print_json({name: layout.about for name, layout in sorted(LAYOUTS.items())})
        return
    for name, layout in sorted(LAYOUTS.items()):
        typer.echo(f"{name}: {layout.about}")


@datasets_cli.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the dataset; see `fmlad datasets list`.")],
    root: Annotated[Path, typer.Argument(help="The folder that holds its categories.")],
    category: Annotated[
        str | None, typer.Option(help='One category alone; for boxes a rule such as "6 in 3-10".')
    ] = None,
    subtype: Annotated[str | None, typer.Option(help="One sub-type of that category.")] = None,
    as_json: Json = False,
) -> None:
    """Count the images of each category by split and kind, and say what is unusual.

    Nothing is made and nothing is downloaded.
    """
    from fmlad.datasets import categories

    names = categories(name, root) if category is None else [category]
    rows = [_row(name, root, one, subtype) for one in names]
    if as_json:
        output.print_json(rows)
    else:
        typer.echo("\n".join(line for row in rows for line in _lines(row)))
    if any("error" in row for row in rows):
        raise typer.Exit(FAILED)


def scenes(
    root: Annotated[Path, typer.Argument(help="Folder to write one category to.")],
    category: Annotated[str, typer.Option(help="Which one; `all` makes one sub-folder each.")],
    seed: Seed = 0,
    count: Annotated[
        list[str] | None,
        typer.Option(
            "--count",
            help="train=N, validation=N, test_good=N, test_logical=N or test_structural=N.",
        ),
    ] = None,
) -> None:
    """Make procedural sample pictures with known truth, in MVTec LOCO's folder layout."""
    from fmlad.datasets import SCENE_CATEGORIES, make_scenes

    given = output.pairs(count, "--count NAME=NUMBER")
    counts = {name: output.value(number) for name, number in given.items()} or None
    every = category == "all"
    with output.progress() as progress:
        for name in SCENE_CATEGORIES if every else (category,):
            target = root / name if every else root
            folder = make_scenes(target, name, seed, counts, progress=progress)
            typer.echo(f"{name}: {folder}")


def _row(name: str, root: Path, category: str, subtype: str | None) -> dict[str, Any]:
    from fmlad.datasets import load, subtypes
    from fmlad.datasets.catalogue import layout_of

    if not layout_of(name).there(root, category):
        return {"category": category, "notes": ["Not there yet; it is rendered when needed."]}
    try:
        dataset = load(name, root, category, subtype)
    except FmladError as error:
        return {"category": category, "error": str(error)}
    return _counts(dataset) | {"subtypes": subtypes(name, root, category)}


def _counts(dataset: Dataset) -> dict[str, Any]:
    kinds: list[str] = [sample.kind for sample in dataset.test]
    return {
        "category": dataset.category,
        "subtype": dataset.subtype,
        **{split: len(getattr(dataset, split)) for split in SPLITS},
        **{kind: kinds.count(kind) for kind in KINDS},
        "paired": dataset.paired,
        "masks": dataset.localised,
        "prompts": dataset.prompts,
        "notes": list(dataset.notes),
    }


def _lines(row: dict[str, Any]) -> list[str]:
    title = row["category"] or "(the folder itself)"
    if row.get("subtype") is not None:
        title += f", sub-type {row['subtype']}"
    if "error" in row:
        return [f"{title}: {row['error']}"]
    if "train" not in row:
        return [f"{title}: {row['notes'][0]}"]
    splits = [f"{row[split]} {split}" for split in SPLITS if row[split]]
    kinds = [f"{row[kind]} {kind}" for kind in KINDS if row[kind]]
    told = [*splits, f"test {' + '.join(kinds)}", "with masks" if row["masks"] else "no masks"]
    if row["paired"]:
        told.append("each judged by its own reference")
    lines = [f"{title}: {', '.join(told)}"]
    if row["subtypes"]:
        lines.append(f"  sub-types: {', '.join(row['subtypes'])}")
    return lines + [f"  {note}" for note in row["notes"]]
