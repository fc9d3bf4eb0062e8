"""The README's picture shows what today's default finds."""

from __future__ import annotations

import numpy as np
import pytest

from tools.docs.sheets import demo_verdicts


@pytest.mark.slow
def test_the_findings_of_the_readmes_picture_are_in_it() -> None:
    for scene, verdict in demo_verdicts():
        assert scene.anomaly is not None
        assert verdict.is_anomalous
        first = verdict.findings[0]
        assert first.kind == scene.anomaly.kind
        assert first.box is not None
        found, truth = np.array(first.box), np.array(scene.anomaly.box)
        shared = np.minimum(found[2:], truth[2:]) - np.maximum(found[:2], truth[:2])
        assert (shared > 0).all()
