"""The embedded mask proposer: a small network trained on procedural pictures.

1. EfficientNet-Lite0's stages, shared with the feature extractor, and a decoder of 0.4 million
   weights give maps and affinities (:mod:`fmlad.networks.object_decoder`).
2. Basins of the maps merge into a tree of regions (:mod:`.region_tree`).
3. A small network rates every region (:mod:`.region_rating`); the disjoint regions of the largest
   sum of area times a power of the rating are preferred, and so are outlines that hold them. Others
   with a fair rating are returned too: several images together may choose better than one.

Masks have their holes filled. The network was never shown a photograph: its card lies beside its
weights, its figures are in ``docs/parts.md``.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.backbones.embedded import region_tree
from fmlad.backbones.embedded.networks import FAMILY, LITE_WEIGHTS, framed, lite_pixels, lite_stages
from fmlad.backbones.embedded.prompted import prompted
from fmlad.backbones.embedded.region_rating import RegionRating, quantities
from fmlad.backbones.embedded.region_tree import RegionTree
from fmlad.backbones.hub import file_hash, loading, locate
from fmlad.backbones.roles import Masks
from fmlad.networks.object_decoder import ObjectDecoder

LONGEST = 512  # px of the longer side that the network sees, as the feature extractor's
BORDER = 16  # px mirrored around the image, as the feature extractor does
WEIGHTS_FILE = Path(__file__).with_name("weights") / "objects.safetensors"
LEAST_PIXELS = 12  # on the maps: smaller regions have no shape
LEAST, SURE = 0.25, 0.55  # rating of a proposal, and of a preferred one
GAIN = 1.5  # power of the rating: a loose whole must not win by its size
QUALITY = 0.7  # power of the rating that makes a score: a region of overlap 0.7 is an object
SAME = 0.8  # intersection over union from which two proposals are one
MOST, MOST_ALTERNATIVES = 256, 64  # proposals of an image, and those that are not preferred
GROUND = 0.5  # share of the image's border from which a region is no object
HOLDER = 0.5  # mean of the leaf map, of what is covered, below which a region holds others
NESTED, CLEAR = 0.3, 0.6  # share of a holder up to which, and rating from which it holds an object
WHOLE = 0.6  # rating of an outline that holds others from which it is preferred

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class LearnedProposer:
    """``builtin:objects@3``: :class:`~fmlad.backbones.roles.MaskProposer`."""

    name = "builtin:objects@3"
    expensive = True

    def __init__(self, name: str = name, device: str = "cpu", weights: Path = WEIGHTS_FILE) -> None:
        """Loads the networks.

        Raises:
            WeightsUnavailableError: Weights are missing or damaged.
        """
        self._device, self._weights = device, weights
        self._stages = lite_stages(device)
        decoder, rating = networks(weights)
        self._decoder: Any = decoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._rating = rating
        self._last: tuple[str, Masks] | None = None

    @property
    def fingerprint(self) -> str:
        """Name and hashes of the files of weights."""
        return f"{self.name} {_hashes(self._weights)}"

    def propose(self, image: Tensor) -> Masks:
        """Objects of ``uint8 (1, 3, H, W)``, best first, at half the size the network sees.

        An image that is asked about several times in a row is looked through once.
        """
        pixels = np.ascontiguousarray(image.cpu().numpy())
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        last = self._last  # once: another thread may replace it meanwhile
        if last is None or last[0] != key:
            tree = self.tree(image)
            last = (key, masks_of(tree, *self.rate(tree), image.shape[-2:]))
            self._last = last
        return last[1]

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> Masks:
        """The proposal that answers each box or set of points; see :func:`.prompted.prompted`."""
        return prompted(self.propose(image), image.shape[-2:], boxes, points, labels)

    def tree(self, image: Tensor) -> RegionTree:
        """The regions of ``uint8 (1, 3, H, W)``, all of them."""
        maps, affinities = self.maps(image)
        return region_tree.region_tree(maps, affinities)

    @torch.inference_mode()
    def maps(self, image: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Maps and affinities of ``uint8 (1, 3, H, W)`` in [0, 1]; see ``ObjectMaps``."""
        pixels = framed(image.to(self._device), LONGEST, BORDER)
        said = self._decoder(lite_pixels(pixels), self._stages(pixels)).without(BORDER)
        return said.maps[0].sigmoid().cpu().numpy(), said.affinities[0].sigmoid().cpu().numpy()

    @torch.inference_mode()
    def rate(self, tree: RegionTree) -> tuple[Floats, Floats]:
        """Ratings ``(n,)`` in [0, 1] of every region: as a visible part, as a whole outline."""
        rated = self._rating(torch.from_numpy(quantities(tree)).float()).sigmoid().double()
        return rated[:, 0].numpy(), rated[:, 1].numpy()


def masks_of(tree: RegionTree, visible: Floats, whole: Floats, size: Any) -> Masks:
    """Proposals of an image of some ``(height, width)`` in pixels."""
    kept = chosen(tree, visible)
    taken, most = set(kept), min(MOST, len(kept) + MOST_ALTERNATIVES)
    height, width = tree.basins.shape
    found: list[tuple[float, bool, Ints, Bools]] = []
    order = [(visible[n], True, n) for n in sorted(kept, key=lambda n: -visible[n])]
    rest = np.flatnonzero(proposable(tree) & (np.maximum(visible, whole) > LEAST))
    others = [(max(visible[n], whole[n]), False, int(n)) for n in rest if int(n) not in taken]
    order += sorted(others, reverse=True)
    for rating, preferred, node in order:
        if len(found) == most:
            break
        box, mask = tree.box[node], filled(tree.mask(node))
        if any(_overlap(box, mask, b, m) > SAME for _, _, b, m in found):
            continue
        if not preferred and whole[node] > WHOLE and whole[node] == rating:
            preferred = all(_fits(box, mask, b, m) for _, p, b, m in found if p)
        found.append((float(rating), preferred, box, mask))
    found.sort(key=lambda one: -one[0])
    masks = np.zeros((len(found), height, width), bool)
    boxes = np.zeros((len(found), 4), np.float32)
    for index, (_, _, box, mask) in enumerate(found):
        top, left, bottom, right = box
        masks[index, top:bottom, left:right] = mask
        boxes[index] = left, top, right, bottom
    boxes *= np.array([size[1] / width, size[0] / height] * 2, np.float32)
    scores = np.array([one[0] ** QUALITY for one in found], np.float32)
    return Masks(masks, boxes, scores, np.array([one[1] for one in found], bool))


def chosen(tree: RegionTree, rating: Floats) -> list[int]:
    """The disjoint regions with the largest sum of area times a power of their rating.

    Where one of them is a holder that could not be told from what it holds, what is clearly an
    object and small inside it is chosen as well.
    """
    area = tree.sums[:, region_tree.AREA]
    value = np.where(proposable(tree) & (rating > SURE), area * rating**GAIN, 0.0)
    kept = _cut(tree, value, np.flatnonzero(tree.parent < 0))
    leaf = tree.sums[:, region_tree.LEAF] / np.maximum(tree.sums[:, region_tree.COVERED], 1e-6)
    held = []
    for node in (n for n in kept if leaf[n] < HOLDER and n >= len(tree.rank)):
        clear = (rating > CLEAR) & (area < NESTED * area[node])
        held += _cut(tree, np.where(clear, value, 0.0), tree.children[node])
    return kept + held


def _cut(tree: RegionTree, value: Floats, below: Ints) -> list[int]:
    """The disjoint nodes at or below some with the largest sum of values."""
    best = value.copy()
    for node in range(len(tree.rank), int(below.max(initial=-1)) + 1):
        best[node] = max(value[node], best[tree.children[node]].sum())
    kept: list[int] = []
    waiting = below.tolist()
    while waiting:
        node = waiting.pop()
        if best[node] <= 0:
            continue
        if value[node] >= best[node]:
            kept.append(node)
        else:
            waiting += tree.children[node].tolist()
    return kept


def proposable(tree: RegionTree) -> Bools:
    """Regions of a shape, but for the ground: what takes most of the image's border."""
    height, width = tree.basins.shape
    ground = tree.sums[:, region_tree.BORDER] > GROUND * 2 * (height + width)
    return np.asarray((tree.sums[:, region_tree.AREA] >= LEAST_PIXELS) & ~ground)


def filled(mask: Bools) -> Bools:
    """With its holes."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(mask))


def _common(a: Ints, one: Bools, b: Ints, other: Bools) -> int:
    """Pixels in both masks, each in its box."""
    top, left = np.maximum(a[:2], b[:2])
    bottom, right = np.minimum(a[2:], b[2:])
    if top >= bottom or left >= right:
        return 0
    first = one[top - a[0] : bottom - a[0], left - a[1] : right - a[1]]
    return int((first & other[top - b[0] : bottom - b[0], left - b[1] : right - b[1]]).sum())


def _overlap(a: Ints, one: Bools, b: Ints, other: Bools) -> float:
    """Intersection over union."""
    common = _common(a, one, b, other)
    return common / max(int(one.sum()) + int(other.sum()) - common, 1)


def _fits(a: Ints, one: Bools, b: Ints, other: Bools) -> bool:
    """Whether two masks are apart, or one lies in the other."""
    least = min(int(one.sum()), int(other.sum()))
    common = _common(a, one, b, other)
    return common < 0.1 * least or common > 0.9 * least


def networks(file: Path) -> tuple[ObjectDecoder, RegionRating]:
    """Decoder and rating from a file of weights, in evaluation mode.

    Raises:
        WeightsUnavailableError: The file is missing or damaged.
    """
    from safetensors.torch import load_file

    with loading("objects@3", f"{file} (a part of fmlad)", FAMILY):
        stored = {name: tensor.float() for name, tensor in load_file(file).items()}
        built = []
        for prefix, network in (("decoder.", ObjectDecoder()), ("rating.", RegionRating())):
            own = {n.removeprefix(prefix): t for n, t in stored.items() if n.startswith(prefix)}
            network.load_state_dict(own)
            built.append(network.eval().requires_grad_(False))
    decoder, rating = built
    return decoder, rating  # type: ignore[return-value]


@lru_cache(maxsize=4)
def _hashes(weights: Path) -> str:
    return " ".join(f"sha256={file_hash(f)}" for f in (weights, locate(LITE_WEIGHTS, FAMILY)))
