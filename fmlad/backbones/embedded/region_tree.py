"""A tree of regions: basins of the decoder's maps, merged in the order of their mean affinity.

Average linkage of a region graph (GASP: Bailoni et al., 2022): the two neighbours whose pixels most
often belong together merge first, and what is known of a pair is the mean over all pairs of cells
between them. Since merging never makes a pair more similar than the pairs that it joins, all pairs
that are each other's best can merge at once and give the same tree (reciprocal nearest neighbours).
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
        outline: float64 ``(n, 2)``: pairs of pixels across its outline, and their summed boundary.
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
    basins = basins_of(maps[2] - maps[3])
    count = int(basins.max()) + 1
    graph = _Graph.of(basins, maps[2], affinities, count)
    sums, boxes = _of_basins(basins, maps, count)
    children = [np.full((count, 2), -1, np.int64)]
    parent = np.full(2 * count - 1, -1, np.int64)
    alive = np.arange(count)  # node of each row of the graph
    level, beyond, outer, inner, outline = (np.zeros(2 * count - 1) for _ in range(5))
    crossing = np.zeros(2 * count - 1)
    level[:count] = 1.0
    made = count
    new = np.arange(count)
    while True:
        beyond[alive[new]], outer[alive[new]] = graph.similarity(new)
        inner[alive[new]] = graph.inner(new)
        outline[alive[new]], crossing[alive[new]] = graph.outline(new)
        pairs, at = graph.best_pairs()
        if not len(pairs):
            break
        ends = made + len(pairs)
        children.append(alive[pairs])
        parent[alive[pairs]] = np.arange(made, ends)[:, None]
        level[made:ends] = at
        owner = graph.merge(pairs)
        survivors = np.zeros(graph.count, np.int64)
        survivors[owner] = alive
        survivors[owner[pairs[:, 0]]] = np.arange(made, ends)
        alive, new, made = survivors, owner[pairs[:, 0]], ends
    tree = np.concatenate(children)
    for start, nodes in _rounds(children):
        sums = np.concatenate([sums, sums[nodes[:, 0]] + sums[nodes[:, 1]]])
        a, b = boxes[nodes[:, 0]], boxes[nodes[:, 1]]
        joined = np.concatenate([np.minimum(a, b)[:, :2], np.maximum(a, b)[:, 2:]], 1)
        boxes = np.concatenate([boxes, joined])
        del start
    first, last, rank = _intervals(tree, parent[:made], count)
    return RegionTree(
        basins, tree, parent[:made], first, last, rank, sums, boxes, level[:made], beyond[:made],
        outer[:made], inner[:made], np.stack([outline[:made], crossing[:made]], 1),
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
            lower = there < best
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
        # Columns of values: summed affinity, pairs of cells, pairs of pixels that touch, their
        # summed boundary. Those of own: summed affinity and pairs of cells inside.
        self.ends, self.values, self.own, self.count = ends, values, own, count

    @classmethod
    def of(cls, basins: Ints, boundary: Maps, affinities: Maps, count: int) -> _Graph:
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
            edge = np.maximum(boundary[one], boundary[other]).ravel()
            across = a != b
            keys.append(_key(a[across], b[across], count))
            zero = np.zeros(len(keys[-1]))
            columns.append(np.stack([zero, zero, zero + 1, edge[across]], 1))
        ends, values = _summed(np.concatenate(keys), np.concatenate(columns), count)
        graph = cls(ends, values, own, count)
        graph._forget_far()
        return graph

    def _forget_far(self) -> None:
        """Drops pairs that do not touch."""
        touch = self.values[:, 2] > 0
        self.ends, self.values = self.ends[touch], self.values[touch]

    @property
    def means(self) -> Floats:
        """Mean affinity of each pair; one pair of cells more that is apart."""
        return np.asarray(self.values[:, 0] / (self.values[:, 1] + 1.0))

    def similarity(self, rows: Ints) -> tuple[Floats, Floats]:
        best = np.zeros(self.count)
        for side in (0, 1):
            np.maximum.at(best, self.ends[:, side], self.means)
        total = self._over_pairs(self.values[:, :2])
        return best[rows], total[rows, 0] / (total[rows, 1] + 1.0)

    def inner(self, rows: Ints) -> Floats:
        return np.asarray((self.own[rows, 0] + 1) / (self.own[rows, 1] + 1))

    def outline(self, rows: Ints) -> tuple[Floats, Floats]:
        total = self._over_pairs(self.values[:, 2:])[rows]
        return total[:, 0], total[:, 1]

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
        # Of ties one pair a region: the first one.
        chosen, taken = [], np.zeros(self.count, bool)
        for edge in candidates:
            one, other = self.ends[edge]
            if not (taken[one] or taken[other]):
                taken[one] = taken[other] = True
                chosen.append(edge)
        return self.ends[chosen], means[chosen]

    def merge(self, pairs: Ints) -> Ints:
        """Merges pairs of rows; the new row of each old one."""
        target = np.arange(self.count)
        target[pairs[:, 1]] = pairs[:, 0]
        _, owner = np.unique(target, return_inverse=True)
        own = np.stack([np.bincount(owner, column) for column in self.own.T], 1)
        ends = owner[self.ends]
        inside = ends[:, 0] == ends[:, 1]
        for column in (0, 1):
            own[:, column] += np.bincount(ends[inside, 0], self.values[inside, column], len(own))
        self.count, self.own = len(own), own
        keys = _key(ends[~inside, 0], ends[~inside, 1], self.count)
        self.ends, self.values = _summed(keys, self.values[~inside], self.count)
        return np.asarray(owner, np.int64)


def _key(a: Ints, b: Ints, count: int) -> Ints:
    return np.minimum(a, b) * count + np.maximum(a, b)


def _summed(keys: Ints, values: Floats, count: int) -> tuple[Ints, Floats]:
    different, owner = np.unique(keys, return_inverse=True)
    total = np.stack([np.bincount(owner, column, len(different)) for column in values.T], 1)
    return np.stack(np.divmod(different, count), 1), total


def _of_basins(basins: Ints, maps: Maps, count: int) -> tuple[Floats, Ints]:
    """Sums ``(count, 11)`` and boxes ``(count, 4)``."""
    rows, columns = basins.shape
    y, x = (a.ravel().astype(float) for a in np.mgrid[:rows, :columns])
    border = np.zeros(basins.shape)
    border[[0, -1]] = border[:, [0, -1]] = 1
    flat = basins.ravel()
    values = [*(m.ravel() for m in maps), None, border.ravel(), y, x, y * y, x * x, y * x]
    sums = np.stack([np.bincount(flat, value, count) for value in values], 1)
    from scipy import ndimage

    places = ndimage.find_objects(basins + 1)
    boxes = [(p[0].start, p[1].start, p[0].stop, p[1].stop) for p in places]
    return sums, np.array(boxes, np.int64).reshape(-1, 4)


def _rounds(children: list[Ints]) -> list[tuple[int, Ints]]:
    starts = np.cumsum([len(c) for c in children])
    return list(zip(starts[:-1].tolist(), children[1:], strict=True))


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
