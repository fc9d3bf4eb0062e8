"""The projection of the embedded features: ``python -m tools.fit_projection``.

Principal axes of the networks' outputs on ten photographs that come with scikit-image and
scikit-learn, none of them of a texture that a benchmark reports. Before, every output is brought to
the same standard deviation (root of the summed variance of its channels) over the photographs, that
of EfficientNet-Lite0 to 0.7 of it; its channels are divided by the scale of their BatchNorm first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skimage
import sklearn
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from fmlad.backbones.embedded.features import LITE_STAGE, PROJECTION_FILE, NetworkOutputs
from fmlad.backbones.embedded.networks import efficientnet_lite
from fmlad.backbones.hub import file_hash

PHOTOGRAPHS = (
    *(f"skimage/data/{name}" for name in (
        "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "page.png",
        "motorcycle_left.png", "text.png",
    )),
    "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
)  # fmt: skip
DIMENSIONS = {"fine": 32, "coarse": 64}
LITE_SHARE = 0.7
DEVIATION = 5.0  # of an output over the photographs; about that of the hand-made cells
FIRE_CHANNELS = 256  # of the coarse outputs, the rest is EfficientNet-Lite0's


def photograph(name: str) -> Tensor:
    """uint8 ``(1, 3, H, W)``."""
    package = {"skimage": skimage, "sklearn": sklearn}[name.partition("/")[0]]
    file = Path(str(package.__file__)).parents[1] / name
    pixels = np.array(Image.open(file).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def rows(maps: Tensor) -> Tensor:
    """``(1, C, h, w)`` -> ``(h * w, C)``."""
    return maps[0].flatten(1).T


def unit(samples: Tensor) -> float:
    """Factor that brings samples ``(n, C)`` to :data:`DEVIATION`."""
    return float(DEVIATION / samples.var(0, unbiased=False).sum().sqrt())


def lite_scales() -> Tensor:
    """Scale ``(C,)`` of the stage's channels: of BatchNorms whose outputs are added up."""
    variance: Any = 0.0
    network: Any = efficientnet_lite(0)
    for block in network.blocks[LITE_STAGE]:
        own = block.bn3.weight.square()
        variance = variance + own if block.has_skip else own
    return torch.as_tensor(variance).sqrt()


def axes(samples: Tensor, dimensions: int) -> Tensor:
    """Principal axes ``(dimensions, C)``, each of the sign that makes its sum positive."""
    _, _, found = torch.linalg.svd(samples - samples.mean(0), full_matrices=False)
    found = found[:dimensions]
    signed: Tensor = found * torch.where(found.sum(1, keepdim=True) < 0, -1.0, 1.0)
    return signed


def main() -> None:
    outputs = NetworkOutputs()
    pairs = [outputs(photograph(name)) for name in PHOTOGRAPHS]
    fine, coarse = (torch.cat([rows(pair[number]) for pair in pairs]) for number in (0, 1))
    fire, lite = coarse[:, :FIRE_CHANNELS], coarse[:, FIRE_CHANNELS:] / lite_scales()
    weights = {
        "fine": torch.full((fine.shape[1],), unit(fine)),
        "coarse": torch.cat([
            torch.full((FIRE_CHANNELS,), unit(fire)), LITE_SHARE * unit(lite) / lite_scales()
        ]),
    }  # fmt: skip
    matrices = {}
    for name, samples in (("fine", fine), ("coarse", coarse)):
        scaled = samples * weights[name]
        basis = axes(scaled, DIMENSIONS[name])
        kept = (scaled @ basis.T).var(0).sum() / scaled.var(0).sum()
        print(
            f"{name}: {len(basis)} of {basis.shape[1]} dimensions keep {kept:.3f} of the variance"
        )
        matrices[name] = (basis * weights[name]).contiguous()
    save_file(matrices, PROJECTION_FILE, metadata={"format": "pt"})
    print(f"{PROJECTION_FILE.name} sha256={file_hash(PROJECTION_FILE)}")


if __name__ == "__main__":
    main()
