"""Pictures from predictions. Everything here returns a new image and leaves its input alone."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from fmlad.findings import Finding
    from fmlad.prediction import Prediction, Segmentation

BOX_COLOUR = (255, 255, 255)
LEGEND = 12  # parts listed at most
UNMATCHED = "unmatched"  # what has no counterpart stands out from all colours
BOX_EDGE = (20, 20, 20)
# Anchors of the heat colours from cold to hot: dark violet, red, orange, pale yellow.
_HEAT = np.array([[40, 10, 90], [190, 30, 90], [250, 140, 20], [255, 245, 160]], dtype=np.float32)


def overlay(prediction: Prediction) -> Image.Image:
    """The query with its heat layer and its findings' numbered boxes."""
    top = prediction.threshold if prediction.threshold else 1.0
    picture = heat(prediction.pixels, prediction.anomaly_map, start=0.5 * top, full=2.0 * top)
    return boxes(picture, prediction.findings)


def parts(prediction: Prediction) -> Image.Image:
    """The query with its parts outlined, a legend with their counts, and the findings' boxes.

    The same picture with boxes alone where the method tells no parts apart.
    """
    picture = Image.fromarray(np.array(prediction.pixels))
    if prediction.segmentation is not None:
        picture = outlines(picture, prediction.segmentation)
    return boxes(picture, prediction.findings)


def outlines(picture: Image.Image, segmentation: Segmentation, legend: bool = True) -> Image.Image:
    """Outlines parts in their colours and lists them with their counts.

    Args:
        picture: RGB, of the size of ``segmentation.labels``.
        segmentation: Parts; label 0 is the background.
        legend: Whether they are listed, over the upper left corner.
    """
    unit = max(1, round(max(picture.size) / 400))
    labels = np.asarray(segmentation.labels)
    pixels = np.array(picture.convert("RGB"))
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in range(1, unit + 1):
            for sign in (step, -step):
                edge |= np.roll(labels, sign, axis) != labels
    edge &= labels > 0
    colours = [
        BOX_COLOUR if name == UNMATCHED else part_colour(number)
        for number, name in enumerate(segmentation.names)
    ]
    palette = np.array(colours, np.uint8)
    pixels[edge] = palette[labels[edge]]
    result = Image.fromarray(pixels)
    draw = ImageDraw.Draw(result)
    font = ImageFont.load_default(size=max(10, 8 * unit))
    shown = [
        (segmentation.names.index(name), f"{count} x {name}")
        for name, count in segmentation.counts().items()
        if count and legend
    ][:LEGEND]
    y = 2.0 * unit
    for label, text in shown:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        high = bottom - top + 4 * unit
        width = high + right - left + 6 * unit
        draw.rectangle((2 * unit, y, 2 * unit + width, y + high), fill=BOX_EDGE)
        swatch = (3 * unit, y + unit, 2 * unit + high - unit, y + high - unit)
        draw.rectangle(swatch, fill=colours[label])
        where = (2 * unit + high + 2 * unit - left, y + 2 * unit - top)
        draw.text(where, text, fill=BOX_COLOUR, font=font)
        y += high
    return result


def pairs(
    query: npt.NDArray[np.uint8],
    matched: Segmentation,
    reference: npt.NDArray[np.uint8],
    theirs: Segmentation,
) -> Image.Image:
    """A query beside a reference, matched objects in one colour, the others in white.

    Without a legend, which would hide a corner: the colours say who belongs to whom.

    Args:
        query: uint8 ``(H, W, 3)``.
        matched: Its objects, under the labels of their partners.
        reference: uint8 ``(H', W', 3)``.
        theirs: Its objects, under the same labels.
    """
    left = outlines(Image.fromarray(np.array(query)), matched, legend=False)
    right = outlines(Image.fromarray(np.array(reference)), theirs, legend=False)
    height = max(left.height, right.height)
    gap = max(4, left.width // 50)
    sheet = Image.new("RGB", (left.width + gap + right.width, height), BOX_COLOUR)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + gap, 0))
    return sheet


def part_colour(label: int) -> tuple[int, int, int]:
    """A strong colour per part, far from those of its neighbours in number."""
    hue = (label * 0.381966) % 1.0  # the golden angle
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def heat(
    pixels: npt.NDArray[np.uint8],
    anomaly_map: npt.NDArray[np.float32],
    start: float,
    full: float,
) -> Image.Image:
    """Lays a map over an image on a fixed scale.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        anomaly_map: float32 ``(H, W)``.
        start: Map value at which colour begins; below it the image shows as it is.
        full: Map value of the hottest colour.
    """
    level = np.clip((anomaly_map - start) / max(full - start, 1e-9), 0, 1)[..., None]
    positions = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(level[..., 0], positions, c) for c in _HEAT.T], axis=-1)
    # Cold places stay a photograph; the layer never hides what is under it completely.
    opacity = np.minimum(0.75, 1.5 * level)
    mixed = pixels * (1 - opacity) + colour * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def boxes(picture: Image.Image, findings: Sequence[Finding]) -> Image.Image:
    """Draws the findings' boxes, numbered as in the sentences of ``explain``."""
    result = picture.copy()
    draw = ImageDraw.Draw(result)
    unit = max(1, round(max(picture.size) / 400))
    font = ImageFont.load_default(size=max(13, 10 * unit))
    for number, finding in enumerate(findings, start=1):
        if finding.box is None:
            continue
        x0, y0, x1, y1 = finding.box
        right, bottom = picture.width - 1.0, picture.height - 1.0
        frame = (
            min(max(0.0, x0 - unit), right),
            min(max(0.0, y0 - unit), bottom),
            min(max(0.0, x0, x1) + unit, right),
            min(max(0.0, y0, y1) + unit, bottom),
        )
        draw.rectangle(frame, outline=BOX_EDGE, width=3 * unit)
        draw.rectangle(frame, outline=BOX_COLOUR, width=unit)
        _tag(draw, str(number), frame, font, picture.size)
    return result


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    frame: tuple[float, float, float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """A number on a dark plate above the frame, or below it where there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    x = max(0.0, min(frame[0], size[0] - wide))
    y = frame[1] - high if frame[1] >= high else max(0.0, min(frame[3] + 1, size[1] - high))
    draw.rectangle((x, y, x + wide, y + high), fill=BOX_EDGE)
    draw.text((x + 3 - left, y + 3 - top), text, fill=BOX_COLOUR, font=font)
