"""The embedded mask proposer: what stands out from the background at the image's border.

A first version. The background is modelled as a smooth colour surface fitted to the border, so that
a light gradient does not become an object; what differs from it by more than Otsu's threshold is
foreground; touching objects are cut at the necks of the distance transform.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.builtin import lab, working_size
from fmlad.backbones.embedded.prompting import pick
from fmlad.backbones.roles import Masks

BORDER = 0.06  # width of the border taken for background, as a share of the shorter side
LEAST_CONTRAST = 8.0  # Delta E below which nothing stands out
LEAST_AREA, MOST_AREA = 0.0005, 0.9  # of the image
NECK = 0.25  # a cut needs a maximum this much higher than the saddle, relative to it


class RegionProposer:
    """``builtin:regions@1``: :class:`~fmlad.backbones.roles.MaskProposer` without weights."""

    name = "builtin:regions@1"
    fingerprint = "builtin:regions@1"
    expensive = False

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        pass  # scipy and scikit-image run on the CPU wherever the rest runs

    def propose(self, image: Tensor) -> Masks:
        """Objects of ``uint8 (1, 3, H, W)``, clearest first; none where nothing stands out."""
        contrast = _contrast(image)
        foreground = _foreground(contrast)
        return _masks(_split(foreground), contrast, _scale(image, contrast))

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
    ) -> Masks:
        """The best proposal per box or per point; see :func:`.prompting.pick`."""
        return pick(self.propose(image), image, boxes, points)


def _contrast(image: Tensor) -> npt.NDArray[np.float32]:
    """Delta E of each pixel to the background surface, at working size ``(h, w)``."""
    size = working_size(image.shape[-2], image.shape[-1])
    pixels = F.interpolate(image.cpu().float() / 255, size, mode="bilinear", antialias=True)
    colours = 100 * lab(pixels)[0].permute(1, 2, 0).numpy()
    height, width = size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    frame = max(2, round(BORDER * min(size)))
    border = np.ones(size, bool)
    border[frame:-frame, frame:-frame] = False
    design, samples = surface[border], colours[border]
    keep = np.ones(len(samples), bool)
    for _ in range(4):  # objects that touch the border are outliers of the fit
        fitted = np.linalg.lstsq(design[keep], samples[keep], rcond=None)[0]
        error = np.linalg.norm(samples - design @ fitted, axis=1)
        keep = error <= max(LEAST_CONTRAST, 2.5 * float(np.median(error)))
    return np.asarray(np.linalg.norm(colours - surface @ fitted, axis=-1), dtype=np.float32)


def _foreground(contrast: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(contrast, 1.0)
    threshold = max(LEAST_CONTRAST, float(threshold_otsu(smooth)) if np.ptp(smooth) > 0 else 0.0)
    solid = ndimage.binary_opening(smooth > threshold, iterations=1)
    return np.asarray(ndimage.binary_fill_holes(solid), dtype=bool)


def _split(foreground: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Labels ``(h, w)``: connected regions, cut where they are joined by a neck."""
    from scipy import ndimage
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(foreground), 1.0)
    # On the logarithm a given height is a given ratio of radii, whatever the object's size.
    level = np.log(np.maximum(depth, 1.0))
    markers, _ = ndimage.label(h_maxima(level, NECK) & foreground, structure=np.ones((3, 3)))
    return np.asarray(watershed(-level, markers, mask=foreground), dtype=np.int32)


def _masks(
    labels: npt.NDArray[np.int32], contrast: npt.NDArray[np.float32], scale: tuple[float, float]
) -> Masks:
    from scipy import ndimage

    least, most = LEAST_AREA * labels.size, MOST_AREA * labels.size
    masks, boxes, scores = [], [], []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        mask = labels == number
        if not least <= mask.sum() <= most:
            continue
        rows, columns = place
        box = (columns.start * scale[0], rows.start * scale[1])
        boxes.append((*box, columns.stop * scale[0], rows.stop * scale[1]))
        masks.append(mask)
        # Clear objects differ from the background all over: 40 Delta E counts as fully clear.
        scores.append(min(1.0, float(np.median(contrast[mask])) / 40))
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    return Masks(
        np.asarray(masks, bool).reshape(-1, *labels.shape)[order],
        np.asarray(boxes, np.float32).reshape(-1, 4)[order],
        np.asarray(scores, np.float32)[order],
    )


def _scale(image: Tensor, grid: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Input pixels per cell of the working grid, along x and y."""
    return image.shape[-1] / grid.shape[1], image.shape[-2] / grid.shape[0]
