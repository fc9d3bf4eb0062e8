import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.backbones.embedded import region_tree as module
from fmlad.backbones.embedded.region_tree import AREA, basins_of, region_tree
from fmlad.networks.object_decoder import OFFSETS, displaced


def random_maps(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = rng.random((4, *size)).astype(np.float32)
    affinities = rng.random((len(OFFSETS), size[0] // 2, size[1] // 2)).astype(np.float32)
    return maps, affinities


def partition_maps(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a decoder without fault says about known objects."""
    from scipy import ndimage

    beside = ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)
    inside = ndimage.distance_transform_edt(~beside)
    maps = np.stack([labels > 0, labels > 0, beside, np.minimum(inside / 6, 1)]).astype(np.float32)
    cells = labels[1::2, 1::2]
    affinities = np.zeros((len(OFFSETS), *cells.shape), np.float32)
    for one, (down, right) in zip(affinities, OFFSETS, strict=True):
        here, there = displaced(cells.shape, down, right)
        one[here] = cells[here] == cells[there]
    return maps, affinities


def greedy(basins: np.ndarray, ridge: np.ndarray, affinities: np.ndarray) -> set[frozenset[int]]:
    """All regions of average linkage, one merger at a time."""
    clusters = [frozenset([number]) for number in range(basins.max() + 1)]
    pairs: dict[tuple[int, int], list[float]] = {}
    touching: dict[tuple[int, int], list[float]] = {}
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        edge = np.maximum(ridge[one], ridge[other])
        sides = zip(basins[one].ravel(), basins[other].ravel(), edge.ravel(), strict=True)
        for a, b, value in sides:
            touching.setdefault((min(a, b), max(a, b)), []).append(value)
    cells = basins[1::2, 1::2]
    for affinity, (down, right) in zip(affinities, OFFSETS, strict=True):
        here, there = displaced(cells.shape, down, right)
        triples = zip(
            cells[here].ravel(), cells[there].ravel(), affinity[here].ravel(), strict=True
        )
        for a, b, value in triples:
            key = min(a, b), max(a, b)
            if a != b and key in touching:
                pairs.setdefault(key, []).append(value)
    found = set(clusters)

    def mean(a: frozenset[int], b: frozenset[int]) -> float:
        keys = [(min(i, j), max(i, j)) for i in a for j in b]
        edges = [v for key in keys for v in touching.get(key, [])]
        if not edges:
            return -1.0
        values = [v for key in keys for v in pairs.get(key, [])]
        votes = module.VOTES * (len(edges) - sum(edges))
        return float((sum(values) + votes) / (len(values) + module.VOTES * len(edges)))

    while len(clusters) > 1:
        best, a, b = max(
            ((mean(x, y), x, y) for i, x in enumerate(clusters) for y in clusters[i + 1 :]),
            key=lambda one: one[0],
        )
        if best <= module.LEAST_AFFINITY:
            break
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
        found.add(a | b)
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_tree_is_that_of_one_merger_after_the_other(seed: int) -> None:
    maps, affinities = random_maps(seed, (12, 16))
    tree = region_tree(maps, affinities)
    members = [frozenset(np.flatnonzero((tree.rank >= f) & (tree.rank < e)).tolist())
               for f, e in zip(tree.first, tree.last, strict=True)]  # fmt: skip
    # The vote of the outlines is no mean over pairs of cells, so that few nodes may differ.
    expected = greedy(tree.basins, np.maximum(maps[2] - maps[3], 0), affinities)
    assert len(expected & set(members)) >= 0.9 * len(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_nodes_are_made_of_their_children(seed: int) -> None:
    tree = region_tree(*random_maps(seed))
    count = len(tree.rank)
    for node in range(count, len(tree)):
        one, other = tree.children[node]
        assert tree.parent[one] == tree.parent[other] == node
        assert tree.sums[node] == pytest.approx(tree.sums[one] + tree.sums[other])
        assert tree.mask(node).sum() == tree.sums[node, AREA]
        spans = sorted([(tree.first[one], tree.last[one]), (tree.first[other], tree.last[other])])
        assert spans[0][1] == spans[1][0]
        assert (spans[0][0], spans[1][1]) == (tree.first[node], tree.last[node])
    roots = np.flatnonzero(tree.parent < 0)
    assert tree.sums[roots, AREA].sum() == tree.basins.size


def test_added_up_is_the_sum_over_the_basins_of_a_node() -> None:
    tree = region_tree(*random_maps(3))
    table = np.random.default_rng(0).random((len(tree.rank), 3))
    total = tree.added_up(table)
    for node in range(len(tree)):
        own = (tree.rank >= tree.first[node]) & (tree.rank < tree.last[node])
        assert total[node] == pytest.approx(table[own].sum(0))


def test_a_faultless_decoder_gives_the_objects_back() -> None:
    labels = np.zeros((64, 96), int)
    labels[8:30, 8:40] = 1
    labels[8:30, 40:70] = 2  # touches the first one
    labels[36:58, 10:86] = 3
    labels[42:52, 30:60] = 4  # lies on the third one
    tree = region_tree(*partition_maps(labels))
    for number in range(5):
        truth = labels == number
        best = max(iou(tree, node, truth) for node in range(len(tree)))
        assert best > 0.9, number


def iou(tree: module.RegionTree, node: int, truth: np.ndarray) -> float:
    mask = np.zeros(truth.shape, bool)
    top, left, bottom, right = tree.box[node]
    mask[top:bottom, left:right] = tree.mask(node)
    return float((mask & truth).sum() / (mask | truth).sum())


def test_a_basin_is_what_flows_to_one_minimum() -> None:
    y, x = np.mgrid[:20, :40].astype(np.float32)
    height = np.minimum(np.hypot(y - 10, x - 10), np.hypot(y - 10, x - 30))
    basins = basins_of(height)
    assert basins.max() == 1
    assert (basins[:, :19] == basins[0, 0]).all()
    assert (basins[:, 21:] == basins[0, -1]).all()


def test_one_colour_is_one_region_at_most() -> None:
    flat = np.zeros((4, 16, 16), np.float32)
    tree = region_tree(flat, np.ones((len(OFFSETS), 8, 8), np.float32))
    assert (tree.parent < 0).sum() == 1
