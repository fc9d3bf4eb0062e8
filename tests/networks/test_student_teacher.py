"""CSAD's students: shapes as published, receptive fields, and what is shared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fmlad.networks.feature_maps import LevelAutoencoder, Standard, at_grid, normalised
from fmlad.networks.student_teacher import (
    PixelAutoencoder,
    Students,
    Surroundings,
    Teacher,
    level_body,
    pixel_body,
    surroundings_body,
)


def test_the_padded_body_gives_64_cells_of_256_pixels() -> None:
    with torch.no_grad():
        assert pixel_body(8)(torch.zeros(1, 3, 256, 256)).shape == (1, 8, 64, 64)


@pytest.mark.parametrize(("side", "grid"), [(256, 64), (256, 56), (128, 16)])
def test_the_autoencoder_goes_through_one_cell(side: int, grid: int) -> None:
    network = PixelAutoencoder(side, 10, grid).eval()
    sizes = []
    for layer in network:
        layer.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 10, grid, grid)
    assert min(sizes) == 1
    if side == 256:
        grown = [layer.size[0] for layer in network if isinstance(layer, nn.Upsample)]
        assert grown == [3, 8, 15, 32, 63, 127, grid]


def test_the_receptive_field_of_the_body_is_33_pixels() -> None:
    body = pixel_body(8).double()
    pixels = torch.zeros(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    maps = body(pixels)
    maps[0, :, 16, 16].abs().sum().backward()
    assert pixels.grad is not None
    rows = pixels.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 33


@pytest.mark.parametrize("cells", [16, 8, 4, 1])
def test_the_level_autoencoder_sees_the_whole_image_at_once(cells: int) -> None:
    network = LevelAutoencoder(5, cells, 6, 7, 16)
    maps = torch.rand(1, 5, cells, cells, requires_grad=True)
    with torch.no_grad():
        assert network(maps).shape == (1, 7, 16, 16)
    single = [one for one in network if isinstance(one, nn.Conv2d)]
    assert single[2 if cells >= 8 else 0].weight.shape[2:] == (
        (cells // 4,) * 2 if cells >= 8 else (cells,) * 2
    )


@pytest.mark.parametrize(
    ("ends", "layers", "same"), [("heads", 2, False), ("double", 1, False), ("same", 1, True)]
)
def test_ends_of_table_5(ends: str, layers: int, same: bool) -> None:
    students = Students(level_body(4, 6), 6, 5, ends, 8)  # type: ignore[arg-type]
    with torch.no_grad():
        local, other = students(torch.rand(2, 4, 16, 16))
    assert local.shape == other.shape == (2, 5, 8, 8)
    assert len(students.heads) == layers
    assert torch.equal(local, other) == same


@pytest.mark.parametrize("ends", ["heads", "double", "same"])
def test_a_cell_is_told_by_its_surroundings_alone(ends: str) -> None:
    body = surroundings_body(4, 6)
    students = Students(body, 6, 4, ends, 8, around=False)  # type: ignore[arg-type]
    maps = torch.rand(1, 4, 8, 8, requires_grad=True)
    local, other = students(maps)
    (local[0, :, 3, 5].sum() + other[0, :, 3, 5].sum()).backward()
    assert maps.grad is not None
    seen = maps.grad.abs().sum((0, 1)) > 0
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:5, 4:7] = True
    expected[3, 5] = False
    assert torch.equal(seen, expected)


def test_beyond_its_border_a_map_goes_on_as_it_ends() -> None:
    network = Surroundings(2, 3)
    maps = torch.ones(1, 2, 5, 5)
    found = network(maps)
    assert torch.allclose(found, found[:, :, 2:3, 2:3].expand_as(found), atol=1e-6)


def test_heads_have_fewer_weights_than_double_channels() -> None:
    def count(ends: str) -> int:
        students = Students(nn.Identity(), 6, 5, ends, 8)  # type: ignore[arg-type]
        return sum(one.numel() for one in students.parameters())

    assert count("same") < count("heads") < count("double")


def test_the_teacher_is_fixed_and_normalised() -> None:
    torch.manual_seed(0)
    teacher = Teacher((3, 4), 8, 6)
    assert not any(one.requires_grad for one in teacher.parameters())
    images = [(torch.rand(1, 3, 8, 8) + 2, 5 * torch.rand(1, 4, 4, 4)) for _ in range(20)]
    teacher.standard.learn([teacher.raw(one) for one in images])
    maps = torch.cat([teacher(one) for one in images])
    assert maps.shape == (20, 6, 8, 8)
    assert maps.mean((0, 2, 3)).abs().max() < 1e-4
    assert maps.square().mean((0, 2, 3)).sqrt().sub(1).abs().max() < 1e-4


def test_without_mixing_the_teacher_joins_averaged_levels() -> None:
    teacher = Teacher((2, 3), 8, None)
    fine, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 3, 4, 4)
    found = teacher((fine, coarse))
    assert found.shape == (1, 5, 8, 8)
    assert found[0, 0, 3, 4] == pytest.approx(float(fine[0, 0, 2:5, 3:6].mean()), rel=1e-5)
    inner = at_grid(coarse, 8)[0, 1, 2:5, 3:6].mean()
    assert found[0, 3, 3, 4] == pytest.approx(float(inner), rel=1e-5)


def test_standard_changes_nothing_until_it_learned() -> None:
    standard, maps = Standard(3), torch.rand(1, 3, 4, 4)
    assert torch.equal(standard(maps), maps)
    standard.learn([maps])
    assert standard(maps).mean((0, 2, 3)).abs().max() < 1e-5
    standard.learn([torch.ones(1, 3, 4, 4)])  # a channel that never varies
    assert torch.isfinite(standard(maps)).all()


def test_a_channel_that_never_varied_does_not_outweigh_the_others() -> None:
    standard = Standard(3)
    maps = torch.rand(1, 3, 16, 16)
    maps[:, 1] = 0.5
    standard.learn([maps])
    assert standard(maps + 1)[0, 1].abs().max() < 500  # not a million
    assert standard(maps)[0, 0].std() == pytest.approx(1, abs=0.01)


def test_pixels_are_normalised_by_imagenet() -> None:
    grey = torch.full((1, 3, 2, 2), 128, dtype=torch.uint8)
    found = normalised(grey)[0, :, 0, 0]
    expected = [(128 / 255 - m) / d for m, d in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
