"""SqueezeNet 1.0 for the package: ``python -m tools.convert_squeezenet squeezenet1_0.pth``.

The file holds the state dict of torchvision's ``squeezenet1_0`` with the weights that its authors
published for Caffe. All 52 tensors are kept, rounded to float16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0

from fmlad.backbones.embedded.networks import SQUEEZENET_FILE
from fmlad.backbones.hub import file_hash


def convert(source: Path, target: Path = SQUEEZENET_FILE) -> None:
    """Writes the safetensors file; the source must fill the whole network."""
    network = squeezenet1_0(weights=None)
    network.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="a .pth file")
    source = parser.parse_args().source
    convert(source)
    print(f"{SQUEEZENET_FILE} sha256={file_hash(SQUEEZENET_FILE)}, from sha256={file_hash(source)}")


if __name__ == "__main__":
    main()
