"""Verdicts in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmlad.prediction import Prediction


def verdict_word(prediction: Prediction) -> str:
    """``"anomalous"``, ``"normal"`` or ``"not decided"``."""
    if prediction.is_anomalous is None:
        return "not decided"
    return "anomalous" if prediction.is_anomalous else "normal"


def explain(prediction: Prediction) -> str:
    """A few lines: the decision with its numbers, the numbered findings, how it came about."""
    numbers = f"score {prediction.score:.2f}"
    if prediction.threshold is not None:
        numbers += f", threshold {prediction.threshold:.2f}"
    lines = [f"{prediction.name}: {verdict_word(prediction)} ({numbers})"]
    lines += [f"  {i}. {finding.text}" for i, finding in enumerate(prediction.findings, start=1)]
    if prediction.is_anomalous and not prediction.findings:
        lines.append("  no single place stands out")
    lines += [f"  note: {note}" for note in prediction.notes]
    return "\n".join(lines)
