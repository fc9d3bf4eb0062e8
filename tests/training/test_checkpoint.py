"""Checkpoints bring back every bit, and say what is wrong where they cannot."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fmlad.errors import CheckpointError
from fmlad.training.checkpoint import Training, load, save

SETTINGS = {"steps": 3, "sides": (4, 5), "images": ["a", "b"]}


def network(width: int = 3) -> nn.Module:
    """Weights and buffers of many dtypes, shared, strided, empty and without dimensions."""
    layer = nn.Linear(4, width)
    net = nn.ModuleDict({"first": layer, "again": layer, "norm": nn.BatchNorm2d(2)})
    net["kernel"] = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
    for name, buffer in {
        "int64": torch.tensor([2**60 + 1]),
        "bool": torch.tensor([True, False]),
        "float16": torch.rand(2, 2).half(),
        "bfloat16": torch.rand(3).bfloat16(),
        "uint8": torch.tensor(7, dtype=torch.uint8),
        "none": torch.zeros(0, 3),
    }.items():
        net.register_buffer(f"of_{name}", buffer)
    return net


def training(kind: type[torch.optim.Optimizer] = torch.optim.Adam, width: int = 3) -> Training:
    """After two steps, so that every optimiser has a state."""
    net = network(width)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(net.parameters(), lr=0.1, **options)  # type: ignore[call-arg]
    for _ in range(2):
        optimizer.zero_grad()
        values = net["norm"](net["kernel"](torch.rand(2, 2, 5, 5)))
        (net["first"](torch.rand(2, 4)).square().sum() + values.square().mean()).backward()
        optimizer.step()
    return Training(SETTINGS, {"net": net}, [optimizer], torch.amp.GradScaler("cpu", enabled=False))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.safetensors"
    save(path, 2, training())
    return path


@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop]
)
def test_what_is_loaded_is_what_was_saved(
    kind: type[torch.optim.Optimizer], tmp_path: Path
) -> None:
    saved, other = training(kind), training(kind)
    save(tmp_path / "c", 2, saved)
    chance = torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
    assert load(tmp_path / "c", other) == 2
    assert torch.equal(chance[0], torch.rand(3))
    assert chance[1:] == (np.random.rand(), random.random())  # noqa: NPY002
    expected, found = (t.modules["net"].state_dict() for t in (saved, other))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert int(found["norm.num_batches_tracked"]) == 2
    mine, theirs = (t.optimizers[0].state_dict()["state"] for t in (saved, other))
    assert mine.keys() == theirs.keys()
    for number, kept in mine.items():
        assert all(torch.equal(value, theirs[number][key]) for key, value in kept.items())


def test_the_state_of_a_scaled_loss_comes_back(tmp_path: Path) -> None:
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (8.0, 2.0)]
    save(tmp_path / "c", 0, Training({}, {}, [], scalers[0]))
    load(tmp_path / "c", Training({}, {}, [], scalers[1]))
    assert scalers[1].state_dict() == scalers[0].state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, "its steps is 3, here it is 4"),
        ({"images": ["a"]}, r"its images is \['a', 'b'\], here it is \['a'\]"),
        ({"more": 1}, "its more is None, here it is 1"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    change: dict[str, object], message: str, file: Path
) -> None:
    ours = training()
    before = {key: value.clone() for key, value in ours.modules["net"].state_dict().items()}
    foreign = Training({**SETTINGS, **change}, ours.modules, ours.optimizers, ours.scaler)
    with pytest.raises(CheckpointError, match=f"another training: {message}"):
        load(file, foreign)
    after = ours.modules["net"].state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_checkpoint_of_another_network_is_refused(file: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"does not fit the networks of this training: .*size"
    ):
        load(file, training(width=2))
    ours = training()
    with pytest.raises(CheckpointError, match="does not fit"):
        load(file, Training(SETTINGS, {"other": network()}, ours.optimizers, ours.scaler))
    with pytest.raises(CheckpointError, match="does not fit"):
        load(file, Training(SETTINGS, ours.modules, [], ours.scaler))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(share: float, file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"c\.safetensors is damaged"):
        load(file, training())


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    file.write_bytes(b"something else entirely, and long enough")
    with pytest.raises(CheckpointError, match="is damaged"):
        load(file, training())
    for metadata in ({}, {"fmlad.checkpoint": '{"format": 99}'}):
        save_file({"a": torch.zeros(2)}, file, metadata)
        with pytest.raises(CheckpointError, match="is no checkpoint of format 1"):
            load(file, training())


def test_a_failed_save_leaves_the_earlier_checkpoint(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left"):
        save(file, 3, training())
    assert file.read_bytes() == data
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(file / "below a file", 3, training())
