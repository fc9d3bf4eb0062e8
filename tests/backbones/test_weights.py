"""Weights that are not here: found in the cache, or refused quickly with a way out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fmlad.backbones import weights
from fmlad.errors import WeightsUnavailableError

huggingface_hub = pytest.importorskip("huggingface_hub")


def test_offline_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weights, "_size_on_hub", lambda source: pytest.fail("asked the hub"))
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE") as caught:
        weights.locate("nobody/nothing")
    assert "profile='builtin'" in str(caught.value)


def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def model_info(self: object, *args: object, **kwargs: object) -> None:
        hang.wait(60)

    monkeypatch.setattr(weights, "HUB_TIMEOUT", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsUnavailableError, match="did not answer"):
        weights._size_on_hub("nobody/nothing")
    hang.set()


def test_a_hub_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def model_info(self: object, *args: object, **kwargs: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsUnavailableError, match="ConnectionError"):
        weights._size_on_hub("nobody/nothing")


def test_a_model_in_the_cache_is_found_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0" * 40
    home = tmp_path / "models--some--model"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "_size_on_hub", lambda source: pytest.fail("asked the hub"))
    assert weights.locate("some/model") == snapshot


def test_the_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for number, files in enumerate(
        [{"config.json": "a"}, {"config.json": "b"}, {"config.json": "a", "m.safetensors": "x"}]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        hashes.add(weights.folder_hash(folder))
    assert len(hashes) == 3
