"""Candidates for objects: the component tree of a contrast map, cuts, joins, and a choice of nodes.

See :mod:`.objects` for the whole; here is what happens after contrast is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fmlad.backbones.embedded.region_shapes import dilated, eroded, solidity

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

LEVELS, LEVEL_RATIO = 13, 1.3  # thresholds of the tree: the last is 18 times the first
LEAST_PIXELS = 30  # at working size; below it an outline has no shape
NECK = 0.12  # a cut needs a maximum exp(NECK) times as deep as the saddle
CUT_GAIN = 1.03  # what a cut must gain: a waist alone is none
COLOUR_GAIN, UNLIKE = 0.12, 40.0  # so much less between pieces so many Delta E apart
DOUBT = 1.12  # gains within this factor are doubtful: the typical size decides
CLEAR = 0.5  # least quality of what the typical size is computed from
SPREAD = 0.35  # median deviation of logarithmic areas up to which there is one
HULL_OUTLINE = 0.6  # sharpness of a hull where it is new, relative to its node
HULL_TRIED = 0.9  # solidity below which fragments are joined inside the hull
CONVEX = 0.96  # solidity from which no cut is tried
SAME = 0.7  # intersection over union above which two proposals are one


@dataclass(eq=False)
class Node:
    """A candidate: a mask in its bounding box, rated.

    Attributes:
        mask: Inside the bounding box of ``rows`` and ``columns``.
        area: Pixels of the mask.
        solidity: Share of its convex hull, in [0, 1].
        quality: How much it is like an object, in [0, 1].
        children: Nodes of the next threshold inside this one.
        pieces: What it falls into when cut at its necks, if that was tried.
    """

    rows: slice
    columns: slice
    mask: Bools
    area: int
    solidity: float
    quality: float
    children: list[Node] = field(default_factory=list)
    pieces: list[Node] = field(default_factory=list)

    @property
    def compactness(self) -> float:
        """1 for a disc, small for strips: area by squared outline (Polsby and Popper 1991)."""
        outline = int(self.mask.sum() - eroded(self.mask).sum())
        return min(1.0, 4 * np.pi * self.area / max(outline, 1) ** 2)

    def tightened(self) -> Node:
        """One pixel smaller all around, by which the slope widens contrast; thin things stay."""
        from scipy import ndimage

        mask = eroded(self.mask)
        area = int(mask.sum())
        if area < self.area / 2:
            return self
        down, across = ndimage.find_objects(mask.astype(np.int8))[0]
        inner = replace(self, rows=down, columns=across, mask=mask[down, across], area=area)
        return inner.moved(self.rows.start, self.columns.start)

    def moved(self, rows: int, columns: int) -> Node:
        """The same, seen from an array that begins so much earlier."""
        down = slice(self.rows.start + rows, self.rows.stop + rows)
        across = slice(self.columns.start + columns, self.columns.stop + columns)
        return replace(self, rows=down, columns=across)

    @property
    def value(self) -> float:
        """Additive over parts of equal quality; squared, so that size does not buy sloppiness."""
        return self.area * self.quality**2


@dataclass(eq=False)
class Choice:
    """Nodes that were chosen, and their alternative where their values are close."""

    nodes: list[Node]
    other: list[Node] = field(default_factory=list)

    @property
    def value(self) -> float:
        return sum(node.value for node in self.nodes)


def component_tree(contrast: Floats, sharpness: Floats, domain: Bools, low: float) -> list[Node]:
    """Roots of the component tree of a contrast map above ``low``, every node rated."""
    from scipy import ndimage

    roots: list[Node] = []
    previous: list[Node | None] = []
    above = np.zeros(0, np.int32)
    for level in range(LEVELS):
        binary = (contrast > low * LEVEL_RATIO**level) & domain
        binary = dilated(eroded(ndimage.binary_fill_holes(binary)))
        labels, _ = ndimage.label(binary)
        if not labels.any():
            break
        current: list[Node | None] = []
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            mask = labels[place] == number
            node = rate(mask, place, sharpness) if mask.sum() >= LEAST_PIXELS else None
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


def rate(
    mask: Bools, place: tuple[slice, slice], sharpness: Floats, filled: float | None = None
) -> Node:
    """A node and its quality: sharp all around, solid, not cut off by the image's border.

    The sharpness ``(h, w)`` of the image is in [0, 1]; ``filled`` is the solidity where known.
    """
    area = int(mask.sum())
    rows, columns = place
    rim = mask & ~eroded(mask)
    down, across = sharpness.shape
    cut = np.zeros_like(rim)  # outline that is the image's border
    cut[0] |= rows.start == 0
    cut[-1] |= rows.stop == down
    cut[:, 0] |= columns.start == 0
    cut[:, -1] |= columns.stop == across
    free = rim & ~cut
    share = float(free.sum()) / max(int(rim.sum()), 1)
    sharp = float(sharpness[place][free].mean()) if share > 0 else 0.0
    filled = solidity(rim, area) if filled is None else filled
    width = 2 * area / max(int(rim.sum()), 1)  # radius of a disc, half the width of a long bar
    quality = sharp * (0.3 + 0.7 * filled) * share
    quality *= width / (width + 1) * area / (area + 2 * LEAST_PIXELS)
    return Node(rows, columns, mask, area, filled, quality)


def chosen(roots: list[Node], colours: Floats, sharpness: Floats) -> list[Node]:
    """The nodes of a tree, of their pieces and of their hulls that are most like objects.

    ``colours`` are Lab ``(h, w, 3)``, ``sharpness`` lies in [0, 1], ``(h, w)``.
    """
    choices = [choice for root in roots for choice in _select(root, colours, sharpness)]
    return _filled(_settled(choices), sharpness)


def _select(node: Node, colours: Floats, sharpness: Floats, above: float = 0.0) -> list[Choice]:
    """The best of a node, its pieces and what is best of its children.

    Cutting is slow: of nodes nearly the same from threshold to threshold, of which those above have
    at best the quality ``above``, the best is cut.
    """
    best = [Choice([node])]
    below: list[Choice] = []
    for child in node.children:
        alike = child.area > SAME * node.area
        below += _select(child, colours, sharpness, max(above, node.quality) if alike else 0.0)
    rivals = [below] if below else []
    if node.solidity < CONVEX and node.quality > above and node.quality >= _best_alike(node):
        node.pieces = _pieces(node, sharpness)
        if len(node.pieces) > 1:
            rivals.append([Choice([piece]) for piece in node.pieces])
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
            best = [Choice(parts, whole) if gain > bar else Choice(whole, parts)]
        elif gain > bar:
            best = rival
    return best


def _best_alike(node: Node) -> float:
    """Best quality of those below that are nearly the same, of which there is one a threshold."""
    best = 0.0
    while alike := [child for child in node.children if child.area > SAME * node.area]:
        node = alike[0]
        best = max(best, node.quality)
    return best


def _unlike(parts: list[Node], colours: Floats) -> float:
    """How far apart the mean colours of parts are, Delta E."""
    means = np.array([colours[p.rows, p.columns][p.mask].mean(axis=0) for p in parts])
    areas = np.array([p.area for p in parts])
    middle = np.average(means, axis=0, weights=areas)
    return 2 * float(np.average(np.linalg.norm(means - middle, axis=1), weights=areas))


def _settled(choices: list[Choice]) -> list[Node]:
    """Decides what is doubtful by the typical size of what is not, where there is one."""
    doubtful = sum(bool(choice.other) for choice in choices)
    sizes = np.log([c.nodes[0].area for c in choices if not c.other and c.nodes[0].quality > CLEAR])
    typical = float(np.median(sizes)) if len(sizes) else 0.0
    known = len(sizes) >= max(3, doubtful) and float(np.median(np.abs(sizes - typical))) < SPREAD
    found: list[Node] = []
    for choice in choices:
        far, other = (
            float(np.mean([abs(np.log(n.area) - typical) for n in nodes])) if nodes else np.inf
            for nodes in (choice.nodes, choice.other)
        )
        found += choice.other if known and other < far else choice.nodes
    return found


def _pieces(node: Node, sharpness: Floats) -> list[Node]:
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
    outline = node.mask & ~eroded(node.mask)
    pieces = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        part = labels[place] == number
        rows = slice(node.rows.start + place[0].start, node.rows.start + place[0].stop)
        columns = slice(node.columns.start + place[1].start, node.columns.start + place[1].stop)
        if part.sum() >= LEAST_PIXELS:
            piece = rate(part, (rows, columns), sharpness)
            rim = part & ~eroded(part)
            cut = rim & ~outline[place]
            if cut.any() and (rim & ~cut).any():
                # Where equals touch there is no edge to be seen: a blunt cut costs half.
                local, share = sharpness[rows, columns], cut.sum() / rim.sum()
                free, blunt = local[rim & ~cut].mean(), local[cut].mean()
                lost = share * max(0.0, free - blunt) / max(free, 1e-6)
                piece.quality *= (1 - lost / 2) / max(1 - lost, 1e-6)
            pieces.append(piece)
    return pieces


def _filled(nodes: list[Node], sharpness: Floats) -> list[Node]:
    """With fragments joined inside the convex hull of one of them where its value is higher.

    A bright face beside its shadow, or a rim with dark marks inside, comes apart in the tree.
    """
    from skimage.morphology import convex_hull_image

    left = sorted(nodes, key=lambda n: -n.area)
    for node in list(left):
        if node.solidity > HULL_TRIED or node not in left:
            continue
        place = (node.rows, node.columns)
        hull = rate(convex_hull_image(node.mask), place, sharpness)
        swallowed = [n for n in left if n is node or _shared(n, hull) > 0.6 * n.area]
        covered = sum(_shared(n, hull) for n in swallowed)
        # Across bare ground the hull has no outline of its own: there it joins neighbours.
        new = hull.mask & ~eroded(hull.mask) & ~node.mask
        old = node.mask & ~eroded(node.mask)
        local = sharpness[place]
        if new.any() and local[new].mean() < HULL_OUTLINE * local[old].mean():
            continue
        if covered > 0.6 * hull.area and hull.value > sum(n.value for n in swallowed):
            left = [n for n in left if n not in swallowed] + [hull]
    return left


def alternatives(roots: list[Node]) -> list[Node]:
    """All nodes and pieces of a tree, of those nearly the same from threshold to threshold one."""
    found: list[Node] = []
    waiting = [(root, root) for root in roots]  # a node, and the best so far of its likes above
    while waiting:
        node, best = waiting.pop()
        best = node if node.quality > best.quality else best
        # A child lies inside its parent: the ratio of areas is the intersection over union.
        alike = [c for c in node.children if c.area > SAME * node.area]
        found += node.pieces
        if not alike:
            found.append(best)
        waiting += [(c, best if c in alike else c) for c in node.children]
    return found


def distinct(nodes: list[Node], known: Sequence[Node] = (), most: int | None = None) -> list[Node]:
    """At most ``most``, best first, without those nearly the same as a better or a known one."""
    kept: list[Node] = []
    for node in sorted(nodes, key=lambda n: -n.quality):
        if len(kept) == most:
            break
        if not any(_alike(node, other) for other in (*known, *kept)):
            kept.append(node)
    return kept


def _alike(a: Node, b: Node) -> bool:
    """Whether the intersection over union is at least ``SAME``, which equal areas alone can be."""
    if min(a.area, b.area) < SAME * max(a.area, b.area):
        return False
    shared = _shared(a, b)
    return shared / (a.area + b.area - shared) >= SAME


def _shared(a: Node, b: Node) -> int:
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
