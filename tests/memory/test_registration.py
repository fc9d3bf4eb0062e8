"""Registration of pictures whose transform is known because they are drawn with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.memory.registration import (
    MAX_ZOOM,
    Edges,
    Registration,
    edges,
    fan,
    register,
    sample_grid,
)

Size = tuple[int, int]
SQUARE, WIDE, TALL, SMALL = (256, 256), (192, 256), (256, 128), (96, 128)
SIZES = (SQUARE, WIDE, TALL, SMALL)
IDENTITY = torch.eye(2, 3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: on a busy machine a second thread costs far more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def draw(
    seed: int,
    size: Size,
    angle: float = 0.0,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """A world of soft-edged ellipses, photographed: lightness ``(H, W)``.

    The arguments are those of the transform from this picture to the one with all of them left out.
    """
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(-1.2, 1.2, (70, 2)), rng.uniform(0.03, 0.15, 70)
    lights, squeeze = rng.uniform(-0.5, 0.5, 70), rng.uniform(0.5, 2.0, 70)
    height, width = size
    longer = max(size)
    y, x = np.mgrid[:height, :width]
    x, y = (2 * x + 1 - width) / longer, (2 * y + 1 - height) / longer
    cos, sin = (zoom * f(math.radians(angle)) for f in (math.cos, math.sin))
    x, y = cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]
    grey = np.full(size, 0.5)
    for (cx, cy), radius, light, narrow in zip(centres, radii, lights, squeeze, strict=True):
        distance = np.hypot((x - cx) * narrow, y - cy) - radius
        grey += light / (1 + np.exp(np.clip(distance / 0.01, -50, 50)))
    return torch.from_numpy(grey.clip(0, 1)).float()


def align(query: Tensor, shot: Tensor) -> Registration:
    return register(edges(query), fan(edges(shot)))


def misplaced(found: Registration, wanted: Tensor, half: tuple[float, float]) -> float:
    """Largest distance, over the corners and the centre of the query, in px of a 256 px picture."""
    corners = [[a * half[0], b * half[1], 1.0] for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    points = torch.tensor([*corners, [0.0, 0.0, 1.0]])
    return float((points @ (found.matrix - wanted).T).norm(dim=1).max()) * 128


def similarity(angle: float, zoom: float, shift: tuple[float, float]) -> Tensor:
    cos, sin = (zoom * f(math.radians(angle)) for f in (math.cos, math.sin))
    return torch.tensor([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("angle", "zoom", "shift"),
    [
        (0, 1, (0.01, 0.003)),
        (0, 1, (0.2, -0.1)),
        (3, 1, (0.03, -0.02)),
        (-4.5, 1.05, (-0.05, 0.04)),
        (10, 0.95, (0.1, 0.05)),
        (13, 1.1, (0, 0)),
    ],
)
def test_a_known_transform_is_recovered(
    size: Size, angle: float, zoom: float, shift: tuple[float, float]
) -> None:
    found = align(draw(0, size, angle, zoom, shift), draw(0, size))
    longer = max(size)
    assert found.angle == pytest.approx(angle, abs=0.1)
    assert found.zoom == pytest.approx(zoom, abs=0.004)
    assert tuple(found.matrix[:, 2].tolist()) == pytest.approx(shift, abs=0.3 / 128)
    half = (size[1] / longer, size[0] / longer)
    assert misplaced(found, similarity(angle, zoom, shift), half) < 0.5
    assert found.confidence > 0.7


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_registers_to_itself_by_the_identity(size: Size) -> None:
    found = align(draw(0, size), draw(0, size))
    assert torch.allclose(found.matrix, IDENTITY, atol=1e-5)
    assert found.confidence == pytest.approx(1, abs=1e-3)


def test_the_way_back_undoes_the_way_there() -> None:
    moved = draw(0, SQUARE, 5, 1.04, (0.06, -0.03))
    there, back = align(moved, draw(0, SQUARE)), align(draw(0, SQUARE), moved)
    bottom = torch.tensor([[0.0, 0.0, 1.0]])
    both = torch.cat([back.matrix, bottom]) @ torch.cat([there.matrix, bottom])
    assert misplaced(Registration(both[:2], 1.0), IDENTITY, (1.0, 1.0)) < 0.5


@pytest.mark.parametrize("size", SIZES)
def test_different_pictures_are_not_trusted(size: Size) -> None:
    worlds = [fan(edges(draw(seed, size))) for seed in (1, 2, 3)]
    for i, query in enumerate(worlds):
        for shot in worlds[:i]:
            assert register(query.edges, shot).confidence < 0.6


@pytest.mark.parametrize("size", [SQUARE, SMALL])
def test_lighting_does_not_move_anything(size: Size) -> None:
    plain = draw(0, size)
    falling = torch.linspace(0.6, 1, size[1])[None] * torch.linspace(1, 0.7, size[0])[:, None]
    for lit in (plain * falling, 0.5 * plain + 0.2, plain.sqrt()):
        found = align(lit, plain)
        assert misplaced(found, IDENTITY, (1.0, 1.0)) < 0.3
        assert found.confidence > 0.95


def test_what_is_wrong_does_not_pull_the_transform() -> None:
    """A third of the picture is another picture."""
    query = draw(0, SQUARE, 2, 1.0, (0.03, 0.02)).clone()
    query[80:230, 90:230] = draw(7, SQUARE)[80:230, 90:230]
    found = align(query, draw(0, SQUARE))
    assert misplaced(found, similarity(2, 1.0, (0.03, 0.02)), (1.0, 1.0)) < 0.5


def noise(size: Size, seed: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def flat(size: Size, light: float) -> Tensor:
    return torch.full(size, light)


@pytest.mark.parametrize("light", [0.0, 0.5, 1.0])
def test_flat_pictures_have_no_confidence(light: float) -> None:
    for query, shot in (
        (flat(SQUARE, light), flat(SQUARE, light)),
        (flat(SQUARE, light), draw(0, SQUARE)),
        (draw(0, SQUARE), flat(SQUARE, light)),
    ):
        found = align(query, shot)
        assert found.confidence == pytest.approx(0, abs=0.05)
        assert torch.isfinite(found.matrix).all()


def test_noise_has_no_confidence() -> None:
    assert align(noise(SQUARE, 0), noise(SQUARE, 1)).confidence < 0.2


@pytest.mark.parametrize("size", [WIDE, TALL])
def test_an_outline_alone_is_no_evidence(size: Size) -> None:
    assert align(noise(size, 0), noise(size, 1)).confidence < 0.2
    assert align(flat(size, 0.5), flat(size, 0.5)).confidence < 0.2


@pytest.mark.parametrize("size", [(8, 8), (3, 3), (1, 1), (2, 50), (400, 4), (1000, 700)])
def test_no_size_is_too_odd(size: Size) -> None:
    found = align(noise(size, 0), noise(size, 1))
    assert torch.isfinite(found.matrix).all()
    assert 0 <= found.confidence <= 1


def test_pictures_of_different_shape_can_meet() -> None:
    found = align(draw(0, SQUARE), draw(0, WIDE))
    assert torch.isfinite(found.matrix).all()
    assert 0 <= found.confidence <= 1
    assert 1 / MAX_ZOOM <= found.zoom <= MAX_ZOOM


def test_registering_changes_nothing_it_is_given() -> None:
    query, shot = edges(draw(0, SMALL)), fan(edges(draw(1, SMALL)))
    kept = [t.clone() for t in (query.coarse, *query.fine, shot.spectra, *shot.edges.fine)]
    first = register(query, shot)
    now = (query.coarse, *query.fine, shot.spectra, *shot.edges.fine)
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert torch.equal(register(query, shot).matrix, first.matrix)


def test_the_halves_say_the_shape() -> None:
    assert edges(draw(0, SQUARE)).half == (1.0, 1.0)
    assert edges(draw(0, WIDE)).half == (1.0, 0.75)
    assert edges(draw(0, TALL)).half == (0.5, 1.0)


# --- the grid ------------------------------------------------------------------------------------


def resampled(features: Tensor, found: Registration, query: Edges, shot: Edges, to: Size) -> Tensor:
    grid = sample_grid(found, query.half, shot.half, to)
    assert grid.shape == (1, *to, 2)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cells", [(24, 32), (32, 32), (5, 7)])
def test_the_identity_gives_each_cell_itself(size: Size, cells: Size) -> None:
    own = edges(draw(0, size))
    features = noise((4 * cells[0], cells[1]), 0).view(1, 4, *cells)
    got = resampled(features, Registration(IDENTITY, 1.0), own, own, cells)
    assert torch.allclose(got, features, atol=1e-4)


def test_the_identity_joins_shots_of_another_size_but_the_same_shape() -> None:
    query, shot = edges(draw(0, WIDE)), edges(draw(0, SMALL))
    assert query.half == shot.half
    smooth = F.interpolate(noise((1, 48), 0).view(1, 3, 4, 4), (12, 16), mode="bicubic")
    same_again = F.interpolate(smooth, (24, 32), mode="bilinear")
    got = resampled(smooth, Registration(IDENTITY, 1.0), query, shot, (24, 32))
    assert torch.allclose(got, same_again, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_grid_brings_the_shot_onto_the_query(size: Size) -> None:
    """Pixels stand in for features: what the grid fetches must look like the query."""
    query, shot = draw(0, size, 6, 1.05, (0.05, -0.04)), draw(0, size)
    query_edges, shot_edges = edges(query), edges(shot)
    found = register(query_edges, fan(shot_edges))
    got = resampled(shot[None, None], found, query_edges, shot_edges, size)[0, 0]
    inner = tuple(slice(n // 5, -(n // 5)) for n in size)  # what both pictures show
    before = float((shot - query)[inner].abs().mean())
    after = float((got - query)[inner].abs().mean())
    assert after < 0.1 * before
