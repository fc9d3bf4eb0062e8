"""Small drawn products, an encoder of averaged colours, and numbers that train in a second."""

from __future__ import annotations

from typing import Any

from tests.methods.csad.stand_in import ShrunkEncoder
from tests.methods.psad.drawn import product

QUICK: dict[str, Any] = {
    "width": 8, "bottleneck": 8, "steps": 6, "batch": 2, "attended": 4, "blur": 2.0,
}  # fmt: skip

__all__ = ["QUICK", "ShrunkEncoder", "product"]
