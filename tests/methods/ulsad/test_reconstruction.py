"""Training of ULSAD's networks: terms of the loss, maps, resumption, saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fmlad.errors import CheckpointError, CorruptDetectorError, OptionError, UnknownNameError
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.methods.ulsad.images import Images
from fmlad.methods.ulsad.losses import consistency, difference
from fmlad.methods.ulsad.reconstruction import (
    FittedReconstruction,
    blurred,
    build,
    fit_reconstruction,
    loss_of,
    reconstructed,
)
from fmlad.methods.ulsad.training_config import PRESETS, training_config
from fmlad.networks.reconstruction import Aggregator
from fmlad.progress import silent
from fmlad.scoring.map_quantiles import MapQuantiles
from tests.methods.ulsad.stand_in import QUICK, ShrunkEncoder, product

SIDE = 64
BOTH = ("local", "global")


@pytest.fixture(scope="module")
def encoder() -> SharedEncoder:
    return SharedEncoder(ShrunkEncoder(), SIDE)


def squares(encoder: SharedEncoder, first: int, count: int) -> list[Tensor]:
    return [encoder.square(product(seed)[0]) for seed in range(first, first + count)]


def fitted(encoder: SharedEncoder, branches: Any = BOTH, **changes: Any) -> FittedReconstruction:
    others = {k: changes.pop(k) for k in ("checkpoint", "resume", "seed", "progress")
              if k in changes}  # fmt: skip
    config = training_config("cpu", **{**QUICK, **changes})
    held_out = squares(encoder, 90, 3)
    return fit_reconstruction(squares(encoder, 0, 5), held_out, encoder, config, branches, **others)


def query(encoder: SharedEncoder, seed: int = 50, **change: Any) -> tuple[Tensor, Any]:
    square = encoder.square(product(seed, **change)[0])[None]
    return square, encoder.encode(square)


def built(
    encoder: SharedEncoder, branches: Any = BOTH, **changes: Any
) -> tuple[Any, dict[str, nn.Module], Tensor, Tensor]:
    """A config, networks with fresh weights, and what they are given of two images."""
    config = training_config("cpu", **{**QUICK, **changes})
    torch.manual_seed(0)
    networks = build(config, branches, encoder)
    rows = torch.stack(squares(encoder, 0, 2))
    levels = encoder.encode(rows)
    target = networks["aggregator"](levels[1:])
    asked = levels[-1] if config.source == "levels" else rows / 255.0
    return config, networks, target, asked


def test_it_learns_what_is_normal(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, steps=150, width=16, rate=0.005)

    def joined(pixels: Any) -> Tensor:
        square = encoder.square(pixels)[None]
        found = learned.maps(square, encoder.encode(square))
        return (found["local"][0] + found["global"][0]) / 2

    good = [float(joined(product(seed)[0]).max()) for seed in range(50, 53)]
    pixels = product(50)[0]
    pixels[60:80, 90:110] = (20, 220, 60)  # a colour that no product has, lower right
    bad = joined(pixels)
    assert float(bad.max()) > 1.5 * max(good)
    rows, columns = np.nonzero((bad > 0.8 * bad.max()).numpy())
    assert rows.min() > SIDE / 2
    assert columns.min() > SIDE / 2


@pytest.mark.parametrize("source", ["levels", "pixels"])
def test_the_loss_is_the_sum_of_its_three_terms(encoder: SharedEncoder, source: str) -> None:
    config, networks, target, asked = built(encoder, source=source, lambda_g=0.25)
    local, imitated, said = reconstructed(networks, target, asked)
    assert local is not None
    assert imitated is not None
    assert said is not None
    near = difference(target, local, 0.5).mean()
    far = consistency(said, target, 0.25, 4)
    between = difference(said, imitated, 0.25).mean()
    found = loss_of(config, BOTH, networks, target, asked)
    torch.testing.assert_close(found, near + far + between)


def test_switches_of_table_3_leave_terms_out(encoder: SharedEncoder) -> None:
    def value(branches: Any = BOTH, **changes: Any) -> float:
        return loss_of(*_arranged(built(encoder, branches, **changes), branches)).item()

    _, networks, target, asked = built(encoder)
    local, imitated, said = reconstructed(networks, target, asked)
    assert local is not None
    assert imitated is not None
    assert said is not None
    near = difference(target, local, 0.5).mean().item()
    attended = consistency(said, target, 0.5, 4).item()
    plain = difference(said, target, 0.5).mean().item()
    between = difference(said, imitated, 0.5).mean().item()
    assert value() == pytest.approx(near + attended + between, rel=1e-4)
    assert value(local_global=False) == pytest.approx(near + attended, rel=1e-4)
    assert value(consistency="features") == pytest.approx(near + plain + between, rel=1e-4)
    assert value(("local",)) == pytest.approx(near, rel=1e-4)
    assert value(lambda_l=0.0) < value()


def _arranged(
    made: tuple[Any, dict[str, nn.Module], Tensor, Tensor], branches: Any
) -> tuple[Any, Any, dict[str, nn.Module], Tensor, Tensor]:
    config, networks, target, asked = made
    return config, branches, networks, target, asked


@pytest.mark.parametrize("source", ["levels", "pixels"])
@pytest.mark.parametrize("kind", ["attention", "features"])
def test_gradients_reach_every_weight_of_both_networks(
    encoder: SharedEncoder, source: str, kind: str
) -> None:
    config, networks, target, asked = built(encoder, source=source, consistency=kind)
    loss_of(config, BOTH, networks, target, asked).backward()
    for name in ("frn", "autoencoder"):
        last = list(networks[name].parameters())[-2]
        assert last.grad is not None
        assert last.grad.abs().sum() > 0
        assert all(one.grad is not None for one in networks[name].parameters())


def test_local_global_teaches_both_networks(encoder: SharedEncoder) -> None:
    """Neither side of L_lg is held fixed."""
    config, networks, target, asked = built(encoder, ("global",))
    _, imitated, said = reconstructed(networks, target, asked)
    assert imitated is not None
    assert said is not None
    difference(said, imitated, config.lambda_g).mean().backward()
    for name in ("frn", "autoencoder"):
        assert any(
            one.grad is not None and one.grad.abs().sum() > 0 for one in networks[name].parameters()
        )


@pytest.mark.parametrize("source", ["levels", "pixels"])
def test_maps_tell_size_and_direction_of_what_was_reconstructed(
    encoder: SharedEncoder, source: str
) -> None:
    learned = fitted(encoder, source=source, steps=2, blur=0.0)
    given: dict[str, Tensor] = {}
    handles = [
        learned._networks[name].register_forward_hook(
            lambda _, __, out, name=name: given.__setitem__(name, out)
        )
        for name in ("aggregator", "frn", "autoencoder")
    ]
    found = learned.raw_maps(*query(encoder))
    for handle in handles:
        handle.remove()
    local, imitated = given["frn"].chunk(2, dim=1)
    assert found["local"].shape == found["global"].shape == (1, 8, 8)
    assert torch.equal(found["local"], difference(given["aggregator"], local, 0.5))
    assert torch.equal(found["global"], difference(given["autoencoder"], imitated, 0.5))


def test_without_imitation_the_global_map_is_about_the_encoders_features(
    encoder: SharedEncoder,
) -> None:
    learned = fitted(encoder, ("global",), steps=2, local_global=False)
    assert not any(name.startswith("frn.") for name in learned.tensors())
    assert learned.raw_maps(*query(encoder)).keys() == {"global"}


def test_quantiles_are_those_of_held_out_images(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, low=0.5, high=0.75)
    for branch in BOTH:
        maps = [
            learned.raw_maps(*query(encoder, seed))[branch][0].numpy() for seed in range(90, 93)
        ]
        assert learned.quantiles[branch] == MapQuantiles.fit(maps, 0.5, 0.75)
        below = np.concatenate([learned.quantiles[branch](one).ravel() for one in maps]) <= 0
        assert below.mean() == pytest.approx(0.5, abs=0.01)


def test_a_blurred_map_has_the_pixels_of_the_input(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, steps=2, blur=3.0)
    assert learned.raw_maps(*query(encoder))["local"].shape == (1, SIDE, SIDE)


def test_the_blur_is_a_gaussian() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    values = rng.random((40, 50)).astype(np.float32)
    found = blurred(torch.from_numpy(values)[None, None], 2.0)[0, 0].numpy()
    wanted = ndimage.gaussian_filter(values, 2.0, mode="mirror", truncate=4.0)
    assert np.allclose(found, wanted, atol=1e-5)
    flat = blurred(torch.ones(1, 1, 5, 6), 4.0)  # wider than the map
    assert torch.allclose(flat, torch.ones(1, 1, 5, 6))


def test_kept_maps_are_those_of_the_encoder(encoder: SharedEncoder) -> None:
    pictures = squares(encoder, 0, 10)
    for source in ("levels", "pixels"):
        pair = []
        for cached in (True, False):
            config = training_config("cpu", **{**QUICK, "source": source, "cached": cached})
            aggregator = Aggregator(encoder.channels[1:], SIDE // 8, config.channels)
            pair.append(Images(pictures, encoder, aggregator, config, silent).batch([9, 2, 9]))
        for kept, anew in zip(*pair, strict=True):
            assert kept.shape == anew.shape
            assert torch.allclose(kept, anew, atol=2e-3)


def test_kept_maps_cost_one_pass_of_the_encoder_an_image() -> None:
    double = ShrunkEncoder()
    encoder = SharedEncoder(double, SIDE)
    fitted(encoder, steps=20)
    assert double.modules[0].images == 5 + 3  # training and held-out images


@pytest.mark.parametrize("source", ["levels", "pixels"])
def test_the_same_seed_gives_the_same_weights(encoder: SharedEncoder, source: str) -> None:
    one, other = (fitted(encoder, source=source, steps=3).tensors() for _ in range(2))
    third = fitted(encoder, source=source, steps=3, seed=1).tensors()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


def test_what_is_reconstructed_is_never_trained(encoder: SharedEncoder) -> None:
    short, long = (fitted(encoder, steps=steps).tensors() for steps in (1, 8))
    assert all(torch.equal(short[n], long[n]) for n in short if n.startswith("aggregator."))
    for network in ("frn.", "autoencoder."):
        assert any(not torch.equal(short[n], long[n]) for n in short if n.startswith(network))


def test_the_rate_drops_late_where_that_is_wanted(encoder: SharedEncoder) -> None:
    late, even = (fitted(encoder, steps=21, late_drop=late).tensors() for late in (True, False))
    early = [fitted(encoder, steps=1, late_drop=late).tensors() for late in (True, False)]
    assert any(not torch.equal(late[name], even[name]) for name in late)
    assert all(torch.equal(early[0][name], early[1][name]) for name in late)


def test_epochs_are_steps_in_which_every_image_came(encoder: SharedEncoder) -> None:
    told: list[int] = []
    fitted(
        encoder, steps=None, epochs=3,
        progress=lambda done, total, what: told.append(total) if "loss" in what else None,
    )  # fmt: skip
    assert set(told) == {8}  # 3 times 5 images, two at a time


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("source", ["levels", "pixels"])
def test_resumed_after_a_kill_it_ends_with_the_same_weights(
    encoder: SharedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("fmlad.methods.ulsad.reconstruction.SAVE_SECONDS", 0.0)
    whole = fitted(encoder, source=source)
    file = tmp_path / "reconstruction.safetensors"

    def stop(done: int, total: int, what: str) -> None:
        if file.exists():
            raise Killed

    monkeypatch.setattr("fmlad.training.loop.TELL_SECONDS", 0.0)
    with pytest.raises(Killed):
        fitted(encoder, source=source, checkpoint=file, progress=stop)
    resumed = fitted(encoder, source=source, checkpoint=file, resume=True)
    wanted, found = whole.tensors(), resumed.tensors()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert whole.quantiles == resumed.quantiles
    for change in ({"lambda_l": 0.25}, {"steps": 7}, {"seed": 1}):
        with pytest.raises(CheckpointError):
            fitted(encoder, source=source, checkpoint=file, resume=True, **change)


@pytest.mark.parametrize("branches", [BOTH, ("local",), ("global",)])
def test_survives_saving(encoder: SharedEncoder, branches: Any) -> None:
    learned = fitted(encoder, branches)
    meta = json.loads(json.dumps(learned.meta()))
    other = FittedReconstruction.restore(learned.tensors(), meta, "cpu", encoder)
    one, again = (each.maps(*query(encoder)) for each in (learned, other))
    assert one.keys() == again.keys() == set(branches)
    assert all(torch.equal(one[branch], again[branch]) for branch in branches)


BROKEN: list[dict[str, Any]] = [
    {"quantiles": {"local": [1.0, 0.0], "global": [0.0, 1.0]}}, {"quantiles": {}},
    {"quantiles": {"local": [0.0, 1.0]}}, {"quantiles": {"third": [0.0, 1.0]}},
    {"quantiles": 3}, {"config": {}}, {"config": {"steps": "many"}}, {"config": None},
]  # fmt: skip


@pytest.mark.parametrize("change", BROKEN)
def test_a_description_that_does_not_fit_is_refused(
    encoder: SharedEncoder, change: dict[str, Any]
) -> None:
    learned = fitted(encoder, steps=1)
    with pytest.raises(CorruptDetectorError):
        FittedReconstruction.restore(
            learned.tensors(), {**learned.meta(), **change}, "cpu", encoder
        )


def test_tensors_that_do_not_fit_are_refused(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, steps=1)
    tensors, weight = learned.tensors(), "frn.0.weight"
    for broken in (
        {name: one for name, one in tensors.items() if name != weight},
        {**tensors, "more": torch.zeros(1)},
        {**tensors, weight: torch.zeros(1)},
        {**tensors, weight: tensors[weight] * torch.nan},
        {**tensors, weight: tensors[weight].half()},
    ):
        with pytest.raises(CorruptDetectorError):
            FittedReconstruction.restore(broken, learned.meta(), "cpu", encoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 1}, "batch=1"), ({"width": 7}, "even"), ({"kernel": 4}, "odd"),
        ({"steps": 0}, "steps=0"), ({"lambda_l": -1.0}, "lambda_l"), ({"source": "maps"}, "source"),
        ({"consistency": "none"}, "consistency"), ({"final": "tanh"}, "final"),
        ({"low": 0.9, "high": 0.5}, "low=0.9 below high=0.5"), ({"blur": -1.0}, "blur"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        training_config("cpu", **change)


def test_unknown_numbers_and_presets_are_named() -> None:
    with pytest.raises(UnknownNameError, match="rates"):
        training_config("cpu", rates=1.0)
    with pytest.raises(UnknownNameError, match="gpu"):
        training_config("gpu")


def test_published_networks_have_published_shapes() -> None:
    """Spatial sizes at 256 px with 384 channels; widths are small here."""

    class Wide(ShrunkEncoder):
        def build(self) -> nn.Module:
            return _Levels()

    encoder = SharedEncoder(Wide(), 256)
    for preset in ("paper", "code"):
        config = training_config(preset, width=8, bottleneck=8)
        networks = {n: m.eval() for n, m in build(config, BOTH, encoder).items()}
        square = torch.zeros(2, 3, 256, 256, dtype=torch.uint8)
        with torch.no_grad():
            target = networks["aggregator"](encoder.encode(square)[1:])
            local, imitated, said = reconstructed(networks, target, square / 255.0)
        assert local is not None
        assert imitated is not None
        assert said is not None
        shapes = {tuple(one.shape) for one in (target, local, imitated, said)}
        assert shapes == {(2, 384, 32, 32)}


class _Levels(nn.Module):
    """Of a Wide ResNet-50: channels and sizes alone."""

    strides, channels = (4, 8, 16), (256, 512, 1024)

    def forward(self, images: Tensor) -> list[Tensor]:
        pairs = zip(self.strides, self.channels, strict=True)
        sizes = [(count, images.shape[-1] // stride) for stride, count in pairs]
        return [torch.rand(len(images), count, side, side) for count, side in sizes]


def test_presets_are_published_but_for_the_one_for_cpus() -> None:
    paper, code = PRESETS["paper"], PRESETS["code"]
    assert (paper.epochs, paper.rate, paper.weight_decay, paper.batch) == (200, 2e-4, 2e-5, 8)
    assert (paper.blur, code.blur) == (0.0, 4.0)
    assert (paper.final, code.final) == ("relu", "relu")
