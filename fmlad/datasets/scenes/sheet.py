"""The contact sheet: every category and every kind of anomaly, masks outlined, captions below."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fmlad.datasets.scenes.model import Scene
from fmlad.datasets.scenes.render import SCENE_CATEGORIES, render_scene, scene_spec

OUTLINE = (255, 0, 200)
PAPER, INK, FAINT = (250, 250, 248), (30, 30, 34), (110, 110, 116)


def outlined(scene: Scene, thickness: int = 2) -> Image.Image:
    """The scene's picture with the rim of its anomaly mask drawn in magenta.

    Args:
        scene: A rendered scene; a normal one comes back as it is.
        thickness: Of the rim, pixels, inside the mask's edge and just outside it.
    """
    pixels = scene.image.copy()
    grown = ndimage.binary_dilation(scene.mask)
    rim = grown & ~ndimage.binary_erosion(scene.mask, iterations=max(1, thickness - 1))
    pixels[rim] = OUTLINE
    return Image.fromarray(pixels)


def contact_sheet(
    categories: Sequence[str] = SCENE_CATEGORIES,
    seed: int = 0,
    width: int = 1800,
    tile: int = 170,
    normals: int = 3,
) -> Image.Image:
    """Renders all kinds of scenes onto one page.

    Args:
        categories: Which, in this order.
        seed: Of all scenes.
        width: Of the page, pixels.
        tile: Height of a picture, pixels; upright pictures get twice as much.
        normals: How many normal scenes to show first.

    Returns:
        An RGB page.

    Raises:
        UnknownNameError: No such category.
    """
    margin, caption, title = 10, 34, 40
    font, large = ImageFont.load_default(12), ImageFont.load_default(20)
    placed: list[tuple[int, int, Scene, tuple[int, int]]] = []
    titles: list[tuple[int, str]] = []
    y = margin
    for category in categories:
        spec = scene_spec(category)
        height = tile if spec.width >= spec.height else 2 * tile
        size = (round(height * spec.width / spec.height), height)
        titles.append((y, category))
        y += title
        x = margin
        scenes = [render_scene(category, seed, "train", "good", i) for i in range(normals)]
        for type_, kinds in (
            ("logical_anomalies", spec.logical),
            ("structural_anomalies", spec.structural),
        ):
            scenes += [render_scene(category, seed, "test", type_, i) for i in range(len(kinds))]
        for scene in scenes:
            if x + size[0] + margin > width:
                x, y = margin, y + height + caption
            placed.append((x, y, scene, size))
            x += size[0] + margin
        y += height + caption + margin
    page = Image.new("RGB", (width, y), PAPER)
    draw = ImageDraw.Draw(page)
    for top, category in titles:
        draw.text((margin, top + 10), category, fill=INK, font=large)
    for x, top, scene, size in placed:
        page.paste(outlined(scene).resize(size, Image.Resampling.LANCZOS), (x, top))
        first, second = _words(scene)
        draw.text((x, top + size[1] + 2), first, fill=INK, font=font)
        draw.text((x, top + size[1] + 16), second, fill=FAINT, font=font)
    return page


def _words(scene: Scene) -> tuple[str, str]:
    anomaly = scene.anomaly
    if anomaly is None:
        return "normal", ""
    name = anomaly.name.replace("_", " ")
    if anomaly.kind == "defect":
        return name, f"defect: {anomaly.part}"
    return name, anomaly.kind
