"""Saved detectors: the same scores after loading, and a named error for any damage.

Hashes catch changed bytes. The checks behind the hashes are tested with hashes repaired.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from fmlad import storage
from fmlad.backbones.embedded.features import PretrainedFeatures
from fmlad.detector import Detector
from fmlad.errors import (
    BackboneMismatchError,
    CorruptDetectorError,
    FmladError,
    OptionError,
    UnknownNameError,
)

MANIFEST, STATE = storage.MANIFEST, storage.STATE
GONE = object()
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Manifest = dict[str, Any]
Place = tuple[str | int, ...]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: on a busy machine a second thread costs far more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """The same coloured blocks every time, with noise of its own."""
    blocks = np.random.default_rng(5).integers(0, 200, (height // 16, width // 16, 3))
    noise = np.random.default_rng(seed).integers(0, 30, (height, width, 3))
    return (blocks.repeat(16, axis=0).repeat(16, axis=1) + noise).astype(np.uint8)


def query() -> np.ndarray:
    pixels = picture(99)
    pixels[16:26, 30:40] = (255, 0, 200)
    return pixels


@pytest.fixture(autouse=True)
def _no_disk_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders hold what saving leaves there and nothing else."""
    monkeypatch.setenv("FMLAD_CACHE_LIMIT_MB", "0")


@pytest.fixture(scope="module")
def detector() -> Detector:
    shots = [picture(seed) for seed in (1, 2, 3)]  # as many as a variation among shots takes
    return Detector.from_shots(shots, profile="builtin", device="cpu")


@pytest.fixture(scope="module")
def original(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detector.save(tmp_path_factory.mktemp("saved") / "original")


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(original, tmp_path / "saved"))


# --- tools ---------------------------------------------------------------------------------------


def manifest_of(folder: Path) -> Manifest:
    read: Manifest = json.loads((folder / MANIFEST).read_bytes())
    return read


def write_manifest(folder: Path, manifest: Manifest, repair: bool = True) -> None:
    if repair and "sha256" in manifest:
        rest = {key: value for key, value in manifest.items() if key != "sha256"}
        text = json.dumps(rest, sort_keys=True).encode()
        manifest = {**manifest, "sha256": hashlib.sha256(text).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def changed(manifest: Manifest, place: Place, value: Any) -> Manifest:
    """A copy with another value at a place, or without it (``GONE``)."""
    copied = copy.deepcopy(manifest)
    target = at(copied, place[:-1])
    if value is GONE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return copied


def change_manifest(folder: Path, place: Place, value: Any) -> None:
    write_manifest(folder, changed(manifest_of(folder), place, value))


def change_state(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Changes the tensors, hashes repaired."""
    tensors = from_bytes((folder / STATE).read_bytes())
    change(tensors)
    write_state(folder, to_bytes(tensors))


def write_state(folder: Path, data: bytes) -> None:
    (folder / STATE).write_bytes(data)
    change_manifest(folder, ("files", STATE), hashlib.sha256(data).hexdigest())


def at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


def places(tree: Any, here: Place = ()) -> Iterator[Place]:
    """Every key and index of a tree of dictionaries and lists."""
    steps: list[str | int] = []
    if isinstance(tree, dict):
        steps = list(tree)
    elif isinstance(tree, list):
        steps = list(range(len(tree)))
    for step in steps:
        yield (*here, step)
        yield from places(tree[step], (*here, step))


def assert_alike(one: Any, two: Any) -> None:
    """JSON trees with the same content, numbers to 1e-6."""
    assert list(places(one)) == list(places(two))
    for place in places(one):
        a, b = at(one, place), at(two, place)
        if not isinstance(a, dict | list):
            assert a == (pytest.approx(b, abs=1e-6) if isinstance(a, float) else b), place


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def tree_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def outcome(folder: Path) -> str:
    """``"works"``, ``"corrupt: message"`` or what escaped, of loading and then judging."""
    try:
        Detector.load(folder, device="cpu").predict(query())
    except CorruptDetectorError as error:
        return f"corrupt: {error}"
    except Exception as error:  # the point is to see what else there is
        return f"{type(error).__name__}: {error}"
    return "works"


def refused(folder: Path, *says: str) -> None:
    with pytest.raises(CorruptDetectorError) as caught:
        Detector.load(folder, device="cpu")
    message = str(caught.value)
    assert str(folder) in message
    for text in says:
        assert text in message


# --- round trips ---------------------------------------------------------------------------------


def test_a_loaded_detector_gives_the_same_verdict(detector: Detector, original: Path) -> None:
    before, loaded = detector.predict(query()), Detector.load(original, device="cpu")
    after = loaded.predict(query())
    assert after.score == pytest.approx(before.score, abs=1e-6)
    assert np.allclose(after.anomaly_map, before.anomaly_map, atol=1e-6)
    assert_alike(before.to_dict(), after.to_dict())
    assert before.score > 1.5  # a score that says something
    assert loaded.threshold == detector.threshold
    assert loaded.calibration == detector.calibration
    assert loaded.shots == detector.shots
    assert (loaded.method, loaded.profile) == (detector.method, detector.profile)


@pytest.mark.slow
def test_another_process_gives_the_same_verdict(
    detector: Detector, original: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "query.npy", query())
    script = (
        "import sys, numpy, fmlad\n"
        "detector = fmlad.Detector.load(sys.argv[1], device='cpu')\n"
        "print(repr(detector.predict(numpy.load(sys.argv[2])).score))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, str(original), str(tmp_path / "query.npy")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert float(there.stdout) == pytest.approx(detector.predict(query()).score, abs=1e-6)


@pytest.mark.parametrize(
    ("shots", "options"),
    [
        ([picture(1)], {}),
        ([picture(1), picture(2, 32, 80)], {"levels": 1}),
        ([picture(1), picture(2, 32, 80), picture(3, 16, 96)], {}),
        ([picture(1), picture(2), picture(2)], {}),
        ([picture(1), picture(2), picture(3)], {"symmetry": "flips", "banks": "patch"}),
        ([picture(1), picture(2), picture(3)], {"variation": 0, "background": None}),
        ([picture(1), picture(2)], {"symmetry": "all", "banks": "patch", "registration": False}),
    ],
)
def test_every_kind_of_detector_comes_back(
    shots: list[np.ndarray], options: dict[str, Any], tmp_path: Path
) -> None:
    fitted = Detector.from_shots(shots, profile="builtin", device="cpu", **options)
    loaded = Detector.load(fitted.save(tmp_path / "d"), device="cpu")
    before, after = fitted.predict(query()), loaded.predict(query())
    assert after.score == before.score
    assert np.array_equal(before.anomaly_map, after.anomaly_map)
    assert_alike(before.to_dict(), after.to_dict())


def test_saving_what_was_loaded_changes_nothing_that_counts(original: Path, tmp_path: Path) -> None:
    again = Detector.load(original, device="cpu").save(tmp_path / "again")
    assert (again / STATE).read_bytes() == (original / STATE).read_bytes()
    old, new = manifest_of(original), manifest_of(again)
    for key in set(old) - {"files", "sha256"}:
        assert new[key] == old[key], key


def test_thumbnails_survive_loading_and_saving(original: Path, tmp_path: Path) -> None:
    again = Detector.load(original, device="cpu").save(tmp_path / "again")
    assert files_of(again) == files_of(original)


def test_a_threshold_of_the_users_own_is_kept(original: Path, tmp_path: Path) -> None:
    loaded = Detector.load(original, device="cpu")
    for value in (2.5, None):
        loaded.threshold = value
        again = Detector.load(loaded.save(tmp_path / "again"), device="cpu")
        assert again.threshold == value
        assert again.calibration.source == "user"
        assert again.predict(query()).threshold == value


def test_thumbnails_are_optional(detector: Detector, tmp_path: Path) -> None:
    folder = detector.save(tmp_path / "d", thumbnails=False)
    assert files_of(folder) == [MANIFEST, STATE]
    assert outcome(folder) == "works"


def test_a_saved_detector_can_be_moved(saved: Path, tmp_path: Path) -> None:
    moved = saved.rename(tmp_path / "elsewhere and otherwise")
    assert outcome(moved) == "works"


def test_the_folder_may_be_given_in_any_way(
    saved: Path, monkeypatch: pytest.MonkeyPatch, detector: Detector
) -> None:
    monkeypatch.chdir(saved.parent)
    for folder in ("saved", "./saved/", str(saved), Path("saved")):
        assert Detector.load(folder, device="cpu").threshold == detector.threshold
    detector.save("relative/deep/folder")
    assert outcome(saved.parent / "relative/deep/folder") == "works"


def test_there_is_no_pickle_in_it(original: Path) -> None:
    magics = {".json": b"{", ".safetensors": None, ".jpg": b"\xff\xd8\xff"}
    for name, data in tree_of(original).items():
        suffix = Path(name).suffix
        assert suffix in magics
        magic = magics[suffix]
        assert magic is None or data.startswith(magic)
        assert not data.startswith((b"\x80", b"PK"))
    state = (original / STATE).read_bytes()
    length = int.from_bytes(state[:8], "little")
    assert json.loads(state[8 : 8 + length])  # a JSON header, then plain numbers


# --- damage: any change of any file, hashes not repaired -----------------------------------------

FILES = (MANIFEST, STATE, "shots/000.jpg", "shots/001.jpg")


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes | None]]:
    """A file and what becomes of its bytes; None: it is gone."""
    place, bit = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(0, 7))

    def flipped(data: bytes) -> bytes:
        spot = int(place * len(data))
        return data[:spot] + bytes([data[spot] ^ 1 << bit]) + data[spot + 1 :]

    changes: list[Callable[[bytes], bytes | None]] = [
        lambda data: None,
        lambda data: data[: int(place * len(data))],
        lambda data: data + b"x",
        flipped,
    ]
    return draw(st.sampled_from(FILES)), draw(st.sampled_from(changes))


@pytest.mark.slow
@EXAMPLES
@given(damage=damages())
def test_any_damage_to_a_file_is_refused(
    saved: Path, damage: tuple[str, Callable[[bytes], bytes | None]]
) -> None:
    name, change = damage
    data = (saved / name).read_bytes()
    harmed = change(data)
    (saved / name).unlink()
    if harmed is not None:
        (saved / name).write_bytes(harmed)
    try:
        if name != MANIFEST or harmed is None or not same_content(data, harmed):
            refused(saved, *([name] if name != MANIFEST else []))
    finally:
        (saved / name).write_bytes(data)


def same_content(one: bytes, two: bytes) -> bool:
    """Whether JSON texts differ in white space at most."""
    try:
        return bool(json.loads(one) == json.loads(two))
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_truncated_file_is_named(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    for length in (0, len(data) // 2):
        (saved / name).write_bytes(data[:length])
        refused(saved, name)
    (saved / name).unlink()
    refused(saved, name)
    (saved / name).mkdir()
    refused(saved, name)


@pytest.mark.parametrize(
    "data",
    [b"null", b"[]", b"{}", b"{", b"[" * 100_000, b'{"format": 6}', b"\xff\xfe\x00{"],
    ids=["null", "list", "empty", "open", "deep", "format alone", "no text"],
)
def test_a_manifest_that_is_none_is_refused(saved: Path, data: bytes) -> None:
    (saved / MANIFEST).write_bytes(data)
    refused(saved, MANIFEST)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "file", "empty"):
        with pytest.raises(CorruptDetectorError, match=name):
            Detector.load(tmp_path / name)


# --- the manifest, hashes repaired ---------------------------------------------------------------

JUNK: list[Any] = [None, True, -1, 1.5, float("nan"), "x", "", [], {}, [None], {"a": None}]
# Removing one of these leaves a detector that works, or that names what is missing otherwise.
OPTIONAL = {("fusion", "scales", "*"), ("calibration", "threshold"), ("backbones", "*")}


@pytest.mark.slow
@EXAMPLES
@given(data=st.data())
def test_any_change_of_the_manifest_is_noticed_by_its_hash(
    saved: Path, data: st.DataObject
) -> None:
    before = (saved / MANIFEST).read_bytes()
    place = data.draw(st.sampled_from(list(places(json.loads(before)))))
    value = data.draw(st.sampled_from([*JUNK, GONE]))
    manifest = changed(json.loads(before), place, value)
    try:
        if manifest != json.loads(before):
            write_manifest(saved, manifest, repair=False)
            refused(saved)
    finally:
        (saved / MANIFEST).write_bytes(before)


@pytest.mark.slow
@EXAMPLES
@given(data=st.data())
def test_rubbish_anywhere_in_the_manifest_works_or_is_an_error_of_ours(
    saved: Path, data: st.DataObject
) -> None:
    before = (saved / MANIFEST).read_bytes()
    place = data.draw(st.sampled_from(list(places(json.loads(before)))))
    value = data.draw(st.sampled_from([*JUNK, GONE]))
    write_manifest(saved, changed(json.loads(before), place, value))
    try:
        Detector.load(saved, device="cpu").predict(query())
    except FmladError:
        pass
    finally:
        (saved / MANIFEST).write_bytes(before)


def test_a_missing_key_is_noticed(saved: Path) -> None:
    manifest = manifest_of(saved)
    for place in places(manifest):
        if isinstance(place[-1], str) and not any(matches(place, known) for known in OPTIONAL):
            write_manifest(saved, changed(manifest, place, GONE))
            with pytest.raises(CorruptDetectorError):
                Detector.load(saved, device="cpu")


def matches(place: Place, known: Place) -> bool:
    return len(known) == len(place) and all(
        k in ("*", p) for k, p in zip(known, place, strict=True)
    )


def test_an_unknown_key_is_refused(saved: Path) -> None:
    manifest = manifest_of(saved)
    for place in ((), ("shots", 0), ("backbones", "feature_extractor")):
        write_manifest(saved, changed(manifest, (*place, "surprise"), 1))
        refused(saved, MANIFEST, "surprise")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("method",), "no-such-method"),
        (("profile",), "no-such-profile"),
        (("prompts",), {}),
        (("seed",), "0"),
        (("shots",), []),
        (("shots", 0, "score"), "high"),
        (("config", "levels"), -5),
        (("config", "surprise"), 1),
        (("config", "symmetry"), None),
        (("state", "patches", "levels"), "many"),
        (("state", "patches", "levels"), 0),
        (("state", "patches", "levels"), 9),
        (("state", "patches", "levels"), float("inf")),
        (("state", "patches", "ratio"), float("nan")),
        (("state", "patches", "ratio"), 0.0),
        (("state", "patches", "shots"), []),
        (("state", "patches", "shots", 1), 7),
        (("state", "patches", "halves"), [None]),
        (("state", "patches", "halves", 0), [0.0, 0.0]),
        (("state", "patches", "placed"), "no"),
        (("state", "patches", "appearance"), False),
        (("state", "patches", "variation"), -0.1),
        (("state", "patches", "variation"), 2),
        (("state", "patches", "variation"), 0),
        (("state", "patches", "join"), "sum"),
        (("state", "patches", "background"), "much"),
        (("state", "patches", "background"), float("nan")),
        (("state", "patches", "excesses"), [-1.0]),
        (("state", "patches", "excesses"), [float("inf")]),
        (("state", "patches", "excesses"), None),
        (("state", "patches", "excesses"), []),
        (("state", "patches", "excesses"), [0.1]),
        (("state", "patches", "background"), None),
        (("fusion", "kind"), "another"),
        (("fusion", "scales"), {}),
        (("fusion", "scales", "patch"), 0.0),
        (("calibration", "source"), "guessed"),
        (("calibration", "source"), ["user"]),
        (("calibration", "threshold"), float("nan")),
        (("calibration", "scores"), ["x"]),
    ],
)
def test_a_value_that_cannot_be_is_damage(saved: Path, place: Place, value: Any) -> None:
    change_manifest(saved, place, value)
    refused(saved)


@pytest.mark.parametrize("version", [1, 2, 99, "2", None, [2]])
def test_an_unknown_format_is_named_with_the_version_that_wrote_it(
    saved: Path, version: Any
) -> None:
    manifest = manifest_of(saved)
    write_manifest(saved, {**manifest, "format": version, "fmlad": "9.9.9", "new": 1})
    refused(saved, repr(version), "9.9.9")


def test_no_path_leads_out_of_the_folder(saved: Path) -> None:
    secret = saved.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    for name in (
        "../secret.jpg",
        str(secret),
        "shots/../../secret.jpg",
        "shots/../000.jpg",
        "shots/000.jpg/../../../secret.jpg",
        "shots\\000.jpg",
        "shots/0.jpg",
        "shots/000.jpg\n",
        "shots/000.png",
        "state.pkl",
        "",
        ".",
        "\0",
    ):
        manifest = manifest_of(saved)
        write_manifest(saved, changed(manifest, ("files", name), digest))
        refused(saved, repr(name), "no detector has")
        write_manifest(saved, manifest)


def test_files_that_are_not_listed_are_not_needed(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    assert outcome(saved) == "works"


# --- the state, hashes repaired ------------------------------------------------------------------


def test_every_missing_tensor_is_named(saved: Path) -> None:
    tensors = from_bytes((saved / STATE).read_bytes())
    # Of three shots: patches; objects and their kinds; and a frame where it is arranged.
    assert len(tensors) >= 3 * (9 + 6)
    for name in tensors:
        write_state(saved, to_bytes({k: v for k, v in tensors.items() if k != name}))
        refused(saved, name)


def test_every_extra_tensor_is_named(saved: Path) -> None:
    for extra in ("surprise", "3.pooled", "0.level2", "0.variation2"):
        change_state(saved, lambda t, extra=extra: t.update({extra: torch.zeros(1)}))
        refused(saved, extra)
        change_state(saved, lambda t, extra=extra: t.pop(extra))
    assert outcome(saved) == "works"


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "float64": lambda t: t.double(),
    "integers": lambda t: t.int(),
    "one dimension more": lambda t: t[None],
    "NaN": lambda t: torch.cat([t.flatten()[:-1], torch.tensor([torch.nan])]).view(t.shape),
    "infinity": lambda t: torch.cat([t.flatten()[:-1], torch.tensor([torch.inf])]).view(t.shape),
}


@pytest.mark.parametrize("how", WRONG)
def test_every_wrong_tensor_is_named(saved: Path, how: str) -> None:
    tensors = from_bytes((saved / STATE).read_bytes())
    for name, tensor in tensors.items():
        harmed = WRONG[how](tensor).contiguous()
        write_state(saved, to_bytes({**tensors, name: harmed}))
        refused(saved, name)


def test_canvases_of_another_size_are_named(saved: Path) -> None:
    tensors = from_bytes((saved / STATE).read_bytes())
    for name in ("0.edges.coarse", "1.edges.128", "1.edges.256"):
        write_state(saved, to_bytes({**tensors, name: tensors[name][:-1].contiguous()}))
        refused(saved, name)


@pytest.mark.parametrize("how", ["fewer channels", "no cells", "short pooled"])
@pytest.mark.parametrize("what", ["level0", "level1", "appearance"])
def test_features_that_do_not_fit_each_other_are_named(saved: Path, how: str, what: str) -> None:
    name = "1.pooled" if how == "short pooled" else f"1.{what}"
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "fewer channels": lambda t: t[:, :-1],
        "no cells": lambda t: t[..., :0],
        "short pooled": lambda t: t[:-1],
    }
    change_state(saved, lambda t: t.update({name: changes[how](t[name]).contiguous()}))
    refused(saved, name)


@pytest.mark.parametrize("how", ["fewer cells", "one row less"])
def test_variations_that_do_not_fit_their_level_are_named(saved: Path, how: str) -> None:
    name = "2.variation1"
    cut: dict[str, Callable[[Tensor], Tensor]] = {
        "fewer cells": lambda t: t[:, :-1], "one row less": lambda t: t[:-1],
    }  # fmt: skip
    change_state(saved, lambda t: t.update({name: cut[how](t[name]).contiguous()}))
    refused(saved, name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        b"PK\x03\x04 a zip file",
        b"\x80\x04\x95 a pickle.",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_a_state_that_is_none_is_refused(saved: Path, data: bytes) -> None:
    write_state(saved, data)
    refused(saved)


def test_a_truncated_state_is_refused_behind_its_hash_too(saved: Path) -> None:
    data = (saved / STATE).read_bytes()
    for length in (7, 8, 100, len(data) // 2, len(data) - 4):
        write_state(saved, data[:length])
        refused(saved, STATE)


# --- backbones -----------------------------------------------------------------------------------


def test_other_weights_are_refused(saved: Path) -> None:
    place = ("backbones", "feature_extractor", "fingerprint")
    change_manifest(saved, place, "builtin:handmade@0")
    with pytest.raises(BackboneMismatchError) as caught:
        Detector.load(saved, device="cpu")
    for text in ("feature_extractor", "builtin:handmade@0", "builtin:features@1", str(saved)):
        assert text in str(caught.value)


def test_weights_that_changed_under_the_same_name_are_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretrainedFeatures, "fingerprint", "other")
    with pytest.raises(BackboneMismatchError, match="other"):
        Detector.load(saved, device="cpu")


def test_a_backbone_that_nobody_knows_is_named(saved: Path) -> None:
    change_manifest(saved, ("backbones", "feature_extractor", "name"), "builtin:handmade@0")
    with pytest.raises(UnknownNameError, match="builtin:handmade@0"):
        Detector.load(saved, device="cpu")


def test_a_profile_must_bring_the_same_weights(saved: Path) -> None:
    assert Detector.load(saved, "cpu", profile="builtin").predict(query()).score > 1
    with pytest.raises(UnknownNameError, match="no-such"):
        Detector.load(saved, "cpu", profile="no-such")


# --- writing -------------------------------------------------------------------------------------


def others(folder: Path) -> list[str]:
    """What lies beside the folder."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def broken(real: Callable[..., Any], call: int) -> Callable[..., Any]:
    """A function that works until its nth call, which finds the disk full."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("call", [1, 4])
def test_a_full_disk_leaves_the_old_detector_and_nothing_else(
    saved: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before = tree_of(saved)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", broken(Path.write_bytes, call))
        with pytest.raises(OptionError, match="No space left"):
            detector.save(saved)
    assert tree_of(saved) == before
    assert others(saved) == []
    assert outcome(saved) == "works"


def test_a_full_disk_leaves_nothing_where_nothing_was(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", broken(Path.write_bytes, 2))
        with pytest.raises(OptionError):
            detector.save(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [1, 2])
def test_a_failing_rename_leaves_a_detector_that_loads(
    saved: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before = tree_of(saved)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", broken(Path.rename, call))
        with pytest.raises(OptionError):
            detector.save(saved)
    assert outcome(saved) == "works"
    assert tree_of(saved) == before
    assert others(saved) == []


def test_a_kill_between_the_renames_is_mended_by_reading(saved: Path) -> None:
    before = tree_of(saved)
    saved.rename(saved.with_name(f".{saved.name}.previous"))
    shutil.copytree(saved.with_name(f".{saved.name}.previous"), saved.with_name(".saved.new-abc"))
    assert outcome(saved) == "works"
    assert tree_of(saved) == before


def test_a_kill_between_the_renames_does_not_stop_the_next_save(
    saved: Path, detector: Detector
) -> None:
    saved.rename(saved.with_name(f".{saved.name}.previous"))
    detector.save(saved)
    assert outcome(saved) == "works"
    assert others(saved) == []


def test_saving_again_replaces_everything(saved: Path, detector: Detector) -> None:
    detector.save(saved, thumbnails=False)
    assert files_of(saved) == [MANIFEST, STATE]
    assert others(saved) == []
    assert outcome(saved) == "works"


def test_saving_over_a_damaged_detector_mends_it(saved: Path, detector: Detector) -> None:
    (saved / STATE).unlink()
    (saved / MANIFEST).write_text("rubbish")
    detector.save(saved)
    assert outcome(saved) == "works"


def test_an_empty_folder_may_be_filled(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert outcome(detector.save(tmp_path / "d")) == "works"


def test_other_peoples_files_are_left_alone(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = tree_of(tmp_path)
    for name in ("folder", "file", "link", "dangling", "file/below"):
        with pytest.raises(OptionError, match=name):
            detector.save(tmp_path / name)
    assert tree_of(tmp_path) == before
    assert others(tmp_path / "x") == ["dangling", "file", "folder", "link"]


@pytest.mark.parametrize("name", ["notes.txt", "shots/mine.png", "archive/detector.json"])
def test_files_of_the_users_own_beside_a_detector_are_not_lost(
    saved: Path, detector: Detector, name: str
) -> None:
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("mine")
    with pytest.raises(OptionError):
        detector.save(saved)
    assert (saved / name).read_text() == "mine"


def test_a_manifest_of_some_other_program_is_not_overwritten(
    detector: Detector, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / MANIFEST).write_text('{"camera": "front left"}')
    (tmp_path / "d" / "weights.bin").write_bytes(b"hours of work")
    with pytest.raises(OptionError):
        detector.save(tmp_path / "d")
    assert (tmp_path / "d" / "weights.bin").exists()


def test_a_saved_folder_is_an_ordinary_one(saved: Path, detector: Detector) -> None:
    """Readable for the colleague or service that loads it."""
    folder = detector.save(saved.parent / "new")
    assert folder.stat().st_mode & 0o055 == 0o055
    for name in files_of(folder):
        assert (folder / name).stat().st_mode & 0o400
