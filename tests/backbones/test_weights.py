"""Finding weights: local paths, fmlad's own folder, the Hugging Face cache, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fmlad.backbones import dinov2, weights, weights_fetch
from fmlad.errors import WeightsUnavailableError
from tests.backbones.weights_models import into_hub_cache, tiny_dinov2

pytest.importorskip("huggingface_hub")

LAION = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache and an own folder; the conftest has set HF_HUB_OFFLINE."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setattr(weights_fetch, "_files_on_hub", lambda _: pytest.fail("asked the hub"))
    weights.folder_hash.cache_clear()
    return folder


def in_own_folder(source: str, **files: str) -> Path:
    folder = weights.root() / source
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


# --- where it looks ------------------------------------------------------------------------------


def test_a_local_folder_or_file_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "a model")
    assert weights.locate(str(folder)) == folder
    file = folder / "model.safetensors"
    assert weights.locate(str(file)) == file


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tiny_dinov2(tmp_path / "m")
    assert weights.locate("~/m") == folder


def test_a_local_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no config\.json or open_clip_config\.json"):
        weights.locate(str(tmp_path))
    assert weights.locate(str(tmp_path), configs=()) == tmp_path
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert weights.locate(str(tmp_path)) == tmp_path


def test_a_model_in_the_cache_is_found_without_the_hub(cache: Path, tmp_path: Path) -> None:
    snapshot = into_hub_cache(cache, "some/model", tiny_dinov2(tmp_path / "m"))
    assert weights.locate("some/model") == snapshot


def test_the_own_folder_comes_before_the_cache(cache: Path, tmp_path: Path) -> None:
    into_hub_cache(cache, "some/model", tiny_dinov2(tmp_path / "m"))
    own = tiny_dinov2(weights.root() / "some" / "model")
    assert weights.locate("some/model") == own


def test_a_config_alone_in_the_cache_is_no_model(cache: Path, tmp_path: Path) -> None:
    # transformers' AutoConfig leaves just this behind.
    folder = tiny_dinov2(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    into_hub_cache(cache, "some/model", folder)
    assert weights.find("some/model") is None
    (place, lacking), *more = weights.searched("some/model")
    assert lacking == ["*.safetensors"]
    assert place.is_relative_to(cache)
    assert not more
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE"):
        weights.locate("some/model")


def test_an_incomplete_own_folder_does_not_hide_the_cache(cache: Path, tmp_path: Path) -> None:
    in_own_folder("some/model", config__json="{}")
    snapshot = into_hub_cache(cache, "some/model", tiny_dinov2(tmp_path / "m"))
    assert weights.locate("some/model") == snapshot


def test_the_identifier_of_the_catalogue_stands_for_its_repository() -> None:
    own = in_own_folder(LAION, open_clip_config__json="{}", open_clip_model__safetensors="x")
    for source in (LAION, "ViT-L-14@datacomp_xl_s13b_b90k"):
        assert weights.locate(source, family="clip") == own
        assert weights.locate(source) == own


def test_either_name_of_a_file_will_do() -> None:
    own = in_own_folder(LAION, open_clip_config__json="{}", open_clip_pytorch_model__bin="x")
    assert weights.locate(LAION) == own


def test_catalogued_weights_need_the_files_of_the_catalogue_alone() -> None:
    in_own_folder("facebook/sam-vit-base", config__json="{}", model__safetensors="x")
    assert weights.searched("facebook/sam-vit-base")[0][1] == ["preprocessor_config.json"]
    source = "xinyu1205/recognize-anything-plus-model"  # a checkpoint without a config
    own = in_own_folder(source, ram_plus_swin_large_14m__pth="x")
    assert weights.locate(source) == own


def test_patterns_say_what_counts_as_weights() -> None:
    own = in_own_folder("some/model", config__json="{}", weights__pth="x")
    assert weights.find("some/model") is None
    assert weights.find("some/model", patterns=["*.json", "*.pth"]) == own


def test_an_address_of_the_catalogue_is_a_file() -> None:
    own = weights.root() / (
        "marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained/"
        "dinov2_jbu_stack_cocostuff.ckpt"
    )
    assert weights.find("dinov2_jbu_stack_cocostuff", family="featup") is None
    own.parent.mkdir(parents=True)
    own.write_text("x")
    assert weights.locate("dinov2_jbu_stack_cocostuff", family="featup") == own


@pytest.mark.parametrize("source", ["../outside", "a/../../outside", "/nowhere", "./x"])
def test_nothing_climbs_out_of_the_own_folder(source: str, tmp_path: Path) -> None:
    tiny_dinov2(tmp_path / "outside")
    weights.root().mkdir()
    assert weights.find(source) is None


@pytest.mark.parametrize("source", ["no-such-folder", "/no/such/folder", "../no", "a/b/c", "a b"])
def test_what_is_neither_here_nor_an_identifier_is_called_that(source: str) -> None:
    with pytest.raises(WeightsUnavailableError, match="no such folder or file here"):
        weights.locate(source)


# --- its own folder ------------------------------------------------------------------------------


def test_where_the_own_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", "~/w")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.root() == tmp_path / "w"
    monkeypatch.setenv("FMLAD_WEIGHTS", "")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert weights.root() == tmp_path / ".local" / "share" / "fmlad" / "weights"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert weights.root() == tmp_path / "data" / "fmlad" / "weights"


# --- what is said --------------------------------------------------------------------------------


def test_offline_nothing_is_tried() -> None:
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE") as caught:
        weights.locate("nobody/nothing")
    assert "profile='builtin'" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("facebook/sam-vit-huge", "why"), "bundle sam:facebook/sam-vit-huge weights.tar"),
        (("facebook/dinov2-small", "why"), "pass dinov2:FOLDER"),
        (("nobody/nothing", "why", "clip"), "pull clip:nobody/nothing`"),
        (("nobody/nothing", "why"), "pass FAMILY:FOLDER"),
        (("/data/model", "it is damaged", "sam"), "pass sam:FOLDER"),
    ],
)
def test_the_way_out_names_the_right_family(arguments: tuple[str, ...], words: str) -> None:
    text = str(weights.unavailable(*arguments))
    assert words in text
    assert repr(arguments[0]) in text
    assert arguments[1] in text
    assert "fmlad weights bundle" in text
    assert "profile='builtin'" in text
    assert ("pull" in text) == ("/data" not in text)  # a local folder is on no hub


def test_a_backbone_names_its_own_family() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"weights pull dinov2:nobody/nothing"):
        dinov2.load("dinov2:nobody/nothing")


def test_a_backbone_that_needs_a_folder_says_so(tmp_path: Path) -> None:
    file = tiny_dinov2(tmp_path / "m") / "model.safetensors"
    with pytest.raises(WeightsUnavailableError, match=r"is one file, and the config\.json"):
        dinov2.load(f"dinov2:{file}")


# --- hashes --------------------------------------------------------------------------------------


def test_the_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for number, files in enumerate(
        [
            {"config.json": "a"},
            {"config.json": "b"},
            {"config.json": "a", "m.safetensors": "x"},
            {"config.json": "a", "n.safetensors": "x"},
            {"open_clip_config.json": "a", "m.safetensors": "x"},
            {"open_clip_config.json": "a", "m.bin": "x"},
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        hashes.add(weights.folder_hash(folder))
    assert len(hashes) == 6


def test_what_is_not_read_does_not_count(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    before = weights.folder_hash(folder)
    (folder / "pytorch_model.bin").write_text("the same weights, pickled")
    (folder / "README.md").write_text("text")
    weights.folder_hash.cache_clear()
    assert weights.folder_hash(folder) == before


def test_the_hash_of_saved_detectors_stays_what_it_was(tmp_path: Path) -> None:
    # Written into detector.json since the first release: SHA-256 over names and SHA-256s.
    folder = tiny_dinov2(tmp_path / "m")
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    assert weights.folder_hash(folder) == digest.hexdigest()


def test_the_hash_of_a_file_is_its_own(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"abc")
    assert weights.folder_hash(file) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("find", [weights.find, weights.locate])
def test_both_agree_on_what_is_here(find: Callable[[str], Path | None]) -> None:
    own = tiny_dinov2(weights.root() / "facebook" / "dinov2-small")
    assert find("facebook/dinov2-small") == own
