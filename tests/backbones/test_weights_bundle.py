"""Bundles: what is packed comes out the same, and nothing else ever does."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fmlad.backbones.weights_bundle import bundle
from fmlad.backbones.weights_catalogue import Weights, describe
from fmlad.backbones.weights_unbundle import unbundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlad.backbones import weights, weights_bundle, weights_unbundle
from fmlad.errors import CorruptBundleError, OptionError, WeightsUnavailableError
from tests.backbones.weights_models import into_hub_cache, tiny_dinov2

CONFIG, DATA = b'{"model_type": "dinov2"}', bytes(range(256)) * 5


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- there and back ------------------------------------------------------------------------------


def test_what_is_in_the_cache_arrives_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_dinov2(tmp_path / "m")
    into_hub_cache(tmp_path / "hub", "some/model", model)
    out = tmp_path / "weights.tar"
    assert bundle([describe("dinov2:some/model")], out) == ["dinov2:some/model"]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    assert weights.find("some/model") is None
    placed = unbundle(out)
    assert placed == [("dinov2:some/model", weights.root() / "some" / "model")]
    assert weights.locate("some/model") == placed[0][1]
    assert files_below(placed[0][1]) == files_below(model)
    assert weights.folder_hash(placed[0][1]) == weights.folder_hash(model)
    assert not list(weights.root().glob(".*"))


def test_any_tar_program_can_read_it(tmp_path: Path) -> None:
    model = tiny_dinov2(tmp_path / "m")
    bundle([describe(f"dinov2:{model}")], tmp_path / "weights.tar")
    with tarfile.open(tmp_path / "weights.tar", "r:") as tar:
        names = tar.getnames()
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert names == ["manifest.json", "local/m/config.json", "local/m/model.safetensors"]
    (listed,) = manifest["weights"]
    assert listed["name"] == "dinov2:local/m"
    assert {file["name"]: file["sha256"] for file in listed["files"]} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model.iterdir()
    }


def test_the_same_weights_make_the_same_bundle(tmp_path: Path) -> None:
    model = tiny_dinov2(tmp_path / "m")
    bundle([describe(str(model))], tmp_path / "a.tar")
    (model / "config.json").touch()
    bundle([describe(str(model))], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_local_folder_or_file_gets_a_name_that_is_found_elsewhere(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(2)}, tmp_path / "mine.pth")
    for number, source in enumerate((tiny_dinov2(tmp_path / "m"), tmp_path / "mine.pth")):
        out = tmp_path / f"{number}.tar"
        (name,) = bundle([describe(f"clip:{source}")], out)
        assert name == f"clip:local/{source.name}"
        ((_, place),) = unbundle(out)
        assert weights.locate(f"local/{source.name}", family="clip") == place
        assert place.is_file() == source.is_file()


def test_several_at_once_with_progress(tmp_path: Path) -> None:
    for number, name in enumerate(("a/one", "a/two")):
        tiny_dinov2(weights.root() / name, value=number)
    steps: list[tuple[int, int, str]] = []
    out = tmp_path / "weights.tar"
    bundle([describe("a/one"), describe("a/two")], out, lambda *step: steps.append(step))
    placed = unbundle(out, tmp_path / "else", lambda *step: steps.append(step))
    assert [place for _, place in placed] == [tmp_path / "else/a/one", tmp_path / "else/a/two"]
    assert {what for _, _, what in steps} == {"writing the bundle", "unpacking"}
    assert files_below(tmp_path / "else") == files_below(weights.root())


def test_unpacking_again_changes_nothing(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path / "m")
    out = tmp_path / "weights.tar"
    bundle([describe(str(tmp_path / "m"))], out)
    before = unbundle(out)
    stamp = (before[0][1] / "config.json").stat().st_mtime_ns
    assert unbundle(out) == before
    assert (before[0][1] / "config.json").stat().st_mtime_ns == stamp


def test_other_files_in_the_way_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "weights.tar"
    bundle([describe(str(tiny_dinov2(tmp_path / "m")))], out)
    mine = tiny_dinov2(weights.root() / "local" / "m", value=1.0)
    before = files_below(weights.root())
    with pytest.raises(OptionError, match="holds other files") as caught:
        unbundle(out)
    assert str(mine) in str(caught.value)
    assert files_below(weights.root()) == before


# --- packing -------------------------------------------------------------------------------------


def test_only_what_passes_the_check_is_packed(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailableError, match="cannot be read as safetensors"):
        bundle([describe(str(folder))], tmp_path / "weights.tar")
    with pytest.raises(WeightsUnavailableError, match="weights pull dinov2:facebook/dinov2-small"):
        bundle([describe("dinov2:facebook/dinov2-small")], tmp_path / "weights.tar")
    assert not list(tmp_path.glob("*.tar"))


def test_an_existing_file_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "weights.tar"
    out.write_text("mine")
    with pytest.raises(OptionError, match="exists"):
        bundle([describe(str(tiny_dinov2(tmp_path / "m")))], out)
    assert out.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot be written to .*nowhere"):
        bundle([describe(str(tiny_dinov2(tmp_path / "m")))], tmp_path / "nowhere" / "weights.tar")


@pytest.mark.parametrize("name", ["mit Leerzeichen", "ä", "x" * 101, "-x"])
def test_names_that_no_machine_can_be_sure_of_are_refused(name: str, tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / name)
    with pytest.raises(OptionError, match="letters, digits"):
        bundle([describe(f"dinov2:{folder}")], tmp_path / "weights.tar")
    folder = tiny_dinov2(tmp_path / "m")
    (folder / f"{name}.json").write_text("{}")
    with pytest.raises(OptionError, match="letters, digits"):
        bundle([describe(f"dinov2:{folder}")], tmp_path / "weights.tar")


def test_an_interrupted_bundle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_dinov2(tmp_path / "m")

    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bundle([describe(str(folder))], tmp_path / "weights.tar", interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


# --- bundles that others made --------------------------------------------------------------------


def listed(name: str, data: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **changes,
    }


def manifest(**changes: Any) -> dict[str, Any]:
    one = {
        "name": "dinov2:some/model",
        "place": ["some", "model"],
        "single": False,
        "files": [listed("config.json", CONFIG), listed("model.safetensors", DATA)],
    }
    return {"format": 1, "fmlad": "0", "weights": [{**one, **changes}]}


MEMBERS = (("some/model/config.json", CONFIG), ("some/model/model.safetensors", DATA))


def a_tar(
    target: Path,
    contents: dict[str, Any] | bytes | None = None,
    members: tuple[tuple[str | tarfile.TarInfo, bytes], ...] = MEMBERS,
    style: int = tarfile.USTAR_FORMAT,
) -> Path:
    """A tar as another program could have made it."""
    contents = manifest() if contents is None else contents
    data = contents if isinstance(contents, bytes) else json.dumps(contents).encode()
    with tarfile.open(target, "w", format=style) as tar:
        for name, content in (("manifest.json", data), *members):
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def special(kind: bytes, name: str = MEMBERS[0][0], link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_bundle_made_by_hand_is_accepted(tmp_path: Path) -> None:
    placed = unbundle(a_tar(tmp_path / "a.tar"))
    assert files_below(placed[0][1]) == {"config.json": CONFIG, "model.safetensors": DATA}


def pinned_elsewhere() -> dict[str, Any]:
    """Other weights under a name of our own, where the catalogue pins a hash."""
    return manifest(place=["facebook", "dinov2-small"], name="something/else")


HOSTILE_MANIFESTS: dict[str, tuple[Any, str]] = {
    "no json": (b"{", "manifest is wrong"),
    "list": (b"[]", "manifest is wrong"),
    "not utf-8": (b"\xff\xfe", "manifest is wrong"),
    "deep": (b"[" * 100_000, "manifest is wrong"),
    "another format": ({**manifest(), "format": 2}, "wrong at 'format'"),
    "unknown key": ({**manifest(), "run": "me"}, "wrong at 'run'"),
    "nothing": ({**manifest(), "weights": []}, "wrong at 'weights'"),
    "up": (manifest(place=["..", "model"]), "place"),
    "up in a name": (manifest(files=[listed("../x.json", CONFIG)]), "files.0.name"),
    "absolute": (manifest(place=["/etc", "model"]), "place"),
    "separator": (manifest(place=["some/model"]), "place"),
    "backslash": (manifest(place=["some", "..\\x"]), "place"),
    "drive": (manifest(place=["C:", "x"]), "place"),
    "hidden": (manifest(place=["some", ".ssh"]), "place"),
    "empty step": (manifest(place=["some", ""]), "place"),
    "newline": (manifest(place=["some", "model\n"]), "place"),
    "nul": (manifest(place=["some", "a\0b"]), "place"),
    "terminal codes": (manifest(name="\x1b[2Jdinov2"), "name"),
    "negative size": (manifest(files=[listed("a.json", CONFIG, size=-1)]), "size"),
    "size as text": (manifest(files=[listed("a.json", CONFIG, size="5")]), "size"),
    "no hash": (manifest(files=[listed("a.json", CONFIG, sha256="")]), "sha256"),
    "twice": (manifest(files=[listed("a.json", CONFIG)] * 2), "same place twice"),
    "twice but for case": (
        manifest(files=[listed("a.json", CONFIG), listed("A.json", CONFIG)]),
        "same place twice",
    ),
    "one inside the other": (
        {
            **manifest(),
            "weights": manifest()["weights"] + manifest(place=["some", "model", "x"])["weights"],
        },
        "same place twice",
    ),
    "one file that is two": (manifest(single=True), "calls dinov2:some/model one file"),
    "bomb": (manifest(files=[listed("a.json", CONFIG, size=10**13)]), "claims 10000.0 GB, more"),
    "pinned otherwise": (pinned_elsewhere(), "is not the file that fmlad's catalogue pins"),
    "pinned, other case": (
        manifest(place=["Facebook", "DINOv2-small"]),
        "is not the file that fmlad's catalogue pins",
    ),
}


@pytest.mark.parametrize("case", HOSTILE_MANIFESTS)
def test_a_manifest_that_lies_is_refused(case: str, tmp_path: Path) -> None:
    contents, words = HOSTILE_MANIFESTS[case]
    before = sorted(tmp_path.rglob("*"))
    path = a_tar(tmp_path / "a.tar", contents)
    with pytest.raises(CorruptBundleError, match=r"a\.tar cannot be trusted") as caught:
        unbundle(path)
    assert words in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


HOSTILE_MEMBERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "link": (
        lambda p: a_tar(p, members=((special(tarfile.SYMTYPE, link="/etc"), b""), MEMBERS[1])),
        "no regular file",
    ),
    "hard link": (
        lambda p: a_tar(
            p, members=((special(tarfile.LNKTYPE, link="/etc/passwd"), b""), MEMBERS[1])
        ),
        "no regular file",
    ),
    "device": (
        lambda p: a_tar(p, members=((special(tarfile.CHRTYPE), b""), MEMBERS[1])),
        "no regular file",
    ),
    "pipe": (
        lambda p: a_tar(p, members=((special(tarfile.FIFOTYPE), b""), MEMBERS[1])),
        "no regular file",
    ),
    "folder": (
        lambda p: a_tar(p, members=((special(tarfile.DIRTYPE, "some"), b""), *MEMBERS)),
        "no regular file",
    ),
    "sparse": (
        lambda p: a_tar(p, members=((special(tarfile.GNUTYPE_SPARSE), b""), MEMBERS[1])),
        "no regular file",
    ),
    "long name extension": (
        lambda p: a_tar(p, members=(("x" * 200, b""), *MEMBERS), style=tarfile.GNU_FORMAT),
        "no regular file",
    ),
    "pax extension": (
        lambda p: a_tar(p, members=(("ä" * 200, b""), *MEMBERS), style=tarfile.PAX_FORMAT),
        "no regular file",
    ),
    "unlisted": (
        lambda p: a_tar(p, members=(*MEMBERS, ("some/model/evil.py", b"import os"))),
        "members that its manifest does not list",
    ),
    "unlisted first": (
        lambda p: a_tar(p, members=(("evil.py", b"import os"), *MEMBERS)),
        "holds 'evil.py' where some/model/config.json was expected",
    ),
    "climbing": (
        lambda p: a_tar(p, members=(("../../evil", CONFIG), MEMBERS[1])),
        "holds '../../evil' where",
    ),
    "absolute": (
        lambda p: a_tar(p, members=(("/etc/evil", CONFIG), MEMBERS[1])),
        "holds '/etc/evil' where",
    ),
    "missing": (lambda p: a_tar(p, members=MEMBERS[:1]), "ends or is damaged before some/"),
    "none": (lambda p: a_tar(p, members=()), "ends or is damaged before some/"),
    "another order": (lambda p: a_tar(p, members=MEMBERS[::-1]), "was expected"),
    "other bytes": (
        lambda p: a_tar(p, members=(MEMBERS[0], (MEMBERS[1][0], DATA[::-1]))),
        "does not hash to what its manifest says",
    ),
    "more bytes": (
        lambda p: a_tar(p, members=(MEMBERS[0], (MEMBERS[1][0], DATA + b"x"))),
        "its manifest says 1280",
    ),
    "fewer bytes": (
        lambda p: a_tar(p, members=(MEMBERS[0], (MEMBERS[1][0], DATA[:-1]))),
        "its manifest says 1280",
    ),
    "compressed": (
        lambda p: _written(p, gzip.compress(a_tar(p).read_bytes())),
        "it is no plain tar file",
    ),
    "empty": (lambda p: _written(p, b""), "it is no plain tar file"),
    "zeros": (lambda p: _written(p, bytes(10_000)), "it is no plain tar file"),
    "text": (lambda p: _written(p, b"hello" * 1000), "it is no plain tar file"),
    "no manifest": (
        lambda p: _written(p, a_tar(p).read_bytes()[1024:]),
        "where manifest.json was expected",
    ),
    "endless manifest": (lambda p: a_tar(p, b" " * (2**20 + 1)), "its manifest claims 1 MB"),
}


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
def test_a_tar_that_holds_other_things_is_refused(case: str, tmp_path: Path) -> None:
    make, words = HOSTILE_MEMBERS[case]
    path = make(tmp_path / "a.tar")
    with pytest.raises(CorruptBundleError, match=r"a\.tar cannot be trusted") as caught:
        unbundle(path)
    assert words in str(caught.value)
    assert files_below(tmp_path).keys() == {"a.tar"}
    assert not list((tmp_path / "own").rglob("*"))


def test_a_hash_pinned_in_the_catalogue_is_accepted_when_it_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmlad.backbones.weights_catalogue import WeightFile

    right = WeightFile("model.safetensors", sha256=hashlib.sha256(DATA).hexdigest())
    entry = Weights("dinov2:some/model", "some/model", (right,))
    monkeypatch.setattr(weights_unbundle, "catalogue", lambda: (entry,))
    unbundle(a_tar(tmp_path / "a.tar"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_gets_through(data: st.DataObject, tmp_path: Path) -> None:
    whole = a_tar(tmp_path / "whole.tar").read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(1, 255))
    damaged = bytearray(whole)
    damaged[place] ^= value
    _check_damaged(bytes(damaged), tmp_path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_truncated_bundle_gets_through(data: st.DataObject, tmp_path: Path) -> None:
    whole = a_tar(tmp_path / "whole.tar").read_bytes()
    _check_damaged(whole[: data.draw(st.integers(0, len(whole) - 1))], tmp_path)


def _check_damaged(data: bytes, tmp_path: Path) -> None:
    """Refused with nothing left behind, or the very bytes that were packed."""
    path = _written(tmp_path / "damaged.tar", data)
    target = tmp_path / f"out-{os.urandom(6).hex()}"
    try:
        ((_, place),) = unbundle(path, target)
    except CorruptBundleError:
        assert not target.exists() or not list(target.rglob("*"))
    else:
        assert set(files_below(place).values()) == {CONFIG, DATA}


# --- targets -------------------------------------------------------------------------------------


def test_no_room_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OptionError, match="100 bytes are free"):
        unbundle(a_tar(tmp_path / "a.tar"))
    assert not weights.root().exists()


def test_a_target_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be unpacked"):
        unbundle(a_tar(tmp_path / "a.tar"), tmp_path / "file")
    with pytest.raises(OptionError, match="No such file"):
        unbundle(tmp_path / "nothing.tar")
    with pytest.raises(OptionError, match="cannot be unpacked"):
        unbundle(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_unpacking_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        raise error

    with pytest.raises((OptionError, KeyboardInterrupt)):
        unbundle(a_tar(tmp_path / "a.tar"), progress=interrupt)
    assert not list(weights.root().rglob("*"))


def test_the_last_step_fails_without_half_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OptionError, match="cross-device"):
        unbundle(a_tar(tmp_path / "a.tar"))
    assert files_below(weights.root()) == {}


def test_both_files_agree_on_the_manifest() -> None:
    schema = weights_bundle.Manifest.model_validate_json(json.dumps(manifest()))
    assert schema.weights[0].paths() == [name for name, _ in MEMBERS]
