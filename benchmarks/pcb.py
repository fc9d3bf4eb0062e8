"""Structural defects on real PCB scans, one shot a query.

    python -m benchmarks.pcb

DeepPCB group 77000: each scan has an aligned defect-free template, which is the only shot; its
detector judges the scan. The first 30 pairs in order of name are reported; nothing was chosen on
them (the weights of the embedded features were chosen on pairs 31 to 60).

AUPRO up to a false positive rate of 0.05 over all maps together, each defect box one region. Again
with every scan shifted by 3 px right and down and turned by 1 degree, its border repeated.

Box hits: a box counts as found when one of the highest map peaks lies in it; peaks are local maxima
at least 16 px apart, taken in order of height until there is one false peak per image on average.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

import fmlad
from benchmarks.common import auroc, json_options, keep, shared

PAIRS = slice(0, 30)
SHIFT, TURN = 3.0, 1.0  # px, degrees
PEAK_DISTANCE = 16  # px


def pairs(which: slice) -> list[tuple[Path, Path, npt.NDArray[np.int32]]]:
    """Template, scan and region labels ``(640, 640)`` (box number, 0 = normal) of each pair."""
    root = shared("data", "deeppcb", "group77000")
    found = []
    for template in sorted((root / "77000").glob("*_temp.jpg"))[which]:
        stem = template.name.removesuffix("_temp.jpg")
        labels = np.zeros((640, 640), np.int32)
        lines = (root / "77000_not" / f"{stem}.txt").read_text().splitlines()
        for number, line in enumerate(lines, start=1):
            x0, y0, x1, y1 = (int(v) for v in line.split()[:4])
            labels[y0:y1, x0:x1] = number
        found.append((template, template.with_name(f"{stem}_test.jpg"), labels))
    return found


def moved(image: npt.NDArray[Any], order: int, mode: str) -> npt.NDArray[Any]:
    """The image shifted by ``SHIFT`` px and turned by ``TURN`` degrees about its centre."""
    turn = np.deg2rad(TURN)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + SHIFT)
    return np.asarray(
        ndimage.affine_transform(image, matrix, offset, order=order, mode=mode), image.dtype
    )


def peak_hits(
    maps: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int32]]
) -> tuple[float, int]:
    """Share of boxes hit at one false peak per image, and the number of boxes."""
    peaks = []
    for index, anomaly_map in enumerate(maps):
        local = ndimage.maximum_filter(anomaly_map, 2 * PEAK_DISTANCE + 1) == anomaly_map
        peaks += [(anomaly_map[y, x], labels[index][y, x], index) for y, x in np.argwhere(local)]
    boxes = sum(len(np.unique(label[label > 0])) for label in labels)
    false, hit = 0, set()
    for _, label, index in sorted(peaks, key=lambda peak: -peak[0]):
        if label:
            hit.add((index, label))
        else:
            false += 1
            if false > len(maps):
                break
    return len(hit) / boxes, boxes


def baselines(which: slice) -> dict[str, float]:
    """AUPRO@0.05 of three plain difference images, for orientation."""
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    labels = []
    for template, scan, label in pairs(which):
        normal, pixels = (
            np.asarray(Image.open(path).convert("L"), np.float32) for path in (template, scan)
        )
        difference = np.abs(pixels - normal)
        low, high = ndimage.minimum_filter(normal, 5), ndimage.maximum_filter(normal, 5)
        tolerant = np.maximum(low - pixels, pixels - high).clip(0)
        for name, image, sigma in (
            ("difference, sigma 4", difference, 4),
            ("difference, sigma 8", difference, 8),
            ("5 x 5 tolerant, sigma 8", tolerant, 8),
        ):
            found.setdefault(name, []).append(ndimage.gaussian_filter(image, sigma))
        labels.append(label)
    return {name: round(fmlad.metrics.aupro(maps, labels, 0.05), 3) for name, maps in found.items()}


def run(which: slice, options: dict[str, Any], move: bool) -> dict[str, float]:
    """AUPRO and box hits for some pairs."""
    maps, labels, scores, clean = [], [], [], []
    for template, scan, label in pairs(which):
        pixels = np.asarray(Image.open(scan).convert("L"))
        normal = np.asarray(Image.open(template).convert("L"))
        if move:
            pixels = moved(pixels, 1, "nearest")
            normal = moved(normal, 1, "nearest")
            label = moved(label, 0, "constant")
        detector = fmlad.Detector.from_shots(template, profile="builtin", **options)
        prediction = detector.predict(pixels)
        maps.append(prediction.anomaly_map)
        labels.append(label)
        scores.append(prediction.score)
        clean.append(detector.predict(normal).score)
    hits, boxes = peak_hits(maps, labels)
    return {
        "AUPRO@0.05": round(fmlad.metrics.aupro(maps, labels, 0.05), 3),
        "boxes hit at 1 false peak per image": round(hits, 3),
        "boxes": boxes,
        "image AUROC, scans against their templates": round(auroc(clean, scores), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tuning", action="store_true", help="pairs 31 to 60; writes no result")
    parser.add_argument("--baselines", action="store_true", help="plain differences instead")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    arguments = parser.parse_args()
    options = json_options(arguments.option)
    which = slice(30, 60) if arguments.tuning else PAIRS
    if arguments.baselines:
        print(baselines(which))
        return
    figures: dict[str, float] = {}
    for move in (False, True):
        name = "shifted and turned" if move else "as scanned"
        figures |= {f"{name}: {key}": value for key, value in run(which, options, move).items()}
    if arguments.tuning or options:
        print(options, figures)
    else:
        keep("pcb", "DeepPCB group77000, first 30 pairs, one shot, builtin profile", figures)


if __name__ == "__main__":
    main()
