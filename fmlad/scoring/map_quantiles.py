"""Maps of unlike branches on one scale, by quantiles of normal images' values.

EfficientAD (Batzner et al., WACV 2024), section 3.4; CSAD and ULSAD take it over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import ShotsError

LOW, HIGH = 0.9, 0.995  # EfficientAD, section 3.4; so in the released codes of CSAD and ULSAD
AT_HIGH = 0.1  # what the higher quantile is mapped to; the lower is mapped to 0


@dataclass(frozen=True)
class MapQuantiles:
    """Brings a map's two quantiles to 0 and 0.1.

    Attributes:
        low: The 90 % quantile over all places of normal images' maps.
        high: The 99.5 % quantile, above ``low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"quantiles {self.low}, {self.high} are not finite and rising")

    @classmethod
    def fit(
        cls,
        maps: Sequence[npt.NDArray[np.floating[Any]]],
        low: float = LOW,
        high: float = HIGH,
    ) -> MapQuantiles:
        """From maps ``(h, w)`` of normal images, best of some that nothing was trained on.

        A map whose quantiles coincide is the same nearly everywhere; it is only shifted.

        Args:
            maps: Of one branch; their sizes may differ.
            low, high: The quantiles, in 0..1.

        Raises:
            ShotsError: There is no map.
        """
        if not maps:
            raise ShotsError("Quantiles of maps take at least one normal image's map; got none.")
        values = np.concatenate([np.asarray(one, np.float64).ravel() for one in maps])
        first, second = (float(value) for value in np.quantile(values, (low, high)))
        return cls(first, second if second > first else first + AT_HIGH)

    def __call__(self, values: Any) -> Any:
        """Values of such a map, an array or a tensor: ``low`` becomes 0 and ``high`` 0.1."""
        return (values - self.low) * (AT_HIGH / (self.high - self.low))

    def to_list(self) -> list[float]:
        """``[low, high]``, JSON-ready; ``MapQuantiles(*pair)`` is the way back."""
        return [self.low, self.high]
