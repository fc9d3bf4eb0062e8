"""``fmlad bench`` and ``fmlad eval``: figures with their protocol, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands.engine import Engine, RayAddress, Workers, check_engine
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.bench.model import Task
    from fmlad.bench.plan import Plan
    from fmlad.bench.results import Results
    from fmlad.bench.summary import PairedComparison, Figure, Line

SHOWN = ("auroc_logical", "auroc_structural", "auroc_micro", "f1_max", "aupro", "spro@0.05")
FAILED = 1  # exit code: some cells could not be done

Progress = Callable[[int, int, str], None]

bench_cli = typer.Typer(
    help="Run the few-shot protocol, write reports, compare estimators.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Folder = Annotated[Path, typer.Argument(help="Results folder.")]


@bench_cli.command("run")
def run_benchmark(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Results folder; run again, it resumes.")
    ],
    suite: Annotated[str | None, typer.Option(help="training-free, peers or trained.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan in YAML or JSON, instead of a suite.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset by name, instead of a suite (see docs/bench.md).")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
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
        typer.Option(help="Of all methods. [default: $FMLAD_PROFILE, else foundation]"),
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
    given = [name for name, value in (("suite", suite), ("plan", plan), ("dataset", dataset))
             if value is not None]  # fmt: skip
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "none of them"
        raise OptionError(f"Expected one of --suite, --plan and --dataset; got {came}.")
    of_datasets = {
        "root": root, "category": category, "subtype": subtype, "method": method,
        "profile": profile, "option": option, "prompts": prompts, "validation": validation,
        "shots": shots, "seeds": seeds, "images": images, "localise": localise,
    }  # fmt: skip
    extra = [name for name, value in of_datasets.items() if value is not None and value != []]
    if dataset is None and extra:
        raise OptionError(f"--{extra[0]} goes with --dataset; a {given[0]} says that itself.")
    from fmlad.bench.plan import Plan, load_plan
    from fmlad.bench.results import run

    check_engine(engine, workers, ray_address)
    planned: Plan | str
    if suite is not None:
        planned = suite
    elif plan is not None:
        planned = load_plan(plan)
    else:
        planned = Plan(
            _entries(method or [], profile, option or [], prompts or [], validation or []),
            _tasks(str(dataset), root, category or [], subtype, images or 0, localise is not False),
            _numbers(shots or "1,2,4,8"),
            tuple(range(seeds or 5)),
        )
    with _lines(quiet=as_json) as progress:
        results = run(
            planned, out, engine=_engine(engine, workers, ray_address), device=device,
            shared=shared, progress=progress, threads=threads,
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

    with _lines(quiet=as_json) as progress:
        page, table = write_report(folder, examples=examples, progress=progress)
    if as_json:
        typer.echo(json.dumps({"html": str(page), "markdown": str(table)}))
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
    from dataclasses import asdict

    from fmlad.bench import summary
    from fmlad.bench.results import load

    found = summary.compare(load(folder), first, second, figure)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    _table(
        ("dataset", "shots", "cells", f"{figure}: {first} - {second}", "95 % interval", "wins"),
        [_comparison_row(one) for one in found],
    )


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
    from dataclasses import asdict

    from fmlad.bench.evaluation import evaluate as judge
    from fmlad.bench.model import Task

    task = Task(dataset, str(root), category, subtype, images, localise=localise)
    with _lines(quiet=as_json) as progress:
        found = judge(detector, task, device=device, progress=progress)
    if as_json:
        facts = {**asdict(found), "task": task.title}
        typer.echo(json.dumps(facts, indent=1))
        return
    typer.echo(f"{task.title}: {len(found.rows)} images")
    for name, value in found.figures.items():
        typer.echo(f"  {name}: {value:.3f}")
    for kind, share in found.alarms.items():
        typer.echo(f"  called anomalous, {kind}: {share:.3f}")
    for note in found.notes:
        typer.echo(f"  note: {note}")


def _engine(name: str, workers: int | None, address: str | None) -> Any:
    if name == "local":
        return name
    from fmlad.bench.ray_engine import RayEngine

    return RayEngine(workers, address)


def _tasks(
    dataset: str,
    root: Path | None,
    categories: Sequence[str],
    subtype: str | None,
    images: int,
    localise: bool,
) -> tuple[Task, ...]:
    from fmlad import datasets
    from fmlad.bench.model import Task

    if root is None:
        raise OptionError(f"--dataset {dataset} needs --root: the folder that it lies in.")
    names = list(categories) or datasets.categories(dataset, root)
    return tuple(Task(dataset, str(root), c, subtype, images, localise=localise) for c in names)


def _entries(
    methods: Sequence[str],
    profile: str | None,
    options: Sequence[str],
    prompts: Sequence[str],
    validation: Sequence[str],
) -> tuple[Any, ...]:
    from fmlad.bench.model import Entry
    from fmlad.bench.plan import is_peer
    from fmlad.errors import UnknownNameError

    if not methods:
        raise OptionError("--dataset needs --method: who is to take part; see `fmlad methods`.")
    pairs = [_pair(text) if "=" in text else (text, text) for text in methods]
    names = dict(pairs)
    if len(names) < len(pairs):
        raise OptionError("Two --method have one label; give each its own: LABEL=METHOD.")
    chosen: dict[str, dict[str, Any]] = {label: {} for label in names}
    words = dict(_pair(text) for text in prompts)
    for text in options:
        # A peer's label has a colon itself, so the last one before "=" is ours.
        place, value = _pair(text)
        label, colon, name = place.rpartition(":")
        if not colon:
            raise OptionError(f"Got --option {text!r}; expected LABEL:NAME=VALUE.")
        chosen.setdefault(label, {})[name] = _value(value)
    for label in (*chosen, *words, *validation):
        if label not in names:
            raise UnknownNameError.of("entry", label, names)
    return tuple(
        Entry(
            label,
            name,
            "" if is_peer(name) else profile or "",
            chosen[label],
            words.get(label),
            label in validation,
        )
        for label, name in names.items()
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise OptionError(f"Got {text!r}; expected NAME=VALUE.")
    return name.strip(), value.strip()


def _value(text: str) -> Any:
    """A number, true, false, a list: as JSON. Anything else is the text itself."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"--shots {text!r} must be whole numbers, as in 1,2,4,8.") from None


def _print_results(results: Results, as_json: bool) -> None:
    from dataclasses import asdict

    from fmlad.bench.summary import summarise

    lines = summarise(results)
    if as_json:
        facts = {
            "folder": str(results.folder),
            "cells": len(results),
            "missing": results.missing,
            "failed": [
                {"cell": one.cell.key, "error": one.error, "message": one.message}
                for one in results.failed
            ],
            "lines": [asdict(line) for line in lines],
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    shown = [name for name in SHOWN if any(name in line.figures for line in lines)]
    if lines:
        _table(
            ("task", "entry", "shots", "seeds", *shown, "p50 s"),
            [_line_row(line, shown) for line in lines],
        )
    for one in results.failed:
        typer.echo(f"failed: {one.cell.key}: {one.message}", err=True)
    made_by = {(c.environment.get("fmlad"), c.environment.get("commit")) for c in results}
    if len(made_by) > 1:
        typer.echo(f"note: the cells were made by {len(made_by)} different states of the code")
    state = f"{len(results)} cells finished, {len(results.failed)} failed"
    typer.echo(f"{state}, {results.missing} missing. Results: {results.folder}")


def _line_row(line: Line, shown: Sequence[str]) -> tuple[str, ...]:
    task = line.task or f"{line.dataset}, mean of {line.tasks}"
    marks = "*" * line.category_prompts + f" +{line.normals_beyond_k}" * bool(line.normals_beyond_k)
    return (
        task,
        f"{line.entry.label}{marks}",
        str(line.shots or "all"),
        str(len(line.seeds)),
        *(_figure(line.figures.get(name)) for name in shown),
        _number(line.cost, "p50_seconds"),
    )


def _comparison_row(one: PairedComparison) -> tuple[str, ...]:
    interval = "" if one.low is None else f"{one.low:+.3f} to {one.high:+.3f}"
    return (
        one.dataset or "all",
        "all" if one.shots is None else str(one.shots or "all images"),
        str(one.cells),
        f"{one.difference:+.3f}",
        interval,
        f"{one.wins:.0%}",
    )


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.mean:.3f}" + (f" ±{figure.std:.3f}" if figure.std is not None else "")


def _number(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.3g}" if name in values else ""


def _table(heading: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Names are anybody's: what looks like rich's markup is none.
    table = Table(*map(escape, heading), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    # Into a file or pipe a table must not be cut at some terminal's width.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@contextmanager
def _lines(quiet: bool) -> Iterator[Progress]:
    """A bar on standard error where that is a terminal; elsewhere a line for each step."""
    if quiet:
        yield lambda done, total, what: None
        return
    if not sys.stderr.isatty():
        yield lambda done, total, what: typer.echo(f"[{done}/{total}] {what}", err=True)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=None)
        yield lambda done, total, what: bars.update(
            bar, completed=done, total=total, description=escape(what)
        )
