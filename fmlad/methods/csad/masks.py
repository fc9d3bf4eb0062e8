"""Filters of component masks, and label maps painted from them.

CSAD, section 3.1 "Mask Refinement" and appendix A.3. Masks are bool ``(n, h, w)`` on one grid that
spans the image. Every filter says which masks it keeps, so that a report can tell why one vanished.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]

COVERED = 0.9  # from this share on, a mask is in the grounding, or a combination (appendix A.3)
BACKGROUND = 0.95  # overlap from which a mask is the background's (released code)
LEAST_SHARE = 0.001  # of the image: smaller masks are noise (released code)
LEAST_PIXELS = 50  # of a connected piece (released code)
MOST_BOX = 0.95  # share of the image from which a piece's box is no component's (released code)
MOST_MASKS = 255  # the largest ones (released code)


def overlap(first: Bools, second: Bools) -> float:
    """Shared pixels over those of the smaller of two masks ``(h, w)``; 0 where one is empty."""
    smaller = min(int(first.sum()), int(second.sum()))
    return int((first & second).sum()) / smaller if smaller else 0.0


def pieces(masks: Bools, least: int = LEAST_PIXELS, most_box: float = MOST_BOX) -> Bools:
    """Connected pieces (four neighbours) of masks, in the order of their masks.

    Args:
        masks: ``(n, h, w)``.
        least: Pieces have more pixels than this.
        most_box: And their bounding boxes cover less than this share of the image.

    Returns:
        ``(m, h, w)``.
    """
    from scipy import ndimage

    found: list[Bools] = []
    size = masks.shape[1] * masks.shape[2]
    for mask in masks:
        numbers, count = ndimage.label(mask)
        for number, place in enumerate(ndimage.find_objects(numbers, count), start=1):
            own = numbers[place] == number
            if own.sum() > least and own.size < most_box * size:
                whole = np.zeros_like(mask)
                whole[place] = own
                found.append(whole)
    return np.array(found, bool).reshape(-1, *masks.shape[1:])


def filter_by_grounding(masks: Bools, grounding: Bools, least: float = COVERED) -> Bools:
    """Which masks lie, by more than ``least`` of their pixels, in what was grounded.

    Figure 12 of the paper; its code divides by the smaller of both, so that a mask around all that
    was grounded stays.

    Args:
        masks: ``(n, h, w)``.
        grounding: ``(h, w)``.

    Returns:
        bool ``(n,)``.
    """
    sizes = masks.sum((1, 2))
    inside = (masks & grounding).sum((1, 2))
    return np.asarray(inside > least * np.maximum(sizes, 1))


def filter_by_background(masks: Bools, background: Bools, most: float = BACKGROUND) -> Bools:
    """Which masks are not the background's, bool ``(n,)``: :func:`overlap` below ``most``."""
    return np.array([overlap(mask, background) < most for mask in masks], bool)


def filter_by_combine(masks: Bools, most: float = COVERED) -> Bools:
    """Which masks are no combination of smaller ones (Figure 13): parts win over wholes.

    From small to large, a mask is kept if its :func:`overlap` with the union of those kept is below
    ``most``. Then the others have a second chance, from small to large, by the share of their own
    pixels in the union.

    Args:
        masks: ``(n, h, w)``.
        most: See above.

    Returns:
        bool ``(n,)``.
    """
    kept = np.zeros(len(masks), bool)
    union = np.zeros(masks.shape[1:], bool)
    waiting: list[int] = []
    order = np.argsort(masks.sum((1, 2)), kind="stable")
    for row in map(int, order):
        if kept.any() and overlap(union, masks[row]) >= most:
            waiting.append(row)
            continue
        kept[row] = True
        union |= masks[row]
    for row in waiting:
        if (union & masks[row]).sum() < most * masks[row].sum():
            kept[row] = True
            union |= masks[row]
    return kept


def painted(masks: Bools, values: npt.NDArray[np.integer] | None = None) -> Labels:
    """A label map: from large to small, so that a part is seen on what it lies on.

    Args:
        masks: ``(n, h, w)``.
        values: ``(n,)``, a label for each mask; None: 1, 2, ... in their order.

    Returns:
        int32 ``(h, w)``, 0 where there is no mask.
    """
    labels = np.zeros(masks.shape[1:], np.int32)
    for row in np.argsort(-masks.sum((1, 2)), kind="stable"):
        labels[masks[row]] = row + 1 if values is None else values[row]
    return labels


def holes_filled(labels: npt.NDArray[np.integer]) -> Labels:
    """A label map in which the holes of each class belong to it (appendix A.5).

    Classes are filled one by one and painted again from large to small, so that a class within a
    hole of another one stays.
    """
    from scipy import ndimage

    classes = np.unique(labels[labels > 0])
    if not len(classes):
        return np.zeros(labels.shape, np.int32)
    filled = np.array([ndimage.binary_fill_holes(labels == one) for one in classes])
    return painted(filled, classes)


def large_enough(masks: Bools, least: float = LEAST_SHARE, most: int = MOST_MASKS) -> Bools:
    """Which masks cover more than ``least`` of the image, the ``most`` largest: bool ``(n,)``."""
    sizes = masks.sum((1, 2))
    kept = sizes > least * masks.shape[1] * masks.shape[2]
    kept[np.argsort(-sizes, kind="stable")[most:]] = False
    return np.asarray(kept)
