"""SAM by the package segment-anything itself: against the same file through transformers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlad.backbones.catalogue import catalogue, describe, lookup
from fmlad.backbones.hub import FOLDER_VARIABLE
from fmlad.backbones.roles import MaskProposer
from fmlad.backbones.sam import sam
from fmlad.backbones.sam.sam_models import SamNetwork, TransformersSam
from fmlad.backbones.sam.sam_original import from_checkpoint
from fmlad.backbones.sam.sam_package import PackageSam, package_model
from fmlad.backbones.wheels import promised_hash
from fmlad.errors import OptionError, WeightsUnavailableError
from fmlad.profiles import load_backbones
from tests.backbones.test_sam import OPEN, original_names, photo
from tests.backbones.test_sam_prompts import LABELS, SETS, close
from tests.backbones.tiny_sam_models import (
    save_original,
    save_transformers,
    shaken,
    transformers_model,
)
from tests.conftest import picture

segment_anything = pytest.importorskip("segment_anything")
BOXES = np.array([[10, 20, 90, 110], [100, 30, 190, 140]], np.float32)


def both(file: Path) -> tuple[SamNetwork, SamNetwork]:
    return (
        PackageSam(package_model(file, str(file)), "cpu"),
        TransformersSam(from_checkpoint(file, str(file), "sam"), "cpu"),
    )


@pytest.mark.parametrize("size", [(150, 200), (300, 120)])
def test_logits_are_those_of_transformers(tmp_path: Path, size: tuple[int, int]) -> None:
    package, other = both(save_original(tmp_path / "sam.pth"))
    assert (package.kind, package.side) == (other.kind, other.side) == ("sam", 256)
    pixels = picture(0, size)
    ours, theirs = package.encode(pixels), other.encode(pixels)
    assert (ours.size, ours.inner) == (theirs.size, theirs.inner)
    close(ours.maps[0], theirs.maps[0])
    asked = [
        {"boxes": BOXES, "several": False},
        {"boxes": BOXES, "several": True},
        {"points": SETS[:, :1], "several": True},
        {"points": SETS[2:], "labels": LABELS[2:], "several": False},
        {"points": SETS, "labels": LABELS, "several": True},
    ]
    for given in asked:
        logits, quality = package.decode(ours, **given)  # type: ignore[arg-type]
        expected, guessed = other.decode(theirs, **given)  # type: ignore[arg-type]
        close(logits, expected)
        close(quality, guessed)
        close(package.enlarge(logits[:, 0], ours), other.enlarge(expected[:, 0], theirs))


def test_masks_are_those_of_transformers(tmp_path: Path) -> None:
    file = save_original(tmp_path / "sam.pth")
    options = f"{OPEN},specks=20"
    package = sam.load_package(f"segment-anything:{file}#{options}")
    other = sam.load(f"sam:{file}#{options}")
    assert isinstance(package, MaskProposer)
    for found, expected in (
        (package.propose(photo()), other.propose(photo())),
        (
            package.prompt(photo(), BOXES, SETS, LABELS),
            other.prompt(photo(), BOXES, SETS, LABELS),
        ),
    ):
        assert len(found) == len(expected) > 5
        assert (found.masks == expected.masks).mean() > 0.9999
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=2)
    # They are not the same to the last bit, so neither reads the other's masks from the cache.
    assert package.fingerprint != other.fingerprint
    assert sam.load_package(f"segment-anything:{file}#{options}").fingerprint == package.fingerprint


# --- the published sizes --------------------------------------------------------------------------


def hollow(size: str) -> dict[str, torch.Tensor]:
    """Tensors of a published size that take no room: each is one number, repeated."""
    with torch.device("meta"):
        model = segment_anything.sam_model_registry[size]()
    return {k: torch.full((), 0.01).expand(v.shape) for k, v in model.state_dict().items()}


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_the_registrys_sizes_are_read(tmp_path: Path, size: str) -> None:
    file = tmp_path / "sam.pth"
    torch.save(hollow(size), file)
    for name in (f"segment-anything:{size}#checkpoint={file},points=8", f"segment-anything:{file}"):
        backbone = load_backbones({"mask_proposer": name}, "cpu")["mask_proposer"]
        assert isinstance(backbone, MaskProposer)
        assert "side=1024 " in backbone.fingerprint
    registered = segment_anything.sam_model_registry[size]
    with torch.device("meta"):
        expected = registered().state_dict()
    found = package_model(file, size).state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.soak
def test_a_true_size_is_answered_as_by_transformers(tmp_path: Path) -> None:
    model = shaken(segment_anything.sam_model_registry["vit_b"](), 0)
    file = tmp_path / "sam_vit_b.pth"
    torch.save(model.state_dict(), file)
    del model
    pixels = photo(size=(240, 320))
    box = np.array([[60, 50, 200, 180]], np.float32)
    package = sam.load_package(f"segment-anything:vit_b#checkpoint={file}").prompt(pixels, box)
    other = sam.load(f"sam:{file}").prompt(pixels, box)
    assert package.masks.any()
    assert not package.masks.all()
    assert (package.masks == other.masks).mean() > 0.999
    np.testing.assert_allclose(package.scores, other.scores, atol=1e-3)


# --- what is refused ------------------------------------------------------------------------------


class Mischief:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("mischief-done",)


def refused(name: str, said: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=said) as caught:
        sam.load_package(name)
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint_of_that_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sam.pth"
    name = f"segment-anything:vit_b#checkpoint={file}"
    torch.save(hollow("vit_l"), file)
    refused(name, r"sam\.pth is of the size vit_l, and vit_b is 768 channels wide")
    save_original(file)
    refused(name, r"sam\.pth is 32 channels wide, and vit_b is 768")
    state = hollow("vit_b")
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, file)
    refused(name, r"sam\.pth cannot be loaded .*mask_decoder\.iou_token\.weight")
    torch.save(hollow("vit_b") | {"other.weight": torch.zeros(1)}, file)
    refused(name, r"cannot be loaded .*other\.weight")
    torch.save(hollow("vit_b") | {"mask_decoder.iou_token.weight": torch.zeros(2, 256)}, file)
    refused(name, "size mismatch for mask_decoder.iou_token.weight")
    torch.save(original_names(transformers_model("sam_hq").state_dict()), file)
    refused(name, "is a checkpoint of sam-hq; write sam-hq:")
    torch.save({"weight": torch.zeros(3)}, file)
    refused(name, "no checkpoint of the original")
    whole = save_original(file).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(f"segment-anything:{file}", r"sam\.pth cannot be read as a checkpoint of tensors alone")
    torch.save(hollow("vit_b") | {"callbacks": Mischief()}, file)
    refused(name, "tensors alone")
    assert not (tmp_path / "mischief-done").exists()


def test_a_checkpoint_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    address = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"
    absent = tmp_path / "absent.pth"
    refused(f"segment-anything:vit_b#checkpoint={absent}", f"no checkpoint .*absent.*{address}")
    refused("segment-anything:vit_b", f"{address}|fmlad weights pull segment-anything:vit_b")
    for name in (
        "segment-anything:vit_x",
        f"segment-anything:{absent}",
        f"segment-anything:vit_x#checkpoint={save_original(tmp_path / 'sam.pth')}",
        f"segment-anything:{save_transformers(tmp_path / 'm', 'sam')}",
    ):
        with pytest.raises(OptionError, match=r"neither a size .*vit_b, vit_l, vit_h.* nor a file"):
            sam.load_package(name)
    with pytest.raises(OptionError, match="has an option 'file=x'"):
        sam.load_package("segment-anything:vit_b#file=x")
    with pytest.raises(OptionError, match="has an option 'checkpoint=x'"):
        sam.load("sam:nowhere#checkpoint=x")


# --- numbers of the encoder -----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sam", "sam-hq", "sam2", "segment-anything"])
def test_the_encoder_in_half_precision_is_nearly_the_same(tmp_path: Path, family: str) -> None:
    if family == "segment-anything":
        name, load = f"{family}:{save_original(tmp_path / 'sam.pth')}", sam.load_package
    else:
        folder = save_transformers(tmp_path / "m", family.replace("-", "_"))
        name, load = f"{family}:{folder}", sam.load
    exact, half = load(name), load(f"{name}#dtype=bfloat16")
    expected, found = (b.prompt(photo(), BOXES, SETS, LABELS) for b in (exact, half))
    assert 0.9 < (found.masks == expected.masks).mean() < 1
    assert not np.array_equal(found.scores, expected.scores)
    again = load(f"{name}#dtype=bfloat16").prompt(photo(), BOXES, SETS, LABELS)
    np.testing.assert_array_equal(again.masks, found.masks)
    assert half.fingerprint != exact.fingerprint
    assert load(f"{name}#dtype=float32").fingerprint == exact.fingerprint
    with pytest.raises(OptionError, match="dtype=float16, which needs a GPU"):
        load(f"{name}#dtype=float16")


# --- the catalogue --------------------------------------------------------------------------------

ENTRIES = [w for w in catalogue() if w.family in ("sam", "sam-hq", "sam2", "segment-anything")]


def test_a_published_checkpoints_name_promises_no_sha256() -> None:
    """It ends with the start of the MD5, which must not be compared with another hash."""
    entries = [w for w in ENTRIES if w.family == "segment-anything"]
    assert [w.name.partition(":")[2] for w in entries] == ["vit_h", "vit_l", "vit_b"]
    for weights in entries:
        (file,) = weights.files
        assert weights.source.endswith(f"/{file.name}")
        assert promised_hash(file.name) is None
        assert file.sha256 is not None
        assert weights.pinned(file.name) == file.sha256
        assert not file.sha256.startswith(file.name[-10:-4])


def test_a_name_with_a_file_is_described_by_the_file() -> None:
    name = "segment-anything:vit_b#points=8,checkpoint=/data/sam.pth"
    assert (describe(name).name, describe(name).source) == (name, "/data/sam.pth")
    assert describe("segment-anything:vit_b#points=8") is lookup("segment-anything:vit_b")
