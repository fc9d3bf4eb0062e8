"""ULSAD's networks: shapes and sizes as published, channel pooling, what the last layer can say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fmlad.networks.reconstruction import (
    Aggregator,
    GlobalAutoencoder,
    ReconstructionNetwork,
    halves,
)


def sizes_of(network: nn.Sequential, given: Tensor) -> list[tuple[int, int]]:
    """Channels and side after each convolution."""
    found = []
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:3])))
    with torch.no_grad():
        network.eval()(given)
    return found


def test_levels_are_joined_on_the_finer_grid_and_pooled_to_384_channels() -> None:
    aggregator = Aggregator((512, 1024), 32, 384)
    fine, coarse = torch.rand(2, 512, 32, 32), torch.rand(2, 1024, 16, 16)
    found = aggregator((fine, coarse))
    assert found.shape == (2, 384, 32, 32)
    # 1536 channels: groups of four consecutive ones, those of the finer level first.
    assert torch.allclose(found[:, 5], fine[:, 20:24].mean(1), atol=1e-6)
    larger = nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    assert torch.allclose(found[:, 130], larger[:, 8:12].mean(1), atol=1e-6)


def test_fewer_channels_are_left_as_they_are() -> None:
    for wanted in (None, 7, 384):
        aggregator = Aggregator((3, 4), 8, wanted)
        fine, coarse = torch.rand(1, 3, 8, 8), torch.rand(1, 4, 4, 4)
        assert aggregator.channels == 7
        assert torch.equal(aggregator((fine, coarse))[:, :3], fine)


def test_channels_that_do_not_divide_are_pooled_as_well() -> None:
    aggregator = Aggregator((4, 3), 8, 3)
    constant = torch.full((1, 4, 8, 8), 2.0), torch.full((1, 3, 4, 4), 2.0)
    assert torch.allclose(aggregator(constant), torch.full((1, 3, 8, 8), 2.0))


def test_what_is_reconstructed_is_normalised_by_the_training_images() -> None:
    torch.manual_seed(0)
    aggregator = Aggregator((4, 4), 8, 4)
    images = [(torch.rand(1, 4, 8, 8) + 2, 5 * torch.rand(1, 4, 4, 4)) for _ in range(20)]
    aggregator.standard.learn(aggregator.raw(one) for one in images)
    maps = torch.cat([aggregator(one) for one in images])
    assert maps.mean((0, 2, 3)).abs().max() < 1e-4
    assert maps.square().mean((0, 2, 3)).sqrt().sub(1).abs().max() < 1e-4


def test_the_reconstruction_network_is_that_of_table_5() -> None:
    network = ReconstructionNetwork(384, 768)
    found = sizes_of(network, torch.zeros(1, 384, 32, 32))
    assert found == [(768, 16), (1536, 8), (1536, 8), (768, 16), (384, 32), (768, 32)]
    kernels = [
        one.kernel_size[0] for one in network if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert kernels == [3, 3, 3, 4, 4, 5]
    # The released code has no ReLU behind the third convolution, and one behind the last.
    assert sum(isinstance(one, nn.ReLU) for one in network) == 5
    assert isinstance(network[-1], nn.ReLU)


@pytest.mark.parametrize("cells", [8, 12, 32])
def test_its_outcome_has_both_halves_at_any_size(cells: int) -> None:
    network = ReconstructionNetwork(6, 8, kernel=3).eval()
    with torch.no_grad():
        local, other = halves(network(torch.rand(2, 6, cells, cells)))
    assert local.shape == other.shape == (2, 6, cells, cells)
    assert not torch.equal(local, other)


@pytest.mark.parametrize(("final", "below"), [("relu", False), ("linear", True)])
def test_only_a_linear_end_reaches_below_zero(final: str, below: bool) -> None:
    torch.manual_seed(0)
    network = ReconstructionNetwork(6, 8, final=final)  # type: ignore[arg-type]
    with torch.no_grad():
        found = network(torch.randn(2, 6, 8, 8))
    assert bool((found < 0).any()) == below


def test_the_autoencoder_is_that_of_table_6() -> None:
    network = GlobalAutoencoder(256, 384)
    found = sizes_of(network, torch.zeros(1, 3, 256, 256))
    assert found[:6] == [(32, 128), (32, 64), (64, 32), (64, 16), (64, 8), (64, 1)]
    assert found[6:] == [(64, 4), (64, 9), (64, 16), (64, 32), (64, 64), (64, 32), (384, 32)]
    grown = [layer.size for layer in network if isinstance(layer, nn.Upsample)]
    assert [size[0] for size in grown] == [3, 8, 15, 31, 63, 32]  # type: ignore[index]


@pytest.mark.parametrize("side", [64, 128, 320, 512])
def test_the_autoencoder_goes_through_one_cell_at_any_size(side: int) -> None:
    network = GlobalAutoencoder(side, 5, width=4)
    found = sizes_of(network, torch.zeros(1, 3, side, side))
    assert found[5] == (4, 1)
    assert found[-1] == (5, side // 8)


def test_normalisation_of_the_autoencoder_learns_no_weights() -> None:
    network = GlobalAutoencoder(64, 5, width=4)
    normal = [one for one in network if isinstance(one, nn.BatchNorm2d)]
    assert len(normal) == 12
    assert all(one.weight is None and one.eps == 1e-4 for one in normal)
