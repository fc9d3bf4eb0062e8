"""fmlad behind the model interface of the VAND few-shot challenge (MVTec LOCO, 2025).

Its harness builds ``Model()`` once a category, calls ``setup`` for each draw of shots and then the
model itself on test images, all of 256 x 256 px. In the challenge's ``submission/model.py``::

    from fmlad.bench.peers.vand import Model

Other methods and profiles by a subclass whose constructor passes them on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fmlad.bench.peers.base import anomalib
from fmlad.detector import Detector
from fmlad.errors import InvalidImageError, OptionError, ShotsError

DATASET = "mvtec_loco"  # the challenge's; also the folder of the prompt sets for it


class Model(nn.Module):
    """A detector that is fitted by ``setup`` and asked by calling it."""

    def __init__(
        self,
        method: str | None = None,
        profile: str | None = None,
        prompts: str | None = None,
        device: str = "auto",
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Every argument as of ``Detector.from_shots``, and all of them may be left out.

        ``prompts="category"`` takes the bundled set of the category that ``setup`` names.
        """
        super().__init__()
        self._how = {"method": method, "profile": profile, "device": device, "seed": seed} | options
        self._prompts = prompts
        self._detector: Detector | None = None

    def setup(self, setup_data: Mapping[str, Any]) -> None:
        """Forgets earlier shots and learns from these.

        Args:
            setup_data: ``few_shot_samples``, float ``(k, 3, H, W)`` RGB in 0..1, and
                ``dataset_category``.

        Raises:
            ShotsError: There are no shots.
            InvalidImageError: They are not such a tensor.
            OptionError: Prompts by category are wanted and no category is named.
        """
        shots = setup_data.get("few_shot_samples")
        if shots is None or len(shots) == 0:
            raise ShotsError("setup_data has no few_shot_samples; fmlad needs at least one.")
        self._detector = None
        prompts = self._prompts
        if prompts == "category":
            category = setup_data.get("dataset_category")
            if not category:
                raise OptionError("setup_data has no dataset_category to choose prompts by.")
            prompts = f"{DATASET}/{category}"
        how: dict[str, Any] = {**self._how, "prompts": prompts}
        self._detector = Detector.from_shots(as_pictures(shots), **how)

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``(B,)`` and maps ``(B, H, W)``, float32, where the images are.

        Args:
            images: float ``(B, 3, H, W)`` or ``(3, H, W)``, RGB in 0..1.

        Raises:
            OptionError: ``setup`` was not called, or failed.
            InvalidImageError: It is not such a tensor.
        """
        if self._detector is None:
            raise OptionError("The model is asked before setup was called.")
        verdicts = [self._detector.predict(picture) for picture in as_pictures(images)]
        scores = torch.tensor([verdict.score for verdict in verdicts], dtype=torch.float32)
        maps = np.stack([verdict.anomaly_map for verdict in verdicts])
        return scores.to(images.device), torch.from_numpy(maps).float().to(images.device)

    def forward(self, image: Tensor) -> Any:
        """:meth:`judge` as anomalib's ``ImageBatch`` with ``pred_score`` and ``anomaly_map``.

        Raises:
            MissingDependencyError: anomalib, which the harness runs on, is not installed.
            FmladError: As :meth:`judge`.
        """
        batch = anomalib("data").ImageBatch
        scores, maps = self.judge(image)
        return batch(image=image, pred_score=scores, anomaly_map=maps)

    def weights_url(self, category: str) -> str | None:
        """None: nothing is trained before the shots are seen, and backbones fetch their own."""
        return None


def as_pictures(images: Tensor) -> Sequence[npt.NDArray[np.uint8]]:
    """uint8 ``(H, W, 3)`` each, of float ``(B, 3, H, W)`` or ``(3, H, W)`` in 0..1.

    The harness resizes floats, so values may lie between two grey levels; they are rounded.

    Raises:
        InvalidImageError: Another shape or type, values far outside of 0..1, or not finite.
    """
    if not isinstance(images, Tensor):
        raise InvalidImageError(f"Got {type(images).__name__}; expected a tensor (B, 3, H, W).")
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.shape[1] != 3 or not batch.is_floating_point():
        raise InvalidImageError(
            f"Got a tensor {tuple(images.shape)} of {images.dtype}; expected floats "
            f"(B, 3, H, W), RGB in 0..1."
        )
    low, high = (float(batch.min()), float(batch.max())) if batch.numel() else (0.0, 0.0)
    if not (low >= -0.01 and high <= 1.01):  # written so that NaN does not pass
        raise InvalidImageError(
            f"Got pixels from {low:g} to {high:g}; expected 0..1, not normalised by mean and std."
        )
    levels = (batch.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [np.ascontiguousarray(p) for p in levels.permute(0, 2, 3, 1).cpu().numpy()]
