"""Peers run their authors' code on our pictures; without anomalib their errors still speak."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from fmlad.bench.peers import list_peers, make_peer
from fmlad.bench.peers.base import swapped
from fmlad.errors import (
    DatasetError,
    MissingDependencyError,
    OptionError,
    ShotsError,
    UnknownNameError,
    WeightsUnavailableError,
)
from fmlad.training.loop import seeded
from tests.backbones.test_dino import save_timm, save_tiny
from tests.backbones.tiny_clip_models import save_open_clip
from tests.conftest import picture

HERE = importlib.util.find_spec("anomalib") is not None
needs_anomalib = pytest.mark.skipif(not HERE, reason='anomalib is missing: pip install ".[bench]"')

PATCHCORE, DINO = "anomalib:patchcore", "anomalib:anomaly-dino"
WINCLIP, EFFICIENT = "anomalib:winclip", "anomalib:efficient-ad"
SIZE = (72, 96)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three normal pictures and one with a scratch, in a folder of their own."""
    home = tmp_path / "pictures"
    home.mkdir()
    paths = [home / f"{seed}.png" for seed in range(4)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed, SIZE, defect=seed == 3)).save(path)
    return paths


@pytest.fixture
def without_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing anomalib fails, installed or not."""
    _instead(monkeypatch, ModuleNotFoundError("No module named 'anomalib'", name="anomalib"))


@pytest.fixture
def hollow_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    """anomalib's modules are there and do nothing: enough to reach what comes before them."""
    _instead(monkeypatch, MagicMock())


def _instead(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    real = importlib.import_module

    def load(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] != "anomalib":
            return real(name, package)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(importlib, "import_module", load)


# --- names, options, packages ---------------------------------------------------------------------


def test_an_unknown_peer_is_told_the_known_ones() -> None:
    assert list_peers() == sorted([PATCHCORE, DINO, WINCLIP, EFFICIENT])
    with pytest.raises(UnknownNameError, match="Did you mean 'anomalib:patchcore'"):
        make_peer("anomalib:patch-core")


@pytest.mark.parametrize("name", [PATCHCORE, DINO, WINCLIP, EFFICIENT])
def test_a_missing_package_names_the_extra(name: str, without_anomalib: None) -> None:
    with pytest.raises(MissingDependencyError, match=r"'anomalib' is not.*fmlad\[bench\]"):
        make_peer(name, {"weights": "random"}, "cpu")


@pytest.mark.parametrize("name", [PATCHCORE, DINO, WINCLIP, EFFICIENT])
def test_options_are_checked_before_anything_is_loaded(name: str, without_anomalib: None) -> None:
    with pytest.raises(UnknownNameError, match=f"option of {name} named 'weight'.*'weights'"):
        make_peer(name, {"weight": "random"}, "cpu")
    with pytest.raises(OptionError, match=r"weights is 3; expected a valid string"):
        make_peer(name, {"weights": 3}, "cpu")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (PATCHCORE, {"coreset": 0}, "coreset is 0; expected greater than or equal to 0.000001"),
        (PATCHCORE, {"coreset": float("nan")}, "coreset is nan; expected a finite number"),
        (PATCHCORE, {"neighbours": True}, "neighbours is True; expected a valid integer"),
        (PATCHCORE, {"layers": ["layer2", 3]}, r"layers is \['layer2', 3\]; expected a valid"),
        (DINO, {"masking": 1}, "masking is 1; expected a valid boolean"),
        (DINO, {"side": 13}, "side is 13; expected greater than or equal to 28"),
        (WINCLIP, {"word": " "}, "word is empty"),
        (EFFICIENT, {"size": "large"}, "size is 'large'; expected 'small' or 'medium'"),
    ],
)
def test_values_out_of_range_are_refused(
    name: str, options: dict[str, Any], message: str, without_anomalib: None
) -> None:
    with pytest.raises(OptionError, match=message):
        make_peer(name, options, "cpu")


@pytest.mark.parametrize("module", ["patchcore", "anomaly_dino", "winclip", "efficient_ad"])
def test_the_documentation_knows_every_option(module: str) -> None:
    options = importlib.import_module(f"fmlad.bench.peers.{module}").Options
    text = (Path(__file__).parents[2] / "docs" / "peers.md").read_text()
    table = text[text.index("| peer | option |") : text.index("## Where they differ")]
    rows = table[table.index(f"`{module.replace('_', '-')}`") :]
    for field in dataclasses.fields(options):
        if field.name in ("weights", "backbone"):  # in a table and a sentence of their own
            assert f"`{field.name}`" in text
            continue
        row = next(line for line in rows.splitlines() if f"| `{field.name}` |" in line)
        wanted = field.default.default  # type: ignore[union-attr]
        if wanted:  # what stands for "of the network" is written as the network's value
            assert (f"{wanted:g}" if isinstance(wanted, float) else str(wanted)) in row


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (PATCHCORE, {}, "wide_resnet50_2.*HF_HUB_OFFLINE"),
        (PATCHCORE, {"backbone": "resnet18"}, "timm/resnet18.a1_in1k.*HF_HUB_OFFLINE"),
        (PATCHCORE, {"backbone": "resnet18", "weights": "/no/such.pth"}, "/no/such.pth"),
        (DINO, {}, "facebook/dinov2-small.*HF_HUB_OFFLINE"),
        (DINO, {"weights": "/no/such"}, "/no/such"),
        (WINCLIP, {"weights": "ViT-B-32@/no/such.bin"}, "no file /no/such.bin"),
        (EFFICIENT, {"weights": "/no/such.pth"}, "there is no teacher /no/such.pth"),
    ],
)
def test_missing_weights_are_named_and_never_random(
    name: str,
    options: dict[str, Any],
    message: str,
    hollow_anomalib: None,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "weights"))
    if name == EFFICIENT:
        options = {**options, "penalty": str(pictures[0].parent)}
    with pytest.raises(WeightsUnavailableError, match=message) as caught:
        make_peer(name, options, "cpu")
    said = str(caught.value)
    assert f"The peer {name!r} has no weights" in said
    assert "Pass weights=" in said
    assert "weights='random'" in said
    assert "profile" not in said  # the ways out of our own backbones are none here


def test_the_penalty_pictures_of_efficient_ad_are_asked_for(
    hollow_anomalib: None, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="penalty=FOLDER"):
        make_peer(EFFICIENT, {"weights": "random"}, "cpu")
    with pytest.raises(DatasetError, match="holds no pictures"):
        make_peer(EFFICIENT, {"weights": "random", "penalty": str(tmp_path)}, "cpu")


def test_a_folder_of_another_network_is_refused(hollow_anomalib: None, tmp_path: Path) -> None:
    folder = save_timm(tmp_path / "dino")
    options = {"backbone": "resnet18", "weights": str(folder)}
    with pytest.raises(WeightsUnavailableError, match=r"of vit_small.*resnet18 was asked for"):
        make_peer(PATCHCORE, options, "cpu")


def test_a_state_that_does_not_fit_is_refused(hollow_anomalib: None, tmp_path: Path) -> None:
    file = tmp_path / "wrong.pth"
    torch.save({"features.0.weight": torch.zeros(3)}, file)
    options = {"backbone": "resnet18", "weights": str(file)}
    with pytest.raises(WeightsUnavailableError, match=r"Missing key.*conv1"):
        make_peer(PATCHCORE, options, "cpu")
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsUnavailableError, match="cannot be read as a checkpoint"):
        make_peer(PATCHCORE, options, "cpu")


# --- what runs ------------------------------------------------------------------------------------


def options_of(name: str, tmp_path: Path) -> dict[str, Any]:
    """A small version of a peer with weights that are random and say so, or are a tiny folder."""
    if name == PATCHCORE:
        return {"weights": "random", "backbone": "resnet18", "side": 96, "coreset": 0.5}
    if name == DINO:
        return {"weights": str(save_tiny(tmp_path / "dino")), "side": 98}
    return {"weights": str(save_open_clip(tmp_path / "clip"))}


@needs_anomalib
@pytest.mark.parametrize("name", [PATCHCORE, DINO, WINCLIP])
def test_a_peer_is_fitted_and_asked_again_and_again(
    name: str, tmp_path: Path, pictures: list[Path]
) -> None:
    peer = make_peer(name, options_of(name, tmp_path), "cpu")
    with pytest.raises(OptionError, match="before it was fitted"):
        peer.score(pictures[0])
    before = torch.random.get_rng_state()
    peer.fit(pictures[:2], seed=3)
    assert torch.equal(before, torch.random.get_rng_state())  # nobody else's chance is touched
    first = [peer.score(path) for path in pictures]
    for said in first:
        assert said.anomaly_map is not None
        assert said.anomaly_map.shape == SIZE
        assert said.anomaly_map.dtype == np.float32
        assert np.isfinite(said.anomaly_map).all()
        assert np.isfinite(said.score)
        assert said.threshold is None
    assert len({said.score for said in first[1:]}) == 3

    peer.fit(pictures[2:3], seed=3)  # other shots: the first ones are forgotten
    other = [peer.score(path).score for path in pictures]
    assert other != [said.score for said in first]
    torch.manual_seed(99)
    peer.fit(pictures[:2], seed=3)
    again = [peer.score(path) for path in pictures]
    assert [said.score for said in again] == [said.score for said in first]
    np.testing.assert_array_equal(again[3].anomaly_map, first[3].anomaly_map)
    facts = peer.facts()
    assert facts["weights_mb"] > 0
    assert facts["memory_mb"] > 0


@needs_anomalib
def test_patchcore_runs_on_a_network_whose_padding_hangs_on_its_input(pictures: list[Path]) -> None:
    """timm's ``tf_*`` networks pad as TensorFlow does, which torch.fx cannot trace."""
    options = {"weights": "random", "backbone": "tf_efficientnet_lite0", "side": 96, "coreset": 0.5}
    peer = make_peer(PATCHCORE, options, "cpu")
    peer.fit(pictures[:2], seed=0)
    scores = [peer.score(path).score for path in pictures]
    assert max(scores[:2]) < min(scores[2:])  # a shot is nearest to itself
    named = make_peer(PATCHCORE, {**options, "layers": ["blocks.2", "blocks.4"]}, "cpu")
    named.fit(pictures[:2], seed=0)  # strides 8 and 16, as the default
    assert [named.score(path).score for path in pictures] == scores


@needs_anomalib
def test_layers_that_the_network_lacks_are_refused() -> None:
    options = {"weights": "random", "backbone": "squeezenet", "layers": ["features.10", "blocks.4"]}
    with pytest.raises(OptionError, match="whose parts are features, classifier"):
        make_peer(PATCHCORE, options, "cpu")


@needs_anomalib
def test_layers_without_maps_are_refused(pictures: list[Path]) -> None:
    options = {"weights": "random", "backbone": "resnet18", "layers": ["fc"], "side": 64}
    with pytest.raises(OptionError, match="'fc' gives no feature maps"):
        make_peer(PATCHCORE, options, "cpu").fit(pictures[:1], seed=0)


@needs_anomalib
def test_patchcore_draws_its_coreset_by_the_seed(tmp_path: Path, pictures: list[Path]) -> None:
    peer = make_peer(PATCHCORE, {**options_of(PATCHCORE, tmp_path), "coreset": 0.1}, "cpu")
    scores = []
    for seed in (0, 1):
        peer.fit(pictures[:2], seed=seed)
        scores.append(peer.score(pictures[3]).score)
    assert scores[0] != scores[1]


@needs_anomalib
def test_only_random_weights_are_noted_as_such(tmp_path: Path) -> None:
    random = make_peer(PATCHCORE, options_of(PATCHCORE, tmp_path), "cpu").notes()
    tiny = make_peer(DINO, options_of(DINO, tmp_path), "cpu").notes()
    assert [note.endswith("random weights") for note in random] == [False, True]
    assert all("random" not in note for note in tiny)
    assert "code of anomalib" in tiny[0]


@needs_anomalib
def test_what_a_peer_cannot_use_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    peer = make_peer(DINO, options_of(DINO, tmp_path), "cpu")
    with pytest.raises(OptionError, match="no use of prompts"):
        peer.fit(pictures[:1], seed=0, prompts="scenes/pushpins")
    with pytest.raises(OptionError, match="no use of validation images"):
        peer.fit(pictures[:1], seed=0, validation=pictures[1:2])
    with pytest.raises(ShotsError, match="no shots"):
        peer.fit([], seed=0)
    with pytest.raises(OptionError, match="before it was fitted"):
        peer.score(pictures[0])


# --- that it is their code with their settings ----------------------------------------------------


def _their_scores(model: Any, transform: Any, shots: Sequence[Path], image: Path) -> float:
    """Fits anomalib's torch model as its own Lightning module does."""

    def look(path: Path) -> torch.Tensor:
        pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
        return transform(pixels.permute(2, 0, 1).float() / 255)[None]

    model.train()
    for shot in shots:
        model(look(shot))
    if hasattr(model, "subsample_embedding"):
        model.subsample_embedding(1.0)
    else:
        model.fit()
    with torch.no_grad():
        return float(model.eval()(look(image)).pred_score.reshape(-1)[0])


@needs_anomalib
def test_patchcore_scores_as_anomalib_does_with_the_same_weights(pictures: list[Path]) -> None:
    from anomalib.models.image.patchcore.lightning_model import Patchcore
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    options = {"weights": "random", "backbone": "resnet18", "coreset": 1.0}
    peer = make_peer(PATCHCORE, options, "cpu")
    peer.fit(pictures[:2], seed=0)
    theirs = PatchcoreModel(("layer2", "layer3"), backbone="resnet18", pre_trained=False)
    ours = peer.model.feature_extractor.feature_extractor.state_dict()  # type: ignore[union-attr]
    inner = theirs.feature_extractor.feature_extractor
    kept = inner.state_dict().keys()
    inner.load_state_dict({key: ours[key] for key in kept})
    transform = Patchcore.configure_pre_processor().transform
    expected = _their_scores(theirs, transform, pictures[:2], pictures[3])
    assert peer.score(pictures[3]).score == pytest.approx(expected, rel=1e-4)


@needs_anomalib
def test_anomaly_dino_scores_as_anomalib_does_with_the_same_weights(
    pictures: list[Path], tmp_path: Path
) -> None:
    """Theirs loads a timm model by name; so does ours, from a folder with the same tensors."""
    import timm
    from anomalib.models.image.anomaly_dino import torch_model
    from anomalib.models.image.anomaly_dino.lightning_model import AnomalyDINO
    from timm.models import vision_transformer

    torch.manual_seed(0)
    network = timm.create_model(
        "vit_small_patch14_dinov2", embed_dim=32, num_heads=2, img_size=518, num_classes=0
    )  # of the real size, so that position embeddings shrink on the way to 252 px
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = tmp_path / "dino"
    timm.models.save_for_hf(network, str(folder), safe_serialization=True)
    interpolation: Any = vision_transformer.resample_abs_pos_embed  # type: ignore[attr-defined]
    peer = make_peer(DINO, {"weights": str(folder)}, "cpu")
    peer.fit(pictures[:2], seed=0)
    ours = peer.score(pictures[3]).score
    # Theirs changes timm for the whole process; a peer must not, or our own features change.
    assert vision_transformer.resample_abs_pos_embed is interpolation  # type: ignore[attr-defined]

    real = timm.create_model

    def create(name: str, **_: Any) -> Any:
        return real(f"local-dir:{folder}", pretrained=True, num_classes=0, dynamic_img_size=True)

    with (
        swapped(timm, "create_model", create),
        swapped(vision_transformer, "resample_abs_pos_embed", interpolation),
    ):
        theirs = torch_model.AnomalyDINOModel()
        transform = AnomalyDINO.configure_pre_processor().transform
        expected = _their_scores(theirs, transform, pictures[:2], pictures[3])
    assert ours == pytest.approx(expected, rel=1e-4)


@needs_anomalib
def test_winclip_sees_and_reads_as_anomalib_does(tmp_path: Path, pictures: list[Path]) -> None:
    import open_clip
    from anomalib.models.image.winclip.lightning_model import WinClip

    from fmlad.bench.peers.winclip import _transform

    pixels = torch.rand(3, 50, 70)
    colours = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    theirs = WinClip.configure_pre_processor().transform(pixels)
    torch.testing.assert_close(_transform(240, *colours)(pixels), theirs)

    peer = make_peer(WINCLIP, options_of(WINCLIP, tmp_path), "cpu")
    peer.fit(pictures[:2], seed=0)
    assert (peer.model.class_name, peer.model.k_shot) == ("object", 2)
    object_score = peer.score(pictures[3]).score
    peer.fit(pictures[:2], seed=0, prompts="scenes/screw_bag")
    assert peer.model.class_name == "screw bag"
    assert peer.score(pictures[3]).score != object_score
    peer.fit(pictures[:1], seed=0)
    assert (peer.model.class_name, peer.model.k_shot) == ("object", 1)


@needs_anomalib
def test_winclip_refuses_a_model_without_windows(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = {
        "image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 8,
    }  # fmt: skip
    save_open_clip(tmp_path / "resnet", config)
    with pytest.raises(OptionError, match="plain vision transformer"):
        make_peer(WINCLIP, {"weights": str(tmp_path / "resnet")}, "cpu")


@needs_anomalib
def test_efficient_ad_measures_its_teacher_and_maps_as_anomalib_does() -> None:
    from anomalib.models.image.efficient_ad.lightning_model import EfficientAd

    from fmlad.bench.peers.efficient_ad import _channel_statistics, _quantiles

    torch.manual_seed(0)
    teacher = torch.nn.Conv2d(3, 5, 3)
    shots = [torch.rand(1, 3, 20, 24) for _ in range(3)]

    def get_maps(image: torch.Tensor, normalize: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert not normalize
        batch = image.reshape(1, 3, 20, 24)
        return batch.mean(1, keepdim=True), batch.amax(1, keepdim=True) ** 2

    model = SimpleNamespace(teacher=teacher, get_maps=get_maps)
    theirs: Any = SimpleNamespace(model=model, device="cpu")
    theirs._get_quantiles_of_maps = lambda maps: EfficientAd._get_quantiles_of_maps(theirs, maps)
    batches: Any = [SimpleNamespace(image=shot, gt_label=torch.tensor([0])) for shot in shots]
    with torch.no_grad():
        expected = EfficientAd.teacher_channel_mean_std(theirs, batches)
        found = _channel_statistics(teacher, shots)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        _quantiles(model, shots), EfficientAd.map_norm_quantiles(theirs, batches)
    )


@needs_anomalib
@pytest.mark.slow
def test_efficient_ad_trains_and_is_deterministic(pictures: list[Path]) -> None:
    options = {"weights": "random", "steps": 2, "penalty": str(pictures[0].parent)}
    peer = make_peer(EFFICIENT, options, "cpu")
    scores = []
    for seed in (1, 1, 2):
        peer.fit(pictures[:2], seed=seed, validation=pictures[2:3])
        said = peer.score(pictures[3])
        assert said.anomaly_map is not None
        assert said.anomaly_map.shape == SIZE
        assert np.isfinite(said.anomaly_map).all()
        scores.append(said.score)
    assert scores[0] == scores[1] != scores[2]
    assert peer.facts()["memory_mb"] == 0


# --- a real network on real photographs -----------------------------------------------------------


@needs_anomalib
@pytest.mark.shared
@pytest.mark.slow
def test_patchcore_with_a_real_network_finds_the_defects_of_a_real_board(
    shared: Callable[..., Path],
) -> None:
    root = shared("data", "deeppcb", "group77000")
    options = {"backbone": "squeezenet", "side": 454, "coreset": 1.0}
    peer = make_peer(PATCHCORE, options, "cpu")
    for stem in ("77000003", "77000010"):
        template = root / "77000" / f"{stem}_temp.jpg"
        peer.fit([template], seed=0)
        said = peer.score(root / "77000" / f"{stem}_test.jpg")
        assert said.score > 1.2 * peer.score(template).score
        assert said.anomaly_map is not None
        inside = np.zeros(said.anomaly_map.shape, bool)
        for line in (root / "77000_not" / f"{stem}.txt").read_text().splitlines():
            x0, y0, x1, y1, _ = map(int, line.split())
            inside[y0:y1, x0:x1] = True
        assert np.median(said.anomaly_map[inside]) > 2 * np.median(said.anomaly_map[~inside])


@needs_anomalib
@pytest.mark.shared
@pytest.mark.parametrize("backbone", ["squeezenet", "efficientnet-lite0"])
def test_patchcore_with_a_real_network_looks_at_dice(
    backbone: str, shared: Callable[..., Path]
) -> None:
    photographs = sorted(shared("data", "dice", "images").glob("*.jpg"))[40:45]
    peer = make_peer(PATCHCORE, {"backbone": backbone}, "cpu")
    peer.fit(photographs[:4], seed=0)
    said = peer.score(photographs[4])
    assert said.anomaly_map is not None
    assert said.anomaly_map.shape == Image.open(photographs[4]).size[::-1]
    assert peer.score(photographs[0]).score < said.score  # a shot is nearer to itself


def test_packaged_networks_get_the_pixels_they_were_trained_on() -> None:
    from fmlad.bench.peers.patchcore import PACKAGED, packaged_pixels

    red = torch.zeros(3, 8, 8)
    red[0] = 1.0
    for name, expected in (
        ("squeezenet", (-104.0, -117.0, 255.0 - 123.0)),
        ("efficientnet-lite0", (1.0, -127 / 128, -127 / 128)),
    ):
        found = packaged_pixels(PACKAGED[name], red, 4)
        assert found.shape == (3, 4, 4)
        torch.testing.assert_close(found[:, 0, 0], torch.tensor(expected))


def test_packaged_networks_come_with_their_weights(hollow_anomalib: None) -> None:
    with pytest.raises(OptionError, match="squeezenet comes with its weights"):
        make_peer(PATCHCORE, {"backbone": "squeezenet", "weights": "x.pth"}, "cpu")


@needs_anomalib
def test_packaged_networks_need_no_folder_of_weights(pictures: list[Path]) -> None:
    options = {"backbone": "efficientnet-lite0", "side": 96, "coreset": 0.5}
    peer = make_peer(PATCHCORE, options, "cpu")
    peer.fit(pictures[:2], seed=0)
    assert peer.score(pictures[0]).score < peer.score(pictures[3]).score
    assert not any("random" in note for note in peer.notes())


# --- small tools ----------------------------------------------------------------------------------


def test_seeds_last_only_as_long_as_they_are_wanted() -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    with seeded(1, "cpu"):
        first = (np.random.rand(), float(torch.rand(())))  # noqa: NPY002
    assert np.random.rand() == expected  # noqa: NPY002
    with seeded(1, "cpu"):
        assert first == (np.random.rand(), float(torch.rand(())))  # noqa: NPY002


def test_a_swap_ends_and_an_unknown_version_is_told() -> None:
    module = SimpleNamespace(__name__="theirs", there=1)
    with pytest.raises(ZeroDivisionError), swapped(module, "there", 2):
        module.there = 1 / (module.there - 2)
    assert module.there == 1
    with pytest.raises(MissingDependencyError, match="theirs has no 'gone'"):
        swapped(module, "gone", 2).__enter__()
