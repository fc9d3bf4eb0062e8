"""``fmlad accept`` and ``fmlad undo``: images that were flagged but are normal become shots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlad.commands import output
from fmlad.commands.output import Device, Json
from fmlad.errors import OptionError, ShotsError

if TYPE_CHECKING:
    from fmlad.detector import Detector
    from fmlad.io.images import ImageSource

Saved = Annotated[Path, typer.Argument(help="Folder of a saved detector.")]


def accept(
    detector: Saved,
    images: Annotated[
        list[str], typer.Argument(help="Images that are normal: files, or a folder.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(help="Their part labels, where the detector learned from labels: as of fit."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Take images for normal: they become shots of a saved detector, in its place."""
    from fmlad.explain import verdict_word
    from fmlad.io.inputs import expand_sources

    sources = expand_sources(images)
    fitted = _load(detector, device)
    _refuse_known(detector, sources)
    before = [fitted.predict(source) for source in sources]
    with output.interruptible(), output.progress(quiet=as_json) as progress:
        fitted.add_shots(sources, labels, progress=progress)
    after = [fitted.predict(source) for source in sources]
    fitted.save(detector)
    change, shots = fitted.journal[-1], fitted.shots
    if as_json:
        accepted = [
            {
                "name": new.name,
                "score_before": old.score,
                "decision_before": old.decision,
                "score": new.score,
                "decision": new.decision,
            }
            for old, new in zip(before, after, strict=True)
        ]
        output.print_json({**_facts(detector, fitted), "accepted": accepted})
        return
    for old, new in zip(before, after, strict=True):
        typer.echo(
            f"{new.name}: was {verdict_word(old.decision)} (score {old.score:.2f}), is now "
            f"{verdict_word(new.decision)} (score {new.score:.2f})"
        )
    for shot in shots[-len(change.keys) :]:
        if shot.suspicious:
            typer.echo(output.suspicion(shot, shots))
    _print_threshold(fitted)
    typer.echo(f"{_count(len(shots), 'shot')} now. To take it back: fmlad undo {detector}")


def undo(detector: Saved, device: Device = "auto", as_json: Json = False) -> None:
    """Take back the last accept of a saved detector; again, the one before."""
    fitted = _load(detector, device)
    with output.interruptible(), output.progress(quiet=as_json) as progress:
        change = fitted.undo(progress=progress)
    fitted.save(detector)
    if as_json:
        output.print_json({**_facts(detector, fitted), "taken_back": list(change.names)})
        return
    typer.echo(f"Taken back: {', '.join(change.names)}")
    _print_threshold(fitted)
    typer.echo(f"{_count(len(fitted.shots), 'shot')} now.")


def _load(folder: Path, device: str) -> Detector:
    """The detector, if it can be fitted again.

    Raises:
        OptionError: It keeps no originals.
    """
    from fmlad import storage
    from fmlad.detector import Detector

    if storage.read(folder).originals is None:
        raise OptionError(
            f"The detector in {folder} keeps no original images, so it cannot be fitted again. "
            f"Fit it again without --no-keep-shots, or from Python with save(..., originals=True)."
        )
    return Detector.load(folder, device=device)


def _refuse_known(folder: Path, sources: list[ImageSource]) -> None:
    """Refuses images that are shots already, or are given twice.

    Raises:
        ShotsError: One is; nothing was changed.
        InvalidImageError: One cannot be read.
    """
    from fmlad import storage
    from fmlad.io.images import load_image, source_name
    from fmlad.views import pixels_key

    known = {shot.key: shot.name for shot in reversed(storage.read(folder).manifest.shots)}
    given: dict[str, str] = {}
    for source in sources:
        name, key = source_name(source), pixels_key(load_image(source))
        if key in known or key in given:
            twin = f"the shot {known[key]}" if key in known else given[key]
            raise ShotsError(
                f"{name} has the same pixels as {twin}, so it would add nothing; leave it out. "
                f"Nothing was changed."
            )
        given[key] = name


def _facts(folder: Path, fitted: Detector) -> dict[str, Any]:
    change = fitted.journal[-1]
    return {
        "detector": str(folder),
        "threshold_before": change.threshold_before,
        "threshold": change.threshold_after,
        "threshold_from": fitted.calibration.describe(),
        "shots": len(fitted.shots),
    }


def _print_threshold(fitted: Detector) -> None:
    change = fitted.journal[-1]
    if change.threshold_before is not None and change.threshold_after is not None:
        typer.echo(
            f"Threshold {change.threshold_before:.3g} before, {change.threshold_after:.3g} now: "
            f"{fitted.calibration.describe()}."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
