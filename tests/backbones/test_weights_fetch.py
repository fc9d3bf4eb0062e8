"""Fetching weights: announced, and given up at once where nobody answers."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fmlad.backbones.weights_catalogue import WeightFile, Weights
from fmlad.backbones.weights_net import whole_file, within

from fmlad.backbones import weights, weights_catalogue, weights_fetch
from fmlad.errors import WeightsUnavailableError
from tests.backbones.weights_models import into_hub_cache, serving, tiny_dinov2

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache and an own folder, and no word of being offline."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return folder


# --- the hub -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_tried(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_fetch, "_files_on_hub", lambda _: pytest.fail("asked the hub"))
    monkeypatch.setenv(variable, "yes")
    with pytest.raises(WeightsUnavailableError, match=f"{variable} is set"):
        weights.locate("nobody/nothing")


def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    asked = {}

    def model_info(self: object, *args: object, **kwargs: object) -> None:
        asked.update(kwargs)
        hang.wait(60)

    monkeypatch.setattr(weights_fetch, "HUB_TIMEOUT", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsUnavailableError, match=r"the hub did not answer within 0\.2 s"):
        weights.locate("nobody/nothing")
    hang.set()
    assert asked["timeout"] == 0.4


def test_what_is_waited_for_in_vain_does_not_keep_the_process() -> None:
    begun, hang = threading.Event(), threading.Event()

    def ask() -> None:
        begun.set()
        hang.wait(60)

    with pytest.raises(TimeoutError):
        within(0.1, ask)
    assert begun.is_set()
    (thread,) = (t for t in threading.enumerate() if t.name == "fmlad-network")
    assert thread.daemon
    hang.set()


def test_what_answers_in_time_is_passed_on() -> None:
    assert within(10, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 // 0)


def test_a_hub_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def model_info(self: object, *args: object, **kwargs: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsUnavailableError, match="ConnectionError: refused"):
        weights.locate("nobody/nothing")


def test_what_is_fetched_is_announced_with_size_and_licence(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = "facebook/dinov2-small"
    said, asked = [], []

    def download(name: str, **options: object) -> str:
        if options.get("local_files_only"):
            raise FileNotFoundError(name)
        assert said, "fetched before it was announced"
        asked.append((name, options["allow_patterns"]))
        return str(into_hub_cache(cache, name, tiny_dinov2(tmp_path / "m")))

    offered = {"config.json": 500, "model.safetensors": 88_000_000, "pytorch_model.bin": 1, "x": 1}
    monkeypatch.setattr(weights_fetch, "_files_on_hub", lambda name: offered)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = weights_fetch.fetch(repository, family="dinov2", announce=said.append)
    assert (folder / "config.json").is_file()
    assert said == [
        "fetching facebook/dinov2-small (88 MB, licence Apache-2.0) into the Hugging Face cache"
    ]
    assert asked == [(repository, ["config.json", "model.safetensors"])]


def test_of_two_names_the_better_one_that_exists_is_fetched() -> None:
    search = weights.wanted("ViT-L-14@datacomp_xl_s13b_b90k", None, weights.CONFIGS, "clip")
    config, safe, pickled = (
        "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
    )  # fmt: skip
    assert weights_fetch._choose(search, {config: 1, safe: 1, pickled: 1}) == [config, safe]
    assert weights_fetch._choose(search, {config: 1, pickled: 1}) == [config, pickled]


def test_a_repository_without_the_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_fetch, "_files_on_hub", lambda name: {"config.json": 1})
    with pytest.raises(WeightsUnavailableError, match=r"sam-vit-base on the hub has no preproc"):
        weights.locate("facebook/sam-vit-base")


def test_an_unknown_repository_is_fetched_by_patterns() -> None:
    offered = dict.fromkeys(["config.json", "a.safetensors", "b.bin", "README.md"], 1)
    search = weights.wanted("some/model", None, weights.CONFIGS, None)
    assert weights_fetch._choose(search, offered) == ["config.json", "a.safetensors"]
    search = weights.wanted("some/model", ["*.bin"], weights.CONFIGS, None)
    assert weights_fetch._choose(search, offered) == ["b.bin"]


def test_of_several_patterns_for_weights_the_first_that_matches_counts() -> None:
    # The same weights often lie in a repository twice, and they are the large part of it.
    patterns = ["*.json", "*.txt", "*.safetensors", "*.bin"]
    search = weights.wanted("some/model", patterns, weights.CONFIGS, None)
    beside = ["config.json", "merges.txt"]
    both = dict.fromkeys([*beside, "b.bin", "a.safetensors"], 1)
    assert weights_fetch._choose(search, both) == [*beside, "a.safetensors"]
    assert weights_fetch._choose(search, dict.fromkeys([*beside, "b.bin"], 1)) == [*beside, "b.bin"]
    assert search.groups == (weights.CONFIGS, ("*.safetensors", "*.bin"))


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: object) -> str:
        raise OSError("No space left on device\nand a second line")

    monkeypatch.setattr(
        weights_fetch, "_files_on_hub", lambda name: {"config.json": 1, "m.safetensors": 1}
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(WeightsUnavailableError, match="OSError: No space left on device") as caught:
        weights.locate("some/model")
    assert "\n" not in str(caught.value)


# --- a file from its address ---------------------------------------------------------------------

DATA = bytes(range(256)) * 5000


class Files(BaseHTTPRequestHandler):
    """Serves DATA as /whole, less of it than promised as /short, with no length as /open."""

    def do_GET(self) -> None:
        if self.path not in ("/whole", "/short", "/open"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/open":
            self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:-100] if self.path == "/short" else DATA)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def catalogued(url: str, monkeypatch: pytest.MonkeyPatch, sha256: str | None = None) -> Weights:
    entry = Weights("featup:it", url, (WeightFile("it.ckpt", sha256=sha256),), licence="MIT")
    monkeypatch.setattr(weights_catalogue, "catalogue", lambda: (entry,))
    return entry


@pytest.mark.parametrize("pinned", [None, hashlib.sha256(DATA).hexdigest()])
@pytest.mark.parametrize("path", ["whole", "open"])
def test_a_file_comes_from_its_address(
    path: str, pinned: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with serving(Files) as address:
        catalogued(f"{address}/{path}", monkeypatch, pinned)
        target = weights_fetch.fetch("it", family="featup", announce=said.append)
    assert target.read_bytes() == DATA
    assert target == weights.root() / "127.0.0.1" / path
    assert weights.locate("it", family="featup") == target
    size = "1 MB" if path == "whole" else "size not documented"
    assert f"({size}, licence MIT)" in said[0]


@pytest.mark.parametrize(
    ("path", "pinned", "words"),
    [
        ("short", None, f"{len(DATA) - 100} of {len(DATA)} bytes came"),
        ("whole", "0" * 64, "expected 0000"),
        ("nothing", None, "HTTP Error 404"),
    ],
)
def test_a_file_that_is_not_whole_and_right_is_not_there(
    path: str, pinned: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Files) as address:
        catalogued(f"{address}/{path}", monkeypatch, pinned)
        with pytest.raises(WeightsUnavailableError, match=words):
            weights.locate("it", family="featup")
    assert not [p for p in weights.root().rglob("*") if p.is_file()]


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hang.wait(60)

    monkeypatch.setattr(weights_fetch, "HUB_TIMEOUT", 0.2)
    with serving(Silent) as address:
        catalogued(f"{address}/whole", monkeypatch)
        with pytest.raises(WeightsUnavailableError, match=r"127\.0\.0\.1 did not answer"):
            weights.locate("it", family="featup")
        hang.set()


def test_an_address_that_nobody_vouches_for_is_not_fetched() -> None:
    with pytest.raises(WeightsUnavailableError, match="no identifier on the hub"):
        weights.locate("https://example.org/weights.ckpt")


# --- whole or absent -----------------------------------------------------------------------------


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    with whole_file(target) as file:
        file.write(b"x")
        assert not target.exists()
    assert target.read_bytes() == b"x"

    def interrupted() -> None:
        with whole_file(tmp_path / "b.tar") as file:
            file.write(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.glob("*.tar")] == ["a.tar"]
    assert not list(tmp_path.glob(".*"))
