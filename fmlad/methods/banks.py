"""Method ``banks``: training-free memory of the shots.

The patch bank of PSAD (Kim et al., AAAI 2024, section 3.4; PatchCore's memory without a coreset):
an image is as odd as its oddest patch is far from every patch of the shots. Where the query
registers to a shot, a patch is compared around the same place only, so that a right patch in a
wrong place stands out too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.augment import SYMMETRIES, Symmetry, symmetric_copies
from fmlad.banks.patch import PatchIndex, flatten, same_place_distances
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.matching.registration import COARSE, REFINE, Edges, Fan, fan, register, sample_grid
from fmlad.methods.protocol import Evidence, Progress
from fmlad.views import ImageView

BANKS = ("patch",)  # the histogram and the composition bank come with parts
RATIO_SHOTS = 8  # left-out shots that set the scale between the two ways of searching


@dataclass(frozen=True)
class BanksConfig:
    """Options of the method.

    Attributes:
        banks: Banks to use (PSAD: patch, histogram, composition; only ``"patch"`` so far).
        levels: Number of pyramid levels compared, finest first; their distances are averaged
            (ours; one level is best for small defects, more see larger ones).
        symmetry: Mirrored and turned copies of the shots to remember as well, for products without
            a fixed orientation: ``"none"``, ``"flips"``, ``"rotations"`` or ``"all"`` (ours).
        registration: Whether to look for the same place at all (ours).
        shot_confidence: Edge correlation from which shots count as registered to each other; place
            is asked for when most of them are (ours).
        query_confidence: The same for a query; lower, because what is wrong with it costs
            correlation, while a registration by chance stays far below (ours).
        references: At most this many shots, the nearest by pooled features, are registered (ours;
            SAM-LAD's template bank has 2).
        window: Half width in cells of the search around the same place (ours).
        smoothing: Gaussian sigma in cells on the distance map; makes the maximum robust against
            one odd cell (PatchCore: sigma 4 px at a stride of 8 px is half a cell).
    """

    banks: Sequence[str] = BANKS
    levels: int = 1
    symmetry: Symmetry = "none"
    registration: bool = True
    shot_confidence: float = 0.8
    query_confidence: float = 0.5
    references: int = 8
    window: int = 1
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        banks: object = self.banks
        if isinstance(banks, str | list):  # one name, or what JSON made of the tuple
            object.__setattr__(self, "banks", (banks,) if isinstance(banks, str) else tuple(banks))
        fits = isinstance(self.banks, tuple) and all(bank in BANKS for bank in self.banks)
        if not fits or not self.banks:
            raise OptionError(f"banks={self.banks!r} is not possible; available: {BANKS}.")
        if self.symmetry not in SYMMETRIES:
            raise OptionError(f"symmetry={self.symmetry!r} is not one of {SYMMETRIES}.")
        if not isinstance(self.registration, bool):
            raise OptionError(f"registration must be True or False, got {self.registration!r}.")
        for name, low, high, kind in (
            ("levels", 1, 8, int),
            ("shot_confidence", 0.0, 1.0, float),
            ("query_confidence", 0.0, 1.0, float),
            ("references", 1, 1000, int),
            ("window", 0, 16, int),
            ("smoothing", 0.0, 16.0, float),
        ):
            value = getattr(self, name)
            fits = isinstance(value, int if kind is int else (int, float))
            if isinstance(value, bool) or not fits or not low <= value <= high:
                raise OptionError(
                    f"{name} must be {kind.__name__} in [{low}, {high}], got {value!r}."
                )


@dataclass(frozen=True)
class Remembered:
    """One shot, or a symmetric copy of one.

    Attributes:
        shot: Index of the shot it came from.
        levels: Features ``(1, C, h, w)`` of the compared levels, finest first.
        pooled: ``(C,)``.
        edges: For registration; None for a copy, which serves the free search alone.
    """

    shot: int
    levels: tuple[Tensor, ...]
    pooled: Tensor
    edges: Edges | None

    @cached_property
    def fan(self) -> Fan:
        """The shot's side of registration."""
        if self.edges is None:
            raise RuntimeError("a symmetric copy is never registered")
        return fan(self.edges)


@dataclass(frozen=True)
class BanksState:
    """What the banks remember.

    Attributes:
        memory: Shots first, in order, then their symmetric copies.
        placed: Whether the shots register to each other, so that place can be asked for.
        ratio: Factor that brings distances found anywhere onto the scale of those found at the
            same place, measured on the shots.
    """

    memory: tuple[Remembered, ...]
    placed: bool
    ratio: float
    _indices: dict[frozenset[int], list[PatchIndex]] = field(default_factory=dict, repr=False)

    @property
    def shots(self) -> int:
        """Number of shots, symmetric copies not counted."""
        return 1 + max(item.shot for item in self.memory)

    def kept(self, exclude: frozenset[int]) -> list[Remembered]:
        """Memory without some shots."""
        kept = [item for item in self.memory if item.shot not in exclude]
        if not kept:
            raise OptionError("All shots are excluded; at least one must stay.")
        return kept

    def indices(self, exclude: frozenset[int]) -> list[PatchIndex]:
        """One patch index a level; the one over all shots is kept, the others are not."""
        if exclude in self._indices:
            return self._indices[exclude]
        kept = self.kept(exclude)
        levels = range(len(kept[0].levels))
        indices = [PatchIndex([flatten(item.levels[i]) for item in kept]) for i in levels]
        if not exclude:
            self._indices[exclude] = indices
        return indices

    def tensors(self) -> dict[str, Tensor]:
        """Features, pooled vectors and edges of everything remembered."""
        named = {}
        for number, item in enumerate(self.memory):
            named[f"{number}.pooled"] = item.pooled
            for level, features in enumerate(item.levels):
                named[f"{number}.level{level}"] = features
            if item.edges is not None:
                named[f"{number}.edges.coarse"] = item.edges.coarse
                for size, canvas in zip(REFINE, item.edges.fine, strict=True):
                    named[f"{number}.edges.{size}"] = canvas
        return {name: tensor.cpu().contiguous() for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """Owners, picture shapes and the two facts learned from the shots."""
        return {
            "shots": [item.shot for item in self.memory],
            "levels": len(self.memory[0].levels),
            "halves": [list(item.edges.half) if item.edges else None for item in self.memory],
            "placed": self.placed,
            "ratio": self.ratio,
        }


class Banks:
    """The method; see the module."""

    name: ClassVar[str] = "banks"
    summary: ClassVar[str] = (
        "training-free patch memory of the shots, at the same place or anywhere"
    )
    needs: ClassVar[tuple[str, ...]] = ("feature_extractor",)
    takes: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(self, config: BanksConfig | None = None) -> None:
        self.config = config or BanksConfig()

    @property
    def branches(self) -> tuple[str, ...]:
        """One branch a bank."""
        return tuple(self.config.banks)

    def fit(
        self,
        views: Sequence[ImageView],
        *,
        labels: Sequence[npt.NDArray[np.integer]] | None,
        unlabeled: Sequence[ImageView],
        prompts: Any,
        rng: np.random.Generator,
        progress: Progress,
    ) -> BanksState:
        """Remembers the shots and learns whether place means anything among them."""
        memory = []
        for index, view in enumerate(views):
            memory.append(self._remember(view, index, view.edges))
            progress(index + 1, len(views), "remembering shots")
        for index, view in enumerate(views):
            for what, pixels in symmetric_copies(view.pixels, self.config.symmetry):
                memory.append(self._remember(view.again(pixels, what), index, None))
        state = BanksState(tuple(memory), placed=self.config.registration, ratio=1.0)
        if not self.config.registration:
            return state
        return self._learn_place(views, state, rng, progress)

    def evidence(
        self, view: ImageView, state: BanksState, exclude: frozenset[int] = frozenset()
    ) -> Evidence:
        """Distance map of the view's patches to the shots not excluded."""
        least = self.config.query_confidence
        placed = self._at_place(view, state, exclude, least) if state.placed else None
        if placed is not None:
            distances, count = placed
            shots = "the shot" if count == 1 else f"{count} shots"
            note = f"registered to {shots}: patches were compared at the same place"
        else:
            distances = self._anywhere(view, state, exclude) * state.ratio
            note = "patches were compared anywhere in the shots"
            if state.placed:
                note = f"did not register to any shot: {note}"
        distance_map = _smoothed(distances, self.config.smoothing).cpu().numpy()
        return Evidence(
            {"patch": float(distance_map.max())}, {"patch": distance_map}, notes=(note,)
        )

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str
    ) -> BanksState:
        """Back from a saved detector."""
        reader = _Reader(tensors, device)
        memory: list[Remembered] = []
        try:
            count, placed, ratio = meta["levels"], meta["placed"], float(meta["ratio"])
            owners = list(zip(meta["shots"], meta["halves"], strict=True))
            for number, (shot, half) in enumerate(owners):
                channels = [level.shape[1] for level in memory[0].levels] if memory else None
                levels = tuple(
                    reader.level(f"{number}.level{i}", channels[i] if channels else None)
                    for i in range(int(count))
                )
                pooled = reader.take(
                    f"{number}.pooled", (len(memory[0].pooled) if memory else None,)
                )
                memory.append(Remembered(int(shot), levels, pooled, reader.edges(number, half)))
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise CorruptDetectorError(f"The saved bank's description is bad: {error!r}.") from None
        reader.finish()
        originals = [item.shot for item in memory if item.edges is not None]
        if (
            not memory
            or not memory[0].levels
            or count > self.config.levels
            or originals != list(range(len(originals)))
            or not {item.shot for item in memory} <= set(originals)
            or not isinstance(placed, bool)
            or not math.isfinite(ratio)
            or ratio <= 0
        ):
            raise CorruptDetectorError("The saved bank's description contradicts itself.")
        return BanksState(tuple(memory), placed, ratio)

    def _remember(self, view: ImageView, shot: int, edges: Edges | None) -> Remembered:
        return Remembered(shot, self._levels(view), view.pyramid().pooled[0], edges)

    def _levels(self, view: ImageView) -> tuple[Tensor, ...]:
        levels = view.pyramid().levels
        return tuple(levels[stride] for stride in sorted(levels)[: self.config.levels])

    def _learn_place(
        self,
        views: Sequence[ImageView],
        state: BanksState,
        rng: np.random.Generator,
        progress: Progress,
    ) -> BanksState:
        """Do left-out shots register, and how do the two ways of searching compare on them?"""
        if len(views) == 1:
            trials = [(copy, frozenset[int]()) for copy in views[0].gentle_copies]
        else:
            count = min(len(views), RATIO_SHOTS)
            chosen = sorted(int(i) for i in rng.choice(len(views), size=count, replace=False))
            trials = [(views[i], frozenset({i})) for i in chosen]
        at_place, anywhere = [], []
        for done, (view, exclude) in enumerate(trials, start=1):
            placed = self._at_place(view, state, exclude, self.config.shot_confidence)
            if placed is not None:
                at_place.append(float(_smoothed(placed[0], self.config.smoothing).max()))
                free = self._anywhere(view, state, exclude)
                anywhere.append(float(_smoothed(free, self.config.smoothing).max()))
            progress(done, len(trials), "comparing shots with each other")
        placed_enough = 2 * len(at_place) > len(trials)
        ratio = max(at_place) / max(*anywhere, 1e-6) if placed_enough else 1.0
        # Searching a window can only find what searching everywhere finds too.
        return BanksState(state.memory, placed_enough, max(1.0, ratio))

    def _at_place(
        self, view: ImageView, state: BanksState, exclude: frozenset[int], least: float
    ) -> tuple[Tensor, int] | None:
        """Distances ``(h, w)`` around the same place and the number of shots used, or None."""
        pooled = view.pyramid().pooled[0]
        shots = [item for item in state.kept(exclude) if item.edges is not None]
        shots.sort(key=lambda item: float((item.pooled - pooled).norm()))
        found = [(item, register(view.edges, item.fan)) for item in shots[: self.config.references]]
        found = [(item, r) for item, r in found if r.confidence >= least]
        if not found:
            return None
        maps = []
        for index, level in enumerate(self._levels(view)):
            best = torch.full(level.shape[-2:], torch.inf, device=level.device)
            for item, registration in found:
                size = (level.shape[-2], level.shape[-1])
                grid = sample_grid(registration, view.edges.half, item.fan.edges.half, size)
                grid = grid.to(level.device)
                there = same_place_distances(level, item.levels[index], grid, self.config.window)
                best = torch.minimum(best, there)
            maps.append(best)
        return _mean_map(maps), len(found)

    def _anywhere(self, view: ImageView, state: BanksState, exclude: frozenset[int]) -> Tensor:
        """Distances ``(h, w)`` to the nearest patch of all shots."""
        indices = state.indices(exclude)
        return _mean_map(
            [
                index.distances(flatten(level)).view(level.shape[-2:])
                for index, level in zip(indices, self._levels(view), strict=True)
            ]
        )


class _Reader:
    """Takes tensors out of a saved bank one by one, checking each, and knows what was left."""

    def __init__(self, tensors: Mapping[str, Tensor], device: str) -> None:
        self._left = dict(tensors)
        self._device = device

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise CorruptDetectorError(f"The saved bank lacks the tensor {name!r}.")
        fits = len(tensor.shape) == len(shape) and all(
            want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
        )
        if tensor.dtype != torch.float32 or not fits or not torch.isfinite(tensor).all():
            raise CorruptDetectorError(
                f"The tensor {name!r} of the saved bank is {tuple(tensor.shape)} {tensor.dtype}; "
                f"expected finite float32 {shape}."
            )
        return tensor.to(self._device)

    def level(self, name: str, channels: int | None) -> Tensor:
        level = self.take(name, (1, channels, None, None))
        if level.numel() == 0:
            raise CorruptDetectorError(f"The tensor {name!r} of the saved bank is empty.")
        return level

    def edges(self, number: int, half: Sequence[float] | None) -> Edges | None:
        if half is None:
            return None
        width, height = (float(value) for value in half)
        if max(width, height) != 1 or min(width, height) <= 0:
            raise ValueError(f"halves of shot {number} are {half}")
        # Registration runs on the CPU: its canvases are too small to be worth a transfer.
        coarse = self.take(f"{number}.edges.coarse", (COARSE, COARSE)).cpu()
        fine = tuple(self.take(f"{number}.edges.{size}", (size, size)).cpu() for size in REFINE)
        return Edges(coarse, fine, (width, height))

    def finish(self) -> None:
        if self._left:
            raise CorruptDetectorError(
                f"The saved bank holds unknown tensors: {sorted(self._left)}."
            )


def _mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Mean of maps ``(h, w)`` of different levels on the finest grid."""
    size = maps[0].shape
    resized = [maps[0]] + [
        F.interpolate(m[None, None], size, mode="bilinear")[0, 0] for m in maps[1:]
    ]
    return torch.stack(resized).mean(0)


def _smoothed(distances: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, mirrored at the border; ``(h, w)`` stays ``(h, w)``."""
    if sigma == 0:
        return distances
    radius = min(math.ceil(3 * sigma), min(distances.shape) - 1)
    offsets = torch.arange(-radius, radius + 1, device=distances.device, dtype=distances.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(distances[None, None], (radius,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1))[0, 0]
