"""``fmlad demo``: sample pictures, a few shots, a dozen verdicts, one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fmlad.commands import output
from fmlad.commands.output import Json, Seed
from fmlad.errors import OptionError

if TYPE_CHECKING:
    from fmlad.prediction import Prediction

COUNTS = {"validation": 0, "test_good": 4, "test_logical": 4, "test_structural": 4}
GROUPS = ("good", "logical_anomalies", "structural_anomalies")
LEAD = (
    "The detector has seen the {shots} normal pictures below and nothing else of their kind: no "
    "labels, no training, no download. It then judged {queries} pictures it had never seen. All "
    "pictures are made by the program."
)


class Case(NamedTuple):
    """A judged picture, what it really is in words, and whether that is anomalous."""

    prediction: Prediction
    truth: str
    anomalous: bool


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
    from fmlad.datasets import make_scenes
    from fmlad.detector import Detector
    from fmlad.io.images import load_image
    from fmlad.report import write

    _check_folder(out)
    folder = out / "pictures" / f"{category}-{seed}-{shots}"
    with output.progress(quiet=as_json) as progress:
        root = make_scenes(folder, category, seed, {**COUNTS, "train": shots}, progress=progress)
        normal = sorted((root / "train" / "good").glob("*.png"))
        detector = Detector.from_shots(normal, profile="builtin", seed=seed, progress=progress)
        cases = [
            Case(
                detector.predict(path),
                _annotation(root / "objects" / "test" / group / f"{path.stem}.json"),
                anomalous=group != "good",
            )
            for group in GROUPS
            for path in sorted((root / "test" / group).glob("*.png"))
        ]
    saved = detector.save(out / "detector")
    report = write(
        out / "report.html",
        "demo.html",
        title=f"fmlad demo: {category.replace('_', ' ')}",
        lead=LEAD.format(shots=shots, queries=len(cases)),
        summary=summary(cases),
        shots=map(load_image, normal),
        calibration=detector.calibration,
        notes=detector.notes,
        cases=cases,
    )
    if as_json:
        told = [
            {"truth": case.truth, "anomalous": case.anomalous, **case.prediction.to_dict()}
            for case in cases
        ]
        output.print_json({"report": str(report), "detector": str(saved), "cases": told})
        return
    heading = ("what it is", "verdict", "score", "first finding")
    output.print_table(heading, [_row(case) for case in cases])
    typer.echo(summary(cases))
    typer.echo(f"Report with pictures: {report}")


def summary(cases: list[Case]) -> str:
    """Counts false alarms, damage and logical anomalies apart: one number would hide the misses."""

    def called(which: list[Case]) -> str:
        return f"{sum(case.prediction.is_anomalous is True for case in which)} of {len(which)}"

    good = [case for case in cases if not case.anomalous]
    damage = [case for case in cases if case.anomalous and case.truth.startswith("defect")]
    logical = [case for case in cases if case.anomalous and case not in damage]
    return (
        f"Anomalous or unsure: {called(good)} normal pictures (false alarms), {called(damage)} "
        f"damaged ones, {called(logical)} with a part missing, extra or misplaced."
    )


def _row(case: Case) -> tuple[str, ...]:
    from fmlad.explain import verdict_word

    verdict = case.prediction
    first = verdict.findings[0].text if verdict.findings else ""
    return case.truth, verdict_word(verdict.decision), f"{verdict.score:.2f}", first


def _check_folder(out: Path) -> None:
    """Refuses to scatter files among those of somebody else."""
    ours = {"pictures", "detector", "report.html"}
    foreign = sorted(p.name for p in out.iterdir() if p.name not in ours) if out.is_dir() else []
    if out.is_file() or foreign:
        what = "is a file" if out.is_file() else f"holds {foreign[0]}, which is no demo's"
        raise OptionError(f"{out} {what}; give a new or empty folder (--out).")


def _annotation(sidecar: Path) -> str:
    """What is wrong with a scene, in words."""
    if (anomaly := json.loads(sidecar.read_text())["anomaly"]) is None:
        return "normal"
    return f"{anomaly['kind']}: {anomaly['name']}".replace("_", " ")
