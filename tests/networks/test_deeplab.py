"""The DeepLabV3+ decoder."""

from __future__ import annotations

import torch
from torch import nn

from fmlad.networks.deeplab import DeepLabDecoder

CHANNELS = (256, 512, 1024)  # of a Wide ResNet-50


def levels(channels: tuple[int, ...] = (4, 6, 8), batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, c, 64 // 2**n, 64 // 2**n) for n, c in enumerate(channels)]


def test_the_papers_size() -> None:
    decoder = DeepLabDecoder(CHANNELS, 7).eval()
    with torch.no_grad():
        assert decoder(levels(CHANNELS, 1)).shape == (1, 7, 64, 64)
    # ASPP, joining, and the two refining convolutions: the sizes of DeepLabV3+.
    convolutions = [m for m in decoder.modules() if isinstance(m, nn.Conv2d)]
    assert [m.dilation[0] for m in convolutions if m.kernel_size == (3, 3)] == [6, 12, 18, 1, 1]
    assert decoder.joined[0].in_channels == 1280
    assert decoder.refined[0][0].in_channels == 304


def test_it_sees_the_finest_and_the_deepest_map_alone() -> None:
    torch.manual_seed(0)
    decoder = DeepLabDecoder((4, 6, 8), 3, 8, 4).eval()
    maps = levels()
    with torch.no_grad():
        before = decoder(maps)
        assert torch.equal(before, decoder([maps[0], maps[1] + 1, maps[2]]))
        assert not torch.allclose(before, decoder([maps[0] + 1, *maps[1:]]))
        assert not torch.allclose(before, decoder([*maps[:2], maps[2] + 1]))


def test_running_statistics_are_no_single_batchs() -> None:
    decoder = DeepLabDecoder((4, 6, 8), 3, 8, 4).train()
    decoder([one + 100 for one in levels()])
    normalised = [m for m in decoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in normalised} == {0.1}


def test_it_learns_to_tell_two_halves() -> None:
    torch.manual_seed(0)
    decoder = DeepLabDecoder((2, 2, 2), 2, 8, 4)
    maps = [torch.zeros(2, 2, 32 // 2**n, 32 // 2**n) for n in range(3)]
    for level in maps:
        level[..., level.shape[-1] // 2 :] = 1
    labels = maps[0][:, 0].long()
    optimizer = torch.optim.Adam(decoder.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(decoder(maps), labels).backward()
        optimizer.step()
    assert (decoder(maps).argmax(1) == labels).float().mean() > 0.98
