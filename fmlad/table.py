"""Verdicts as a table: rows for ``--csv``, and a DataFrame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fmlad.errors import OptionError
from fmlad.explain import verdict_word
from fmlad.prediction import Failure, Prediction

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("name", "verdict", "score", "threshold", "p_value", "findings", "first_finding", "error")


def row(outcome: Prediction | Failure) -> tuple[object, ...]:
    """One verdict in the order of :data:`COLUMNS`; None where there is nothing to say."""
    if isinstance(outcome, Failure):
        return outcome.source, "could not be read", *(None,) * 5, str(outcome.error)
    first = outcome.findings[0].text if outcome.findings else None
    word = verdict_word(outcome.decision)
    numbers = (outcome.score, outcome.threshold, outcome.p_value, len(outcome.findings))
    return outcome.name, word, *numbers, first, None


def to_frame(
    predictions: Prediction | Failure | Iterable[Prediction | Failure],
) -> DataFrame:
    """Verdicts as a pandas DataFrame, one row an image, in the order given.

    Columns are ``name``, ``verdict`` (``"normal"``, ``"unsure"``, ``"anomalous"``,
    ``"not decided"`` or ``"could not be read"``), ``score``, ``threshold``, ``p_value``,
    ``findings`` (their number), ``first_finding`` (its sentence) and ``error``.

    Args:
        predictions: Of ``Detector.predict`` or ``Detector.predict_many``.

    Raises:
        OptionError: pandas is not installed, or something else than a verdict was given.
    """
    try:
        import pandas
    except ImportError as error:
        raise OptionError("to_frame needs pandas: pip install pandas.") from error
    if isinstance(predictions, Prediction | Failure):
        predictions = [predictions]
    rows = []
    for one in predictions:
        if not isinstance(one, Prediction | Failure):
            raise OptionError(f"to_frame takes predictions, got {type(one).__name__}.")
        rows.append(row(one))
    return pandas.DataFrame(rows, columns=list(COLUMNS))
