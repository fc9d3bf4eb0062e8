"""FeatUp's own package behind the backbone: a stand-in with its interface, and its absence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fmlad.backbones import featup
from fmlad.backbones.catalogue import catalogue
from fmlad.backbones.hub import FOLDER_VARIABLE, place_of
from fmlad.backbones.roles import Upsampler
from fmlad.errors import MissingDependencyError, OptionError
from fmlad.profiles import load_backbones
from tests.backbones.test_featup import REAL, saved, tensors
from tests.backbones.test_upsampling import photo

# The interface of featup.upsamplers, by its definition: patches are unfolded and weighted at once,
# where fmlad's own goes through the shifts one by one.
STAND_IN = """
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(42)  # as the package does
CALLS = []
GAIN = 1.0


def patches(maps):
    b, c, h, w = maps.shape
    return F.unfold(F.pad(maps, (3, 3, 3, 3), mode="reflect"), 7).view(b, c, 49, h, w)


def projection(inner, outer):
    return nn.Sequential(
        nn.Conv2d(inner, outer, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(outer, outer, 1)
    )


class Level(nn.Module):
    def __init__(self):
        super().__init__()
        self.range_temp = nn.Parameter(torch.zeros(()))
        self.sigma_spatial = nn.Parameter(torch.ones(()))
        self.range_proj, self.fixup_proj = projection(3, 32), projection(52, 49)

    def forward(self, source, guidance):
        CALLS.append(tuple(source.shape))
        seen = self.range_proj(guidance)
        alike = (patches(seen) * seen[:, :, None]).sum(1)
        alike = (self.range_temp.exp().clamp(1e-4, 1e4) * alike).softmax(1)
        steps = torch.linspace(-1, 1, 7)
        near = (-(steps[:, None] ** 2 + steps**2) / (2 * self.sigma_spatial**2)).exp()
        kernel = alike * near.reshape(1, 49, 1, 1)
        kernel = kernel / kernel.sum(1, keepdim=True).clamp(1e-7)
        kernel = kernel + 0.1 * self.fixup_proj(torch.cat([kernel, guidance], 1))
        fine = F.interpolate(source, guidance.shape[-2:], mode="bicubic", align_corners=False)
        return GAIN * (patches(fine) * kernel[:, None]).sum(2)


class JBUStack(nn.Module):
    def __init__(self, feat_dim):
        super().__init__()
        self.up1, self.up2, self.up3, self.up4 = Level(), Level(), Level(), Level()
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(feat_dim, feat_dim, 1))

    def upsample(self, source, guidance, up):
        height, width = source.shape[-2:]
        return up(source, F.adaptive_avg_pool2d(guidance, (2 * height, 2 * width)))

    def forward(self, source, guidance):
        for up in (self.up1, self.up2, self.up3, self.up4):
            source = self.upsample(source, guidance, up)
        return source + 0.1 * self.fixup_proj(source)


def get_upsampler(upsampler, dim):
    if upsampler != "jbu_stack":
        raise ValueError(upsampler)
    return JBUStack(dim)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str = STAND_IN) -> None:
    (folder / "featup").mkdir()
    (folder / "featup" / "__init__.py").touch()
    (folder / "featup" / "upsamplers.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("featup", "featup.upsamplers"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in, importable for one test."""
    install(tmp_path, monkeypatch)
    yield lambda: sys.modules["featup.upsamplers"]
    for name in ("featup", "featup.upsamplers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("fixup", ["on", "off"])
def test_both_implementations_give_the_same_maps(
    tmp_path: Path, installed: Any, norm: bool, fixup: str
) -> None:
    path = saved(tmp_path / "x.ckpt", tensors(norm=norm))
    own = featup.load(f"featup:{path}#fixup={fixup},implementation=own")
    assert own.implementation == "own"
    theirs = featup.load(f"featup:{path}#fixup={fixup}")
    assert isinstance(theirs, Upsampler)
    assert theirs.implementation == "featup package"
    features, image = torch.randn(2, 8, 3, 4), torch.cat([photo(), photo(seed=1)])
    for factor in (1, 2, 4, 8, 16):
        installed().CALLS.clear()
        expected = own(features, image, factor)
        assert not installed().CALLS
        found = theirs(features, image, factor)
        assert len(installed().CALLS) == factor.bit_length() - 1
        scale = float(expected.abs().amax())
        torch.testing.assert_close(found / scale, expected / scale, atol=3e-5, rtol=0)
    # A detector may be fitted with one and loaded where the other is.
    assert theirs.fingerprint == own.fingerprint


def test_the_packages_whole_stack_is_what_runs(tmp_path: Path, installed: Any) -> None:
    state = tensors()
    theirs = featup.load(f"featup:{saved(tmp_path / 'x.ckpt', state)}#implementation=package")
    stack = installed().get_upsampler("jbu_stack", 8).eval()
    named = {k.removeprefix("upsampler."): v for k, v in state.items() if k[:9] == "upsampler"}
    stack.load_state_dict(named)
    features, image = torch.randn(1, 8, 4, 4), photo()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    picture = (image / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(theirs(features, image, 16), stack(features, picture))


def test_a_row_of_cells_is_upsampled_too(tmp_path: Path, installed: Any) -> None:
    path = saved(tmp_path / "x.ckpt", tensors())
    features = torch.randn(1, 8, 1, 5)
    found = featup.load(f"featup:{path}")(features, photo(), 4)
    expected = featup.load(f"featup:{path}#implementation=own")(features, photo(), 4)
    assert found.shape == (1, 8, 4, 20)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("installed")
def test_importing_the_package_leaves_the_callers_random_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", tensors())
    own = f"featup:{path}#implementation=own"
    torch.manual_seed(7)
    featup.load(own)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert "featup.upsamplers" not in sys.modules
    assert featup.load(own.replace("own", "package")).implementation == "featup package"
    assert torch.equal(torch.rand(3), expected)


def test_without_the_package_our_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "featup", None)  # as if it were not installed
    path = saved(tmp_path / "x.ckpt", tensors())
    with caplog.at_level(logging.WARNING):
        assert featup.load(f"featup:{path}").implementation == "own"
    assert not caplog.records
    with pytest.raises(MissingDependencyError, match=r"is not installed\. Build it from"):
        featup.load(f"featup:{path}#implementation=package")
    with pytest.raises(OptionError, match="implementation"):
        featup.load(f"featup:{path}#implementation=theirs")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ImportError('cannot import name cuda_impl')", "cannot import name cuda_impl"),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("raise OSError('undefined symbol')", "undefined symbol"),
        (STAND_IN.replace("range_temp", "temperature"), "Error.* loading state_dict"),
    ],
)
def test_a_package_that_cannot_be_used_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    source: str,
    why: str,
) -> None:
    install(tmp_path, monkeypatch, source)
    path = saved(tmp_path / "x.ckpt", tensors())
    with caplog.at_level(logging.WARNING):
        upsampler = featup.load(f"featup:{path}")
    assert upsampler.implementation == "own"
    assert "cannot be used" in caplog.text
    with pytest.raises(MissingDependencyError, match=f"cannot be used here .*{why}"):
        featup.load(f"featup:{path}#implementation=package")
    forget(monkeypatch)


def test_a_package_with_other_maps_is_not_taken_for_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, STAND_IN.replace("GAIN = 1.0", "GAIN = 1.01"))
    path = saved(tmp_path / "x.ckpt", tensors())
    with caplog.at_level(logging.WARNING):
        chosen = featup.load(f"featup:{path}")
    assert chosen.implementation == "own"
    assert "other maps" in caplog.text
    insisted = featup.load(f"featup:{path}#implementation=package")
    assert insisted.implementation == "featup package"
    assert insisted.fingerprint != chosen.fingerprint
    forget(monkeypatch)


@pytest.mark.shared
def test_both_implementations_agree_on_a_published_checkpoint(
    shared: Callable[..., Path], installed: Any
) -> None:
    name = f"featup:{shared('weights', REAL)}"
    theirs, own = featup.load(name), featup.load(f"{name}#implementation=own")
    assert (theirs.implementation, own.implementation) == ("featup package", "own")
    assert theirs.fingerprint == own.fingerprint
    features, image = torch.randn(1, 512, 7, 7), photo((224, 224))
    expected = own(features, image, 16)
    scale = float(expected.abs().amax())
    torch.testing.assert_close(
        theirs(features, image, 16) / scale, expected / scale, atol=3e-5, rtol=0
    )
    assert len(installed().CALLS) > 4


@pytest.mark.parametrize("name", [w.name for w in catalogue() if w.family == "featup"])
def test_every_entry_of_the_catalogue_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    known = next(weights for weights in catalogue() if weights.name == name)
    channels = {"dinov2": 384, "clip": 512}[known.source.rpartition("/")[2].partition("_")[0]]
    file = tmp_path / place_of(known.source)
    file.parent.mkdir(parents=True)
    saved(file, tensors(channels, norm=True))
    upsampler = load_backbones({"upsampler": name}, "cpu")["upsampler"]
    assert isinstance(upsampler, Upsampler)
    assert upsampler(torch.randn(1, channels, 2, 2), photo(), 8).shape == (1, channels, 16, 16)
