"""``fmlad bench``: figures with their protocol, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands import output
from fmlad.commands.output import FAILED, Device, Engine, Json, RayAddress, Workers
from fmlad.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from fmlad.bench.model import Task
    from fmlad.bench.results import Results
    from fmlad.bench.summary import Line

SHOWN = ("auroc_logical", "auroc_structural", "auroc_micro", "f1_max", "aupro", "spro@0.05")

bench_cli = output.group("Run the few-shot protocol, write reports, compare entries.")

Folder = Annotated[Path, typer.Argument(help="Results folder.")]


@bench_cli.command("run")
def run_benchmark(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Results folder; run again, it resumes.")
    ],
    suite: Annotated[
        str | None, typer.Option(help="training-free, peers, trained or loco.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan in YAML or JSON, instead of a suite.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset by name, instead of a suite (see docs/bench.md).")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the dataset; of the suite loco, MVTec LOCO AD.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Of the dataset; repeatable. [default: all]")
    ] = None,
    subtype: Annotated[str | None, typer.Option(help="Of the category.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="METHOD, or LABEL=METHOD to enter it twice; repeatable."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Of all methods of --dataset or of the suite loco. [default: $FMLAD_PROFILE, "
            "else builtin]"
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Option of an entry as LABEL:NAME=VALUE; repeatable."),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=SET, or LABEL=category for the set of each; repeatable."),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(help="LABEL of an entry that gets the validation images too; repeatable."),
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Numbers of shots; 0 means all. [default: 1,2,4,8]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many draws. [default: 5]")] = None,
    images: Annotated[
        int | None, typer.Option(min=0, help="Test images of each kind; 0 means all, the default.")
    ] = None,
    localise: Annotated[
        bool | None,
        typer.Option("--localise/--no-localise", help="Measure maps as well. [default: localise]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Of each cell; 0 means what torch would take.")
    ] = None,
    engine: Engine = "local",
    workers: Workers = None,
    ray_address: RayAddress = None,
    shared: Annotated[
        Path | None,
        typer.Option(help="Photographs of the suites. [default: $FMLAD_SHARED, else ../shared]"),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Do what a suite, a plan or the options ask for; finished cells are not repeated."""
    sources = {"suite": suite, "plan": plan, "dataset": dataset}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "none of them"
        raise OptionError(f"Expected one of --suite, --plan and --dataset; got {came}.")
    of_datasets = {
        "root": root, "category": category, "subtype": subtype, "method": method,
        "profile": profile, "option": option, "prompts": prompts, "validation": validation,
        "shots": shots, "seeds": seeds, "images": images, "localise": localise,
    }  # fmt: skip
    extra = [name for name, value in of_datasets.items() if value not in (None, [])]
    if suite == "loco":
        extra = [name for name in extra if name not in ("root", "profile")]
    if dataset is None and extra:
        raise OptionError(f"--{extra[0]} goes with --dataset; a {given[0]} says that itself.")
    from fmlad.bench.plan import Plan
    from fmlad.bench.results import run

    output.check_engine(engine, workers, ray_address)
    chosen: Any = engine
    if engine == "ray":
        from fmlad.bench.ray_engine import RayEngine

        chosen = RayEngine(workers, ray_address)
    planned: Any = suite or plan
    if dataset is not None:
        planned = Plan(
            _entries(method or [], profile or "", option, prompts, validation or []),
            _tasks(dataset, root, category, subtype, images or 0, localise is not False),
            _numbers(shots or "1,2,4,8"),
            tuple(range(seeds or 5)),
        )
    with output.progress(quiet=as_json, lines=True) as progress:
        results = run(
            planned, out, engine=chosen, device=device, shared=shared, progress=progress,
            threads=threads, root=None if dataset else root, profile=None if dataset else profile,
        )  # fmt: skip
    _print_results(results, as_json)
    if results.failed:
        raise typer.Exit(FAILED)


@bench_cli.command("show")
def show_results(folder: Folder, as_json: Json = False) -> None:
    """Print the table of a results folder."""
    from fmlad.bench.results import load

    _print_results(load(folder), as_json)


@bench_cli.command()
def report(
    folder: Folder,
    examples: Annotated[
        int, typer.Option(min=0, help="Pictures of each entry and dataset; 0 is quick.")
    ] = 4,
    as_json: Json = False,
) -> None:
    """Write report.html and report.md into a results folder; for pictures, fit once more."""
    from fmlad.bench.report import write_report

    with output.progress(quiet=as_json, lines=True) as progress:
        page, table = write_report(folder, examples=examples, progress=progress)
    if as_json:
        output.print_json({"html": str(page), "markdown": str(table)})
        return
    typer.echo(f"Report: {page}\nTable: {table}")


@bench_cli.command()
def compare(
    folder: Folder,
    first: Annotated[str, typer.Argument(help="Label of an entry.")],
    second: Annotated[str, typer.Argument(help="Label of another.")],
    figure: Annotated[str, typer.Option(help="Name of a figure.")] = "auroc_micro",
    as_json: Json = False,
) -> None:
    """Compare two entries cell against cell: same images, same shots."""
    from fmlad.bench import summary
    from fmlad.bench.results import load

    found = summary.compare(load(folder), first, second, figure)
    if as_json:
        output.print_json([asdict(one) for one in found])
        return
    rows = [
        (
            one.dataset or "all",
            "all" if one.shots is None else str(one.shots or "all images"),
            str(one.cells),
            f"{one.difference:+.3f}",
            "" if one.low is None else f"{one.low:+.3f} to {one.high:+.3f}",
            f"{one.wins:.0%}",
        )
        for one in found
    ]
    difference = f"{figure}: {first} - {second}"
    output.print_table(("dataset", "shots", "cells", difference, "95 % interval", "wins"), rows)


def _tasks(
    dataset: str,
    root: Path | None,
    categories: list[str] | None,
    subtype: str | None,
    images: int,
    localise: bool,
) -> tuple[Task, ...]:
    from fmlad import datasets
    from fmlad.bench.model import Task

    if root is None:
        raise OptionError(f"--dataset {dataset} needs --root: the folder that it lies in.")
    names = categories or datasets.categories(dataset, root)
    return tuple(Task(dataset, str(root), c, subtype, images, localise=localise) for c in names)


def _entries(
    methods: list[str],
    profile: str,
    options: list[str] | None,
    prompts: list[str] | None,
    validation: list[str],
) -> tuple[Any, ...]:
    from fmlad.bench.model import Entry
    from fmlad.bench.plan import is_peer

    if not methods:
        raise OptionError("--dataset needs --method: who is to take part; see `fmlad methods`.")
    given = [text if "=" in text else f"{text}={text}" for text in methods]
    names = output.pairs(given, "--method LABEL=METHOD")
    if len(names) < len(methods):
        raise OptionError("Two --method have one label; give each its own: LABEL=METHOD.")
    chosen: dict[str, dict[str, Any]] = {label: {} for label in names}
    for place, value in output.pairs(options, "--option LABEL:NAME=VALUE").items():
        label, colon, name = place.rpartition(":")  # a peer's label has a colon of its own
        if not colon:
            raise OptionError(f"Got --option {place}={value}; expected LABEL:NAME=VALUE.")
        chosen.setdefault(label, {})[name] = output.value(value)
    sets = output.pairs(prompts, "--prompts LABEL=SET")
    for label in (*chosen, *sets, *validation):
        if label not in names:
            raise UnknownNameError.of("entry", label, names)
    return tuple(
        Entry(
            label, name, "" if is_peer(name) else profile, chosen[label], sets.get(label),
            label in validation,
        )
        for label, name in names.items()
    )  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"--shots {text!r} must be whole numbers, as in 1,2,4,8.") from None


def _print_results(results: Results, as_json: bool) -> None:
    from fmlad.bench.groups import groups
    from fmlad.bench.summary import summarise

    lines = summarise(results)
    if as_json:
        facts = {
            "folder": str(results.folder),
            "cells": len(results),
            "missing": results.missing,
            "failed": [{**vars(one), "cell": one.cell.key} for one in results.failed],
            "lines": [asdict(line) for line in lines],
        }
        output.print_json(facts)
        return
    # Means over the tasks that some entry is confined to, too.
    some = [group for group in groups(results, lines, draws=0) if not group.whole]
    lines = [*lines, *(line for group in some for line in group.lines)]
    shown = [name for name in SHOWN if any(name in line.figures for line in lines)]
    if lines:
        heading = ("task", "entry", "shots", "seeds", *shown, "p50 s")
        output.print_table(heading, [_line_row(line, shown) for line in lines])
    for one in results.failed:
        typer.echo(f"failed: {one.cell.key}: {one.message}", err=True)
    made_by = {(c.environment.get("fmlad"), c.environment.get("commit")) for c in results}
    if len(made_by) > 1:
        typer.echo(f"note: the cells were made by {len(made_by)} different states of the code")
    state = f"{len(results)} cells finished, {len(results.failed)} failed"
    typer.echo(f"{state}, {results.missing} missing. Results: {results.folder}")


def _line_row(line: Line, shown: Sequence[str]) -> tuple[str, ...]:
    marks = "*" * line.category_prompts + f" +{line.normals_beyond_k}" * bool(line.normals_beyond_k)
    figures = (line.figures.get(name) for name in shown)
    return (
        line.task or f"{line.dataset}, mean of {line.tasks}",
        f"{line.entry.label}{marks}",
        str(line.shots or "all"),
        str(len(line.seeds)),
        *("" if figure is None else _number(figure.mean, figure.std) for figure in figures),
        f"{line.cost['p50_seconds']:.3g}" if "p50_seconds" in line.cost else "",
    )


def _number(mean: float, std: float | None) -> str:
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ±{std:.3f}"
