"""Scenes: layout, annotations, determinism, and what happens when asked for nonsense."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad.datasets import SCENE_CATEGORIES, SCENES_VERSION, make_scenes, render_scene
from fmlad.datasets.scenes import FOLDERS, Scene, contact_sheet, outlined, scene_spec
from fmlad.datasets.scenes.model import FINDING_KINDS
from fmlad.errors import DatasetError, OptionError, UnknownNameError

SMALL = {"train": 2, "validation": 1, "test_good": 1, "test_logical": 2, "test_structural": 1}
SIDES = ("objects", "parts", "slots", "instances")


@lru_cache(maxsize=5)  # two tests look at the same scenes of each category
def anomalies(category: str) -> list[Scene]:
    """One scene of every kind of anomaly."""
    spec = scene_spec(category)
    return [
        render_scene(category, 0, "test", type_, index)
        for type_, kinds in (
            ("logical_anomalies", spec.logical),
            ("structural_anomalies", spec.structural),
        )
        for index in range(len(kinds))
    ]


@pytest.fixture(scope="module", params=SCENE_CATEGORIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / request.param
    assert make_scenes(root, request.param, seed=3, counts=SMALL) == root
    return root


@pytest.fixture(scope="module")
def splicing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickest category, for what one category can show."""
    root = tmp_path_factory.mktemp("one") / "splicing_connectors"
    return make_scenes(root, root.name, seed=3, counts=SMALL)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_layout_is_locos(folder: Path) -> None:
    spec = scene_spec(folder.name)
    for (split, type_), number in zip(FOLDERS, SMALL.values(), strict=True):
        stems = [f"{i:03d}" for i in range(number)]
        assert sorted(p.stem for p in (folder / split / type_).iterdir()) == stems
        for side in SIDES:
            assert sorted(p.stem for p in (folder / side / split / type_).iterdir()) == stems
        for stem in stems:
            with Image.open(folder / split / type_ / f"{stem}.png") as image:
                assert (image.mode, image.size) == ("RGB", (spec.width, spec.height))
                assert max(image.size) == 512
    config = json.loads((folder / "defects_config.json").read_text())
    assert {frozenset(entry) for entry in config} == {
        frozenset({"defect_name", "pixel_value", "saturation_threshold", "relative_saturation"})
    }
    assert len({entry["pixel_value"] for entry in config}) == len(config)
    values = {entry["defect_name"]: entry["pixel_value"] for entry in config}
    for type_ in ("logical_anomalies", "structural_anomalies"):
        for truth in (folder / "ground_truth" / type_).iterdir():
            sidecar = json.loads(
                (folder / "objects" / "test" / type_ / f"{truth.name}.json").read_text()
            )
            assert [path.name for path in truth.iterdir()] == ["000.png"]
            mask = np.asarray(Image.open(truth / "000.png"))
            assert set(np.unique(mask)) == {0, values[sidecar["anomaly"]["name"]]}
    manifest = json.loads((folder / "scenes.json").read_text())
    assert manifest["version"] == SCENES_VERSION == "scenes-v1"
    assert (manifest["category"], manifest["seed"], manifest["counts"]) == (folder.name, 3, SMALL)


def test_label_maps_agree_with_the_objects(folder: Path) -> None:
    manifest = json.loads((folder / "scenes.json").read_text())
    for path in sorted((folder / "objects").rglob("*.json")):
        place = path.relative_to(folder / "objects").with_suffix(".png")
        instances, parts, slots = (
            np.asarray(Image.open(folder / side / place))
            for side in ("instances", "parts", "slots")
        )
        objects = json.loads(path.read_text())["objects"]
        assert {item["id"] for item in objects} == set(np.unique(instances)) - {0}
        assert ((parts > 0) == (instances > 0)).all()
        assert ((slots > 0) == (instances > 0)).all()
        for item in objects:
            rows, columns = np.nonzero(instances == item["id"])
            assert item["area"] == len(rows)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert item["box"] == box
            assert manifest["parts"][parts[rows[0], columns[0]]] == item["kind"]
            label = manifest["slots"][slots[rows[0], columns[0]]]
            assert label == [item["kind"], item["slot"]]


@pytest.mark.parametrize("category", SCENE_CATEGORIES)
def test_one_image_has_one_anomaly_and_its_mask(category: str) -> None:
    spec = scene_spec(category)
    config = {entry["defect_name"]: entry for entry in spec.defects_config()}
    seen = []
    for scene in anomalies(category):
        anomaly = scene.anomaly
        assert anomaly is not None
        seen.append(anomaly.name)
        assert anomaly.kind in FINDING_KINDS
        assert anomaly.part in spec.parts
        assert scene.mask.shape == scene.image.shape[:2] == (spec.height, spec.width)
        area = int(scene.mask.sum())
        assert 40 < area < 0.6 * scene.mask.size
        rows, columns = np.nonzero(scene.mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert anomaly.box == box
        entry = config[anomaly.name]
        if entry["relative_saturation"]:
            assert entry["saturation_threshold"] == 1.0
        else:
            assert 0 < entry["saturation_threshold"] <= 1.1 * area
        if anomaly.kind == "missing":
            assert anomaly.expected is not None
            assert anomaly.observed == anomaly.expected - 1
        if anomaly.kind == "extra":
            assert anomaly.expected is not None
            assert anomaly.observed == anomaly.expected + 1
    assert seen == [defect.name for defect in (*spec.logical, *spec.structural)]
    kinds = {defect.kind for defect in spec.logical}
    assert len(spec.logical) >= 5
    assert len(spec.structural) >= 4
    assert {"missing", "extra", "misplaced", "resized"} <= kinds


@pytest.mark.parametrize("category", SCENE_CATEGORIES)
def test_saturation_is_the_size_of_the_object(category: str) -> None:
    """An absolute threshold is about the visible area of one object of the part concerned."""
    spec = scene_spec(category)
    areas: dict[str, list[int]] = {}
    for index in range(3):  # every type of a product once
        for item in render_scene(category, 0, "train", "good", index).objects:
            areas.setdefault(item.kind, []).append(item.area)
    for scene in anomalies(category):
        assert scene.anomaly is not None
        defect = next(d for d in (*spec.logical, *spec.structural) if d.name == scene.anomaly.name)
        if defect.relative or defect.kind not in ("missing", "extra"):
            continue
        low, high = min(areas[scene.anomaly.part]), max(areas[scene.anomaly.part])
        if defect.name == "extra_icon":  # two small icons
            low = round(0.6 * low)
        if "connector" in defect.name:  # one threshold for three sizes: the smallest
            low = min(min(areas.get(part, [low])) for part in spec.parts if "connector" in part)
        assert 0.8 * low <= defect.saturation <= 1.3 * high, defect.name


def expected(category: str, counts: Counter[str], slots: Counter[tuple[str, Any]]) -> bool:
    """The rule of each category, written down once more by hand."""
    if category == "breakfast_box":
        return counts == Counter(
            {"box": 1, "tangerine": 2, "nectarine": 1, "cereals": 1, "almonds": 1}
            | {"banana chips": 1}
        ) and {("cereals", "upper right"), ("almonds", "lower right")} <= set(slots)
    if category == "juice_bottle":
        fruit = [name.removesuffix(" juice") for name in counts if name.endswith(" juice")]
        parts = ["bottle", "label", "text label", f"{fruit[0]} juice", f"{fruit[0]} icon"]
        places = {("label", "middle"), ("text label", "lower")}
        return len(fruit) == 1 and counts == Counter(parts) and places <= set(slots)
    if category == "pushpins":
        rows = {"red pushpin": 1, "yellow pushpin": 2, "blue pushpin": 3}
        pins = {(part, f"r{row}c{c}"): 1 for part, row in rows.items() for c in range(1, 6)}
        return slots == Counter({("tray", None): 1, **pins})
    if category == "screw_bag":
        return counts == Counter(
            {"bag": 1, "washer": 2, "nut": 2, "long screw": 1, "short screw": 1}
        )
    cables = {"yellow cable": 2, "blue cable": 3, "red cable": 5}
    (cable,) = (name for name in counts if name.endswith("cable"))
    (slot,) = (slot for part, slot in slots if part == cable)
    left, right = slot.split("-")
    body = f"{cables[cable]}-clamp connector"
    bodies = {(body, "left"): 1, (body, "right"): 1}
    return left == right and slots == Counter({(cable, slot): 1, **bodies})


@pytest.mark.parametrize("category", SCENE_CATEGORIES)
def test_normal_scenes_keep_the_rule(category: str) -> None:
    for split, type_ in FOLDERS[:3]:
        for index in range(2):
            scene = render_scene(category, 1, split, type_, index)
            counts = Counter(item.kind for item in scene.objects)
            slots = Counter((item.kind, item.slot) for item in scene.objects)
            assert expected(category, counts, slots), (split, index)
            assert scene.anomaly is None
            assert not scene.mask.any()


@pytest.mark.parametrize("category", ["juice_bottle", "splicing_connectors"])
def test_the_first_three_normals_show_all_types(category: str) -> None:
    shown = {
        frozenset(item.kind for item in render_scene(category, 0, "train", "good", i).objects)
        for i in range(3)
    }
    assert len(shown) == 3


@pytest.mark.parametrize("category", SCENE_CATEGORIES)
def test_rendering_is_deterministic_and_seeds_differ(category: str) -> None:
    first = render_scene(category, 0, "test", "structural_anomalies", 3)
    again = render_scene(category, 0, "test", "structural_anomalies", 3)
    other = render_scene(category, 1, "test", "structural_anomalies", 3)
    assert (first.image == again.image).all()
    assert (first.instances == again.instances).all()
    assert first.sidecar() == again.sidecar()
    assert (first.image != other.image).any()


def test_smaller_counts_are_a_prefix(tmp_path: Path, splicing: Path) -> None:
    less = {"train": 1, "validation": 0, "test_good": 1, "test_logical": 1, "test_structural": 0}
    small = files(make_scenes(tmp_path / "small", splicing.name, seed=3, counts=less))
    large = files(splicing)
    del small["scenes.json"], large["scenes.json"]
    assert set(small) < set(large)
    assert all(large[name] == content for name, content in small.items())


def test_identical_scenes_are_reused(splicing: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in splicing.rglob("*")}
    calls: list[int] = []
    progress = lambda done, total, what: calls.append(done)  # noqa: E731
    assert make_scenes(splicing, splicing.name, 3, SMALL, progress) == splicing
    assert calls == []
    assert before == {path: path.stat().st_mtime_ns for path in splicing.rglob("*")}


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    make_scenes(
        tmp_path / "new" / "deep",
        "splicing_connectors",
        counts=SMALL,
        progress=lambda done, total, what: calls.append((done, total, what)),
    )
    assert [call[:2] for call in calls] == [(i, 7) for i in range(1, 8)]
    assert calls[0][2] == "train/good"
    assert calls[-1][2] == "test/structural_anomalies"


def test_a_kill_leaves_nothing_half_made(tmp_path: Path) -> None:
    root = tmp_path / "scenes"

    def killed(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(root, "splicing_connectors", counts=SMALL, progress=killed)
    assert list(tmp_path.iterdir()) == []
    # A harder kill leaves the sibling folder behind; the next run does not mind it.
    left = tmp_path / ".scenes.0badcafe.partial"
    (left / "train" / "good").mkdir(parents=True)
    root.mkdir()
    make_scenes(root, "splicing_connectors", counts=SMALL)
    assert (root / "scenes.json").exists()


def test_a_folder_with_something_else_is_refused(tmp_path: Path, splicing: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="empty or new folder"):
        make_scenes(tmp_path, "pushpins")
    with pytest.raises(DatasetError, match="is a file"):
        make_scenes(tmp_path / "mine.txt", "pushpins")
    with pytest.raises(DatasetError, match=r"seed=3.*seed=4"):
        make_scenes(splicing, splicing.name, seed=4, counts=SMALL)
    with pytest.raises(DatasetError, match="other scenes"):
        make_scenes(splicing, "pushpins", seed=3, counts=SMALL)
    with pytest.raises(DatasetError, match="other scenes"):
        make_scenes(splicing, splicing.name, seed=3)
    with pytest.raises(DatasetError, match="writable"):
        make_scenes(tmp_path / "mine.txt" / "below", "pushpins", counts=SMALL)
    copy = make_scenes(tmp_path / "copy", splicing.name, seed=3, counts=SMALL)
    (copy / "train" / "good" / "000.png").unlink()
    with pytest.raises(DatasetError, match="make it again"):
        make_scenes(copy, splicing.name, seed=3, counts=SMALL)


def test_nonsense_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="pushpins"):
        make_scenes(tmp_path / "a", "pushpin")
    with pytest.raises(UnknownNameError, match="test/good"):
        render_scene("pushpins", 0, "test", "goods")
    with pytest.raises(UnknownNameError, match="missing_pushpin"):
        render_scene("pushpins", 0, "test", "logical_anomalies", defect="missing_pin")
    with pytest.raises(OptionError, match="no defect"):
        render_scene("pushpins", defect="missing_pushpin")
    for bad in ({"trains": 3}, {"train": -1}, {"train": 1.5}, {"train": True}, [1, 2]):
        with pytest.raises(OptionError, match="counts"):
            make_scenes(tmp_path / "a", "pushpins", counts=bad)  # type: ignore[arg-type]
    for seed in (-1, "x", 1.0):
        with pytest.raises(OptionError, match="seed"):
            make_scenes(tmp_path / "a", "pushpins", seed=seed)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="index"):
        render_scene("pushpins", index=-1)
    assert not (tmp_path / "a").exists()


def test_a_defect_can_be_asked_for_by_name() -> None:
    scene = render_scene("pushpins", 0, "test", "logical_anomalies", 0, defect="extra_pushpin")
    assert scene.anomaly is not None
    assert scene.anomaly.to_dict()["observed"] == 2


def test_contact_sheet_shows_everything_and_changes_nothing() -> None:
    page = contact_sheet(["splicing_connectors"], width=700, tile=60, normals=1)
    assert page.mode == "RGB"
    assert page.width == 700
    scene = render_scene("splicing_connectors", 0, "test", "logical_anomalies", 0)
    before = scene.image.copy()
    drawn = np.asarray(outlined(scene))
    assert (drawn != before).any()
    assert (scene.image == before).all()
    with pytest.raises(UnknownNameError):
        contact_sheet(["toasters"])


def test_the_public_names() -> None:
    assert fmlad.datasets.make_scenes is make_scenes
    assert len(SCENE_CATEGORIES) == 5
    with pytest.raises(AttributeError, match="no attribute"):
        _ = fmlad.datasets.make_scene
    assert "make_scenes" in dir(fmlad.datasets)


# Frozen: a change of any of these is scenes-v2, and every published number is measured again.
PINNED: dict[tuple[str, str, str, int], str] = {
    ("breakfast_box", "train", "good", 0): "f12531c33d103e8084e9392f",
    ("breakfast_box", "test", "logical_anomalies", 1): "cbdf6a3c701a4e62e7a4491b",
    ("breakfast_box", "test", "structural_anomalies", 3): "7c33cef2f254d2507d86194e",
    ("juice_bottle", "train", "good", 0): "571749004f734fe9b147ecbf",
    ("juice_bottle", "test", "logical_anomalies", 1): "db2f51d05efdca98d980e47c",
    ("juice_bottle", "test", "structural_anomalies", 3): "ea7f229c2e5ded03a35e1998",
    ("pushpins", "train", "good", 0): "f00da20fc6d667d920ee7e4f",
    ("pushpins", "test", "logical_anomalies", 1): "668befc4a2eb9037740bff31",
    ("pushpins", "test", "structural_anomalies", 3): "87cfc46e1bdc2043ac5cedeb",
    ("screw_bag", "train", "good", 0): "22a14837ab1bc94d6680eae2",
    ("screw_bag", "test", "logical_anomalies", 1): "57c171b9e8be4cc45fab8423",
    ("screw_bag", "test", "structural_anomalies", 3): "f0e06391102c23c48474efaf",
    ("splicing_connectors", "train", "good", 0): "d71abcf8222725795ef65cac",
    ("splicing_connectors", "test", "logical_anomalies", 1): "b78658a909b8dcd17383652b",
    ("splicing_connectors", "test", "structural_anomalies", 3): "a5944c199a9c1aa7db508593",
}


@pytest.mark.parametrize("key", PINNED, ids=lambda key: "-".join(map(str, key)))
def test_the_pixels_are_frozen(key: tuple[str, str, str, int]) -> None:
    category, split, type_, index = key
    scene = render_scene(category, 0, split, type_, index)
    assert hashlib.sha256(scene.image.tobytes()).hexdigest()[:24] == PINNED[key]
