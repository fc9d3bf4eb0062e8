"""Regions: where differences count, given relative to the first shot.

What lies outside never counts, for any method: every image is limited before a method sees it
(:meth:`Regions.limited`), the outside being one flat colour in all of them. Where the shots
register to the first one the region moves with the product; elsewhere it stays at its relative
place.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.errors import CorruptDetectorError
from fmlad.findings import Box
from fmlad.memory.registration import Edges, Registration, edges_within, fan, register, view_edges
from fmlad.region_inputs import drawn
from fmlad.views import ImageView, LimitedView

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

STORED = 512  # px of the longer side of a stored region, at most
REFERENCE = 256  # px of the longer side of what is kept of the first shot: registration's canvas
# Edge correlations from which a shot, and an image later, count as registered (as in the banks).
SHOT_CONFIDENCE, QUERY_CONFIDENCE = 0.8, 0.5
# A registration is rounded to these, so that what lies outside hardly ever has a say in where the
# region lies: degrees, log of the zoom, halves of the longer side (ours).
ANGLE_STEP, ZOOM_STEP, SHIFT_STEP = 0.25, 0.005, 0.005

_AFFINE = Image.Transform.AFFINE
STAYED = "did not register to the first normal image: the region stayed at its relative place"


@dataclass(frozen=True, eq=False)
class Regions:
    """Where differences count.

    Attributes:
        inside: bool ``(h, w)`` over the first shot, at most ``STORED`` px on the longer side.
        reference: uint8 ``(H, W)``, the first shot in grey, at most ``REFERENCE`` px.
        colour: RGB of what is outside in every image: the median of the first shot's inside.
        follows: Whether it moves with images that register to the first shot.
    """

    inside: Bools
    reference: Pixels
    colour: tuple[int, int, int]
    follows: bool = True

    @classmethod
    def parse(cls, first: Pixels, roi: Any = None, ignore: Any = None) -> Regions | None:
        """Regions as a user gives them; None where both are None.

        Args:
            first: uint8 ``(H, W, 3)``, the first shot.
            roi: What counts; None: everything. The path of a mask image (not zero is inside; of the
                first shot's size, or its proportions) or of a JSON file ``{"boxes": [...],
                "polygons": [...]}``, an array ``(H, W)`` of bool or whole numbers, or a list of
                boxes ``(x1, y1, x2, y2)`` or polygons ``[(x, y), ...]`` in pixels of the first
                shot.
            ignore: What does not count, in the same forms.

        Raises:
            OptionError: One of them is unreadable or does not fit, or they leave nothing or
                everything inside.
        """
        if roi is None and ignore is None:
            return None
        size = first.shape[0], first.shape[1]
        inside = drawn(roi, ignore, size, STORED)
        whole = np.asarray(Image.fromarray(inside).resize((size[1], size[0])))
        colour = np.median(first[whole], axis=0).round().astype(int).tolist()
        grey = Image.fromarray(first).convert("L")
        grey.thumbnail((REFERENCE, REFERENCE), Image.Resampling.BOX)
        return cls(inside, np.asarray(grey), (colour[0], colour[1], colour[2]))

    def learned(self, shots: Sequence[ImageView]) -> Regions:
        """A copy that moves with images if most of the other shots register to the first."""
        others = shots[1:]
        fitting = sum(self._registered(shot, SHOT_CONFIDENCE) is not None for shot in others)
        return replace(self, follows=not others or 2 * fitting > len(others))

    def limited(self, view: ImageView) -> LimitedView:
        """A view of what lies inside, made once for each image."""
        key = f"inside {id(self)}"
        known = view.memo.get(key)
        if known is None or known[0] is not self:
            inside = self.mask_for(view)
            limited = LimitedView(view, inside, self.colour, self.limited)
            limited.of_pixels["edges"] = edges_within(limited.pixels, inside)
            known = view.memo[key] = (self, limited)
        found: LimitedView = known[1]
        return found

    def mask_for(self, view: ImageView) -> Bools:
        """What of an image lies inside, bool ``(H, W)``."""
        height, width = view.size
        matrix = self._transform(view)
        if matrix is None:
            return np.asarray(Image.fromarray(self.inside).resize((width, height)))
        rows, columns = self.inside.shape
        # Registration's coordinates: from the centre, in halves of the longer side.
        unit, stored = max(height, width), max(rows, columns)
        scale, centre = stored / unit, np.array([width, height]) / unit
        moved = stored / 2 * (matrix[:, 2] - matrix[:, :2] @ centre) + np.array([columns, rows]) / 2
        # What comes into the picture beyond the first shot's border is as that border.
        margin = stored
        padded = Image.fromarray(np.pad(self.inside, margin, mode="edge"))
        rotated = scale * matrix[:, :2]
        across = (rotated[0, 0], rotated[0, 1], moved[0] + margin)
        down = (rotated[1, 0], rotated[1, 1], moved[1] + margin)
        return np.asarray(padded.transform((width, height), _AFFINE, (*across, *down)))

    def note(self, view: ImageView) -> str | None:
        """What a verdict should say about where the region lies in an image, if anything."""
        return STAYED if self.follows and self._transform(view) is None else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, pictures as PNG in base64."""
        return {
            "inside": _as_text(self.inside),
            "reference": _as_text(self.reference),
            "colour": list(self.colour),
            "follows": self.follows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Regions:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: Something is missing or of another kind.
        """
        try:
            inside, reference = _from_text(data["inside"]) > 0, _from_text(data["reference"])
            red, green, blue = (int(value) for value in data["colour"])
            follows = data["follows"]
            if not isinstance(follows, bool) or min(red, green, blue) < 0:
                raise ValueError("colour or follows")
            if max(red, green, blue) > 255 or inside.all() or not inside.any():
                raise ValueError("inside or colour")
        except (KeyError, TypeError, ValueError, OSError) as error:
            what = f"The regions of the saved detector are unreadable ({error})."
            raise CorruptDetectorError(what) from error
        return cls(inside, reference, (red, green, blue), follows)

    @cached_property
    def _templates(self) -> tuple[Edges, Edges]:
        """Edges of the first shot: of its inside, what is outside having no say, and of all."""
        height, width = self.reference.shape
        inside = np.asarray(Image.fromarray(self.inside).resize((width, height)))
        pixels = np.repeat(self.reference[..., None], 3, axis=2)
        return edges_within(pixels, inside), edges_within(pixels, np.ones_like(inside))

    def _transform(self, view: ImageView) -> Floats | None:
        """``(2, 3)`` from an image to the first shot; None where it does not register."""
        if not self.follows:
            return None
        key = f"region {id(self)}"
        known = view.memo.get(key)
        if known is None or known[0] is not self:
            known = view.memo[key] = (self, self._registered(view, QUERY_CONFIDENCE))
        transform: Floats | None = known[1]
        return transform

    def _registered(self, view: ImageView, least: float) -> Floats | None:
        """Transform ``(2, 3)`` from an image to the first shot; None below the least confidence.

        By what lies inside, so that the outside has no say; where that does not register, because
        it is plain or much of it differs, by the whole picture.
        """
        there = fan(view_edges(view))
        # From the first shot to the image: only the first shot's inside is known by then.
        tried = (register(template, there) for template in self._templates)
        found = next((one for one in tried if one.confidence >= least), None)
        return None if found is None else _steady(found)


def _steady(found: Registration) -> Floats:
    """The inverse ``(2, 3)`` of a registration, rounded."""
    angle = math.radians(_rounded(found.angle, ANGLE_STEP))
    zoom = math.exp(_rounded(math.log(max(found.zoom, 1e-6)), ZOOM_STEP))
    shift = [_rounded(float(value), SHIFT_STEP) for value in found.matrix[:, 2]]
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    there = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0, 0, 1]])
    return np.linalg.inv(there)[:2]


def share_inside(box: Box, inside: Bools) -> float:
    """Share of a box ``xyxy`` that lies inside a bool ``(H, W)``, in [0, 1]."""
    x1, y1, x2, y2 = box
    height, width = inside.shape
    left, right = int(np.clip(x1, 0, width - 1)), int(np.clip(math.ceil(x2), 1, width))
    top, bottom = int(np.clip(y1, 0, height - 1)), int(np.clip(math.ceil(y2), 1, height))
    return float(inside[top : max(bottom, top + 1), left : max(right, left + 1)].mean())


def _rounded(value: float, step: float) -> float:
    return step * round(value / step)


def _as_text(picture: npt.NDArray[Any]) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _from_text(text: str) -> Pixels:
    data = base64.b64decode(text, validate=True)
    if not data.startswith(b"\x89PNG"):
        raise ValueError("not a PNG")
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        if max(picture.size) > STORED or min(picture.size) < 1:
            raise ValueError(f"{picture.size} pixels")
        return np.asarray(picture.convert("L"))
