"""What is refused before a cluster is started."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from fmlad.engines import predict_ray
from fmlad.errors import CorruptDetectorError, MissingDependencyError, OptionError


def test_wrong_arguments_are_refused_before_anything_is_started(saved: Path, queries: Path) -> None:
    for name in ("workers", "batch_size", "threads"):
        with pytest.raises(OptionError, match=f"{name} must be a positive whole number"):
            predict_ray(saved, queries, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="open file"):
        predict_ray(saved, [io.BytesIO(b"")])
    with pytest.raises(CorruptDetectorError, match="no saved detector"):
        predict_ray(queries, queries)


def test_without_ray_it_says_what_to_install(
    saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fmlad\[ray\]"'):
        predict_ray(saved, queries)
