"""``fmlad predict``: a saved detector on images, here or on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fmlad.commands import output
from fmlad.commands.output import ANOMALOUS, FAILED, Device, Engine, RayAddress, Workers
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.detector import Detector
    from fmlad.prediction import Failure, Prediction


UNREAD = "could not be read"


def predict(
    detector: Annotated[Path, typer.Argument(help="Folder of a saved detector.")],
    images: Annotated[list[str], typer.Argument(help="Images to judge: a folder, or files.")],
    threshold: Annotated[float | None, typer.Option(help="Decide at this score instead.")] = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Write a picture with heat and boxes per image here.")
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(help="Write a picture with parts outlined and counted per image here."),
    ] = None,
    maps: Annotated[Path | None, typer.Option(help="Write each map as .npy here.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write one HTML page about all images here: worst first, with crops."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a table, one line an image, here.")
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(help="Copy every image that is anomalous or unsure into this folder."),
    ] = None,
    fail_on_anomaly: Annotated[
        bool,
        typer.Option("--fail-on-anomaly", help="Exit with 3 if anything is anomalous or unsure."),
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
    from fmlad.commands.folder_report import FolderReport, write_csv
    from fmlad.commands.review import put_aside
    from fmlad.explain import WORDS, verdict_word
    from fmlad.io.inputs import expand_sources
    from fmlad.prediction import Prediction
    from fmlad.table import row

    output.check_engine(engine, workers, ray_address)
    output.check_files({"--report": report, "--csv": csv})
    output.check_folders(
        {"--overlays": overlays, "--parts": parts, "--maps": maps, "--review": review}
    )
    fitted: Detector | None = None
    # A typo in the only path is an error at once; among several it must not stop the others.
    one = images[0] if len(images) == 1 else images
    if engine == "local":
        if threads is not None:
            from fmlad.engines.threads import Threads

            Threads(threads, threads).apply()
        fitted = _loaded(detector, device, threshold)
        inputs = expand_sources(one, strict=False)
        outcomes = fitted.predict_many(inputs)
    else:
        from fmlad.engines import predict_ray

        inputs = expand_sources(one, strict=False)
        outcomes = predict_ray(
            detector, inputs, workers=workers, threads=threads, device=device,
            threshold=threshold, address=ray_address,
        )  # fmt: skip
    counts: Counter[str] = Counter()
    page, table = FolderReport(), []
    aside: set[Path] = set()
    # Closed at once when something stops us, so that no workers are left over.
    work = closing(cast("Generator[Prediction | Failure]", outcomes))
    with output.progress(quiet=as_json) as progress, work:
        for number, outcome in enumerate(outcomes, start=1):
            progress(number, len(inputs), "judging images")
            if as_json:
                output.print_json(outcome.to_dict(), indent=None)
            elif isinstance(outcome, Prediction):
                typer.echo(outcome.explain())
            else:
                typer.echo(f"error: {outcome.error}", err=True)  # names the image itself
            if report is not None:
                page.add(outcome)
            if csv is not None:
                table.append(row(outcome))
            if isinstance(outcome, Prediction):
                counts[verdict_word(outcome.decision)] += 1
                _write_pictures(outcome, number, overlays, parts, maps)
                if review is not None and outcome.is_anomalous:
                    aside.add(put_aside(Path(str(inputs[number - 1])), review))
            else:
                counts[UNREAD] += 1
    told = ", ".join(f"{counts[word]} {word}" for word in (*WORDS.values(), UNREAD) if counts[word])
    told = f"{len(inputs)} image{'' if len(inputs) == 1 else 's'}: {told}"
    if csv is not None:
        write_csv(csv, table)
    if report is not None:
        if fitted is None:
            fitted = _loaded(detector, device, threshold)
        page.write(report, f"fmlad: {detector.name}", told, fitted)
    if not as_json and len(inputs) > 1:
        typer.echo(told)
    if not as_json and report is not None:
        typer.echo(f"Report: {report}")
    if not as_json and review is not None:
        plural = "" if len(aside) == 1 else "s"
        typer.echo(f"{len(aside)} image{plural} put aside in {review}.")
    if fail_on_anomaly and (counts["anomalous"] or counts["unsure"]):
        raise typer.Exit(ANOMALOUS)
    if counts[UNREAD]:
        raise typer.Exit(FAILED)


def _loaded(folder: Path, device: str, threshold: float | None) -> Detector:
    from fmlad.detector import Detector

    fitted = Detector.load(folder, device=device)
    if threshold is not None:
        fitted.threshold = threshold
    return fitted


def _write_pictures(
    prediction: Prediction,
    number: int,
    overlays: Path | None,
    parts: Path | None,
    maps: Path | None,
) -> None:
    import numpy as np

    # Numbered, because images of one name may come from different folders.
    name = f"{number:04d}-{Path(prediction.name).stem}"
    try:
        if overlays is not None:
            overlays.mkdir(parents=True, exist_ok=True)
            prediction.overlay().save(overlays / f"{name}.png")
        if parts is not None:
            parts.mkdir(parents=True, exist_ok=True)
            prediction.parts_overlay().save(parts / f"{name}.png")
        if maps is not None:
            maps.mkdir(parents=True, exist_ok=True)
            np.save(maps / f"{name}.npy", prediction.anomaly_map, allow_pickle=False)
    except OSError as error:
        raise OptionError(f"The pictures cannot be written: {error}.") from error
