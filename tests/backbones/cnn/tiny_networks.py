"""Small networks of timm and torchvision with random weights, as they lie on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

# Parts of the real networks, but a hundredth of their weights.
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"channels": (8, 8, 16, 16), "stem_width": 4},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 12,
        "depths": (1, 1, 1, 1),
        "num_heads": (1,) * 4,
    },
    "convnext_atto": {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)},
}


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with no constant left among its weights and statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def save_timm(folder: Path, name: str = "resnet18", seed: int = 0, **more: Any) -> nn.Module:
    """Writes a model folder as timm does, and returns the network."""
    arguments = {**SMALL.get(name, {}), **more}
    torch.manual_seed(seed)
    network = stirred(timm.create_model(name, **arguments), seed)
    folder.mkdir(parents=True)
    timm.models.save_for_hf(network, str(folder), safe_serialization=True, model_args=arguments)
    return network


def save_torchvision(file: Path, name: str = "resnet18", seed: int = 0, **more: Any) -> nn.Module:
    """Writes a state dict as torchvision publishes them, and returns the network."""
    torch.manual_seed(seed)
    network = stirred(torchvision.models.get_model(name, weights=None, **more), seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return network


def photograph(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """``uint8 (1, 3, H, W)``, noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, height, width), generator=generator, dtype=torch.uint8)
