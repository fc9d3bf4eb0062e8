"""Findings: one named difference each, and how they are read off an anomaly map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Kind = Literal["missing", "extra", "misplaced", "resized", "recoloured", "defect"]
KINDS: tuple[str, ...] = get_args(Kind)

Box = tuple[float, float, float, float]

# A defect reaches down its flanks to this share of the threshold: its box then holds all of it, and
# the crumbs of one defect are one finding.
FLANK = 0.9


@dataclass(frozen=True)
class Finding:
    """One named difference between the query and the shots.

    Attributes:
        part: The part concerned, or None for a plain defect.
        expected: What the shots have (a count, say), or None; ``observed``: the query.
        box: ``xyxy`` in input pixels, or None where no place can be named.
        score: In units of the prediction's score; comparable within one prediction.
        text: One plain sentence.
    """

    kind: Kind
    part: str | None
    expected: float | None
    observed: float | None
    box: Box | None
    score: float
    text: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def defects(
    anomaly_map: npt.NDArray[np.float32], threshold: float, limit: int = 10
) -> list[Finding]:
    """Regions of a map ``(H, W)`` that exceed a threshold, highest peak first, as ``defect``.

    One finding per 8-connected region of the pixels above ``FLANK`` times the threshold that holds
    one above it; boxes are tight around the region.
    """
    from scipy import ndimage

    labels, count = ndimage.label(anomaly_map > FLANK * threshold, structure=np.ones((3, 3)))
    if count == 0:
        return []
    peaks = np.asarray(ndimage.maximum(anomaly_map, labels, index=np.arange(1, count + 1)))
    boxes = ndimage.find_objects(labels)
    found = []
    order = np.argsort(-peaks, kind="stable")
    for index in order[peaks[order] > threshold][:limit]:
        rows, columns = boxes[index]
        box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
        found.append(
            Finding(
                "defect", None, None, None, box, float(peaks[index]), _sentence(box, anomaly_map)
            )
        )
    return found


def _sentence(box: Box, anomaly_map: npt.NDArray[np.float32]) -> str:
    height, width = anomaly_map.shape
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    row = ("top", "middle", "bottom")[min(2, int(3 * y))]
    column = ("left", "centre", "right")[min(2, int(3 * x))]
    where = "centre" if (row, column) == ("middle", "centre") else f"{row} {column}"
    size = f"{box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} px"
    return f"defect at the {where} ({size}): looks like nothing in the normal images"
