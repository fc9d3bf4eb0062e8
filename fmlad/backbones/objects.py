"""The embedded mask proposer: what stands out, at the threshold where it looks most like an object.

Nothing here was learned. One look at an image goes:

1. **Ground.** A robust smooth colour surface, first a trimmed quadratic, then a local average of what
   agrees with it; light gradients belong to the ground. Contrast is Delta E (CIE76) to it.
2. **Tree.** Contrast is cut at rising thresholds; components nest into a tree (the component tree of
   Jones 1999, pruned as in CER/MSER detectors, here on a colour contrast). A node's quality is the
   sharpness of its outline and its solidity, so that a soft shadow, a bridge between neighbours or
   half an object loses against the object itself.
3. **Cuts.** Nodes joined by a neck are also offered in pieces (watershed of the distance transform).
   Area times squared quality decides bottom-up between a node, its pieces and its children.
4. **Nesting.** A large object is a ground of its own: the look is repeated inside it, so a tray does
   not swallow what lies in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.builtin import lab, working_size
from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]

LEAST_CONTRAST = 4.0  # Delta E below which nothing stands out
NOISE_FACTOR = 3.0  # robust standard deviations of the ground below which nothing stands out
LEVELS, LEVEL_RATIO = 13, 1.3  # thresholds of the tree: the last is 18 times the first
LEAST_PIXELS = 30  # at working size; below it an outline has no shape
EDGE_REACH = 2.0  # px over which a slope is worth contrast
LEAST_QUALITY = 0.1  # of what is worth mentioning
SHARP = (2.0, 3.0)  # least and largest slope, Delta E a pixel, that makes an outline 63 % sharp
GRAINS = 2.0  # in between, so many times the upper quartile of the slope on the ground
NECK = 0.12  # a cut needs a maximum exp(NECK) times as deep as the saddle
CUT_GAIN = 1.03  # what a cut must gain: a waist alone is none
COLOUR_GAIN, UNLIKE = 0.1, 40.0  # so much less between pieces so many Delta E apart
DOUBT = 1.12  # gains within this factor are doubtful: the usual size decides
CLEAR = 0.5  # quality of what tells the usual size
HULL_OUTLINE = 0.6  # sharpness of a hull where it is new, relative to its node
HULL_TRIED = 0.9  # solidity below which fragments are looked for in the hull
CONVEX = 0.96  # solidity from which no cut is tried
NESTED_SHARE = 0.02  # of the image: larger objects are looked into
DEPTH = 3  # of nesting
SAME = 0.7  # intersection over union above which two proposals are one
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

        Masks are at working size (:func:`~fmlad.backbones.builtin.working_size`), holes filled;
        an object inside another has a mask of its own and stays part of the larger one's.
        """
        size = working_size(image.shape[-2], image.shape[-1])
        pixels = F.interpolate(image.cpu().float() / 255, size, mode="bilinear", antialias=True)
        colours = np.asarray(100 * lab(pixels)[0].permute(1, 2, 0).numpy(), dtype=np.float32)
        found = _distinct(list(_look(colours, _slope(colours), np.ones(size, bool))))
        found.sort(key=lambda node: (-node.quality, node.rows.start, node.columns.start))
        masks = np.zeros((len(found), *size), bool)
        boxes = np.zeros((len(found), 4), np.float32)
        across, down = image.shape[-1] / size[1], image.shape[-2] / size[0]
        for index, node in enumerate(found):
            masks[index, node.rows, node.columns] = node.mask
            boxes[index, ::2] = node.columns.start * across, node.columns.stop * across
            boxes[index, 1::2] = node.rows.start * down, node.rows.stop * down
        return Masks(masks, boxes, np.array([node.quality for node in found], np.float32))

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
    ) -> Masks:
        """The best proposal per box (by overlap of boxes) or per point (smallest mask on it).

        A prompt that no proposal answers gets an empty mask with score 0.
        """
        found = self.propose(image)
        wanted = np.reshape(boxes if boxes is not None else [], (-1, 4)).astype(np.float32)
        spots = np.reshape(points if points is not None else [], (-1, 2)).astype(np.float32)
        height, width = found.masks.shape[1:]
        areas = found.masks.sum(axis=(1, 2))
        chosen = [_best(_overlaps(found.boxes, box)) for box in wanted]
        for x, y in spots:
            row = int(np.clip(y * height / image.shape[-2], 0, height - 1))
            column = int(np.clip(x * width / image.shape[-1], 0, width - 1))
            chosen.append(_best(found.masks[:, row, column] / np.maximum(areas, 1)))
        masks = np.zeros((len(chosen), height, width), bool)
        scores = np.zeros(len(chosen), np.float32)
        for index, best in enumerate(chosen):
            if best is not None:
                masks[index], scores[index] = found.masks[best], found.scores[best]
        return Masks(masks, np.concatenate([wanted, np.tile(spots, 2)]), scores)


@dataclass(eq=False)
class _Node:
    """A candidate: a mask in its bounding box, rated.

    Attributes:
        rows: Of the bounding box in the image.
        columns: Likewise.
        mask: Inside the bounding box.
        area: Pixels of the mask.
        solidity: Share of its convex hull, in [0, 1].
        quality: How much it looks like an object, in [0, 1].
        children: Nodes of the next threshold inside this one.
    """

    rows: slice
    columns: slice
    mask: Bools
    area: int
    solidity: float
    quality: float
    children: list[_Node] = field(default_factory=list)

    @property
    def compactness(self) -> float:
        """1 for a disc, small for strips: area by squared outline (Polsby and Popper 1991)."""
        outline = int(self.mask.sum() - _eroded(self.mask).sum())
        return min(1.0, 4 * np.pi * self.area / max(outline, 1) ** 2)

    @property
    def value(self) -> float:
        """Additive over parts of equal quality; squared, so that size does not buy sloppiness."""
        return self.area * self.quality**2


@dataclass(eq=False)
class _Choice:
    """Nodes that were chosen, and what they were chosen over where that was a close race."""

    nodes: list[_Node]
    other: list[_Node] = field(default_factory=list)

    @property
    def value(self) -> float:
        return sum(node.value for node in self.nodes)


def _look(colours: Floats, slope: Floats, domain: Bools, depth: int = 0) -> Iterator[_Node]:
    """Objects on the ground that dominates a domain, and recursively those inside large ones."""
    from scipy import ndimage

    contrast, floor, grain = _contrast(colours, slope, domain, at_border=depth == 0)
    # Among thresholds the sharpest must win: no saturation. The final score knows the grain.
    strict = 1 - np.exp(-slope / SHARP[1])
    sharpness = 1 - np.exp(-slope / np.float32(np.clip(GRAINS * grain, *SHARP)))
    choices = []
    for root in _tree(contrast, strict, domain, floor):
        choices += _select(root, colours, strict)
    for node in _filled(_settled(choices), strict):
        rated = _rate(node.mask, (node.rows, node.columns), sharpness)
        rated.quality *= node.compactness**0.2  # strips along edges and frames are many
        if rated.quality > LEAST_QUALITY:
            yield rated
            if depth < DEPTH and node.area > NESTED_SHARE * domain.size:
                inside = np.zeros_like(domain)
                margin = max(2, round(0.03 * node.area**0.5))  # the outline is no ground
                inside[node.rows, node.columns] = ndimage.binary_erosion(
                    node.mask, iterations=margin
                )
                if inside.sum() > 0.5 * node.area:
                    yield from _look(colours, slope, inside, depth + 1)


def _contrast(
    colours: Floats, slope: Floats, domain: Bools, at_border: bool
) -> tuple[Floats, float, float]:
    """What stands out from the ground of a domain.

    Returns:
        Delta E ``(h, w)``, the value above which it is no accident of the ground, and the upper
        quartile of the slope there (Delta E a pixel).
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
    usual = contrast[::COARSE, ::COARSE][ground]
    if not len(usual):
        return contrast, LEAST_CONTRAST, 0.0
    middle = float(np.median(usual))
    floor = middle + NOISE_FACTOR * 1.4826 * float(np.median(np.abs(usual - middle)))
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


def _tree(contrast: Floats, sharpness: Floats, domain: Bools, low: float) -> list[_Node]:
    """Roots of the component tree of a contrast map above ``low``, every node rated."""
    from scipy import ndimage

    roots: list[_Node] = []
    previous: list[_Node | None] = []
    above = np.zeros(0, np.int32)
    for level in range(LEVELS):
        binary = (contrast > low * LEVEL_RATIO**level) & domain
        binary = ndimage.binary_fill_holes(binary)
        binary = _dilated(_eroded(binary))
        labels, _ = ndimage.label(binary)
        if not labels.any():
            break
        current: list[_Node | None] = []
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            mask = labels[place] == number
            node = _rate(mask, place, sharpness) if mask.sum() >= LEAST_PIXELS else None
            current.append(node)
            if node is None:
                continue
            parent = None
            if level:
                first = np.argmax(mask)
                row, column = divmod(int(first), mask.shape[1])
                parent = previous[above[place][row, column] - 1]
            (parent.children if parent else roots).append(node)
        previous, above = current, labels
    return roots


def _rate(mask: Bools, place: tuple[slice, slice], sharpness: Floats) -> _Node:
    """A node and its quality: sharp all around, solid, not cut off by the image's border."""
    area = int(mask.sum())
    rows, columns = place
    rim = mask & ~_eroded(mask)
    down, across = sharpness.shape
    cut = np.zeros_like(rim)  # outline that is the image's border
    if rows.start == 0:
        cut[0] = True
    if rows.stop == down:
        cut[-1] = True
    if columns.start == 0:
        cut[:, 0] = True
    if columns.stop == across:
        cut[:, -1] = True
    free = rim & ~cut
    share = float(free.sum()) / max(int(rim.sum()), 1)
    sharp = float(sharpness[place][free].mean()) if share > 0 else 0.0
    solidity = _solidity(rim, area)
    width = 2 * area / max(int(rim.sum()), 1)  # radius of a disc, half the width of a long bar
    quality = sharp * (0.3 + 0.7 * solidity) * share
    quality *= width / (width + 1) * area / (area + 2 * LEAST_PIXELS)
    return _Node(rows, columns, mask, area, solidity, quality)


def _eroded(mask: Bools) -> Bools:
    """Without the pixels that touch the outside by a side; outside the array is outside."""
    padded = np.pad(mask, 1)
    return np.asarray(
        mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )


def _dilated(mask: Bools) -> Bools:
    padded = np.pad(mask, 1)
    return np.asarray(
        mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    )


def _solidity(rim: Bools, area: int) -> float:
    """Area relative to the convex hull of the outline's pixels."""
    from scipy.spatial import ConvexHull, QhullError

    points = np.argwhere(rim)
    corners = (points[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
    try:
        return float(min(1.0, area / ConvexHull(corners).volume))
    except QhullError:
        return 1.0


def _select(node: _Node, colours: Floats, sharpness: Floats) -> list[_Choice]:
    """The best of a node, its pieces and what is best of its children."""
    best = [_Choice([node])]
    below = [c for child in node.children for c in _select(child, colours, sharpness)]
    rivals = [below] if below else []
    if node.solidity < CONVEX:
        pieces = _pieces(node, sharpness)
        if len(pieces) > 1:
            rivals.append([_Choice([piece]) for piece in pieces])
    for rival in rivals:
        parts = [n for choice in rival for n in choice.nodes]
        gain = sum(n.value for n in parts) / max(sum(c.value for c in best), 1e-9)
        if len(parts) == 1 or best[0].nodes != [node]:
            if gain > 1:
                best = rival
            continue
        bar = CUT_GAIN - COLOUR_GAIN * min(1.0, _unlike(parts, colours) / UNLIKE)
        if abs(np.log(gain / bar)) < np.log(DOUBT):
            whole = [node]
            best = [_Choice(parts, whole) if gain > bar else _Choice(whole, parts)]
        elif gain > bar:
            best = rival
    return best


def _unlike(parts: list[_Node], colours: Floats) -> float:
    """How far apart the mean colours of parts are, Delta E."""
    means = np.array([colours[p.rows, p.columns][p.mask].mean(axis=0) for p in parts])
    areas = np.array([p.area for p in parts])
    middle = np.average(means, axis=0, weights=areas)
    return 2 * float(np.average(np.linalg.norm(means - middle, axis=1), weights=areas))


def _settled(choices: list[_Choice]) -> list[_Node]:
    """Decides what is doubtful by the size of what is not: where there is a usual size, it rules."""
    sizes = [np.log(c.nodes[0].area) for c in choices if not c.other and c.nodes[0].quality > CLEAR]
    usual = float(np.median(sizes)) if len(sizes) >= 3 else 0.0
    known = len(sizes) >= 3 and float(np.median(np.abs(np.array(sizes) - usual))) < 0.35
    found: list[_Node] = []
    for choice in choices:
        far, other = (
            float(np.mean([abs(np.log(n.area) - usual) for n in nodes])) if nodes else np.inf
            for nodes in (choice.nodes, choice.other)
        )
        found += choice.other if known and other < far else choice.nodes
    return found


def _pieces(node: _Node, sharpness: Floats) -> list[_Node]:
    """A node cut at its necks."""
    from scipy import ndimage
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    mask = np.pad(node.mask, 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    # On the logarithm a given height is a given ratio of radii, whatever the object's size.
    height = np.log(depth + 4.0)
    markers, count = ndimage.label(h_maxima(height, NECK) & mask, structure=np.ones((3, 3)))
    if count < 2:
        return []
    labels = watershed(-height, markers, mask=mask)[1:-1, 1:-1]
    pieces = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        part = labels[place] == number
        rows = slice(node.rows.start + place[0].start, node.rows.start + place[0].stop)
        columns = slice(node.columns.start + place[1].start, node.columns.start + place[1].stop)
        if part.sum() >= LEAST_PIXELS:
            pieces.append(_rate(part, (rows, columns), sharpness))
    return pieces


def _filled(nodes: list[_Node], sharpness: Floats) -> list[_Node]:
    """With fragments joined inside the convex hull of one of them where that looks better.

    A bright face beside its shadow, or a rim with dark marks inside, comes apart in the tree.
    """
    from skimage.morphology import convex_hull_image

    left = sorted(nodes, key=lambda n: -n.area)
    for node in list(left):
        if node.solidity > HULL_TRIED or node not in left:
            continue
        place = (node.rows, node.columns)
        hull = _rate(convex_hull_image(node.mask), place, sharpness)
        swallowed = [n for n in left if n is node or _shared(n, hull) > 0.6 * n.area]
        covered = sum(_shared(n, hull) for n in swallowed)
        # Across bare ground the hull has no outline of its own: there it joins neighbours.
        new = hull.mask & ~_eroded(hull.mask) & ~node.mask
        old = node.mask & ~_eroded(node.mask)
        local = sharpness[place]
        if new.any() and local[new].mean() < HULL_OUTLINE * local[old].mean():
            continue
        if covered > 0.6 * hull.area and hull.value > sum(n.value for n in swallowed):
            left = [n for n in left if n not in swallowed] + [hull]
    return left


def _distinct(nodes: list[_Node]) -> list[_Node]:
    """Without those that are nearly the same as a better one."""
    kept: list[_Node] = []
    for node in sorted(nodes, key=lambda n: -n.quality):
        if all(_iou(node, other) < SAME for other in kept):
            kept.append(node)
    return kept


def _iou(a: _Node, b: _Node) -> float:
    shared = _shared(a, b)
    return shared / (a.area + b.area - shared)


def _shared(a: _Node, b: _Node) -> int:
    """Pixels in both masks."""
    top, bottom = max(a.rows.start, b.rows.start), min(a.rows.stop, b.rows.stop)
    left, right = max(a.columns.start, b.columns.start), min(a.columns.stop, b.columns.stop)
    if top >= bottom or left >= right:
        return 0
    one, two = (
        n.mask[
            top - n.rows.start : bottom - n.rows.start,
            left - n.columns.start : right - n.columns.start,
        ]
        for n in (a, b)
    )
    return int((one & two).sum())


def _best(overlaps: npt.NDArray[np.floating]) -> int | None:
    return int(overlaps.argmax()) if len(overlaps) and overlaps.max() > 0 else None


def _overlaps(boxes: Floats, wanted: Floats) -> Floats:
    """Intersection over union of boxes ``(n, 4)`` with one ``(4,)``."""
    sides = np.minimum(boxes[:, 2:], wanted[2:]) - np.maximum(boxes[:, :2], wanted[:2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(wanted[2:] - wanted[:2]) - shared
    return np.asarray(shared / np.maximum(union, 1), dtype=np.float32)
