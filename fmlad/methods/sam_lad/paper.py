"""SAM-LAD as published (``preset="paper"``): every step by its equation, and nothing else.

Sections 3.4.3 to 3.6 of the paper. The template bank and Eq. 2 are ``memory.templates``, DCGA
(Eqs. 4 to 8) is ``matching.attend`` in the mode ``"literal"``, Eqs. 11 and 12 are
``memory.mahalanobis``. Where the paper names no value, the constants here say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.memory.mahalanobis import mahalanobis
from fmlad.methods.sam_lad.matching import describe
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.assignment import transport
from fmlad.objects.feature_maps import ObjectMaps

NEIGHBOURS = 2  # k
DUSTBIN = 2.3457  # z, learned in SuperGlue: one of the values that ports of its weights have
# Not in the paper: cosines never reach z, and without a temperature every object is unmatched.
TEMPERATURE = 0.1
MATCHED = 0.5  # share of the references from which an object counts as matched; not in the paper


def optimal_matching(d_q: Floats, d_r: Floats) -> tuple[Ints, Ints]:
    """Object Matching Module: partners ``(M,)``, -1 for the trash bin, and closest ``(M,)``.

    Of the descriptors ``(M, C)`` and ``(N, C)``, of norm 1, of a query's and a reference's objects.
    """
    partner = closest = np.full(len(d_q), -1, np.int64)
    if min(len(d_q), len(d_r)) == 0:
        return partner, closest
    s = d_q @ d_r.T  # Eq. 10
    p_bar = transport(s / TEMPERATURE, DUSTBIN, 1.0)
    p = p_bar[:-1, :-1]  # without the trash bin, Eq. 9
    closest = p.argmax(1).astype(np.int64)
    best = p_bar[:-1].argmax(1)  # of the row with the trash bin
    mutual = p.argmax(0)[np.minimum(best, len(d_r) - 1)] == np.arange(len(d_q))
    return np.where((best < len(d_r)) & mutual, best, -1).astype(np.int64), closest


def object_map(image: ObjectMaps, row: int, size: tuple[int, int]) -> Tensor:
    """``f^obj``: an object's mask times the feature map, ``(H * W, C)``; 0 for no object."""
    if row < 0:
        return image.level.new_zeros(size[0] * size[1], image.level.shape[1])
    features = image.level * image.masks[row].to(image.level)
    if features.shape[-2:] != size:  # pictures of other proportions; the paper squashes all
        features = F.interpolate(features, size, mode="bilinear")
    return features[0].flatten(1).T


def final_map(
    query: ObjectMaps, references: Sequence[ObjectMaps], epsilon: float, c: float, light: bool
) -> tuple[Tensor, list[Ints]]:
    """``M_final`` ``(H, W)`` of Eq. 15, or of Eq. 16 (``light``), and partners by reference.

    ``references`` are the objects of its k references; ``epsilon`` is that of Eq. 11, ``c`` that of
    Eq. 14. With ``light``, unmatched objects alone count, with c = 1.
    """
    size, d_q = query.grid, describe(query, "literal").descriptors
    found = [optimal_matching(d_q, describe(one, "literal").descriptors) for one in references]
    matching, non_matching = torch.zeros(size), torch.zeros(size)
    for row in range(len(query)):
        partners = sum(int(partner[row] >= 0) for partner, _ in found)
        matched = partners >= MATCHED * len(references)
        f_r = []
        for image, (partner, closest) in zip(references, found, strict=True):
            other = partner[row] if partner[row] >= 0 else closest[row]
            f_r.append(object_map(image, int(other), size))
        m = mahalanobis(object_map(query, row, size), torch.stack(f_r), epsilon)  # Eqs. 11, 12
        m = m.reshape(size).cpu()
        if matched:
            matching += m  # Eq. 13
        else:
            non_matching += m * (1.0 if light else c)  # Eq. 14
    final = non_matching if light else matching + non_matching  # Eqs. 16, 15
    return final, [partner for partner, _ in found]
