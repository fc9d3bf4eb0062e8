"""The disk cache: what goes in comes out, and no trouble with it ever reaches the work."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fmlad.errors import OptionError
from fmlad.io.cache import FOLDER_VARIABLE, LIMIT_VARIABLE, DiskCache

KB = 1 / 1024  # MiB


def tensor_of(kilobytes: int) -> Tensor:
    return torch.arange(kilobytes * 256, dtype=torch.float32)


def entry(folder: Path) -> Path:
    (only,) = folder.glob("??/*")
    return only


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def filled(folder: Path) -> DiskCache:
    cache = DiskCache(folder)
    cache.put("k", {"a": tensor_of(1)})
    return cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bool, torch.int64])
def test_what_goes_in_comes_out(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.tensor([[0, 1], [2, 3]]).to(dtype), "empty": torch.zeros(0, 4)}
    cache = DiskCache(tmp_path)
    cache.put("k", tensors)
    got = cache.get("k")
    assert got is not None
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(got[name], tensor)
        assert got[name].dtype == tensor.dtype


def test_views_of_a_tensor_can_be_stored(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    cache = DiskCache(tmp_path)
    cache.put("k", {"turned": whole.T, "column": whole[:, 1]})
    got = cache.get("k")
    assert got is not None
    assert torch.equal(got["turned"], whole.T)
    assert torch.equal(got["column"], whole[:, 1])


def test_what_was_never_stored_is_absent(tmp_path: Path) -> None:
    assert DiskCache(tmp_path / "nowhere").get("k") is None
    assert not (tmp_path / "nowhere").exists()
    assert filled(tmp_path).get("other") is None


def test_the_last_one_stored_counts(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    cache.put("k", {"b": torch.ones(1)})
    got = cache.get("k")
    assert got is not None
    assert got.keys() == {"b"}


def test_similar_keys_do_not_meet(tmp_path: Path) -> None:
    keys = ["a", "a ", "A", "a/b", "a\\b", "../a", "", "ä", "x" * 5000, "a\0"]
    cache = DiskCache(tmp_path / "c")
    for number, key in enumerate(keys):
        cache.put(key, {"n": torch.tensor(number)})
    for number, key in enumerate(keys):
        got = cache.get(key)
        assert got is not None
        assert int(got["n"]) == number
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_two_caches_share_a_folder(tmp_path: Path) -> None:
    one, two = DiskCache(tmp_path), DiskCache(tmp_path)
    one.put("k", {"a": torch.ones(3)})
    got = two.get("k")
    assert got is not None
    assert torch.equal(got["a"], torch.ones(3))
    two.put("k", {"a": torch.zeros(3)})
    got = one.get("k")
    assert got is not None
    assert torch.equal(got["a"], torch.zeros(3))


def test_nothing_but_whole_entries_is_left(tmp_path: Path) -> None:
    filled(tmp_path)
    assert entry(tmp_path).suffix == ".safetensors"


@pytest.mark.parametrize("length", [0, 1, 7, 8, 40, 200, -1])
def test_a_truncated_entry_counts_as_absent_and_can_be_made_again(
    tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache = filled(tmp_path)
    path = entry(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with caplog.at_level(logging.WARNING, "fmlad"):
        assert cache.get("k") is None
    assert str(path) in caplog.text
    cache.put("k", {"a": tensor_of(1)})
    assert cache.get("k") is not None


@pytest.mark.parametrize(
    "junk", [b"\xff" * 64, b"PK\x03\x04" * 50, b"{}", b"\x02" + 7 * b"\0" + b"[]"]
)
def test_rubbish_counts_as_absent(tmp_path: Path, junk: bytes) -> None:
    cache = filled(tmp_path)
    entry(tmp_path).write_bytes(junk)
    assert not cache.get("k")


def test_a_folder_in_place_of_an_entry_counts_as_absent(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    path = entry(tmp_path)
    path.unlink()
    path.mkdir()
    assert cache.get("k") is None


# --- the limit -----------------------------------------------------------------------------------


def age(cache: DiskCache, order: list[str]) -> None:
    """Sets the times of use, oldest first, as a slow clock would have."""
    for number, key in enumerate(order):
        os.utime(cache._path(key), (1_000_000 + number, 1_000_000 + number))


def present(cache: DiskCache, keys: str) -> str:
    return "".join(key for key in keys if cache._path(key).exists())


def test_it_stays_under_its_limit(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 50 * KB)
    for number in range(40):
        cache.put(str(number), {"a": tensor_of(4)})
        assert size(tmp_path) <= 50 * 1024
    assert size(tmp_path) > 30 * 1024


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 44 * KB)
    for key in "abcd":
        cache.put(key, {"a": tensor_of(10)})
    age(cache, ["b", "d", "a", "c"])
    cache.put("e", {"a": tensor_of(10)})
    assert present(cache, "abcde") == "ace"


def test_reading_counts_as_use(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 44 * KB)
    for key in "abcd":
        cache.put(key, {"a": tensor_of(10)})
    age(cache, ["a", "b", "c", "d"])
    assert cache.get("a") is not None
    cache.put("e", {"a": tensor_of(10)})
    assert present(cache, "abcde") == "ade"


def test_what_others_wrote_counts_too(tmp_path: Path) -> None:
    for key in "abcdef":
        DiskCache(tmp_path, 1).put(key, {"a": tensor_of(10)})
    DiskCache(tmp_path, 44 * KB).put("g", {"a": tensor_of(10)})
    assert size(tmp_path) <= 44 * 1024
    assert present(DiskCache(tmp_path), "g") == "g"


def test_an_entry_above_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 5 * KB)
    cache.put("k", {"a": tensor_of(10)})
    assert cache.get("k") is None
    assert size(tmp_path) == 0


def test_leftovers_of_killed_writers_are_cleared_with_the_rest(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 20 * KB)
    cache.put("k", {"a": tensor_of(1)})
    left = entry(tmp_path).with_name("tmpleft")
    left.write_bytes(b"x" * 30_000)
    os.utime(left, (0, 0))
    fresh = DiskCache(tmp_path, 20 * KB)
    fresh.put("l", {"a": tensor_of(1)})
    assert not left.exists()
    assert fresh.get("k") is not None


@pytest.mark.parametrize("limit", [0, -1, -0.5])
def test_a_limit_must_be_positive(tmp_path: Path, limit: float) -> None:
    with pytest.raises(OptionError, match="limit_mb"):
        DiskCache(tmp_path, limit)


@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_a_limit_must_be_finite(tmp_path: Path, limit: float) -> None:
    with pytest.raises(OptionError):
        DiskCache(tmp_path, limit)


# --- trouble with the disk -----------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_costs_the_entry_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "fmlad"):
        cache.put("k", {"a": torch.ones(1)})
        assert cache.get("k") is None
    assert "could not store" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_costs_the_entry_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        DiskCache(tmp_path).put("k", {"a": torch.ones(1)})
    finally:
        tmp_path.chmod(0o700)
    assert DiskCache(tmp_path).get("k") is None


def fail(*args: object, **kwargs: object) -> None:
    raise PermissionError(30, "Read-only file system")


@pytest.mark.parametrize("step", ["mkdir", "replace"])
def test_a_failing_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cache = DiskCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        cache.put("k", {"a": torch.ones(1)})
    assert cache.get("k") is None
    assert size(tmp_path) == 0


def test_a_read_only_cache_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = filled(tmp_path)
    monkeypatch.setattr(os, "utime", fail)
    assert cache.get("k") is not None


def test_an_entry_that_cannot_be_deleted_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path, 15 * KB)
    cache.put("a", {"a": tensor_of(10)})
    monkeypatch.setattr(Path, "unlink", fail)
    cache.put("b", {"a": tensor_of(10)})


# --- the user's cache ----------------------------------------------------------------------------


def test_the_environment_names_folder_and_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "here"))
    monkeypatch.setenv(LIMIT_VARIABLE, "1.5")
    cache = DiskCache.default()
    assert cache is not None
    assert cache.folder == tmp_path / "here"
    assert cache.limit == 1.5 * 2**20


def test_without_a_variable_it_lies_where_caches_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cache = DiskCache.default()
    assert cache is not None
    assert cache.folder == tmp_path / "xdg" / "fmlad"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    cache = DiskCache.default()
    assert cache is not None
    assert cache.folder == tmp_path / "home" / ".cache" / "fmlad"


@pytest.mark.parametrize("text", ["0", "0.0"])
def test_a_limit_of_0_means_no_cache(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    assert DiskCache.default() is None


@pytest.mark.parametrize("text", ["", "lots", "-1", "nan", "inf", "4 GB", "1,5"])
def test_a_bad_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(OptionError, match=LIMIT_VARIABLE):
        DiskCache.default()


def test_a_user_without_a_home_can_still_name_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert DiskCache.default() is not None
