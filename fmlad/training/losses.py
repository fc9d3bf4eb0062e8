"""Losses that two methods share, as scalars unless they say otherwise.

``B`` images and ``K`` classes, of which 0 is the background. Probabilities are float
``(B, K, H, W)`` with sum 1 over the classes, labels integer ``(B, H, W)`` in 0..K - 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def hard_feature_loss(student: Tensor, teacher: Tensor, quantile: float = 0.999) -> Tensor:
    """Mean squared difference over the hardest elements alone.

    EfficientAD, section 3.2; CSAD, section 3.4. Their number is not limited, as that of
    :func:`torch.quantile` is.

    Args:
        student: Float ``(B, C, h, w)``.
        teacher: Of the same shape.
        quantile: Of the squared differences, from which on they count, in 0..1; 0 gives the plain
            mean squared error.
    """
    squared = (student - teacher).float().square().flatten()
    hardest = squared.numel() - math.ceil(quantile * (squared.numel() - 1))
    return squared.topk(hardest, sorted=False).values.mean()


def dice_loss(probabilities: Tensor, labels: Tensor, by_area: bool = False) -> Tensor:
    """One minus the Dice coefficient, averaged over images and classes, background included.

    PSAD, Eq. 1; CSAD, Eq. 3. With ``by_area`` a class of an image weighs one over its area, all of
    them 1 together (CSAD's released code; here absent classes weigh nothing); else 1 (PSAD).
    """
    true = F.one_hot(labels.long(), probabilities.shape[1]).permute(0, 3, 1, 2)
    area = true.sum((2, 3)).to(probabilities)
    shared = (probabilities * true).sum((2, 3))
    loss = 1 - (2 * shared + 1e-5) / (probabilities.sum((2, 3)) + area + 1e-5)
    if by_area:
        loss = loss * F.normalize((area > 0) / area.clamp(min=1), p=1, dim=1)
    return loss.mean()


def entropy_loss(probabilities: Tensor) -> Tensor:
    """Mean entropy of a pixel's classes in nats, divided by ``K``: 0 where they are certain.

    PSAD, Eq. 1; CSAD, Eq. 3.
    """
    return -(probabilities * torch.log(probabilities + 1e-5)).mean()


def histogram_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How far the class areas of a prediction are from those of a labelled image.

    PSAD, Eq. 2; CSAD, Eq. 2, but summed over the foreground classes, as both released codes have
    it, where the equations average.

    Args:
        probabilities: Of unlabelled images.
        labels: Of the labelled image that each is compared with; their size may be another.

    Returns:
        ``(B,)``, each 0..2: PSAD adds them up, CSAD averages.
    """
    true = F.one_hot(labels.long(), probabilities.shape[1]).to(probabilities).mean((1, 2))
    return (probabilities.mean((2, 3)) - true)[:, 1:].abs().sum(1)


def focal_loss(probabilities: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean over pixels of ``-(1 - p)^gamma log p``, p the probability of the true class.

    CSAD, Eq. 3 (Lin et al. 2017, without class weights).
    """
    true = probabilities.gather(1, labels.long()[:, None])[:, 0] + 1e-5
    return (-((1 - true).clamp(min=0) ** gamma) * true.log()).mean()
