"""The demonstration: sample pictures, a few shots, a dozen verdicts, one report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmlad.datasets import make_scenes
from fmlad.detector import Detector
from fmlad.errors import OptionError
from fmlad.prediction import Prediction
from fmlad.progress import Progress
from fmlad.report import Case, write_report

COUNTS = {"validation": 0, "test_good": 4, "test_logical": 4, "test_structural": 4}
GROUPS = ("good", "logical_anomalies", "structural_anomalies")


@dataclass(frozen=True)
class DemoResult:
    """What came out of the demonstration.

    Attributes:
        report: The HTML file.
        detector: Folder of the saved detector.
        cases: One per query.
    """

    report: Path
    detector: Path
    cases: list[Case]

    def summary(self) -> str:
        """Right verdicts by group, because one number would hide what the detector cannot see."""
        return summary(self.cases)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "report": str(self.report),
            "detector": str(self.detector),
            "cases": [
                {"truth": case.truth, "anomalous": case.anomalous, **case.prediction.to_dict()}
                for case in self.cases
            ],
        }


def summary(cases: list[Case]) -> str:
    """False alarms, damage and logical anomalies, counted apart."""

    def called(which: list[Case]) -> str:
        return f"{sum(case.prediction.is_anomalous is True for case in which)} of {len(which)}"

    good = [case for case in cases if not case.anomalous]
    damage = [case for case in cases if case.anomalous and case.truth.startswith("defect")]
    logical = [case for case in cases if case.anomalous and case not in damage]
    return (
        f"Called anomalous: {called(good)} normal pictures (false alarms), {called(damage)} "
        f"damaged ones, {called(logical)} with a part missing, extra or misplaced."
    )


def run_demo(out: Path, category: str, *, shots: int, seed: int, progress: Progress) -> DemoResult:
    """Makes a scene category, fits on its first normal images and judges its test images.

    Args:
        out: Folder that gets the pictures, the detector and ``report.html``.
        category: A scene category.
        shots: Number of normal images to fit on.
        seed: Of the pictures and the fit.
        progress: Told of the rendering and fitting.

    Raises:
        UnknownNameError: There is no such category.
        DatasetError: ``out`` holds other pictures already.
    """
    _check_folder(out)
    folder = f"{category}-{seed}-{shots}"
    root = make_scenes(
        out / "pictures" / folder, category, seed, {**COUNTS, "train": shots}, progress=progress
    )
    detector = Detector.from_shots(
        root / "train" / "good", profile="builtin", seed=seed, progress=progress
    )
    cases = []
    for group in GROUPS:
        for path in sorted((root / "test" / group).glob("*.png")):
            prediction: Prediction = detector.predict(path)
            truth = _truth(root / "objects" / "test" / group / f"{path.stem}.json")
            cases.append(Case(prediction, truth, anomalous=group != "good"))
    saved = detector.save(out / "detector")
    report = write_report(
        out / "report.html",
        title=f"fmlad demo: {category.replace('_', ' ')}",
        lead=(
            f"The detector has seen the {shots} normal pictures below and nothing else: no "
            f"labels, no training, no pretrained weights. It then judged {len(cases)} pictures it "
            f"had never seen. All pictures are made by the program."
        ),
        summary=summary(cases),
        shots=sorted((root / "train" / "good").glob("*.png")),
        detector=detector,
        cases=cases,
    )
    return DemoResult(report, saved, cases)


def _check_folder(out: Path) -> None:
    """Refuses to scatter files among somebody's own."""
    ours = {"pictures", "detector", "report.html"}
    foreign = sorted(p.name for p in out.iterdir() if p.name not in ours) if out.is_dir() else []
    if out.is_file() or foreign:
        what = "is a file" if out.is_file() else f"holds {foreign[0]}, which is no demo's"
        raise OptionError(f"{out} {what}; give a new or empty folder (--out).")


def _truth(sidecar: Path) -> str:
    """What is wrong with a scene, in words."""
    anomaly = json.loads(sidecar.read_text())["anomaly"]
    if anomaly is None:
        return "normal"
    name = str(anomaly["name"]).replace("_", " ")
    return f"{anomaly['kind']}: {name}"
