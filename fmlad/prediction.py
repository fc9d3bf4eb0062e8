"""The verdict for one query, and what stands in for it when a file cannot be read."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad import draw
from fmlad.errors import FmladError, OptionError
from fmlad.explain import explain, verdict_word
from fmlad.findings import Finding
from fmlad.schema import VERSION, FailureJson, VerdictJson
from fmlad.scoring.calibration import Decision


@dataclass(frozen=True)
class Segmentation:
    """Which part each pixel belongs to.

    Attributes:
        labels: int ``(H, W)``; an index into ``names``, 0 is the background.
        names: Part names; ``names[0]`` is the background.
        objects: Number of objects per part, where objects were told apart.
    """

    labels: npt.NDArray[np.integer]
    names: list[str]
    objects: Mapping[str, int] = field(default_factory=dict)

    def areas(self) -> dict[str, float]:
        """Share of the image that each part covers, in [0, 1], background included."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        return {
            name: float(n) / self.labels.size for name, n in zip(self.names, counts, strict=True)
        }

    def counts(self) -> dict[str, int]:
        """Number of objects per part; empty where objects were not told apart."""
        return dict(self.objects)


@dataclass(frozen=True)
class NearestShot:
    """The shot that looks most like a query.

    Attributes:
        name: Its name.
        picture: A small picture of it.
    """

    name: str
    picture: Image.Image = field(repr=False, compare=False)


@dataclass(frozen=True, repr=False)
class Prediction:
    """The verdict for one query.

    Attributes:
        name: What the query was called: its path, or a description.
        score: Higher is more anomalous; about 1 is as odd as the shots are to each other.
        threshold: Scores above it are called anomalous; None where none could be set.
        is_anomalous: Whether the score is above the threshold; None without one.
        decision: ``"ok"``, ``"not_ok"``, or ``"unsure"``: above the threshold, but not above what
            all but one in twenty normal images stay below. None without a threshold.
        p_value: Share of calibration images at least as odd, ``(1 + n) / (1 + all)``, in (0, 1];
            None without calibration images. Its floor is one over their number plus one.
        anomaly_map: float32 ``(H, W)`` at the input's size, on the score's scale.
        branch_scores: Scaled score of each branch, of which the method's fusion makes the score:
            a sum for most, for ``ulsad`` that of its combined map.
        segmentation: Parts, where the method finds any.
        findings: Most important first.
        notes: What sets this image apart, in plain sentences; ``Detector.notes`` holds for all.
        pixels: uint8 ``(H, W, 3)``, the query as it was read, for drawing.
        nearest: The shot most like it; None where none was kept.
        region: bool ``(H, W)``: where differences count; None: everywhere.
    """

    name: str
    score: float
    threshold: float | None
    is_anomalous: bool | None
    decision: Decision | None
    p_value: float | None
    anomaly_map: npt.NDArray[np.float32] = field(repr=False)
    branch_scores: Mapping[str, float]
    segmentation: Segmentation | None
    findings: list[Finding]
    notes: list[str]
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    nearest: NearestShot | None = field(default=None, repr=False)
    region: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        limit = "" if self.threshold is None else f", threshold {self.threshold:.2f}"
        number = len(self.findings)
        found = f"{number} finding{'' if number == 1 else 's'}"
        word = verdict_word(self.decision)
        return f"<Prediction {self.name!r}: {word}, score {self.score:.2f}{limit}, {found}>"

    def _repr_png_(self) -> bytes:
        """For notebooks: :meth:`overlay`."""
        return draw.png(self.overlay())

    def _repr_html_(self) -> str:
        """For notebooks: :meth:`overlay` beside :meth:`explain`."""
        picture = draw.embedded(self.overlay())
        said = html.escape(self.explain())
        return (
            f"<div style='display:flex;gap:1em;flex-wrap:wrap'><img src='{picture}' alt='overlay'>"
            f"<pre style='white-space:pre-wrap;max-width:60ch'>{said}</pre></div>"
        )

    def explain(self) -> str:
        """The verdict and its findings in words."""
        return explain(
            self.name, self.score, self.threshold, self.decision, self.findings, self.notes
        )

    def to_dict(self) -> VerdictJson:
        """JSON-ready; without the map and the pixels (``docs/verdict.schema.json``)."""
        return {
            "version": VERSION,
            "name": self.name,
            "score": self.score,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            "decision": self.decision,
            "p_value": self.p_value,
            "branch_scores": dict(self.branch_scores),
            "size": {"height": self.pixels.shape[0], "width": self.pixels.shape[1]},
            "areas": self.segmentation.areas() if self.segmentation else None,
            "counts": self.segmentation.counts() if self.segmentation else None,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
            "nearest_shot": self.nearest.name if self.nearest else None,
        }

    def crops(self, number: int) -> list[Image.Image]:
        """Where finding ``number`` (from 1) is; beside it the same place in the nearest shot.

        Returns:
            Two pictures, one where no shot was kept, none where the finding names no place.

        Raises:
            OptionError: There is no such finding.
        """
        if isinstance(number, bool) or not 1 <= number <= len(self.findings):
            raise OptionError(
                f"There is no finding {number!r}; this image has {len(self.findings)}, from 1."
            )
        found = self.findings[number - 1]
        if found.box is None:
            return []
        size = self.pixels.shape[0], self.pixels.shape[1]
        place = found.box if len(found.boxes) == 1 else (*found.boxes, found.box)[0]
        pictures = [Image.fromarray(self.pixels)]
        if self.nearest is not None:
            pictures.append(self.nearest.picture)
        return [draw.crop(picture, place, size) for picture in pictures]

    def overlay(self) -> Image.Image:
        """The query with its map as a heat layer and numbered boxes, at the input's size."""
        top = self.threshold or 1.0
        heat = draw.heat(self.pixels, self.anomaly_map, start=0.5 * top, full=2.0 * top)
        return draw.boxes(self._limited(heat), self.findings)

    def parts_overlay(self) -> Image.Image:
        """The query with its parts outlined, a legend with counts, and numbered boxes.

        The query with boxes alone where the method tells no parts apart.
        """
        picture = self._limited(Image.fromarray(self.pixels))
        if (parts := self.segmentation) is not None:
            picture = draw.outlines(picture, parts.labels, parts.names, parts.objects)
        return draw.boxes(picture, self.findings)

    def _limited(self, picture: Image.Image) -> Image.Image:
        """The picture with what lies outside the region darkened."""
        return picture if self.region is None else draw.darkened(picture, self.region)


@dataclass(frozen=True)
class Failure:
    """A query that could not be judged: what it was called, and why."""

    source: str
    error: FmladError

    def to_dict(self) -> FailureJson:
        """JSON-ready."""
        return {"version": VERSION, "name": self.source, "error": str(self.error)}
