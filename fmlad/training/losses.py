"""Losses that two methods share. ``B`` images, ``K`` classes, class 0 is the background."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def hard_feature_loss(student: Tensor, teacher: Tensor, quantile: float = 0.999) -> Tensor:
    """Mean squared difference over the hardest elements alone.

    EfficientAD, section 3.2; CSAD, section 3.4. The elements are those from the ``quantile`` of all
    squared differences on.

    Args:
        student: Float ``(B, C, h, w)``.
        teacher: Of the same shape.
        quantile: In 0..1; 0 gives the plain mean squared error.

    Returns:
        A scalar. Their number is not limited, as that of :func:`torch.quantile` is.
    """
    squared = (student - teacher).float().square().flatten()
    hardest = squared.numel() - math.ceil(quantile * (squared.numel() - 1))
    return squared.topk(hardest, sorted=False).values.mean()


def dice_loss(probabilities: Tensor, labels: Tensor, by_area: bool = False) -> Tensor:
    """One minus the Dice coefficient of each image and class, background included.

    PSAD, Eq. 1; CSAD, Eq. 3.

    Args:
        probabilities: Float ``(B, K, H, W)``, sum 1 over the classes.
        labels: Integer ``(B, H, W)``, 0 to K - 1.
        by_area: Weights the classes of an image by one over their area, the weights summing to 1
            (CSAD's released code; here absent classes weigh nothing); else all weigh 1 (PSAD).

    Returns:
        The mean over images and classes, a scalar.
    """
    true = F.one_hot(labels.long(), probabilities.shape[1]).permute(0, 3, 1, 2)
    area = true.sum((2, 3)).to(probabilities)
    shared = (probabilities * true).sum((2, 3))
    loss = 1 - (2 * shared + 1e-5) / (probabilities.sum((2, 3)) + area + 1e-5)
    if by_area:
        loss = loss * F.normalize((area > 0) / area.clamp(min=1), p=1, dim=1)
    return loss.mean()


def entropy_loss(probabilities: Tensor) -> Tensor:
    """Entropy of each pixel's classes in nats, divided by ``K``: 0 where they are certain.

    PSAD, Eq. 1; CSAD, Eq. 3; both after Vu et al., ADVENT, CVPR 2019.

    Args:
        probabilities: Float ``(B, K, H, W)``, sum 1 over the classes.

    Returns:
        The mean over images, classes and pixels, a scalar.
    """
    return -(probabilities * torch.log(probabilities + 1e-5)).mean()


def histogram_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How far the class areas of a prediction are from those of a labelled image.

    PSAD, Eq. 2; CSAD, Eq. 2. The sum over the foreground classes, which is what both released codes
    take, where the equations divide by the number of classes.

    Args:
        probabilities: Float ``(B, K, H, W)`` of unlabelled images, sum 1 over the classes.
        labels: Integer ``(B, H, W)`` of the labelled image that each is compared with; its size
            may be another.

    Returns:
        ``(B,)``, 0..2: PSAD adds them up, CSAD averages.
    """
    true = F.one_hot(labels.long(), probabilities.shape[1]).to(probabilities).mean((1, 2))
    return (probabilities.mean((2, 3)) - true)[:, 1:].abs().sum(1)
