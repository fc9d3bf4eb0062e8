"""The command line: thin, and lazy, so that ``fmlad --help`` is quick.

Exit codes: 0 done; 1 the input or its surroundings were wrong (a name that does not exist is such
an input), or some images could not be read; 2 usage, as the parser sees it; 3 something is
anomalous and ``--fail-on-anomaly`` was given (it outranks 1).
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fmlad._version import __version__
from fmlad.commands.bench import bench_cli, evaluate
from fmlad.commands.datasets import datasets_cli
from fmlad.commands.engine import Engine, RayAddress, Workers, check_engine
from fmlad.commands.prompts import prompts_cli
from fmlad.commands.weights import weights_cli
from fmlad.errors import FmladError, OptionError

if TYPE_CHECKING:
    from fmlad.detector import Detector
    from fmlad.prediction import Failure, Prediction

FAILED, USAGE, ANOMALOUS = 1, 2, 3

cli = typer.Typer(
    name="fmlad",
    help="From a handful of normal images to a detector that says whether an image is wrong, "
    "where, and what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(weights_cli, name="weights")
cli.add_typer(prompts_cli, name="prompts")
cli.add_typer(bench_cli, name="bench")
cli.add_typer(datasets_cli, name="datasets")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
Profile = Annotated[
    str | None,
    typer.Option(help="builtin, light or foundation. [default: $FMLAD_PROFILE, else foundation]"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Seed = Annotated[int, typer.Option(help="For everything left to chance.")]


@cli.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fmlad {__version__}")
        raise typer.Exit


@cli.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the report.")] = Path(
        "fmlad-demo"
    ),
    category: Annotated[str, typer.Option(help="Scene category.")] = "pushpins",
    shots: Annotated[int, typer.Option(min=1, max=20, help="Normal images to fit on.")] = 4,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make sample pictures, fit on a few of them, judge a dozen others, write a report."""
    from fmlad.demo import run_demo

    with _progress(quiet=as_json) as progress:
        result = run_demo(out, category, shots=shots, seed=seed, progress=progress)
    if as_json:
        _print_json(result.to_dict())
        return
    _print_table(
        "what it is / verdict / score / first finding",
        [
            (
                case.truth,
                _verdict(case.prediction),
                f"{case.prediction.score:.2f}",
                case.prediction.findings[0].text if case.prediction.findings else "",
            )
            for case in result.cases
        ],
    )
    typer.echo(result.summary())
    typer.echo(f"Report with pictures: {result.report}")


@cli.command()
def fit(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to save the detector to.")],
    shots: Annotated[
        list[str] | None,
        typer.Argument(
            help="Normal images: a folder, or files. None at all, with --prompts: the declared "
            "rules alone."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="See `fmlad methods`. [default: banks, or clip-lad with --prompts]"),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Prompt set: a bundled one (`fmlad prompts list`) or a YAML file."),
    ] = None,
    profile: Profile = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Option of the method as NAME=VALUE; repeatable."),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", help="Backbone of a role as ROLE=NAME; repeatable."),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            help="Further normal images, to set the threshold (clip-lad: and scales) by; "
            "repeatable."
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a detector to normal images, to the rules of a prompt set, or to both; and save it."""
    from fmlad import storage
    from fmlad.detector import Detector

    storage.check_target(out)  # before the work, not after it
    options = {k: _value(v) for k, v in _pairs(option or [], "--option NAME=VALUE").items()}
    for name in options.keys() & inspect.signature(Detector.from_shots).parameters.keys():
        raise OptionError(f"{name!r} is no option of a method; see `fmlad fit --help`.")
    common: dict[str, Any] = {
        "prompts": prompts,
        "profile": profile,
        "backbones": _pairs(backbone or [], "--backbone ROLE=NAME"),
        "device": device,
        **options,
    }
    if shots:
        with _progress(quiet=as_json) as progress:
            detector = Detector.from_shots(
                list(shots),
                method=method,
                validation=list(validation or []),
                seed=seed,
                progress=progress,
                **common,
            )
    else:
        detector = _without_shots(method, validation, common)
    detector.save(out)
    calibration = detector.calibration
    reports = detector.shots
    if as_json:
        _print_json(
            {
                "detector": str(out),
                "method": detector.method,
                "profile": detector.profile,
                "threshold": calibration.threshold,
                "threshold_from": calibration.describe(),
                "shots": [vars(report) for report in reports],
            }
        )
        return
    for report in reports:
        if report.duplicate_of is not None:
            typer.echo(f"{report.name}: same pixels as shot {report.duplicate_of}; it adds nothing")
        if report.suspicious:
            typer.echo(f"{report.name}: far odder than the other shots (score {report.score:.2f})")
    plural = "" if len(reports) == 1 else "s"  # and "0 shots"
    typer.echo(f"Fitted {detector.method!r} ({detector.profile}) on {len(reports)} shot{plural}.")
    if calibration.threshold is not None:
        typer.echo(f"Threshold {calibration.threshold:.3g}: {calibration.describe()}.")
    typer.echo(f"Saved to {out}. Next: fmlad predict {out} IMAGES")


def _without_shots(
    method: str | None, validation: list[str] | None, common: dict[str, Any]
) -> Detector:
    """A detector from prompts alone."""
    from fmlad.detector import ZERO_SHOT, Detector

    if common["prompts"] is None:
        raise OptionError("There is nothing to fit to: give normal images, --prompts, or both.")
    if method not in (None, ZERO_SHOT):
        raise OptionError(f"The method {method!r} needs normal images; {ZERO_SHOT!r} does without.")
    if validation:
        raise OptionError("--validation needs normal images to fit to beside it.")
    return Detector.from_prompts(common.pop("prompts"), **common)


@cli.command()
def predict(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    images: Annotated[list[str], typer.Argument(help="Images to judge: a folder, or files.")],
    threshold: Annotated[float | None, typer.Option(help="Decide at this score instead.")] = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Write a picture with heat and boxes per image here.")
    ] = None,
    maps: Annotated[Path | None, typer.Option(help="Write each map as .npy here.")] = None,
    fail_on_anomaly: Annotated[
        bool, typer.Option("--fail-on-anomaly", help="Exit with 3 if anything is anomalous.")
    ] = False,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="To compute with. [default: what torch would take]")
    ] = None,
    engine: Engine = "local",
    workers: Workers = None,
    ray_address: RayAddress = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line and image.")
    ] = False,
) -> None:
    """Judge images with a saved detector; a bad file is reported and the rest goes on."""
    from fmlad.io.inputs import expand_sources
    from fmlad.prediction import Prediction

    check_engine(engine, workers, ray_address)
    # A typo in the only path is an error at once; among several it must not stop the others.
    one = images[0] if len(images) == 1 else images
    failed = anomalous = 0
    if engine == "local":
        fitted = _loaded(detector, device, threads)
        if threshold is not None:
            fitted.threshold = threshold
        sources = expand_sources(one, strict=False)
        outcomes = fitted.predict_many(sources)
    else:
        from fmlad.engines import predict_ray

        sources = expand_sources(one, strict=False)
        outcomes = predict_ray(
            detector, sources, workers=workers, threads=threads, device=device,
            threshold=threshold, address=ray_address,
        )  # fmt: skip
    # Closed at once when something stops us, so that no workers are left over.
    work = closing(cast("Generator[Prediction | Failure]", outcomes))
    with _progress(quiet=as_json) as progress, work:
        for number, outcome in enumerate(outcomes, start=1):
            progress(number, len(sources), "judging images")
            if as_json:
                _print_json(outcome.to_dict(), indent=None)
            else:
                _say(outcome)
            if isinstance(outcome, Prediction):
                anomalous += outcome.is_anomalous is True
                _write_pictures(outcome, number, overlays, maps)
            else:
                failed += 1
    if not as_json and len(sources) > 1:
        typer.echo(
            f"{len(sources)} images: {anomalous} anomalous, "
            f"{len(sources) - anomalous - failed} not, {failed} could not be read"
        )
    if fail_on_anomaly and anomalous:
        raise typer.Exit(ANOMALOUS)
    if failed:
        raise typer.Exit(FAILED)


def _loaded(folder: Path, device: str, threads: int | None) -> Detector:
    from fmlad.detector import Detector

    if threads is not None:
        from fmlad.engines.cluster import Threads, compute_with

        compute_with(Threads(threads, threads))
    return Detector.load(folder, device=device)


@cli.command()
def methods(as_json: Json = False) -> None:
    """List methods with their options, profiles and backbones."""
    import textwrap

    from fmlad.methods.registry import describe_options, list_methods, method_class
    from fmlad.profiles import PROFILES, list_backbones

    found = {name: (method_class(name).summary, describe_options(name)) for name in list_methods()}
    if as_json:
        _print_json(
            {
                "methods": {
                    name: {
                        "summary": summary,
                        "options": {one.name: one.default for one in options},
                        "descriptions": {one.name: one.text for one in options},
                    }
                    for name, (summary, options) in found.items()
                },
                "profiles": {name: dict(roles) for name, roles in PROFILES.items()},
                "backbones": list_backbones(),
            }
        )
        return
    for name, (summary, options) in found.items():
        typer.echo(f"{name}: {summary}")
        for one in options:
            typer.echo(f"    {one.name} = {one.default!r}")
            for line in textwrap.wrap(one.text, 92):
                typer.echo(f"        {line}")
    for name, roles in PROFILES.items():
        typer.echo(f"profile {name}")
        for role, chosen in roles.items():
            typer.echo(f"    {role}: {chosen}")
    typer.echo("backbones: " + ", ".join(list_backbones()))


@cli.command()
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

    counts = {k: _value(v) for k, v in _pairs(count or [], "--count NAME=NUMBER").items()}
    every = category == "all"
    with _progress() as progress:
        for name in SCENE_CATEGORIES if every else (category,):
            folder = make_scenes(
                root / name if every else root, name, seed, counts or None, progress=progress
            )
            typer.echo(f"{name}: {folder}")


@cli.command()
def app(
    profile: Profile = None,
    port: Annotated[int | None, typer.Option(help="Port; a free one from 7860 if absent.")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in a browser.")] = False,
) -> None:
    """Open the page: upload normal images and queries, see verdicts. On this machine only."""
    from fmlad.app import launch

    launch(profile=profile, port=port, open_browser=browser)


cli.command("eval")(evaluate)


def main() -> None:
    """Entry point: our own errors become one line, everything else is a bug and shows itself."""
    # Read when torch is first imported. Threads that spin while they wait, the default, slow each
    # other down badly as soon as another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli()
    except FmladError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(FAILED)


def _say(outcome: Prediction | Failure) -> None:
    from fmlad.prediction import Failure

    if isinstance(outcome, Failure):
        typer.echo(f"error: {outcome.error}", err=True)  # names the source itself
    else:
        typer.echo(outcome.explain())


def _verdict(prediction: Prediction) -> str:
    from fmlad.explain import verdict_word

    return verdict_word(prediction)


def _write_pictures(
    prediction: Prediction, number: int, overlays: Path | None, maps: Path | None
) -> None:
    import numpy as np

    # Numbered, because images of one name may come from different folders.
    name = f"{number:04d}-{Path(prediction.name).stem}"
    for folder in (overlays, maps):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder is overlays:
                prediction.overlay().save(folder / f"{name}.png")
            if folder is maps:
                np.save(folder / f"{name}.npy", prediction.anomaly_map, allow_pickle=False)
        except OSError as error:
            raise OptionError(f"Nothing can be written to {folder}: {error}.") from error


def _pairs(given: list[str], form: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionError(f"Got {text!r}; expected {form}.")
        pairs[name.strip()] = value.strip()
    return pairs


def _value(text: str) -> Any:
    """A number, true, false, a list: as JSON. Anything else is the text itself."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text


def _print_json(data: Any, indent: int | None = 1) -> None:
    typer.echo(json.dumps(data, indent=indent))


def _print_table(heading: str, rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*heading.split(" / "), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # Into a file or pipe a table must not be cut at some terminal's width.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@contextmanager
def _progress(quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error where that is a terminal, silence elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield report


if __name__ == "__main__":
    main()
