"""Bundles: what is packed comes out the same, and nothing else ever does; damage is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from fmlad.backbones import bundle as bundles
from fmlad.backbones import hub
from fmlad.backbones.bundle import bundle, check, unbundle
from fmlad.backbones.catalogue import WeightFile, Weights, describe
from fmlad.errors import CorruptBundleError, OptionError, WeightsUnavailableError
from tests.backbones.weights_models import into_hub_cache, tiny_dinov2


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- there and back -------------------------------------------------------------------------------


def test_what_is_in_the_cache_arrives_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_dinov2(tmp_path / "m")
    into_hub_cache(tmp_path / "hub", "some/model", model)
    assert bundle([describe("dinov2:some/model")], tmp_path / "w.tar") == ["dinov2:some/model"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    assert hub.find(describe("some/model")) is None
    place = hub.root() / "some" / "model"
    assert unbundle(tmp_path / "w.tar") == {"dinov2:some/model": place}
    assert hub.locate("some/model") == place
    assert files_below(place) == files_below(model)
    assert hub.folder_hash(place) == hub.folder_hash(model)
    assert not list(hub.root().glob(".*"))


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,20}", fullmatch=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAMES,
    others=st.dictionaries(NAMES.map("{}.txt".format), st.binary(max_size=3000), max_size=4),
)
def test_any_folder_arrives_with_the_same_hashes(
    name: str, others: dict[str, bytes], tmp_path: Path
) -> None:
    home = tmp_path / os.urandom(6).hex()
    model = tiny_dinov2(home / "here" / name)
    for other, data in others.items():
        if other.lower() not in {path.name.lower() for path in model.iterdir()}:
            (model / other).write_bytes(data)
    (arrived,) = bundle([describe(f"dinov2:{model}")], home / "w.tar")
    assert unbundle(home / "w.tar", home / "there") == {arrived: home / "there" / "local" / name}
    assert arrived == f"dinov2:local/{name}"
    assert files_below(home / "there" / "local" / name) == files_below(model)


def test_any_tar_program_can_read_it_and_it_is_the_same_each_time(tmp_path: Path) -> None:
    model = tiny_dinov2(tmp_path / "m")
    bundle([describe(f"dinov2:{model}")], tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar", "r:") as tar:
        names = tar.getnames()
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert names == ["manifest.json", "local/m/config.json", "local/m/model.safetensors"]
    assert manifest["weights"] == {"dinov2:local/m": "local/m"}
    assert manifest["files"] == {
        f"local/m/{name}": hashlib.sha256(data).hexdigest()
        for name, data in files_below(model).items()
    }
    (model / "config.json").touch()
    bundle([describe(f"dinov2:{model}")], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_local_file_gets_a_name_that_is_found_elsewhere(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "mine.pth")
    (name,) = bundle([describe(f"clip:{tmp_path / 'mine.pth'}")], tmp_path / "w.tar")
    assert name == "clip:local/mine.pth"
    place = unbundle(tmp_path / "w.tar")[name]
    assert place.is_file()
    assert hub.locate("local/mine.pth", "clip") == place


def test_several_at_once_with_progress(tmp_path: Path) -> None:
    for number, name in enumerate(("a/one", "a/two")):
        tiny_dinov2(hub.root() / name, value=number)
    steps: list[tuple[int, int, str]] = []
    bundle([describe("a/one"), describe("a/two")], tmp_path / "w.tar", lambda *s: steps.append(s))
    placed = unbundle(tmp_path / "w.tar", tmp_path / "else", lambda *step: steps.append(step))
    assert list(placed.values()) == [tmp_path / "else/a/one", tmp_path / "else/a/two"]
    assert {what.split()[0] for _, _, what in steps} == {"reading", "packing", "unpacking"}
    assert all(0 <= done <= total for done, total, _ in steps)
    assert files_below(tmp_path / "else") == files_below(hub.root())


def test_what_is_there_already_stays_and_what_lacks_is_added(tmp_path: Path) -> None:
    model = tiny_dinov2(tmp_path / "m")
    bundle([describe(str(model))], tmp_path / "w.tar")
    (place,) = unbundle(tmp_path / "w.tar").values()
    stamp = (place / "config.json").stat().st_mtime_ns
    (place / "model.safetensors").unlink()
    assert unbundle(tmp_path / "w.tar") == {"local/m": place}
    assert files_below(place) == files_below(model)
    assert (place / "config.json").stat().st_mtime_ns == stamp


def test_other_files_in_the_way_are_left_alone(tmp_path: Path) -> None:
    bundle([describe(str(tiny_dinov2(tmp_path / "m")))], tmp_path / "w.tar")
    mine = tiny_dinov2(hub.root() / "local" / "m", value=1.0)
    before = files_below(hub.root())
    with pytest.raises(OptionError, match="is another file than the bundle's") as caught:
        unbundle(tmp_path / "w.tar")
    assert str(mine) in str(caught.value)
    assert files_below(hub.root()) == before


# --- packing --------------------------------------------------------------------------------------


def test_only_what_passes_the_check_is_packed(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailableError, match=r"model\.safetensors cannot be read"):
        bundle([describe(str(folder))], tmp_path / "w.tar")
    with pytest.raises(WeightsUnavailableError, match="weights pull dinov2:facebook/dinov2-small"):
        bundle([describe("dinov2:facebook/dinov2-small")], tmp_path / "w.tar")
    assert not list(tmp_path.glob("*.tar"))


def test_a_file_that_exists_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    model = describe(str(tiny_dinov2(tmp_path / "m")))
    (tmp_path / "w.tar").write_text("mine")
    with pytest.raises(OptionError, match="exists"):
        bundle([model], tmp_path / "w.tar")
    assert (tmp_path / "w.tar").read_text() == "mine"
    with pytest.raises(OptionError, match=r"cannot be written to .*nowhere"):
        bundle([model], tmp_path / "nowhere" / "w.tar")


@pytest.mark.parametrize("name", ["mit Leerzeichen", "ä", "x" * 101, "-x"])
def test_names_that_no_machine_can_be_sure_of_are_refused(name: str, tmp_path: Path) -> None:
    other = tiny_dinov2(tmp_path / "m")
    (other / f"{name}.json").write_text("{}")
    for folder in (tiny_dinov2(tmp_path / name), other):
        with pytest.raises(OptionError, match="letters, digits"):
            bundle([describe(f"dinov2:{folder}")], tmp_path / "w.tar")


def interrupt(done: int, total: int, what: str) -> None:
    if not what.startswith("reading"):
        raise KeyboardInterrupt


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    model = describe(str(tiny_dinov2(tmp_path / "m")))
    with pytest.raises(KeyboardInterrupt):
        bundle([model], tmp_path / "w.tar", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    bundle([model], tmp_path / "w.tar")
    with pytest.raises(KeyboardInterrupt):
        unbundle(tmp_path / "w.tar", progress=interrupt)
    assert not list(hub.root().iterdir())


# --- bundles that others made ---------------------------------------------------------------------

CONFIG, DATA = b'{"model_type": "dinov2"}', bytes(range(256)) * 5
MEMBERS = (("some/model/config.json", CONFIG), ("some/model/model.safetensors", DATA))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(**changes: Any) -> dict[str, Any]:
    files = {name: sha(data) for name, data in MEMBERS}
    weights = {"dinov2:some/model": "some/model"}
    return {"format": 1, "fmlad": "0", "weights": weights, "files": files, **changes}


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


def special(kind: bytes, link: str = "", name: str = MEMBERS[0][0]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def refused(bundled: Path, words: str) -> None:
    """With one line, and nothing is left behind."""
    with pytest.raises(CorruptBundleError, match=r"\.tar cannot be trusted") as caught:
        unbundle(bundled)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_below(bundled.parent).keys() == {bundled.name}
    assert not list((bundled.parent / "own").rglob("*"))


def test_a_bundle_made_by_hand_is_accepted(tmp_path: Path) -> None:
    (place,) = unbundle(a_tar(tmp_path / "a.tar")).values()
    assert files_below(place) == {"config.json": CONFIG, "model.safetensors": DATA}


PINNED = "is not the file that fmlad's catalogue pins"
MANIFESTS: dict[str, tuple[Any, str]] = {
    "no json": (b"{", "manifest is wrong"),
    "list": (b"[]", "manifest is wrong"),
    "not utf-8": (b"\xff\xfe", "manifest is wrong"),
    "deep": (b"[" * 100_000, "manifest is wrong"),
    "endless": (b" " * (2**20 + 1), "its manifest.json claims 1048577 bytes"),
    "another format": (manifest(format=2), "wrong at 'format'"),
    "unknown key": (manifest(run="me"), "wrong at 'run'"),
    "nothing": (manifest(files={}), "wrong at 'files'"),
    "no hash": (manifest(files={"a/b": ""}), "wrong at 'files.a/b'"),
    "terminal codes": (manifest(weights={"\x1b[2Jdinov2": "some/model"}), "wrong at 'weights"),
    "place outside": (manifest(weights={"x": "../model"}), "wrong at 'weights.x'"),
    "twice but for case": (
        manifest(files={"a/a.json": sha(CONFIG), "a/A.json": sha(CONFIG)}),
        "same place twice",
    ),
    "pinned otherwise": (
        manifest(files={"Facebook/DINOv2-small/model.safetensors": sha(DATA)}),
        PINNED,
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_lies_is_refused(case: str, tmp_path: Path) -> None:
    contents, words = MANIFESTS[case]
    refused(a_tar(tmp_path / "a.tar", contents), words)


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../x", "/etc/x", "a//x", "a/", ".ssh/x", "a\\..\\x", "C:/x", "a/x\n", "a/\0", "",
        "a/" * 9 + "x",
    ],
)  # fmt: skip
def test_no_path_leads_outside(path: str, tmp_path: Path) -> None:
    contents = manifest(files={path: sha(CONFIG)})
    refused(a_tar(tmp_path / "a.tar", contents, ((path, CONFIG),)), "its manifest is wrong at")
    refused(a_tar(tmp_path / "a.tar", members=((path, CONFIG), MEMBERS[1])), "it holds")


KINDS = {
    "link": special(tarfile.SYMTYPE, "/etc"),
    "hard link": special(tarfile.LNKTYPE, "/etc/passwd"),
    "device": special(tarfile.CHRTYPE),
    "pipe": special(tarfile.FIFOTYPE),
    "folder": special(tarfile.DIRTYPE),
    "sparse": special(tarfile.GNUTYPE_SPARSE),
}
EVIL = ("some/model/evil.py", b"import os")
TARS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        name: (partial(a_tar, members=((info, b""), MEMBERS[1])), "regular file")
        for name, info in KINDS.items()
    },
    "a link to climb": (
        lambda p: a_tar(p, members=((special(tarfile.SYMTYPE, "/etc", "some"), b""), *MEMBERS)),
        "it holds 'some' where",
    ),
    "long name": (
        lambda p: a_tar(p, members=(("x" * 200, b""), *MEMBERS), style=tarfile.GNU_FORMAT),
        "it holds 'xxx",
    ),
    "unlisted": (lambda p: a_tar(p, members=(*MEMBERS, EVIL)), "manifest does not list"),
    "unlisted first": (lambda p: a_tar(p, members=(EVIL, *MEMBERS)), "it holds 'some/model/evil"),
    "missing": (lambda p: a_tar(p, members=MEMBERS[:1]), "ends or is damaged before some/"),
    "another order": (lambda p: a_tar(p, members=MEMBERS[::-1]), "was expected"),
    "other bytes": (
        lambda p: a_tar(p, members=(MEMBERS[0], (MEMBERS[1][0], DATA[::-1]))),
        "does not hash to what its manifest says",
    ),
    "compressed": (lambda p: p.write_bytes(gzip.compress(a_tar(p).read_bytes())), ""),
    "empty": (lambda p: p.write_bytes(b""), "empty file"),
    "zeros": (lambda p: p.write_bytes(bytes(10_000)), "before manifest.json"),
    "text": (lambda p: p.write_bytes(b"hello" * 1000), ""),
    "no manifest": (lambda p: p.write_bytes(a_tar(p).read_bytes()[1024:]), "manifest.json was"),
    "headers of headers": (
        lambda p: p.write_bytes(special(tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT) * 5000),
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TARS)
def test_a_tar_that_holds_other_things_is_refused(case: str, tmp_path: Path) -> None:
    make, words = TARS[case]
    make(tmp_path / "a.tar")
    refused(tmp_path / "a.tar", words)


def test_a_hash_pinned_in_the_catalogue_is_accepted_when_it_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pinned, right in ((sha(DATA), True), (sha(CONFIG), False)):
        file = WeightFile("model.safetensors", sha256=pinned)
        entry = Weights("dinov2:some/model", "some/model", (file,))
        monkeypatch.setattr(bundles, "catalogue", lambda entry=entry: (entry,))
        bundled = a_tar(tmp_path / "a.tar")
        if right:
            unbundle(bundled, tmp_path / "right")
        else:
            with pytest.raises(CorruptBundleError, match=PINNED):
                unbundle(bundled, tmp_path / "wrong")


def unharmed(data: bytes, tmp_path: Path) -> None:
    """Refused with nothing left behind, or the very bytes that were packed."""
    (tmp_path / "damaged.tar").write_bytes(data)
    target = tmp_path / f"out-{os.urandom(6).hex()}"
    try:
        unbundle(tmp_path / "damaged.tar", target)
    except CorruptBundleError:
        assert not target.exists() or not list(target.rglob("*"))
    else:
        assert files_below(target) == dict(MEMBERS)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(1, 255))
def test_no_flipped_byte_gets_through(place: int, value: int, tmp_path: Path) -> None:
    damaged = bytearray(a_tar(tmp_path / "whole.tar").read_bytes())
    damaged[place % len(damaged)] ^= value
    unharmed(bytes(damaged), tmp_path)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 10**6))
def test_no_truncated_bundle_gets_through(length: int, tmp_path: Path) -> None:
    whole = a_tar(tmp_path / "whole.tar").read_bytes()
    unharmed(whole[: length % len(whole)], tmp_path)


def test_a_target_or_bundle_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bundled, to in (
        (a_tar(tmp_path / "a.tar"), tmp_path / "file"),
        (tmp_path / "nothing.tar", None),
        (tmp_path, None),
    ):
        with pytest.raises(OptionError, match="cannot be unpacked"):
            unbundle(bundled, to)


def test_the_last_step_fails_without_half_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OptionError, match="cross-device"):
        unbundle(a_tar(tmp_path / "a.tar"))
    assert files_below(hub.root()) == {}


# --- examining ------------------------------------------------------------------------------------


def problems(folder: Path, family: str = "dinov2") -> str:
    return "; ".join(check(describe(f"{family}:{folder}")).problems)


def a_model(folder: Path, config: dict[str, Any], *others: str) -> Path:
    """A folder with this config, weights, and the other files named, empty but for braces."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    for name in others:
        (folder / name).write_text("{}")
    return folder


def test_a_sound_folder_has_no_problems(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    told: list[tuple[int, int, str]] = []
    report = check(describe(f"dinov2:{folder}"), lambda *step: told.append(step))
    assert (report.problems, report.where) == ([], folder)
    assert report.files == {name: sha(data) for name, data in files_below(folder).items()}
    assert told[0] == (0, 2, "reading config.json")
    snapshot = into_hub_cache(tmp_path / "hub", "some/model", folder)
    assert check(describe("dinov2:some/model")).where == snapshot


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["featup_clip_jbu_stack_cocostuff.ckpt", "squeezenet1_0_imagenet.pth"]
)
def test_real_checkpoints_are_sound(shared: Callable[..., Path], name: str) -> None:
    assert problems(shared("weights", name)) == ""


def test_what_is_absent_says_what(tmp_path: Path) -> None:
    assert check(describe("dinov2:nobody/nothing")).problems == ["not on this machine"]
    folder = tiny_dinov2(tmp_path / "own" / "facebook" / "sam-vit-base")
    (folder / "model.safetensors").unlink()
    assert check(describe("sam:facebook/sam-vit-base")).problems == [
        f"incomplete: {folder} has no preprocessor_config.json, no model.safetensors"
    ]
    assert "there is no config.json or open_clip_config.json" in problems(tmp_path)


class Harmful:
    """What a hostile pickle does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("harm").write_text, ("done",))


SAFE, INDEX = "model.safetensors", "model.safetensors.index.json"
DAMAGES: dict[str, tuple[str, bytes, str]] = {
    "truncated": (SAFE, b"\x10\0\0\0\0\0\0\0{", "model.safetensors cannot be read"),
    "empty": (SAFE, b"", "model.safetensors cannot be read"),
    "no tensors": (SAFE, b"\x02\0\0\0\0\0\0\0{}", "model.safetensors holds no tensors"),
    "pointer": (SAFE, b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "config": ("config.json", b"{", "config.json cannot be read"),
    "list": ("config.json", b"[]", "config.json holds no JSON object"),
    "bytes": ("config.json", b"\xff{}", "config.json cannot be read"),
    "deep": ("config.json", b"[" * 100_000, "config.json cannot be read"),
    "shards": (INDEX, b'{"weight_map": {"a": "model-2.safetensors"}}', "model-2.safetensors is mi"),
    "index": (INDEX, b'{"weight_map": []}', "JSON of another shape"),
    "hostile index": (INDEX, b'{"weight_map": {"a": ["x"]}}', "JSON of another shape"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    name, data, words = DAMAGES[damage]
    (folder / name).write_bytes(data)
    assert words in problems(folder)


@pytest.mark.parametrize("data", [pickle.dumps(Harmful(), protocol=2), b"no checkpoint", b""])
def test_a_harmful_checkpoint_is_named_and_not_run(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_dinov2(tmp_path / "m")
    (folder / SAFE).unlink()
    assert problems(folder) == "there is no file with weights"
    (folder / "pytorch_model.bin").write_bytes(data)
    assert "pytorch_model.bin cannot be read" in problems(folder)
    assert "Ways out" not in problems(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": ["clip"]},
        {"model_type": "clip", "text_config": [1]},
        {"model_type": {"a": 1}},
        {"model_type": None},
        {},
    ],
)
def test_an_odd_config_is_no_traceback(config: dict[str, Any], tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json")
    assert bool(problems(folder)) == bool(config.get("model_type"))
    (folder / "open_clip_config.json").write_text('{"model_cfg": [1]}')
    (folder / "config.json").unlink()
    assert "another shape" in problems(folder)


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bundles, "file_hash", refuse)
    said = problems(tiny_dinov2(tmp_path / "m"))
    assert "cannot be read" in said
    assert "Permission denied" in said


def test_a_pinned_hash_is_compared_with_its_own_file_alone(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "own" / "some" / "model")

    def said(pinned: str, name: str = SAFE, alternative: str | None = None) -> list[str]:
        files = (WeightFile("config.json"), WeightFile(name, alternative, sha256=pinned))
        return check(Weights("dinov2:some/model", "some/model", files)).problems

    assert said(sha((folder / SAFE).read_bytes())) == []
    assert f"expected {'0' * 64}: it is damaged" in said("0" * 64)[0]
    assert said("0" * 64, "better.safetensors", SAFE) == []


# --- what a library would quietly replace ---------------------------------------------------------


def test_a_tokenizer_without_the_models_vocabulary_is_caught(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = {"model_type": "clip"}
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json")
    # From a folder that has none transformers makes one of two words, every other unknown.
    assert "the tokenizer knows 2 words and the model 49408" in problems(folder, "clip")
    words = {"a</w>": 0, "b": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    transformers.CLIPTokenizer(vocab=words, merges=[]).save_pretrained(folder)
    assert "the tokenizer knows 4 words and the model 49408" in problems(folder, "clip")
    (folder / "config.json").write_text(json.dumps({**config, "text_config": {"vocab_size": 4}}))
    assert problems(folder, "clip") == ""
    (folder / "tokenizer.json").write_text("{}")
    assert "its config or tokenizer cannot be loaded" in problems(folder, "clip")


def test_a_missing_preprocessor_is_caught(tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", {"model_type": "sam3"})
    assert "a 'sam3' model needs preprocessor_config.json" in problems(folder, "sam")
    (folder / "processor_config.json").write_text("{}")
    assert problems(folder, "sam") == ""


def test_open_clip_brings_its_own_vocabulary_unless_told_otherwise(tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", {})
    (folder / "config.json").unlink()
    config: dict[str, Any] = {"model_cfg": {"text_cfg": {"width": 8}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert problems(folder, "clip") == ""
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert "would look for the tokenizer 'timm/ViT-B-16-SigLIP'" in problems(folder, "clip")
