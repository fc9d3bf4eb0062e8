"""LGST: training, penalties, resumption, saving; on an encoder of averaged colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fmlad.errors import CheckpointError, CorruptDetectorError, DatasetError, OptionError
from fmlad.methods.csad.student_config import student_config
from fmlad.methods.csad.student_data import Source, jittered_squares, penalty_squares
from fmlad.methods.csad.student_teacher import FittedStudents, build, fit_students
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.scoring.map_quantiles import MapQuantiles
from tests.methods.csad.stand_in import QUICK, ShrunkEncoder, product

SIDE = 64


@pytest.fixture(scope="module")
def encoder() -> SharedEncoder:
    return SharedEncoder(ShrunkEncoder(), SIDE)


def squares(encoder: SharedEncoder, first: int, count: int) -> list[Tensor]:
    return [encoder.square(product(seed)[0]) for seed in range(first, first + count)]


def fitted(encoder: SharedEncoder, **changes: Any) -> FittedStudents:
    others = {
        k: changes.pop(k) for k in ("penalty", "checkpoint", "resume", "seed") if k in changes
    }
    config = student_config("cpu", **{**QUICK, **changes})
    held_out = squares(encoder, 90, 3)
    return fit_students(squares(encoder, 0, 5), held_out, encoder, config, **others)


def source(encoder: SharedEncoder, seed: int = 50, **change: Any) -> Source:
    square = encoder.square(product(seed, **change)[0])[None]
    return Source(square, encoder.encode(square))


def test_it_learns_what_is_normal(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, steps=150, width=16, rate=0.005, hard=0.0)
    good = [float(learned.anomaly_map(source(encoder, seed)).max()) for seed in range(50, 53)]
    pixels = product(50)[0]
    pixels[60:80, 90:110] = (20, 220, 60)  # a colour that no product has, lower right
    square = encoder.square(pixels)[None]
    bad = learned.anomaly_map(Source(square, encoder.encode(square)))
    assert float(bad.max()) > 1.5 * max(good)
    rows, columns = np.nonzero((bad > 0.8 * bad.max()).numpy())
    assert rows.min() > SIDE / 2
    assert columns.min() > SIDE / 2


@pytest.mark.parametrize("kind", ["levels", "pixels", "around"])
def test_maps_are_squared_differences_over_channels(encoder: SharedEncoder, kind: str) -> None:
    learned = fitted(encoder, source=kind, steps=2)
    one = source(encoder)
    networks = learned._networks
    with torch.no_grad():
        wanted = networks["teacher"](one.levels[1:])
        near, far = networks["local"](one.local(learned.config, wanted))
        said = networks["across"](one.across(learned.config))
    first, second = learned.maps(one)
    assert first.shape == second.shape == (1, 8, 8)
    assert first[0, 2, 3] == pytest.approx(float((near - wanted)[0, :, 2, 3].square().mean()))
    assert second[0, 2, 3] == pytest.approx(float((far - said)[0, :, 2, 3].square().mean()))


def test_fine_levels_can_be_taught(encoder: SharedEncoder) -> None:
    learned = fitted(encoder, source="around", taught="fine", averaged=1, steps=2)
    teacher = learned._networks["teacher"]
    one = source(encoder)
    assert teacher.channels == 5 + 6
    assert one.teachers(learned.config) == one.levels[:2]
    restored = FittedStudents.restore(learned.tensors(), learned.meta(), "cpu", encoder)
    assert torch.equal(restored.anomaly_map(one), learned.anomaly_map(one))


def test_the_map_adds_both_by_quantiles_of_held_out_images(encoder: SharedEncoder) -> None:
    learned = fitted(encoder)
    others = [source(encoder, seed) for seed in range(90, 93)]
    pairs = [learned.maps(one) for one in others]
    for place in (0, 1):
        maps = [pair[place][0].numpy() for pair in pairs]
        assert learned.quantiles[place] == MapQuantiles.fit(maps)
    first, second = learned.maps(source(encoder))
    joined = learned.quantiles[0](first) + learned.quantiles[1](second)
    whole = learned.anomaly_map(source(encoder))
    assert whole.shape == (SIDE, SIDE)
    assert whole.min() >= 0
    assert whole.max() <= max(0.0, float(joined.max())) + 1e-6


@pytest.mark.parametrize("kind", ["levels", "pixels", "around"])
def test_the_same_seed_gives_the_same_weights(encoder: SharedEncoder, kind: str) -> None:
    one, other = (fitted(encoder, source=kind, steps=3).tensors() for _ in range(2))
    third = fitted(encoder, source=kind, steps=3, seed=1).tensors()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


def test_teacher_and_encoder_are_never_trained(encoder: SharedEncoder) -> None:
    short, long = (fitted(encoder, steps=steps).tensors() for steps in (1, 8))
    assert all(torch.equal(short[n], long[n]) for n in short if n.startswith("teacher."))
    assert any(not torch.equal(short[n], long[n]) for n in short if n.startswith("local."))
    assert any(not torch.equal(short[n], long[n]) for n in short if n.startswith("across."))


class Killed(BaseException):
    """Nothing catches it."""


def test_resumed_after_a_kill_it_ends_with_the_same_weights(
    encoder: SharedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmlad.methods.csad.student_teacher.SAVE_SECONDS", 0.0)
    whole = fitted(encoder).tensors()
    file = tmp_path / "students.safetensors"
    config = student_config("cpu", **QUICK)

    def stop(done: int, total: int, what: str) -> None:
        if file.exists():
            raise Killed

    with pytest.raises(Killed):
        fit_students(
            squares(encoder, 0, 5), squares(encoder, 90, 3), encoder, config, checkpoint=file,
            progress=stop,
        )  # fmt: skip
    resumed = fitted(encoder, checkpoint=file, resume=True).tensors()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(CheckpointError):
        fitted(encoder, checkpoint=file, resume=True, hard=0.5)


def test_survives_saving(encoder: SharedEncoder) -> None:
    learned = fitted(encoder)
    meta = json.loads(json.dumps(learned.meta()))
    other = FittedStudents.restore(learned.tensors(), meta, "cpu", encoder)
    one = source(encoder, 50, pins=1)
    assert torch.equal(other.anomaly_map(one), learned.anomaly_map(one))
    tensors = learned.tensors()
    for broken in (
        {n: t for n, t in tensors.items() if n != "local.heads.0.weight"},
        {**tensors, "more": torch.zeros(1)},
        {**tensors, "local.heads.0.weight": torch.zeros(1)},
    ):
        with pytest.raises(CorruptDetectorError):
            FittedStudents.restore(broken, meta, "cpu", encoder)
    for change in ({"quantiles": [[1.0, 0.0], [0.0, 1.0]]}, {"penalised": -1}, {"config": {}}):
        with pytest.raises(CorruptDetectorError):
            FittedStudents.restore(tensors, {**meta, **change}, "cpu", encoder)


def pictures(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_penalty_images_keep_the_local_student_small_on_them(
    encoder: SharedEncoder, tmp_path: Path
) -> None:
    folder = str(pictures(tmp_path / "others"))
    with_them, without = (
        fitted(encoder, penalty=penalty, steps=40, width=16, rate=0.005)
        for penalty in (folder, None)
    )
    assert (with_them.penalised, without.penalised) == (4, 0)
    other = torch.stack(penalty_squares(folder, SIDE, 0.0, 4, 0))
    levels = encoder.encode(other)
    sizes = [
        float(one._networks["local"](levels[0])[0].detach().square().mean())
        for one in (with_them, without)
    ]
    assert sizes[0] < 0.5 * sizes[1]


def test_penalty_squares(tmp_path: Path) -> None:
    folder = str(pictures(tmp_path / "others"))
    coloured, grey = (penalty_squares(folder, 32, share, 3, 0) for share in (0.0, 1.0))
    assert len(coloured) == len(grey) == 3
    for one, other in zip(coloured, grey, strict=True):
        assert one.shape == other.shape == (3, 32, 32)
        assert (other[0] == other[1]).all()
        assert not (one[0] == one[1]).all()
        luma = (one.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
        assert (luma - other[0].float()).abs().max() <= 0.5
    assert penalty_squares(None, 32, 0.0, 3, 0) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no pictures"):
        penalty_squares(str(tmp_path / "empty"), 32, 0.0, 3, 0)


def test_copies_differ_in_colour_alone(encoder: SharedEncoder) -> None:
    originals = squares(encoder, 0, 2)
    copies = jittered_squares(originals, 2, 0.2, 0)
    assert len(copies) == 4
    for number, copy in enumerate(copies):
        pair = np.corrcoef(copy.flatten(), originals[number % 2].flatten())
        assert pair[0, 1] > 0.98
    assert any(not torch.equal(copies[0], one) for one in (originals[0], copies[2]))
    assert all(
        torch.equal(a, b)
        for a, b in zip(copies, jittered_squares(originals, 2, 0.2, 0), strict=True)
    )


@pytest.mark.parametrize(
    "change", [{"ends": "three"}, {"hard": 2.0}, {"grid": 0}, {"steps": 0}, {"source": "maps"}]
)
def test_wrong_numbers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        student_config("cpu", **change)


def test_published_networks_have_published_shapes() -> None:
    encoder = SharedEncoder(ShrunkEncoder(), 256)
    for preset, grid in (("paper", 56), ("code", 64)):
        config = student_config(preset, width=8)
        networks = {n: m.eval() for n, m in build(config, encoder).items()}
        with torch.no_grad():
            square = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
            one = Source(square, encoder.encode(square))
            wanted = networks["teacher"](one.teachers(config))
            local, other = networks["local"](one.local(config, wanted))
            shapes = {
                tuple(maps.shape)
                for maps in (
                    local, other, networks["across"](one.across(config)), wanted,
                )
            }  # fmt: skip
        assert shapes == {(1, 512, grid, grid)}
