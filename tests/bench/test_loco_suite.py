"""The suite ``loco``, from the command line, on a miniature tree and tiny networks of its names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmlad import profiles
from fmlad.backbones import hub
from fmlad.backbones.catalogue import lookup
from fmlad.bench import estimators, loco_suite, results, store, worker
from fmlad.bench.loco_suite import check_weights, loco_plan
from fmlad.bench.model import ALL, Entry
from fmlad.bench.suites import make_suite
from fmlad.commands.main import cli
from fmlad.datasets.catalogue import load as load_dataset
from fmlad.datasets.counts import official_names
from fmlad.datasets.loco import loco_type
from fmlad.errors import DatasetError, OptionError, WeightsUnavailableError
from tests.backbones import tiny_clip_models, tiny_sam_models
from tests.backbones.test_dino import save_tiny as save_dino
from tests.backbones.test_featup import saved, tensors
from tests.datasets import trees

FOUNDATION = (
    "dinov2:facebook/dinov2-small",
    "clip:ViT-L-14@datacomp_xl_s13b_b90k",
    "sam:facebook/sam-vit-huge",
    "featup:dinov2_jbu_stack_cocostuff",
)
# Of the three products of either category: yellow, red, orange; blue, red, yellow.
COLOURS = {
    "juice_bottle": [(230, 220, 40), (200, 30, 40), (240, 140, 30)],
    "splicing_connectors": [(40, 60, 210), (200, 30, 40), (230, 220, 40)],
}


@pytest.fixture(autouse=True)
def _real(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("fmlad.datasets.load", load_dataset)
    yield
    profiles._build.cache_clear()  # the tiny networks bear the names of real ones
    hub.folder_hash.cache_clear()
    worker.forget()


def product(path: Path, colour: tuple[int, int, int], seed: int, odd: str = "") -> None:
    """A disc of a colour and a grey square; the disc is missing, or cut."""
    pixels = np.full((48, 64, 3), 120.0)
    y, x = np.mgrid[:48, :64]
    if odd != "logical":
        pixels[(x - 20 - seed % 3) ** 2 + (y - 24) ** 2 < 100] = colour
    pixels[14:30, 40:54] = 190
    if odd == "structural":
        pixels[20:26, 10:50] = 15
    pixels += np.random.default_rng(seed).normal(0, 3, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def tree(root: Path, typed: int = 16, plain: int = 5) -> Path:
    """The five categories in MVTec's layout; plain categories hold the same pictures.

    ``typed``: training images where there are sub-types, of 16 four a type; ``plain``: elsewhere.
    """
    for category in official_names("mvtec_loco"):
        home = root / category
        colours = COLOURS.get(category, [(200, 90, 160)])
        for index in range(typed if category in COLOURS else plain):
            path = home / "train" / "good" / f"{index:03d}.png"
            type_ = int(loco_type(category, path) or 0)
            product(path, colours[type_], index)
        for number, colour in enumerate(colours):
            seed = 100 + 10 * number
            product(home / "validation" / "good" / f"{number:03d}.png", colour, seed)
            product(home / "test" / "good" / f"{number:03d}.png", colour, seed + 1)
            for more, kind in enumerate(("logical", "structural"), start=2):
                name = f"{kind}_anomalies"
                file = home / "test" / name / f"{number:03d}.png"
                # Its product is told by the label that is left: the square has the colour.
                product(file, colour, seed + more, odd=kind)
                if kind == "logical":
                    pixels = np.array(Image.open(file))
                    pixels[14:30, 40:54] = colour
                    Image.fromarray(pixels).save(file)
                truth = home / "ground_truth" / name / f"{number:03d}" / "000.png"
                trees.mask(truth, [(slice(14, 34), slice(10, 31))], 255, size=(48, 64))
        (home / "defects_config.json").write_text(json.dumps(trees.CONFIG))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("loco"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """fmlad's own folder of weights, with tiny random networks under the names of the profile."""
    home, shapes = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("shapes")

    def place(name: str) -> Path:
        known = lookup(name)
        assert known is not None
        found = home / hub.place_of(known.source)
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    save_dino(place(FOUNDATION[0]))
    tiny_clip_models.save_open_clip(place(FOUNDATION[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_sam_models, "SIDE", 64)  # its grid of 1,024 points is that of the real
        sam = tiny_sam_models.save_transformers(place(FOUNDATION[2]), "sam")
    (sam / "preprocessor_config.json").write_text("{}")
    saved(place(FOUNDATION[3]), tensors(channels=32))
    # The shape of a network with a tag is open_clip's own; for a while it is tiny.
    shape, real = "ViT-L-14", open_clip.get_model_config("ViT-L-14")
    assert real is not None
    for name, config in (
        ("tiny", tiny_clip_models.open_clip_config()["model_cfg"]),
        ("real", real),
    ):
        (shapes / name).mkdir()
        (shapes / name / f"{shape}.json").write_text(json.dumps(config))
    open_clip.add_model_config(shapes / "tiny")
    yield home
    open_clip.add_model_config(shapes / "real")


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One category with sub-types and one without, one draw: every kind of cell, few of each."""
    names = lambda dataset: ("juice_bottle", "pushpins")  # noqa: E731
    monkeypatch.setattr("fmlad.datasets.counts.official_names", names)
    monkeypatch.setattr(loco_suite, "SHOTS", (2,))
    monkeypatch.setattr(loco_suite, "SEEDS", (0,))
    monkeypatch.setattr(estimators, "TIMED", 0)  # queries may make use of the disk cache


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


# --- the plan -------------------------------------------------------------------------------------


def test_the_protocol_is_that_of_both_papers(root: Path) -> None:
    plan = loco_plan(root, "builtin")
    cells = plan.cells()
    by_label: dict[str, list[Any]] = {}
    for cell in cells:
        by_label.setdefault(cell.entry.label, []).append(cell)

    def facts(label: str) -> tuple[int, set[int], set[int]]:
        own = by_label[label]
        titles, shots, seeds = zip(
            *((one.task.title, one.shots, one.seed) for one in own), strict=True
        )
        assert len(own) == len(set(titles)) * len(set(shots)) * len(set(seeds))
        return len(set(titles)), set(shots), set(seeds)

    few = ("clip-lad", "clip-lad, validation images", "sam-lad", "banks")
    for label in few:
        assert facts(label) == (9, {1, 2, 4}, set(range(5)))
    for label in by_label:
        if label.endswith("kinds together"):
            assert facts(label) == (2, {3}, set(range(5)))
        if label.endswith("all images"):
            assert facts(label) == (5, {ALL}, {0})
    assert len(by_label) == 10
    published = by_label["sam-lad as published, all images"][0].entry
    assert published.options == {"preset": "paper"}
    assert all(
        cell.entry.prompts == "category" for cell in cells if cell.entry.method == "clip-lad"
    )
    nine = [cell.task for cell in by_label["clip-lad"]]
    assert {(one.category, one.subtype) for one in nine if one.subtype} == {
        *(("juice_bottle", kind) for kind in ("banana", "cherry", "orange")),
        *(("splicing_connectors", kind) for kind in ("blue", "red", "yellow")),
    }


def test_shots_of_whole_categories_are_one_of_each_sub_type(root: Path) -> None:
    from fmlad.bench.draw import draw, open_task

    plan = loco_plan(root, "builtin")
    task = next(one for one in plan.tasks if one.title == "mvtec_loco/juice_bottle")
    dataset = open_task(task)
    for seed in range(8):
        one = draw(dataset, 3, seed, task.each_subtype).shots
        assert {shot.subtype for shot in one} == {"0", "1", "2"}
        more = draw(dataset, 6, seed, task.each_subtype).shots
        assert more[:3] == one
        assert sorted(shot.subtype or "" for shot in more) == list("001122")
    assert len({draw(dataset, 3, seed, True).shots for seed in range(8)}) > 4
    assert set(draw(dataset, ALL, 0, True).shots) == set(dataset.train)


def test_older_results_keep_their_names() -> None:
    """A cell of a task that says nothing about sub-types is called as before there was a choice."""
    from fmlad.bench.model import Cell, Task

    entry = Entry("banks", "banks", "builtin")
    task = Task("mvtec_loco", "somewhere", "pushpins")
    assert Cell(entry, task, 4, 0).key == "banks_mvtec_loco_pushpins_k4_s0-ab18dedb81a7"
    other = Task("mvtec_loco", "somewhere", "pushpins", each_subtype=True)
    assert Cell(entry, other, 4, 0).key != Cell(entry, task, 4, 0).key


# --- what is missing ------------------------------------------------------------------------------


def test_missing_images_are_told_at_once(tmp_path: Path, root: Path) -> None:
    with pytest.raises(OptionError, match="needs --root"):
        loco_plan(None, "builtin")
    with pytest.raises(DatasetError, match="nowhere"):
        loco_plan(tmp_path / "nowhere", "builtin")
    some = tmp_path / "some"
    some.mkdir()
    (some / "pushpins").symlink_to(root / "pushpins")
    with pytest.raises(
        DatasetError,
        match=r"lacks breakfast_box, juice_bottle, screw_bag, splicing_connectors of MVTec LOCO "
        r"AD; expected .* train/good",
    ) as error:
        loco_plan(some, "builtin")
    assert "\n" not in str(error.value)


def test_missing_weights_are_told_by_name_before_any_cell(
    root: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsUnavailableError) as error:
        loco_plan(root, "foundation")
    for name in FOUNDATION:
        assert f"`fmlad weights pull {name}`" in str(error.value)
    assert "side=" not in str(error.value)
    done = invoke("bench", "run", "--suite", "loco", "--root", root, "--profile", "foundation",
                  "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 1
    assert not (tmp_path / "out").exists()

    monkeypatch.setenv("FMLAD_WEIGHTS", str(weights))
    moved = weights / "facebook" / "sam-vit-huge"
    moved.rename(tmp_path / "aside")
    try:
        with pytest.raises(WeightsUnavailableError) as error:
            loco_plan(root, "foundation")
        assert "sam:facebook/sam-vit-huge" in str(error.value)
        assert "dinov2" not in str(error.value)
        check_weights([Entry("clip-lad", "clip-lad", "foundation")])  # looks through no SAM
    finally:
        (tmp_path / "aside").rename(moved)
    assert loco_plan(root, "foundation").name == "loco"


def test_root_and_profile_go_with_this_suite_alone(root: Path, tmp_path: Path) -> None:
    for option, value in (("root", str(root)), ("profile", "light")):
        with pytest.raises(OptionError, match=f"--{option} goes with"):
            make_suite("training-free", tmp_path, **{option: value})
        with pytest.raises(OptionError, match=f"--{option} goes with"):
            results.run(loco_plan(root, "builtin"), tmp_path / "out", **{option: value})
        done = invoke("bench", "run", "--suite", "trained", f"--{option}", value, "--out", tmp_path)
        assert done.exit_code == 1
    done = invoke("bench", "run", "--suite", "loco", "--root", root, "--shots", "1", "--out", "r")
    assert done.exit_code == 1


# --- the run --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_the_command_runs_on_foundation_is_interrupted_and_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(weights))
    root, out = tree(tmp_path / "loco", typed=9, plain=2), tmp_path / "out"
    command = ("bench", "run", "--suite", "loco", "--root", root, "--profile", "foundation",
               "--out", out, "--device", "cpu", "--threads", 1)  # fmt: skip
    keep, kept = store.Store.keep, []

    def stops(self: store.Store, result: Any) -> None:
        if len(kept) == 7:
            raise KeyboardInterrupt
        keep(self, result)
        kept.append(result.cell.key)

    monkeypatch.setattr(store.Store, "keep", stops)
    assert invoke(*command).exit_code != 0
    found = results.load(out)
    total = 4 * (3 + 1) + 3 * 1 + 3 * 2
    assert (len(found), found.missing) == (7, total - 7)

    def goes_on(self: store.Store, result: Any) -> None:
        keep(self, result)
        kept.append(result.cell.key)

    monkeypatch.setattr(store.Store, "keep", goes_on)
    done = invoke(*command, "--json")
    assert done.exit_code == 0, done.output
    assert len(kept) == len(set(kept)) == total  # none was done twice
    found = results.load(out)
    assert (len(found), found.missing, found.failed) == (total, 0, ())

    one = next(c for c in found if c.cell.entry.label == "sam-lad as published, all images")
    assert {"auroc_logical", "auroc_structural", "auroc_mean", "auroc_micro"} <= set(one.figures)
    assert any(name.startswith("spro") and name.endswith("@0.05") for name in one.figures)
    with_validation = next(
        c for c in found if c.cell.entry.validation and c.cell.task.subtype == "cherry"
    )
    assert with_validation.cost["normals_beyond_k"] == 1

    shown = invoke("bench", "show", out)
    assert "mvtec_loco, mean of 4" in shown.output
    assert "mvtec_loco, mean of 2" in shown.output
    reported = invoke("bench", "report", out, "--examples", 0)
    assert reported.exit_code == 0, reported.output
    page = (out / "report.html").read_text()
    assert "CLIP-LAD, ICLR 2025 submission" in page
    assert "SAM-LAD, Peng et al. 2024" in page
