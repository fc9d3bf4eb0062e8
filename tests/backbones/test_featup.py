"""FeatUp's stack: against its definition, in its checkpoints' format, and on a real checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erf

from fmlad.backbones import featup, upsampling
from fmlad.backbones.common import IMAGENET
from fmlad.backbones.hub import read_tensors
from fmlad.backbones.roles import Upsampler
from fmlad.errors import OptionError, WeightsUnavailableError
from tests.backbones.test_upsampling import half_and_half, photo

REAL = "featup_clip_jbu_stack_cocostuff.ckpt"


def tensors(channels: int = 8, seed: int = 0, norm: bool = False) -> dict[str, torch.Tensor]:
    """Random weights under the names of a checkpoint, with others among them."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(shape, generator=rng)

    state = {"model.0.model.cls_token": draw(1, 1, 4), "downsampler.weight": draw(3)}
    for number in range(1, 5):
        stage = f"upsampler.up{number}."
        state[stage + "range_temp"] = draw()
        state[stage + "sigma_spatial"] = 1 + draw()
        for name, sizes in (("range_proj", (3, 32, 32)), ("fixup_proj", (52, 49, 49))):
            for index, (into, out) in zip((0, 3), pairwise(sizes), strict=True):
                state[f"{stage}{name}.{index}.weight"] = draw(out, into, 1, 1)
                state[f"{stage}{name}.{index}.bias"] = draw(out)
    state["upsampler.fixup_proj.1.weight"] = draw(channels, channels, 1, 1)
    state["upsampler.fixup_proj.1.bias"] = draw(channels)
    if norm:
        state["model.1.norm.weight"], state["model.1.norm.bias"] = (
            1 + draw(channels),
            draw(channels),
        )
    return state


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """As a training with Lightning leaves it."""
    torch.save({"epoch": 0, "state_dict": state, "callbacks": {}, "optimizer_states": []}, path)
    return path


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def defined(state: dict[str, torch.Tensor], maps: np.ndarray, image: torch.Tensor) -> np.ndarray:
    """One stage, place by place, from its description; ``(C, h, w) -> (C, 2 h, 2 w)``."""
    names = ("range_temp", "sigma_spatial", "range_proj.0", "range_proj.3")
    p = {
        key.removeprefix("upsampler.up1."): value.double().numpy()
        for key, value in state.items()
        if key.startswith("upsampler.up1.")
    }
    assert names[0] in p

    def layers(name: str, x: np.ndarray) -> np.ndarray:  # x: (places, channels)
        first = x @ p[name + ".0.weight"][:, :, 0, 0].T + p[name + ".0.bias"]
        return gelu(first) @ p[name + ".3.weight"][:, :, 0, 0].T + p[name + ".3.bias"]

    height, width = 2 * maps.shape[1], 2 * maps.shape[2]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    picture = F.adaptive_avg_pool2d(image.double() / 255, (height, width))[0].numpy()
    picture = (picture.transpose(1, 2, 0) - mean) / std
    colours = layers("range_proj", picture.reshape(-1, 3)).reshape(height, width, 32)
    source = torch.from_numpy(maps)[None]
    fine = F.interpolate(source, (height, width), mode="bicubic", align_corners=False)[0].numpy()
    out = np.zeros((len(maps), height, width))
    for y, x in np.ndindex(height, width):
        rows, columns = np.abs(np.arange(y - 3, y + 4)), np.abs(np.arange(x - 3, x + 4))
        rows = np.minimum(rows, 2 * (height - 1) - rows)
        columns = np.minimum(columns, 2 * (width - 1) - columns)
        place = np.ix_(rows, columns)
        likeness = np.exp(p["range_temp"]) * (colours[place] @ colours[y, x])
        likeness = np.exp(likeness - likeness.max())
        likeness /= likeness.sum()
        grid = np.linspace(-1, 1, 7)
        near = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * p["sigma_spatial"] ** 2))
        kernel = likeness * near
        kernel /= kernel.sum()
        fixup = layers("fixup_proj", np.concatenate([kernel.ravel(), picture[y, x]])[None])
        kernel += 0.1 * fixup.reshape(7, 7)
        out[:, y, x] = (fine[:, place[0], place[1]] * kernel).sum((1, 2))
    return out


def test_a_stage_is_its_definition() -> None:
    state = tensors()
    stage = featup._stage(state, "upsampler.up1.")
    torch.manual_seed(1)
    maps, image = torch.randn(1, 2, 5, 4), photo((40, 32))
    mean, std = torch.tensor(IMAGENET[0]), torch.tensor(IMAGENET[1])
    picture = (image / 255 - mean[:, None, None]) / std[:, None, None]
    found = stage(maps, picture)[0]
    np.testing.assert_allclose(found, defined(state, maps[0].double().numpy(), image), atol=1e-4)


def test_a_constant_map_stays_so_up_to_the_correction() -> None:
    stage = featup._stage(tensors(), "upsampler.up1.")
    picture = torch.randn(1, 3, 10, 12)
    weights, correction = stage.kernel(picture)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 10, 12))
    found = stage(torch.full((1, 1, 5, 6), 2.0), picture)
    torch.testing.assert_close(found, 2 * (1 + correction.sum(1, keepdim=True)))
    assert correction.abs().max() > 1e-3  # or this shows nothing


@pytest.mark.parametrize("norm", [False, True])
def test_the_stack_is_its_stages_in_order(tmp_path: Path, norm: bool) -> None:
    state = tensors(norm=norm)
    upsampler = featup.load(f"featup:{saved(tmp_path / 'x.ckpt', state)}")
    assert isinstance(upsampler, Upsampler)
    features, image = torch.randn(2, 8, 3, 4), torch.cat([photo(), photo(seed=1)])
    assert torch.equal(upsampler(features, image, 1), features)

    mean, std = torch.tensor(IMAGENET[0]), torch.tensor(IMAGENET[1])
    picture = (image / 255 - mean[:, None, None]) / std[:, None, None]
    maps = features
    if norm:
        layer = torch.nn.LayerNorm(8)
        layer.load_state_dict({k: state[f"model.1.norm.{k}"] for k in ("weight", "bias")})
        maps = layer(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    last = torch.nn.Conv2d(8, 8, 1)
    last.load_state_dict({k: state[f"upsampler.fixup_proj.1.{k}"] for k in ("weight", "bias")})
    for number, factor in enumerate((2, 4, 8, 16), start=1):
        maps = featup._stage(state, f"upsampler.up{number}.")(maps, picture)
        torch.testing.assert_close(upsampler(features, image, factor), maps + 0.1 * last(maps))
    bare = featup.load(f"featup:{tmp_path / 'x.ckpt'}#fixup=off")
    torch.testing.assert_close(bare(features, image, 16), maps)
    assert bare.fingerprint != upsampler.fingerprint


def test_pieces_of_work_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upsampler = featup.load(f"featup:{saved(tmp_path / 'x.ckpt', tensors())}")
    features = torch.randn(1, 8, 4, 4)
    whole = upsampler(features, photo(), 4)
    monkeypatch.setattr(upsampling, "CHUNK", 600)
    monkeypatch.setattr(featup, "CHUNK", 600)
    torch.testing.assert_close(upsampler(features, photo(), 4), whole)


def test_the_file_makes_the_fingerprint_not_its_place(tmp_path: Path) -> None:
    first = featup.load(f"featup:{saved(tmp_path / 'a.ckpt', tensors())}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.ckpt").rename(tmp_path / "folder" / "b.ckpt")
    moved = featup.load(f"featup:{tmp_path / 'folder'}")
    other = featup.load(f"featup:{saved(tmp_path / 'c.ckpt', tensors(seed=1))}")
    assert first.fingerprint == moved.fingerprint != other.fingerprint


def test_features_of_another_network_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", tensors(channels=8))
    features = torch.randn(1, 5, 4, 4)
    with pytest.raises(OptionError, match="features of 8 channels, and these have 5"):
        featup.load(f"featup:{path}")(features, photo(), 2)
    assert featup.load(f"featup:{path}#fixup=off")(features, photo(), 2).shape == (1, 5, 8, 8)
    with pytest.raises(OptionError, match="its options are fixup"):
        featup.load(f"featup:{path}#fix=1")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    state = tensors()
    state.pop("upsampler.up3.range_temp")
    with pytest.raises(WeightsUnavailableError, match=r"lacks 'upsampler\.up3\.range_temp'"):
        featup.load(f"featup:{saved(path, state)}")
    state = tensors() | {"upsampler.up2.fixup_proj.0.weight": torch.zeros(3, 3, 1, 1)}
    with pytest.raises(WeightsUnavailableError, match="size mismatch"):
        featup.load(f"featup:{saved(path, state)}")
    state = tensors() | {"upsampler.fixup_proj.1.weight": torch.zeros(4, 8, 1, 1)}
    with pytest.raises(WeightsUnavailableError, match="last projection"):
        featup.load(f"featup:{saved(path, state)}")
    torch.save([1, 2], path)
    with pytest.raises(WeightsUnavailableError, match="no named tensors"):
        featup.load(f"featup:{path}")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsUnavailableError, match="checkpoint of tensors alone"):
        featup.load(f"featup:{path}")
    (tmp_path / "y.ckpt").write_bytes(b"")
    with pytest.raises(WeightsUnavailableError, match="exactly one"):
        featup.load(f"featup:{tmp_path}")


class Mischief:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("mischief-done",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tensors(), "callbacks": Mischief()}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsUnavailableError, match="tensors alone"):
        featup.load(f"featup:{tmp_path / 'x.ckpt'}")
    assert not (tmp_path / "mischief-done").exists()


# --- a published checkpoint ----------------------------------------------------------------------


@pytest.mark.shared
def test_a_published_checkpoint_loads(shared: Callable[..., Path]) -> None:
    upsampler = featup.load(f"featup:{shared('weights', REAL)}")
    assert upsampler.channels == 512  # CLIP ViT-B/16
    state = read_tensors(shared("weights", REAL), REAL, "featup")
    stages = sum(v.numel() for k, v in state.items() if k.startswith("upsampler.up"))
    assert stages == 4 * 6233
    features = torch.randn(1, 512, 7, 7)
    assert upsampler(features, photo((224, 224)), 8).shape == (1, 512, 56, 56)


@pytest.mark.shared
@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_a_published_checkpoint_follows_edges(shared: Callable[..., Path], factor: int) -> None:
    upsampler = featup.load(f"featup:{shared('weights', REAL)}#fixup=off")
    coarse = F.adaptive_avg_pool2d((torch.arange(256) >= 136).float().expand(1, 1, 256, 256), 16)
    edge = 136 * factor // 16  # in the middle of a cell
    plain = F.interpolate(coarse, scale_factor=factor, mode="bicubic", align_corners=False)
    sharp = upsampler(coarse, half_and_half(136, 256), factor)
    steps = [maps[0, 0, 8 * factor].diff().abs() for maps in (sharp, plain)]
    assert steps[0].argmax() == edge - 1
    assert steps[0][edge - 1] > 2 * steps[1][edge - 1]
    # The learned corrections of the kernels are small, but they add up over the stages.
    level = upsampler(torch.ones_like(coarse), photo((256, 256)), factor)
    assert 0.8 < level.mean() < 1.2
