"""Pictures of each stage of the pseudo-labels: why did this part vanish?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad import report
from fmlad.draw import darkened, part_colour
from fmlad.methods.csad.masks import painted
from fmlad.methods.csad.pseudo_config import PseudoConfig
from fmlad.methods.csad.pseudo_labels import PseudoLabels
from fmlad.methods.csad.refine import FATES, Fate, Refinement, refine
from fmlad.views import ImageView

PAGE = "stages.html"
OPAQUE = 0.6  # of a colour over the picture
WORDS: dict[Fate, str] = {
    "kept": "kept as components",
    "small": "too small",
    "not grounded": "not in what the tags ground",
    "background": "of the background",
    "combination": "combinations of smaller ones",
    "not preferred": "not among the proposer's own choice",
}


def write_report(
    folder: Path,
    views: Sequence[ImageView],
    made: PseudoLabels,
    config: PseudoConfig,
    most: int | None = None,
) -> Path:
    """Writes ``stages.html``: of each image its masks by what became of them, classes, labels.

    Args:
        folder: Made where it is missing.
        views: The images that pseudo-labels were made of.
        made: The pseudo-labels.
        config: They were made with.
        most: Images shown: half of them trusted ones, half of them others, as far as there are.

    Returns:
        The page.

    Raises:
        OptionError: It cannot be written.
    """
    rows = _shown(made, len(views), most)
    steps = [_step(views[row], made, row, refine(views[row], config)) for row in rows]
    title = "Pseudo-labels, stage by stage"
    return report.write(folder / PAGE, "look.html", title=title, steps=steps)


def _shown(made: PseudoLabels, count: int, most: int | None) -> list[int]:
    trusted = list(made.rows)
    others = [row for row in range(count) if row not in set(trusted)]
    if most is None or most >= count:
        return list(range(count))
    apart = min(len(others), most // 2)
    return sorted([*trusted[: most - apart], *others[:apart]])


def _step(view: ImageView, made: PseudoLabels, row: int, refinement: Refinement) -> dict[str, Any]:
    """What the page shows of one image."""
    trusted = row in made.rows
    one, classes = made.components[row], made.classes[row]
    vanished = int((classes == 0).sum())
    lines = [f"{one.fates[fate]} masks: {WORDS[fate]}" for fate in FATES if fate in one.fates]
    lines.append(
        f"{len(classes)} components, {vanished} of them like too few others to be of a class"
    )
    kind = int(made.types[row])
    lines.append(
        f"class areas like those of cluster {kind + 1}"
        if kind >= 0
        else "class areas like those of no other images"
    )
    lines.append("labels are learned from" if trusted else "the image counts as unlabelled")
    return {
        "role": view.name,
        "backbone": "labelled" if trusted else "unlabelled",
        "problem": "",
        "lines": lines,
        "pictures": list(_pictures(view, made, row, refinement)),
    }


def _pictures(
    view: ImageView, made: PseudoLabels, row: int, refinement: Refinement
) -> Iterator[tuple[str, Image.Image]]:
    """Captions and pictures, in the order of the stages."""
    picture = Image.fromarray(np.asarray(view.pixels))
    yield "the image", picture
    if refinement.grounding is not None:
        yield "what the tags ground", coloured(picture, refinement.grounding)
    if refinement.background.any():
        yield "the background", coloured(picture, refinement.background.astype(np.int32))
    for fate in FATES[::-1]:
        own = refinement.masks[[one == fate for one in refinement.fates]]
        if len(own):
            yield f"{len(own)} masks: {WORDS[fate]}", coloured(picture, painted(own))
    instances, classes = made.components[row].instances, made.classes[row]
    lost = np.concatenate([[False], classes == 0])[instances]
    if lost.any():
        yield "components without a class", coloured(picture, instances * lost)
    yield "classes", coloured(picture, made.labels[row])


def coloured(picture: Image.Image, labels: npt.NDArray[np.integer]) -> Image.Image:
    """Labels ``(h, w)`` in colours over a picture, the rest of which is dark."""
    width, height = picture.size
    rows, columns = (
        np.arange(new) * old // new for new, old in zip((height, width), labels.shape, strict=True)
    )
    large = labels[rows[:, None], columns]
    colours = np.zeros((int(large.max(initial=0)) + 1, 3), np.uint8)
    for one in np.unique(large[large > 0]):
        colours[one] = part_colour(int(one))
    shown = np.asarray(darkened(picture, large > 0)).astype(float)
    mixed = np.where(large[..., None] > 0, OPAQUE * colours[large] + (1 - OPAQUE) * shown, shown)
    return Image.fromarray(mixed.round().astype(np.uint8))
