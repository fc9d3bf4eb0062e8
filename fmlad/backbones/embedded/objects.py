"""The embedded mask proposer: what stands out, at the threshold where it is most like an object.

Nothing here was learned. An image is segmented in four steps:

1. **Ground.** A robust smooth colour surface, first a trimmed quadratic, then a local average of
   what agrees with it; light gradients belong to the ground. Contrast is Delta E (CIE76) to it,
   joined with the slope of the colour.
2. **Tree.** Contrast is cut at rising thresholds; components nest into a tree (component tree:
   Jones 1999; pruned by a quality as in Arteta et al. 2012). A node's quality is the sharpness of
   its outline and its solidity, so that a soft shadow, a bridge between neighbours or half an
   object loses against the object itself.
3. **Cuts.** Nodes joined by a neck are also cut into pieces (watershed of the distance transform).
   Area times squared quality decides bottom-up between a node, its pieces and its children; where
   the difference is small, the typical size of the other objects decides.
4. **Nesting.** A large object is a ground of its own: the steps are repeated inside it, so a tray
   does not swallow what lies in it.

What was chosen is marked as preferred; its alternatives (wholes, pieces, other thresholds) are
returned too, because several images together may decide better than one (``objects/consensus``).

A quality of 0.5 or more means an object with a clear outline. Below that come strips along edges,
folds and specks, which a detector may want to weigh rather than count.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.builtin import working_lab
from fmlad.backbones.embedded.object_tree import (
    Bools,
    Floats,
    Node,
    alternatives,
    chosen,
    component_tree,
    distinct,
    rate,
)
from fmlad.backbones.embedded.prompted import prompted
from fmlad.backbones.roles import Masks

LEAST_CONTRAST = 4.0  # Delta E below which nothing stands out
NOISE_FACTOR = 3.0  # robust standard deviations of the ground below which nothing stands out
EDGE_REACH = 2.0  # px over which a slope is worth contrast
LEAST_QUALITY = 0.1  # of a proposal
LEAST_ALTERNATIVE = 0.4  # quality of an alternative to what was chosen
MOST_ALTERNATIVES = 64  # an image
SHARP = (1.3, 3.0)  # least and largest slope, Delta E a pixel, that makes an outline 63 % sharp
GRAINS = 2.0  # in between, so many times the upper quartile of the slope on the ground
NESTED_PIXELS = 6000  # at working size: larger objects are segmented themselves
DEPTH = 3  # of nesting
RIM = 0.05  # of the shorter side: the border that is taken for ground first
COARSE = 4  # the ground is computed on every fourth pixel


class ObjectProposer:
    """``builtin:regions@2``: :class:`~fmlad.backbones.roles.MaskProposer` without weights."""

    name = "builtin:regions@2"
    fingerprint = "builtin:regions@2"
    expensive = True

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        pass  # scipy and scikit-image run on the CPU wherever the rest runs

    def propose(self, image: Tensor) -> Masks:
        """Objects of ``uint8 (1, 3, H, W)``, best quality first; none where nothing stands out.

        Masks are at working size (:func:`.builtin.working_size`), holes filled;
        an object inside another has a mask of its own and stays part of the larger one's.
        """
        colours = 100 * working_lab(image, "cpu")[0].permute(1, 2, 0).numpy()
        size = colours.shape[:2]
        nodes = list(_segment(colours, _slope(colours), np.ones(size, bool)))
        own = distinct([node for node, preferred in nodes if preferred])
        others = [n for n, preferred in nodes if not preferred and n.quality > LEAST_ALTERNATIVE]
        found = own + distinct(others, own, MOST_ALTERNATIVES)
        ids = {id(node) for node in own}
        found.sort(key=lambda node: (-node.quality, node.rows.start, node.columns.start))
        masks = np.zeros((len(found), *size), bool)
        boxes = np.zeros((len(found), 4), np.float32)
        across, down = image.shape[-1] / size[1], image.shape[-2] / size[0]
        for index, node in enumerate(found):
            masks[index, node.rows, node.columns] = node.mask
            boxes[index, ::2] = node.columns.start * across, node.columns.stop * across
            boxes[index, 1::2] = node.rows.start * down, node.rows.stop * down
        scores = np.array([node.quality for node in found], np.float32)
        return Masks(masks, boxes, scores, np.array([id(n) in ids for n in found], bool))

    def prompt(
        self,
        image: Tensor,
        boxes: Floats | None = None,
        points: Floats | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> Masks:
        """The proposal that answers each box or set of points; see :func:`.prompted.prompted`."""
        return prompted(self.propose(image), image.shape[-2:], boxes, points, labels)


def _segment(
    colours: Floats, slope: Floats, domain: Bools, depth: int = 0
) -> Iterator[tuple[Node, bool]]:
    """Objects on the ground of a domain and inside large ones, and whether each was chosen."""
    from scipy import ndimage

    contrast, floor, grain = _contrast(colours, slope, domain, at_border=depth == 0)
    # Among thresholds the sharpest must win: no saturation. The final score knows the grain.
    strict = 1 - np.exp(-slope / SHARP[1])
    sharpness = 1 - np.exp(-slope / np.float32(np.clip(GRAINS * grain, *SHARP)))
    roots = component_tree(contrast, strict, domain, floor)
    own = chosen(roots, colours, strict)
    ids = {id(node) for node in own}
    others = [node for node in alternatives(roots) if id(node) not in ids]
    for node in (*own, *others):
        rated = rate(node.mask, (node.rows, node.columns), sharpness, node.solidity)
        rated.quality *= node.compactness**0.2  # strips along edges and frames are many
        if rated.quality <= LEAST_QUALITY:
            continue
        yield rated.tightened(), id(node) in ids
        if id(node) in ids and depth < DEPTH and node.area > NESTED_PIXELS:
            margin = max(2, round(0.03 * node.area**0.5))  # the outline is no ground
            inside = ndimage.binary_erosion(node.mask, iterations=margin)
            if inside.sum() > 0.5 * node.area:
                place = (node.rows, node.columns)
                for part, preferred in _segment(colours[place], slope[place], inside, depth + 1):
                    yield part.moved(node.rows.start, node.columns.start), preferred


def _contrast(
    colours: Floats, slope: Floats, domain: Bools, at_border: bool
) -> tuple[Floats, float, float]:
    """What stands out from the ground of a domain: Delta E ``(h, w)``.

    Also the value above which it is no accident of the ground, and the upper quartile of the slope
    there (Delta E a pixel).
    """
    from scipy import ndimage

    smooth = np.stack([ndimage.gaussian_filter(c, 1.0) for c in np.moveaxis(colours, -1, 0)], -1)
    grid = smooth[::COARSE, ::COARSE]
    inside = domain[::COARSE, ::COARSE]
    height, width = inside.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    start = inside.copy()
    if at_border:
        rim = max(1, round(RIM * min(height, width)))
        start[rim:-rim, rim:-rim] = False
    design, samples, sure = terms[inside], grid[inside], start[inside]
    centre = _mode(grid[start])
    error = np.linalg.norm(samples - centre, axis=1)
    fitted = np.zeros((6, 3))
    for degree in (1, 3, 3, 6, 6, 6):  # constant, plane, quadratic; what disagrees drops out
        near = error[sure & (error <= 20)]
        keep = error <= (np.clip(3 * np.median(near), 4, 15) if len(near) else 15)
        if keep.sum() < 4 * degree:
            break
        fitted[:] = 0
        fitted[:degree] = np.linalg.lstsq(design[keep][:, :degree], samples[keep], rcond=None)[0]
        error = np.linalg.norm(samples - design @ fitted, axis=1)
    surface = terms @ fitted
    for _ in range(2):  # then follow what is left of slow changes, where there is ground nearby
        left = grid - surface
        weight = np.exp(-((np.linalg.norm(left, axis=-1) / 6) ** 2)) * inside
        sigma = 0.06 * max(height, width)
        support = ndimage.gaussian_filter(weight, sigma) + 0.02
        surface = surface + np.stack(
            [ndimage.gaussian_filter(weight * left[..., c], sigma) / support for c in range(3)], -1
        )
    planes = torch.from_numpy(np.moveaxis(surface, -1, 0)[None].astype(np.float32))
    full = F.interpolate(planes, domain.shape, mode="bilinear")[0].permute(1, 2, 0).numpy()
    contrast = np.linalg.norm(smooth - full, axis=-1)
    # An edge between a bright face and its shadow crosses the ground's colour: its slope does not.
    contrast = np.hypot(contrast, EDGE_REACH * slope).astype(np.float32)
    ground = np.zeros_like(inside)
    ground[inside] = keep
    typical = contrast[::COARSE, ::COARSE][ground]
    if not len(typical):
        return contrast, LEAST_CONTRAST, 0.0
    middle = float(np.median(typical))
    floor = middle + NOISE_FACTOR * 1.4826 * float(np.median(np.abs(typical - middle)))
    grain = float(np.quantile(slope[::COARSE, ::COARSE][ground], 0.75))
    return contrast, max(LEAST_CONTRAST, floor), grain


def _mode(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The colour around which most samples lie: mean shift (Comaniciu and Meer 2002)."""
    centre = np.median(samples, axis=0)
    for _ in range(10):
        weight = np.exp(-((np.linalg.norm(samples - centre, axis=1) / 12) ** 2))
        if weight.sum() < 1e-6:
            break
        centre = (weight[:, None] * samples).sum(axis=0) / weight.sum()
    return np.asarray(centre)


def _slope(colours: Floats) -> Floats:
    """Slope of the colour at each pixel, Delta E a pixel, ``(h, w)``."""
    from scipy import ndimage

    squares = [
        ndimage.gaussian_gradient_magnitude(channel, 1.0) ** 2
        for channel in np.moveaxis(colours, -1, 0)
    ]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)), dtype=np.float32)
