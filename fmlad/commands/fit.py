"""``fmlad fit``: from images or prompts to a saved detector."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fmlad.commands import output
from fmlad.commands.output import Backbones, Device, Json, Profile, Seed
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.detector import Detector
    from fmlad.objects.fixtures import Fixture
    from fmlad.scoring.calibration import OddShots


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
    backbone: Backbones = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            help="Further normal images, to set the threshold (clip-lad: and scales) by; "
            "repeatable."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Part labels of the normal images, for methods that learn from them: a folder of "
            "label images (PNG), of labelme's or a COCO file, such a JSON file, or 'auto'. See "
            "`fmlad labels`."
        ),
    ] = None,
    unlabeled: Annotated[
        list[str] | None,
        typer.Option(help="Images of unknown state, for methods that learn from them; repeatable."),
    ] = None,
    looks_for: Annotated[
        str, typer.Option(help="'damage' alone, 'composition' of parts alone, or 'both'.")
    ] = "both",
    false_alarms: Annotated[
        float | None,
        typer.Option(
            help="Share of normal images that may be called anomalous, such as 0.05. [default: "
            "what the normal images can promise, 0.05 to 0.15]"
        ),
    ] = None,
    odd_shots: Annotated[
        str,
        typer.Option(
            help="'keep' normal images that are far odder than the others for the threshold, or "
            "'drop' them."
        ),
    ] = "keep",
    roi: Annotated[
        list[str] | None,
        typer.Option(
            help="Where differences count: a mask image (not black is inside), a box x1,y1,x2,y2 "
            "in pixels of the first image (repeatable), or a JSON file of boxes and polygons."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Where they do not count, in the same forms; repeatable."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder for the checkpoints of a method that trains.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint there.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            help="Try the detector on damaged and rearranged copies of the normal images, and say "
            "what it catches."
        ),
    ] = True,
    keep_shots: Annotated[
        bool,
        typer.Option(
            help="Keep all images in the saved detector, without loss, so that `fmlad accept` can "
            "add to them later."
        ),
    ] = True,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a detector to normal images, to the rules of a prompt set, or to both; and save it."""
    from fmlad import originals, storage
    from fmlad.detector import Detector
    from fmlad.region_inputs import from_arguments

    storage.check_target(out)  # before the work, not after it
    options = {k: output.value(v) for k, v in output.pairs(option, "--option NAME=VALUE").items()}
    for name in options.keys() & inspect.signature(Detector.from_shots).parameters.keys():
        raise OptionError(f"{name!r} is no option of a method; see `fmlad fit --help`.")
    common: dict[str, Any] = {
        "prompts": prompts,
        "profile": profile,
        "backbones": output.pairs(backbone, "--backbone ROLE=NAME"),
        "device": device,
        **options,
    }
    beside = {
        "--validation": validation,
        "--labels": labels is not None,
        "--unlabeled": unlabeled,
        "--looks-for": looks_for != "both",
        "--false-alarms": false_alarms is not None,
        "--roi": roi,
        "--ignore": ignore,
        "--checkpoint": checkpoint or resume,
    }
    if shots:
        with output.interruptible(), output.progress(quiet=as_json) as progress:
            detector = Detector.from_shots(
                list(shots),
                method=method,
                validation=validation or (),
                labels=labels,
                unlabeled=unlabeled or (),
                looks_for=looks_for,
                target_false_alarms=false_alarms,
                odd_shots=cast("OddShots", odd_shots),
                roi=from_arguments("--roi", roi) if roi else None,
                ignore=from_arguments("--ignore", ignore) if ignore else None,
                checkpoint=checkpoint,
                resume=resume,
                seed=seed,
                progress=progress,
                **common,
            )
            if check and detector.threshold is not None:
                detector.power_check(seed=seed, progress=progress)
    else:
        detector = _without_shots(method, [name for name, given in beside.items() if given], common)
    detector.save(out, originals=keep_shots and bool(shots))
    images, size = originals.size(out)
    calibration = detector.calibration
    reports = detector.shots
    if as_json:
        output.print_json(
            {
                "detector": str(out),
                "method": detector.method,
                "profile": detector.profile,
                "threshold": calibration.threshold,
                "threshold_from": calibration.describe(),
                "false_alarms": calibration.rate,
                "more_images_needed": calibration.missing,
                "notes": detector.notes,
                "fixtures": [fixture.to_dict() for fixture in detector.fixtures],
                "rules": [check.to_dict() for check in detector.rule_checks],
                "power": detector.power.to_dict() if detector.power else None,
                "kept": {"images": images, "bytes": size},
                "shots": [report.to_dict() for report in reports],
            }
        )
        return
    for report in reports:
        if report.duplicate_of is not None:
            typer.echo(f"{report.name}: same pixels as shot {report.duplicate_of}; it adds nothing")
        if report.suspicious:
            typer.echo(
                f"{output.suspicion(report, reports)} If it is not normal, leave it out; if it is, "
                f"keep it. --odd-shots drop keeps it from setting the threshold."
            )
    for rule in [rule for rule in detector.rule_checks if rule.suspect]:
        folder = shots[0] if shots and Path(shots[0]).is_dir() else "FOLDER"
        typer.echo(
            f"{rule.describe()}: the rule, the words or the masks are wrong; see `fmlad prompts "
            f"lint {quote(prompts or 'SET')} --shots {quote(folder)} --out pictures`"
        )
    if detector.regions is not None:
        typer.echo(f"The region {_whether_it_moves(detector.regions.follows, len(reports))}.")
    if detector.fixtures:
        _print_fixtures(detector.fixtures, options.get("fixtures") == "drop")
    plural = "" if len(reports) == 1 else "s"  # and "0 shots"
    typer.echo(f"Fitted {detector.method!r} ({detector.profile}) on {len(reports)} shot{plural}.")
    if calibration.threshold is not None:
        typer.echo(f"Threshold {calibration.threshold:.3g}: {calibration.describe()}.")
    for note in detector.notes:
        typer.echo(f"Note: {note}.")
    if detector.power is not None:
        output.print_power(detector.power)
    if images:
        what = f"{images} shot{plural}" if images == len(reports) else f"all {images} images"
        typer.echo(
            f"Keeps {what} ({size / 1e6:.1f} MB), so that more can be added later; "
            f"--no-keep-shots leaves them out."
        )
    typer.echo(f"Saved to {out}. Next: fmlad predict {out} IMAGES")


def _whether_it_moves(follows: bool, shots: int) -> str:
    if shots == 1:
        return "moves with the product where an image registers to the normal one"
    if follows:
        return "moves with the product: the normal images register to the first one"
    return "stays at its place: the normal images do not register to the first one"


def _print_fixtures(fixtures: Sequence[Fixture], dropped: bool) -> None:
    told = "not counted" if dropped else "counted; --option fixtures=drop leaves them out"
    typer.echo(f"At the same place in all normal images, while others move ({told}):")
    for fixture in fixtures:
        x1, y1, x2, y2 = (f"{value:.0%}" for value in fixture.box)
        typer.echo(f"  {fixture.description}, {x1} to {x2} across, {y1} to {y2} down")


def _without_shots(method: str | None, others: list[str], common: dict[str, Any]) -> Detector:
    """A detector from prompts alone."""
    from fmlad.detector import ZERO_SHOT, Detector

    if common["prompts"] is None:
        raise OptionError("There is nothing to fit to: give normal images, --prompts, or both.")
    if method not in (None, ZERO_SHOT):
        raise OptionError(f"The method {method!r} needs normal images; {ZERO_SHOT!r} does without.")
    if others:
        raise OptionError(f"{others[0]} needs normal images to fit to beside it.")
    return Detector.from_prompts(common.pop("prompts"), **common)
