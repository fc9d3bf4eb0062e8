"""Image-level metrics over one score per image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError

Labels = npt.ArrayLike
Scores = npt.ArrayLike


def finite_scores(scores: Scores) -> npt.NDArray[np.float64]:
    """Scores as an array; OptionError where they are no finite numbers."""
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"scores must be a list of numbers ({error}).") from error
    if not np.isfinite(values).all():
        raise OptionError("scores must be finite numbers; found NaN or infinity.")
    return values


def _checked(
    labels: Labels, scores: Scores
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    truth, values = np.asarray(labels), finite_scores(scores)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise OptionError(
            f"labels {truth.shape} and scores {values.shape} must be two lists of the same length."
        )
    if not np.isin(truth, (0, 1)).all():
        raise OptionError("labels must be 0 (normal) or 1 (anomalous).")
    truth = truth.astype(bool)
    if truth.all() or not truth.any():
        raise OptionError(
            f"the metric needs normal and anomalous images; of {truth.size} images "
            f"{int(truth.sum())} are anomalous."
        )
    return truth, values


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve, [0, 1]: the chance that an anomalous image outscores a normal one.

    Args:
        labels: ``(n,)``, 1 = anomalous, 0 = normal.
        scores: ``(n,)``, higher = more anomalous; ties count one half.

    Raises:
        OptionError: Lengths differ, a score is not finite, or one of the two classes is absent.
    """
    from sklearn.metrics import roc_auc_score

    truth, values = _checked(labels, scores)
    return float(roc_auc_score(truth, values))


def average_precision(labels: Labels, scores: Scores) -> float:
    """Area under the precision-recall curve as a step function (arguments: :func:`auroc`)."""
    from sklearn.metrics import average_precision_score

    truth, values = _checked(labels, scores)
    return float(average_precision_score(truth, values))


def f1_max(labels: Labels, scores: Scores) -> float:
    """Best F1 over all thresholds (see :func:`auroc`); print :func:`f1_floor` beside it."""
    from sklearn.metrics import precision_recall_curve

    truth, values = _checked(labels, scores)
    precision, recall, _ = precision_recall_curve(truth, values)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def f1_floor(labels: Labels) -> float:
    """The F1 of calling every image anomalous, ``2 p / (1 + p)`` at a share ``p`` of such images.

    No threshold is needed to reach it. Raises OptionError for labels as :func:`auroc` does.
    """
    truth, _ = _checked(labels, np.zeros(np.shape(labels)))
    share = float(truth.mean())
    return 2 * share / (1 + share)


def fpr_at_tpr(labels: Labels, scores: Scores, tpr: float = 0.95) -> float:
    """Share of normal images called anomalous where at least ``tpr`` of the anomalous ones are.

    The threshold is the highest one that finds so many; nothing is interpolated. Lower is better.

    Raises:
        OptionError: As :func:`auroc`, or ``tpr`` is not in (0, 1].
    """
    if not 0 < tpr <= 1:
        raise OptionError(f"tpr must lie in (0, 1], got {tpr}.")
    truth, values = _checked(labels, scores)
    found = np.sort(values[truth])[::-1]
    # 0.95 * 20 is 19.000000000000004 or so on a bad day, and must not become 20.
    wanted = int(np.ceil(tpr * len(found) - 1e-9))
    return float(np.mean(values[~truth] >= found[max(wanted, 1) - 1]))
