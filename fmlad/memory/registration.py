"""Similarity registration of a query to a shot, with a confidence.

Where a fixture holds the product still, a query differs from a shot by a small shift, turn and
zoom, and its patches can be compared with the same place of the shot. Without a fixture the
confidence stays low, and the transform should not be used.

Estimated on edge strength (robust to lighting) in two steps: all shifts at a fan of angles by
cross-correlation in the Fourier domain, then robust Gauss-Newton refinement of shift, turn and zoom
(inverse compositional image alignment: Baker and Matthews, IJCV 2004).

Coordinates: ``(x, y)`` from the image centre, right and down, in halves of the longer side, so that
the longer side spans [-1, 1] and circles stay circles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.views import ImageView

COARSE = 96  # px of the canvas on which shifts and angles are searched
REFINE = (128, 256)  # px of the canvases on which the transform is refined, in order
ANGLES = tuple(range(-15, 16, 3))  # degrees; the refinement closes gaps of +- 1.5 degrees
STEPS = 8  # Gauss-Newton steps per canvas
FLAT = 1e-3  # spread of edge strength below which there are no edges
CERTAIN = 0.9  # confidence above which no second guess is made
MAX_ANGLE = 20  # degrees; beyond what was searched, a refinement has run away
MAX_ZOOM = 1.3  # a "registration" beyond this, or its inverse, is taken for a failure

Half = tuple[float, float]


@dataclass(frozen=True)
class Edges:
    """Edge strength of one image on square canvases, ready to be registered.

    Attributes:
        coarse: ``(COARSE, COARSE)``, zero mean, tapered towards the border.
        fine: One ``(n, n)`` per entry of ``REFINE``, in [0, 1] before standardising.
        half: Half width and half height of the picture on the canvas, the longer one is 1.
        within: Bool, one ``(n, n)`` per entry of ``REFINE``: what alone is registered; None: all.
            Of the query's side of a registration only, and not saved.
    """

    coarse: Tensor
    fine: tuple[Tensor, ...]
    half: Half
    within: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class Fan:
    """Spectra of one image's edges, turned by each of ``ANGLES``: the shot's side of the search."""

    spectra: Tensor
    edges: Edges


@dataclass(frozen=True)
class Registration:
    """Where the query's points lie in the shot.

    Attributes:
        matrix: ``(2, 3)`` maps query ``(x, y, 1)`` to shot ``(x, y)``.
        confidence: Correlation of the edges after alignment times the share of the query that the
            shot covers, in [0, 1].
    """

    matrix: Tensor
    confidence: float

    @property
    def angle(self) -> float:
        """Turn in degrees, clockwise on the screen when positive."""
        return math.degrees(math.atan2(float(self.matrix[1, 0]), float(self.matrix[0, 0])))

    @property
    def zoom(self) -> float:
        """Scale factor from query to shot."""
        return math.hypot(float(self.matrix[0, 0]), float(self.matrix[1, 0]))


def view_edges(view: ImageView) -> Edges:
    """Edge strength of an image, computed once."""
    known = view.of_pixels
    if "edges" not in known:
        known["edges"] = edges(_luma(view.pixels))
    found: Edges = known["edges"]
    return found


def edges_within(pixels: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> Edges:
    """Edge strength of what lies inside a region of uint8 pixels ``(H, W, 3)``.

    What lies outside the bool ``(H, W)`` has the mean edge strength, and no say in a registration
    of these edges (``within``).
    """
    step = _step(pixels)
    return edges(_luma(pixels), torch.from_numpy(np.array(inside[::step, ::step])))


def edges(grey: Tensor, within: Tensor | None = None) -> Edges:
    """Prepares one image, given its lightness ``(H, W)`` in [0, 1].

    Outside a bool ``(H, W)`` ``within`` edges have the mean strength of those inside.
    """
    height, width = grey.shape
    longer = max(height, width)
    half = (width / longer, height / longer)
    canvases = [_on_canvas(grey, size) for size in (COARSE, *REFINE)]
    limits = None
    if within is not None:
        limits = [_limit_on_canvas(within, size) for size in (COARSE, *REFINE)]
        canvases = [_levelled(*both, half) for both in zip(canvases, limits, strict=True)]
    # Weighted to nothing towards the picture's own border, lest outlines be matched to outlines.
    x, y = (torch.cos(_axis(grey, COARSE) / h * math.pi / 2).clamp_min(0).sqrt() for h in half)
    taper = y[:, None] * x[None, :]
    mean = (canvases[0] * taper).sum() / taper.sum()
    coarse = (canvases[0] - mean) * taper
    return Edges(coarse, tuple(canvases[1:]), half, None if limits is None else tuple(limits[1:]))


def fan(shot: Edges) -> Fan:
    """Prepares the shot's side of the search: its edges turned by every angle, transformed."""
    turned = torch.stack([_warp(shot.coarse, _rotation(angle).to(shot.coarse)) for angle in ANGLES])
    return Fan(torch.fft.rfft2(turned, s=(2 * COARSE, 2 * COARSE)), shot)


def register(query: Edges, shot: Fan) -> Registration:
    """Estimates the similarity transform from query to shot.

    Always returns the best transform found, with its ``confidence``.
    """
    found = _refined(query, shot.edges, _search(query.coarse, shot.spectra))
    if found.confidence >= CERTAIN:
        return found
    # With few edges the search may fail; most fixtures hardly move at all.
    unmoved = _refined(query, shot.edges, torch.eye(2, 3).to(query.coarse))
    return max(unmoved, found, key=lambda registration: registration.confidence)


def sample_grid(
    registration: Registration, query_half: Half, shot_half: Half, size: tuple[int, int]
) -> Tensor:
    """Sampling grid that brings the shot's feature map onto the query's cells.

    ``size``: cells ``(h, w)`` of the query's feature map, which spans the whole image.

    Returns:
        ``(1, h, w, 2)`` for ``torch.nn.functional.grid_sample(..., align_corners=False)``.
    """
    height, width = size
    matrix = registration.matrix
    y, x = _axis(matrix, height) * query_half[1], _axis(matrix, width) * query_half[0]
    grids = torch.meshgrid(y, x, indexing="ij")
    points = torch.stack([grids[1], grids[0], torch.ones_like(grids[0])], dim=-1)
    found = points @ matrix.T
    return (found / found.new_tensor(shot_half))[None]


def _luma(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Luma in [0, 1], float32 ``(H, W)`` (ITU-R BT.601 weights)."""
    weights = torch.tensor([0.299, 0.587, 0.114]) / 255
    step = _step(pixels)
    return torch.from_numpy(np.array(pixels[::step, ::step])).float() @ weights


def _step(pixels: npt.NDArray[np.uint8]) -> int:
    """Large photographs are thinned first: registration works on 256 px."""
    return max(1, int(min(pixels.shape[:2])) // 1024)


def _on_canvas(grey: Tensor, size: int) -> Tensor:
    """Edge strength on a square canvas: longer side ``size``, centred, nothing around it."""
    target = _target(grey, size)
    small = _smooth(F.interpolate(grey[None, None], target, mode="bilinear", antialias=True))
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    # The root limits the weight of a single strong contour.
    return _centred(_smooth((dx.square() + dy.square() + 1e-8).sqrt().sqrt())[0, 0], size)


def _target(picture: Tensor, size: int) -> tuple[int, int]:
    """Height and width of a picture ``(H, W)`` on a canvas."""
    scale = size / max(picture.shape)
    return max(2, round(picture.shape[0] * scale)), max(2, round(picture.shape[1] * scale))


def _centred(picture: Tensor, size: int) -> Tensor:
    height, width = picture.shape
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(picture, (left, size - width - left, top, size - height - top))


def _limit_on_canvas(within: Tensor, size: int) -> Tensor:
    """Bool ``(size, size)``: a region without a rim of 3 px, where smoothing mixed in the rest."""
    shares = F.interpolate(within[None, None].float(), _target(within, size), mode="area")
    outside = (shares < 1).float()
    return _centred((F.max_pool2d(outside, 7, stride=1, padding=3) == 0)[0, 0], size)


def _levelled(canvas: Tensor, limit: Tensor, half: Half) -> Tensor:
    """Edges with the mean strength outside a limit, as far as the picture goes."""
    axis = _axis(canvas, canvas.shape[0]).abs()
    picture = (axis[:, None] <= half[1]) & (axis[None, :] <= half[0])
    mean = canvas[limit].mean() if bool(limit.any()) else canvas.new_zeros(())
    return torch.where(limit, canvas, mean * picture)


def _smooth(image: Tensor) -> Tensor:
    kernel = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    mode = "replicate" if min(image.shape[-2:]) > 2 else "constant"
    padded = F.pad(image, (2, 2, 2, 2), mode=mode)
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))


def _rotation(degrees: float) -> Tensor:
    radians = math.radians(degrees)
    cos, sin = math.cos(radians), math.sin(radians)
    return torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])


def _warp(image: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix[None], [1, 1, *image.shape], align_corners=False)
    return F.grid_sample(image[None, None], grid, padding_mode="zeros", align_corners=False)[0, 0]


def _refined(query: Edges, shot: Edges, matrix: Tensor) -> Registration:
    """Refines a first guess; confidence 0 where it runs away from what was searched."""
    insides = [(_inside(canvas, query.half), _inside(canvas, shot.half)) for canvas in query.fine]
    if query.within is not None:
        limited = zip(insides, query.within, strict=True)
        insides = [(inside & within, there) for (inside, there), within in limited]
    for q, s, both in zip(query.fine, shot.fine, insides, strict=True):
        matrix = _refine(q, s, matrix, both)
    confidence = _correlation(query.fine[-1], shot.fine[-1], matrix, insides[-1])
    found = Registration(matrix, max(0.0, confidence))
    if not 1 / MAX_ZOOM <= found.zoom <= MAX_ZOOM or abs(found.angle) > MAX_ANGLE:
        return Registration(torch.eye(2, 3).to(matrix), 0.0)
    return found


def _search(query: Tensor, spectra: Tensor) -> Tensor:
    """Best angle and shift by cross-correlation over all shifts at once."""
    size = 2 * COARSE
    product = spectra * torch.fft.rfft2(query, s=(size, size)).conj()
    correlation = torch.fft.irfft2(product, s=(size, size))
    best = int(correlation.argmax())
    angle, row, column = best // size**2, best % size**2 // size, best % size
    # The turned shot, shifted by this much, lies on the query; circular, so wrap to +- half.
    dx, dy = ((v + size // 2) % size - size // 2 for v in (column, row))
    turn = _rotation(ANGLES[angle]).to(query)
    shift = query.new_tensor([dx, dy]) * 2 / COARSE
    return torch.cat([turn[:, :2], (turn[:, :2] @ shift)[:, None]], dim=1)


def _refine(query: Tensor, shot: Tensor, matrix: Tensor, insides: tuple[Tensor, Tensor]) -> Tensor:
    """Robust Gauss-Newton over shift, turn and zoom (inverse compositional)."""
    size = query.shape[0]
    axis = _axis(query, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside, shot_inside = (one.to(query) for one in insides)
    target = _standardise(query, inside)
    # Slopes per coordinate unit: a pixel is 2 / size wide.
    gy, gx = torch.gradient(target, spacing=2 / size)
    jacobian = torch.stack([gx * x + gy * y, gy * x - gx * y, gx, gy], dim=-1).reshape(-1, 4)
    for _ in range(STEPS):
        both = inside * _warp(shot_inside, matrix)
        error = ((_standardise(_warp(shot, matrix), both) - target) * both).reshape(-1)
        # Cauchy weights: anomalies must not change the transform.
        spread = error.abs().sum() / both.sum().clamp_min(1) + 1e-6
        weights = both.reshape(-1) / (1 + (error / spread).square())
        weighted = jacobian * weights[:, None]
        hessian = weighted.T @ jacobian
        hessian = hessian + 1e-6 * (hessian.trace() + 1e-6) * torch.eye(4).to(hessian)
        zoom, turn, dx, dy = torch.linalg.solve(hessian, weighted.T @ error).tolist()
        step = matrix.new_tensor([[1 + zoom, -turn, dx], [turn, 1 + zoom, dy], [0, 0, 1]])
        matrix = matrix @ torch.linalg.inv(step)
        if max(abs(zoom), abs(turn), abs(dx), abs(dy)) * size < 0.02:
            break
    return matrix


def _axis(like: Tensor, size: int) -> Tensor:
    """Coordinates of a canvas's pixel centres along one side."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * 2 / size - 1


def _inside(canvas: Tensor, half: Half) -> Tensor:
    """Bool ``(n, n)``: the picture without a rim of 3 px, where smoothing mixed in its border."""
    axis = _axis(canvas, canvas.shape[0]).abs()
    rim = 6 / canvas.shape[0]
    return (axis[:, None] <= half[1] - rim) & (axis[None, :] <= half[0] - rim)


def _standardise(image: Tensor, weights: Tensor) -> Tensor:
    """Zero mean and unit spread over the weighted part."""
    total = weights.sum().clamp_min(1)
    mean = (image * weights).sum() / total
    variance = ((image - mean).square() * weights).sum() / total
    return (image - mean) / (variance.sqrt() + 1e-6)


def _correlation(
    query: Tensor, shot: Tensor, matrix: Tensor, insides: tuple[Tensor, Tensor]
) -> float:
    """Pearson correlation over the part of the query that the shot covers, times that share.

    The share, because a small overlap correlates in any two pictures.
    """
    inside, shot_inside = insides
    covered = inside & (_warp(shot_inside.to(query), matrix) > 0.5)
    if 4 * int(covered.sum()) <= int(inside.sum()):
        return 0.0
    a, b = query[covered], _warp(shot, matrix)[covered]
    a, b = a - a.mean(), b - b.mean()
    # A picture without edges correlates with nothing, whatever rounding says.
    if min(float(a.std()), float(b.std())) < FLAT:
        return 0.0
    share = float(covered.sum() / inside.sum())
    return share * float((a * b).sum() / (a.norm() * b.norm() + 1e-6))
