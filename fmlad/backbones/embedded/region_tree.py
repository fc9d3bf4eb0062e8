"""A tree of regions: basins of the decoder's maps, merged in the order of their mean affinity.

Average linkage of a region graph (GASP: Bailoni et al., 2022): the two neighbours whose pixels most
often belong together merge first, and what is known of a pair is the mean over all pairs of cells
between them, and over the pixels that touch, by the ridge of the maps between them. Merging never
makes a pair more similar than the pairs that it joins; so all pairs that are each other's best can
merge at once and give the same tree (reciprocal nearest neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.networks.object_decoder import OFFSETS, displaced

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# What is added up over the pixels of a region: the maps, and coordinates for its box and spread.
COVERED, LEAF, BOUNDARY, INTERIOR, AREA, BORDER, Y, X, YY, XX, YX = range(11)
SUMS = 11
VOTES = 8.0  # pairs of cells that two pixels which touch are worth: small objects have few cells
LEAST_AFFINITY = 1e-3  # below it nothing merges: the rest of the tree would be arbitrary


@dataclass(frozen=True)
class RegionTree:
    """Basins first, then every merger, a parent always after its children.

    Attributes:
        basins: int64 ``(h, w)``: number of the basin at each pixel.
        children: int64 ``(n, 2)``; -1 for basins.
        parent: int64 ``(n,)``; -1 for roots.
        first, last: int64 ``(n,)``: a node holds the basins with ``first <= rank < last``.
        rank: int64, of each basin.
        sums: float64 ``(n, 11)``, over the pixels of each node.
        box: int64 ``(n, 4)``: top, left, bottom, right; the latter two exclusive.
        level: float64 ``(n,)``: mean affinity at which it was merged; 1 for basins.
        beyond: float64 ``(n,)``: mean affinity to the neighbour that is most similar.
        outer: float64 ``(n,)``: to all neighbours.
        inner: float64 ``(n,)``: mean affinity of the pairs inside.
        outline: float64 ``(n, 2)``: pairs of pixels across its outline, and their summed ridge.
    """

    basins: Ints
    children: Ints
    parent: Ints
    first: Ints
    last: Ints
    rank: Ints
    sums: Floats
    box: Ints
    level: Floats
    beyond: Floats
    outer: Floats
    inner: Floats
    outline: Floats

    def __len__(self) -> int:
        return len(self.level)

    def mask(self, node: int) -> Bools:
        """Its pixels inside its box."""
        top, left, bottom, right = self.box[node]
        rank = self.rank[self.basins[top:bottom, left:right]]
        return np.asarray((rank >= self.first[node]) & (rank < self.last[node]))

    def added_up(self, of_basins: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums ``(n, ...)`` over the basins of each node of ``(basins, ...)``."""
        ordered = np.empty_like(of_basins)
        ordered[self.rank] = of_basins
        running = np.concatenate([np.zeros_like(ordered[:1]), ordered.cumsum(0)])
        return np.asarray(running[self.last] - running[self.first])


def region_tree(maps: Maps, affinities: Maps) -> RegionTree:
    """The tree of an image.

    Args:
        maps: ``(4, h, w)`` in [0, 1], in the order of ``object_decoder.MAPS``; h and w even.
        affinities: ``(16, h / 2, w / 2)`` in [0, 1], in the order of ``object_decoder.OFFSETS``.
    """
    height = maps[2] - maps[3]  # an outline is a ridge, the middle of an object low
    basins = basins_of(height)
    count = int(basins.max()) + 1
    graph = _Graph.of(basins, np.maximum(height, 0), affinities, count)
    nodes = 2 * count - 1
    children = np.full((nodes, 2), -1, np.int64)
    parent = np.full(nodes, -1, np.int64)
    sums, box = np.zeros((nodes, SUMS)), np.zeros((nodes, 4), np.int64)
    sums[:count], box[:count] = _of_basins(basins, maps, count)
    level = np.ones(nodes)
    known = np.zeros((nodes, 5))
    alive = np.arange(count)  # the node of each row of the graph
    new, made = alive, count  # rows of the graph that are new, and how many nodes there are
    while True:
        known[alive[new]] = graph.known(new)
        pairs, similarity = graph.best_pairs()
        if not len(pairs):
            break
        joined, fresh = alive[pairs], np.arange(made, made + len(pairs))
        children[fresh], level[fresh] = joined, similarity
        parent[joined] = fresh[:, None]
        sums[fresh] = sums[joined].sum(1)
        box[fresh, :2] = box[joined, :2].min(1)
        box[fresh, 2:] = box[joined, 2:].max(1)
        owner = graph.merge(pairs)
        new, made = owner[pairs[:, 0]], made + len(pairs)
        survivors = np.zeros(graph.count, np.int64)
        survivors[owner] = alive
        survivors[new] = fresh
        alive = survivors
    first, last, rank = _intervals(children[:made], parent[:made], count)
    beyond, outer, inner, *outline = known[:made].T
    return RegionTree(
        basins, children[:made], parent[:made], first, last, rank, sums[:made], box[:made],
        level[:made], beyond, outer, inner, np.stack(outline, 1),
    )  # fmt: skip


def basins_of(height: Maps) -> Ints:
    """Basins of steepest descent of a map ``(h, w)``, slightly smoothed: numbers from 0."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(height, 1.0)
    rows, columns = smooth.shape
    padded = np.pad(smooth, 1, constant_values=np.inf)
    best, towards = smooth.copy(), np.arange(smooth.size).reshape(smooth.shape)
    here = towards.copy()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            there = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
            # Of equals the last one in reading order: a plateau flows to one of its corners.
            lower = there <= best if (down, right) > (0, 0) else there < best
            best = np.where(lower, there, best)
            towards = np.where(lower, here + down * columns + right, towards)
    flat = towards.ravel()
    while not np.array_equal(following := flat[flat], flat):
        flat = following
    _, numbers = np.unique(flat, return_inverse=True)
    return np.asarray(numbers.reshape(smooth.shape), np.int64)


class _Graph:
    """Regions that are not yet merged, and what is known of pairs of them."""

    def __init__(self, ends: Ints, values: Floats, own: Floats, count: int) -> None:
        """The columns of ``values`` and ``own`` are sums over a pair and inside a region.

        ``values``: affinity, pairs of cells, pairs of pixels that touch, the ridge there;
        ``own``: affinity and pairs of cells.
        """
        self.ends, self.values, self.own, self.count = ends, values, own, count

    @classmethod
    def of(cls, basins: Ints, ridge: Maps, affinities: Maps, count: int) -> _Graph:
        keys, columns = [], []
        own = np.zeros((count, 2))
        cells = basins[1::2, 1::2]
        for (down, right), affinity in zip(OFFSETS, affinities, strict=True):
            here, there = displaced(cells.shape, down, right)
            a, b, value = cells[here].ravel(), cells[there].ravel(), affinity[here].ravel()
            same = a == b
            own[:, 0] += np.bincount(a[same], value[same], count)
            own[:, 1] += np.bincount(a[same], minlength=count)
            keys.append(_key(a[~same], b[~same], count))
            zero = np.zeros(len(keys[-1]))
            columns.append(np.stack([value[~same], zero + 1, zero, zero], 1))
        for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
            a, b = basins[one].ravel(), basins[other].ravel()
            edge = np.maximum(ridge[one], ridge[other]).ravel()
            across = a != b
            keys.append(_key(a[across], b[across], count))
            zero = np.zeros(len(keys[-1]))
            columns.append(np.stack([zero, zero, zero + 1, edge[across]], 1))
        ends, values = _summed(np.concatenate(keys), np.concatenate(columns), count)
        touch = values[:, 2] > 0
        return cls(ends[touch], values[touch], own, count)

    @property
    def means(self) -> Floats:
        """Mean affinity of each pair, where pixels that touch vote beside the pairs of cells."""
        affinity, cells, touch, ridge = self.values.T
        return np.asarray((affinity + VOTES * (touch - ridge)) / (cells + VOTES * touch))

    def known(self, rows: Ints) -> Floats:
        """Of some regions, ``(m, 5)``: ``beyond``, ``outer``, ``inner`` and both of ``outline``."""
        beyond = np.zeros(self.count)
        for side in (0, 1):
            np.maximum.at(beyond, self.ends[:, side], self.means)
        pairs = self._over_pairs(self.values)[rows]
        own = self.own[rows]
        outer = pairs[:, 0] / (pairs[:, 1] + 1)
        inner = (own[:, 0] + 1) / (own[:, 1] + 1)
        return np.column_stack([beyond[rows], outer, inner, pairs[:, 2:]])

    def _over_pairs(self, values: Floats) -> Floats:
        columns = [
            sum(np.bincount(self.ends[:, s], column, self.count) for s in (0, 1))
            for column in values.T
        ]
        return np.stack(columns, 1)

    def best_pairs(self) -> tuple[Ints, Floats]:
        """Pairs that are each other's most similar neighbours, ``(m, 2)``, and how similar."""
        means = self.means
        best = np.zeros(self.count)
        for side in (0, 1):
            np.maximum.at(best, self.ends[:, side], means)
        mutual = (means == best[self.ends[:, 0]]) & (means == best[self.ends[:, 1]])
        candidates = np.flatnonzero(mutual & (means > LEAST_AFFINITY))
        chosen: list[int] = []
        taken = np.zeros(self.count, bool)
        for edge in candidates.tolist():  # of ties the first one
            if not taken[self.ends[edge]].any():
                taken[self.ends[edge]] = True
                chosen.append(edge)
        return self.ends[chosen], means[chosen]

    def merge(self, pairs: Ints) -> Ints:
        """Merges pairs of rows; the new row of each old one."""
        target = np.arange(self.count)
        target[pairs[:, 1]] = pairs[:, 0]
        owner = np.asarray(np.unique(target, return_inverse=True)[1], np.int64)
        own: Floats = np.stack([np.bincount(owner, column) for column in self.own.T], 1)
        ends = owner[self.ends]
        inside = ends[:, 0] == ends[:, 1]
        for column in (0, 1):
            own[:, column] += np.bincount(ends[inside, 0], self.values[inside, column], len(own))
        self.count, self.own = len(own), own
        keys = _key(ends[~inside, 0], ends[~inside, 1], self.count)
        self.ends, self.values = _summed(keys, self.values[~inside], self.count)
        return owner


def _key(a: Ints, b: Ints, count: int) -> Ints:
    return np.minimum(a, b) * count + np.maximum(a, b)


def _summed(keys: Ints, values: Floats, count: int) -> tuple[Ints, Floats]:
    different, owner = np.unique(keys, return_inverse=True)
    total: Floats = np.stack([np.bincount(owner, column, len(different)) for column in values.T], 1)
    return np.stack(np.divmod(different, count), 1).astype(np.int64), total


def _of_basins(basins: Ints, maps: Maps, count: int) -> tuple[Floats, Ints]:
    """Sums ``(count, 11)`` and boxes ``(count, 4)``."""
    from scipy import ndimage

    rows, columns = basins.shape
    y, x = (a.ravel().astype(float) for a in np.mgrid[:rows, :columns])
    border = np.zeros(basins.shape)
    border[[0, -1]] = border[:, [0, -1]] = 1
    flat = basins.ravel()
    values = [*(m.ravel() for m in maps), None, border.ravel(), y, x, y * y, x * x, y * x]
    sums: Floats = np.stack([np.bincount(flat, value, count) for value in values], 1)
    places = ndimage.find_objects(basins + 1)
    boxes = [(p[0].start, p[1].start, p[0].stop, p[1].stop) for p in places]
    return sums, np.array(boxes, np.int64).reshape(-1, 4)


def _intervals(tree: Ints, parent: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """First and last rank of each node's basins, and the basins' ranks."""
    size = np.ones(len(tree), np.int64)
    for node in range(count, len(tree)):
        size[node] = size[tree[node, 0]] + size[tree[node, 1]]
    first = np.zeros(len(tree), np.int64)
    start = 0
    for node in range(len(tree) - 1, -1, -1):
        if parent[node] < 0:
            first[node], start = start, start + size[node]
        if node >= count:
            one, other = tree[node]
            first[one], first[other] = first[node], first[node] + size[one]
    return first, first + size, first[:count]
