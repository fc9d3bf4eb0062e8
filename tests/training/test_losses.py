"""Losses against their equations, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fmlad.training.losses import (
    dice_loss,
    entropy_loss,
    focal_loss,
    hard_feature_loss,
    histogram_loss,
)


def predictions(seed: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(2, classes, 5, 6, generator=chance).softmax(1)
    return probabilities, torch.randint(classes, (2, 5, 6), generator=chance)


@settings(deadline=None)
@given(st.integers(0, 99), st.sampled_from([0.0, 0.5, 0.9, 0.999]))
def test_the_hard_features_are_those_from_the_quantile_on(seed: int, quantile: float) -> None:
    chance = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 1, 3, 7, 9, generator=chance)
    squared = (student - teacher) ** 2
    expected = squared[squared >= torch.quantile(squared, quantile)].mean()
    torch.testing.assert_close(hard_feature_loss(student, teacher, quantile), expected)


def test_the_hard_feature_loss_is_not_limited_in_size_and_only_the_hardest_learn() -> None:
    student = torch.zeros(1, 1, 1, 2**24 + 9, requires_grad=True)
    teacher = torch.zeros_like(student)
    teacher[..., :5] = 2.0
    hard_feature_loss(student, teacher, 1 - 1e-7).backward()
    assert student.grad is not None
    assert int(student.grad.count_nonzero()) == 2


def test_dice_is_one_less_the_overlap_of_each_class() -> None:
    probabilities, labels = predictions(0)
    by_hand, weighted = [], []
    for p, y in zip(probabilities, labels, strict=True):
        losses, inverse = [], []
        for k in range(3):
            true = (y == k).float()
            overlap = 2 * float((p[k] * true).sum())
            losses.append(1 - overlap / float(p[k].sum() + true.sum()))
            inverse.append(1 / float(true.sum()))
        by_hand += losses
        weighted += [w / sum(inverse) * v for w, v in zip(inverse, losses, strict=True)]
    assert float(dice_loss(probabilities, labels)) == pytest.approx(np.mean(by_hand), abs=1e-5)
    found = float(dice_loss(probabilities, labels, by_area=True))
    assert found == pytest.approx(np.mean(weighted), abs=1e-5)


@pytest.mark.parametrize("by_area", [False, True])
def test_dice_is_nothing_for_the_truth_and_finite_without_a_class(by_area: bool) -> None:
    _, labels = predictions(1)
    labels[labels == 2] = 0  # class 2 is nowhere
    truth = F.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert float(dice_loss(truth, labels, by_area)) == pytest.approx(0, abs=1e-4)
    assert 0 < float(dice_loss(truth.flip(1), labels, by_area)) <= 1


def test_entropy_is_largest_where_nothing_is_known() -> None:
    even = torch.full((1, 4, 2, 2), 0.25)
    assert float(entropy_loss(even)) == pytest.approx(math.log(4) / 4, abs=1e-4)
    certain = F.one_hot(torch.zeros(1, 2, 2, dtype=torch.long), 4).permute(0, 3, 1, 2).float()
    assert float(entropy_loss(certain)) == pytest.approx(0, abs=1e-4)
    assert float(entropy_loss(predictions(0, 4)[0])) < float(entropy_loss(even))


def test_histograms_compare_areas_wherever_they_lie_and_leave_the_background_out() -> None:
    probabilities, labels = predictions(2)
    for image in range(2):
        expected = sum(
            abs(float((labels[image] == k).float().mean() - probabilities[image, k].mean()))
            for k in (1, 2)
        )
        found = histogram_loss(probabilities, labels)
        assert float(found[image]) == pytest.approx(expected, abs=1e-6)
    large = labels.repeat_interleave(2, 1).flip(2)  # another size and order, the same areas
    truth = F.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(histogram_loss(truth, large), torch.zeros(2))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_is_that_of_its_equation(gamma: float) -> None:
    probabilities, labels = predictions(4)
    expected = 0.0
    for image, row, column in np.ndindex(*labels.shape):
        p = float(probabilities[image, labels[image, row, column], row, column])
        expected -= (1 - p) ** gamma * math.log(p) / labels.numel()
    assert float(focal_loss(probabilities, labels, gamma)) == pytest.approx(expected, rel=1e-3)
    certain = F.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert float(focal_loss(certain, labels, gamma)) == pytest.approx(0, abs=2e-5)


def test_every_loss_has_a_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    _, labels = predictions(3)
    probabilities = logits.softmax(1)
    labels = labels[:, :4, :4]
    for loss in (
        dice_loss(probabilities, labels),
        entropy_loss(probabilities),
        focal_loss(probabilities, labels),
        histogram_loss(probabilities, labels).mean(),
        hard_feature_loss(logits, torch.zeros_like(logits)),
    ):
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0
