"""Pictures from plain arrays. Every function returns a new image and leaves its input alone."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fmlad.findings import Box, Finding

BOX_COLOUR = (255, 255, 255)
CROP_SIDE = 200  # px of a crop's longer side
AROUND = 0.5  # of a box's longer side: what is shown beside it
LEAST_SHOWN = 0.06  # of the image's longer side: what a box counts as at least
PICTURE_SIDE = 420  # px of embedded pictures' longer side
LEGEND = 12  # parts listed at most
UNMATCHED = "unmatched"  # what has no counterpart stands out from all colours
BOX_EDGE = (20, 20, 20)
OUTSIDE = 0.35  # brightness that is left of what lies outside a region
# Anchors of the heat colours from cold to hot: dark violet, red, orange, pale yellow.
_HEAT = np.array([[40, 10, 90], [190, 30, 90], [250, 140, 20], [255, 245, 160]], dtype=np.float32)


def outlines(
    picture: Image.Image,
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    counts: Mapping[str, int] | None = None,
) -> Image.Image:
    """Outlines parts in their colours and lists them with their counts.

    Args:
        picture: RGB, ``W`` x ``H`` pixels.
        labels: int ``(H, W)``; an index into ``names``, 0 is the background.
        names: Of the parts; :data:`UNMATCHED` ones are drawn in white.
        counts: Objects of each part, listed in the upper left corner.
    """
    unit = max(1, round(max(picture.size) / 400))
    pixels = np.array(picture.convert("RGB"))
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in (*range(-unit, 0), *range(1, unit + 1)):
            edge |= np.roll(labels, step, axis) != labels
    edge &= labels > 0
    colours = [
        BOX_COLOUR if name == UNMATCHED else part_colour(number)
        for number, name in enumerate(names)
    ]
    pixels[edge] = np.array(colours, np.uint8)[labels[edge]]
    result = Image.fromarray(pixels)
    draw = ImageDraw.Draw(result)
    font = ImageFont.load_default(size=max(10, 8 * unit))
    y = 2.0 * unit
    for name, count in [(n, c) for n, c in (counts or {}).items() if c][:LEGEND]:
        text = f"{count} x {name}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        high = bottom - top + 4 * unit
        width = high + right - left + 6 * unit
        draw.rectangle((2 * unit, y, 2 * unit + width, y + high), fill=BOX_EDGE)
        swatch = (3 * unit, y + unit, 2 * unit + high - unit, y + high - unit)
        draw.rectangle(swatch, fill=colours[list(names).index(name)])
        where = (2 * unit + high + 2 * unit - left, y + 2 * unit - top)
        draw.text(where, text, fill=BOX_COLOUR, font=font)
        y += high
    return result


def named_regions(
    picture: Image.Image, labels: npt.NDArray[np.integer], names: Sequence[str]
) -> Image.Image:
    """Outlines parts in their colours, and names each at its largest region.

    Args:
        picture: RGB, ``W`` x ``H`` pixels.
        labels: int ``(H, W)``; an index into ``names``, 0 is the background.
        names: Of the parts.
    """
    from scipy import ndimage

    result = outlines(picture, labels, names)
    draw = ImageDraw.Draw(result)
    font = ImageFont.load_default(size=max(11, round(max(picture.size) / 80)))
    for number, name in enumerate(names[1:], start=1):
        regions, count = ndimage.label(labels == number, structure=np.ones((3, 3)))
        if not count:
            continue
        largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
        rows, columns = ndimage.find_objects(regions)[largest - 1]
        frame = float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)
        _tag(draw, name, frame, font, picture.size, part_colour(number))
    return result


def darkened(picture: Image.Image, inside: npt.NDArray[np.bool_]) -> Image.Image:
    """Darkens what lies outside a bool ``(H, W)``."""
    factor = np.where(inside[..., None], 1.0, OUTSIDE)
    return Image.fromarray((np.asarray(picture.convert("RGB")) * factor).round().astype(np.uint8))


def pairs(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side on white, a gap between them."""
    gap = max(4, left.width // 50)
    size = (left.width + gap + right.width, max(left.height, right.height))
    sheet = Image.new("RGB", size, BOX_COLOUR)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + gap, 0))
    return sheet


def part_colour(label: int) -> tuple[int, int, int]:
    """A strong colour per part, far from those of its neighbours in number."""
    hue = (label * 0.381966) % 1.0  # the golden angle
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def heat(
    pixels: npt.NDArray[np.uint8], anomaly_map: npt.NDArray[np.float32], start: float, full: float
) -> Image.Image:
    """Lays a float32 map ``(H, W)`` over uint8 pixels ``(H, W, 3)`` on a fixed scale.

    Colour begins at the value ``start`` and is hottest at ``full``.
    """
    level = np.clip((anomaly_map - start) / max(full - start, 1e-9), 0, 1)[..., None]
    positions = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(level[..., 0], positions, c) for c in _HEAT.T], axis=-1)
    # Cold places stay a photograph; the layer never hides what is under it completely.
    opacity = np.minimum(0.75, 1.5 * level)
    mixed = pixels * (1 - opacity) + colour * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def embedded(picture: Image.Image, side: int = PICTURE_SIDE, quality: int = 85) -> str:
    """A picture as the source of an ``img``: a JPEG, shrunk to at most ``side`` pixels a side."""
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def crop(
    picture: Image.Image, box: Box, size: tuple[int, int] | None = None, side: int = CROP_SIDE
) -> Image.Image:
    """A place with what lies around it.

    Args:
        picture: The picture.
        box: ``xyxy`` in pixels of an image of ``size``.
        size: Height and width that the box refers to; None: those of the picture.
        side: Longer side of the result in pixels.
    """
    height, width = size or (picture.height, picture.width)
    scale = np.array([picture.width / width, picture.height / height] * 2)
    more = AROUND * max(box[2] - box[0], box[3] - box[1], LEAST_SHOWN * max(width, height))
    x1, y1, x2, y2 = np.array([box[0] - more, box[1] - more, box[2] + more, box[3] + more]) * scale
    left, top = (
        int(np.clip(v, 0, most - 1)) for v, most in ((x1, picture.width), (y1, picture.height))
    )
    right, bottom = min(round(x2), picture.width), min(round(y2), picture.height)
    found = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    larger = side / max(found.size)
    wanted = max(1, round(found.width * larger)), max(1, round(found.height * larger))
    return found.resize(wanted, Image.Resampling.BICUBIC)


def tagged(findings: Sequence[Finding]) -> list[tuple[str, Box]]:
    """Every box with its tag: ``"1"``, or ``"1a"`` and ``"1b"`` where a finding has several."""
    found = []
    for number, finding in enumerate(findings, start=1):
        boxes = finding.boxes or ((finding.box,) if finding.box else ())
        several = len(boxes) > 1
        found += [(f"{number}{chr(97 + i) if several else ''}", b) for i, b in enumerate(boxes)]
    return found


def boxes(picture: Image.Image, findings: Sequence[Finding]) -> Image.Image:
    """Draws the findings' boxes, numbered as in the sentences of ``explain``."""
    return framed(picture, tagged(findings))


def framed(picture: Image.Image, labelled: Sequence[tuple[str, Box]]) -> Image.Image:
    """Draws boxes ``xyxy``, each with a text on it."""
    result = picture.copy()
    draw = ImageDraw.Draw(result)
    unit = max(1, round(max(picture.size) / 400))
    font = ImageFont.load_default(size=max(13, 10 * unit))
    right, bottom = picture.width - 1.0, picture.height - 1.0
    for tag, (x0, y0, x1, y1) in labelled:
        wide = x0 - unit, y0 - unit, max(0.0, x0, x1) + unit, max(0.0, y0, y1) + unit
        frame = tuple(np.clip(wide, 0, (right, bottom, right, bottom)).tolist())
        draw.rectangle(frame, outline=BOX_EDGE, width=3 * unit)
        draw.rectangle(frame, outline=BOX_COLOUR, width=unit)
        _tag(draw, tag, frame, font, picture.size)
    return result


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    frame: tuple[float, float, float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
    ink: tuple[int, int, int] = BOX_COLOUR,
) -> None:
    """A text on a dark plate above the frame, or below it where there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    x = max(0.0, min(frame[0], size[0] - wide))
    y = frame[1] - high if frame[1] >= high else max(0.0, min(frame[3] + 1, size[1] - high))
    draw.rectangle((x, y, x + wide, y + high), fill=BOX_EDGE)
    draw.text((x + 3 - left, y + 3 - top), text, fill=ink, font=font)
