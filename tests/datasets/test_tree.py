"""MVTec AD, MPDD, BTAD: the layout they share, and the mistakes people make with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fmlad.datasets import categories, load
from fmlad.errors import DatasetError, UnknownNameError
from tests.datasets import trees


def test_a_category_is_listed_in_order(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    found = load("mvtec_ad", tmp_path, "bottle")
    assert [s.name for s in found.train] == ["good/000", "good/001", "good/002"]
    assert [s.name for s in found.test] == [
        "good/000", "good/001", "crack/000", "crack/001", "hole/000", "hole/001",
    ]  # fmt: skip
    assert [s.kind for s in found.test] == ["good"] * 2 + ["structural"] * 4
    assert [s.defect for s in found.test] == [None, None, "crack", "crack", "hole", "hole"]
    assert found.validation == ()
    assert found.localised
    assert not found.paired
    assert (found.name, found.category, found.subtype) == ("mvtec_ad", "bottle", None)


def test_regions_are_connected_components(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    found = load("mvtec_ad", tmp_path, "bottle")
    good, _, one, two = [s.annotation() for s in found.test[:4]]
    assert good is not None
    assert good.regions.shape == (0, trees.HEIGHT, trees.WIDTH)
    assert one is not None
    assert one.saturations == (20.0,)
    assert two is not None
    assert two.saturations == (20.0, 8.0)
    assert two.regions[0][trees.SPOT].all()
    assert two.regions.sum() == 28


def test_counts_unlike_the_official_ones_are_a_note(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    notes = load("mvtec_ad", tmp_path, "bottle").notes
    assert "bottle has 3 training images here, the official dataset 209." in notes
    assert "bottle has 4 anomalous test images here, the official dataset 63." in notes


def test_official_counts_give_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fmlad.datasets.counts import facts

    counts = {"train": 3, "good": 2, "anomalous": 4}
    monkeypatch.setitem(facts()["counts"]["mvtec_ad"], "bottle", counts)
    trees.mvtec(tmp_path / "bottle")
    assert load("mvtec_ad", tmp_path, "bottle").notes == ()


def test_btad_has_its_own_names(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "01", "ok", {"ko": 3}, ".bmp", "{stem}.png")
    found = load("btad", tmp_path, "01")
    assert [s.kind for s in found.test] == ["good"] * 2 + ["structural"] * 3
    assert {s.defect for s in found.test} == {None}
    assert all(s.annotation() is not None for s in found.test)


def test_an_anomaly_with_an_empty_mask_has_no_region(tmp_path: Path) -> None:
    """BTAD has some."""
    trees.mvtec(tmp_path / "01", "ok", {"ko": 2}, ".bmp", "{stem}.png")
    trees.mask(tmp_path / "01" / "ground_truth" / "ko" / "001.png", [])
    truth = load("btad", tmp_path, "01").test[-1].annotation()
    assert truth is not None
    assert truth.regions.shape == (0, trees.HEIGHT, trees.WIDTH)
    assert truth.saturations == ()


@pytest.mark.parametrize("dataset", ["mvtec_ad", "mpdd"])
def test_capital_letters_and_other_suffixes_do_no_harm(tmp_path: Path, dataset: str) -> None:
    trees.mvtec(tmp_path / "Metal Nut", "Good", {"Bent": 2}, ".JPG", "{stem}_MASK.PNG")
    for name in ("train", "test", "ground_truth"):
        (tmp_path / "Metal Nut" / name).rename(tmp_path / "Metal Nut" / name.upper())
    found = load(dataset, tmp_path, "metal_nut")
    assert (len(found.train), len(found.test)) == (3, 4)
    assert found.localised
    assert categories("mvtec_ad", tmp_path) == ["metal_nut"]


def test_hidden_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    for index in range(12):
        (home / "train" / "good" / f"._{index:03d}.png").write_bytes(b"resource fork")
    (home / "test" / "good" / "Thumbs.db").write_bytes(b"x")
    (home / "test" / ".ipynb_checkpoints").mkdir()
    found = load("mvtec_ad", tmp_path, "bottle")
    assert len(found.train) == 3
    assert {s.defect for s in found.test} == {None, "crack", "hole"}
    assert "Passed over: 13 files that are hidden or no images." in found.notes


def test_without_masks_there_is_a_note_and_no_truth(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    shutil.rmtree(home / "ground_truth")
    found = load("mvtec_ad", tmp_path, "bottle")
    assert not found.localised
    assert all(sample.annotation() is None for sample in found.test)
    assert any("There are no masks" in note for note in found.notes)


def test_masks_of_other_names_are_said_to_be_so(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle", mask_name="truth-{stem}.png")
    notes = load("mvtec_ad", tmp_path, "bottle").notes
    assert any("No mask in" in note and "000_mask.png" in note for note in notes)


def test_some_missing_masks_are_an_error_that_names_the_first(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    (home / "ground_truth" / "hole" / "001_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"hole/001.png has no mask \(1 of 4") as caught:
        load("mvtec_ad", tmp_path, "bottle")
    assert str(home / "ground_truth" / "hole" / "001_mask.png") in str(caught.value)


def test_masks_without_images_are_a_note(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    (home / "test" / "hole" / "001.png").unlink()
    notes = load("mvtec_ad", tmp_path, "bottle").notes
    assert any("There is no image to 1 mask;" in note for note in notes)


def _pass_the_category(root: Path) -> Path:
    return root / "bottle"


def _nest(root: Path) -> Path:
    (root / "mvtec").mkdir()
    (root / "bottle").rename(root / "mvtec" / "bottle")
    return root


def _nest_the_category(root: Path) -> Path:
    (root / "bottle").rename(root / "other")
    (root / "bottle").mkdir()
    (root / "other").rename(root / "bottle" / "bottle")
    return root


def _empty_category(root: Path) -> Path:
    shutil.rmtree(root / "bottle")
    (root / "bottle").mkdir()
    return root


def _empty_root(root: Path) -> Path:
    shutil.rmtree(root / "bottle")
    return root


def _archive(root: Path) -> Path:
    shutil.rmtree(root / "bottle")
    (root / "bottle.tar.xz").write_bytes(b"x")
    return root


def _the_archive_itself(root: Path) -> Path:
    _archive(root)
    return root / "bottle.tar.xz"


def _no_test(root: Path) -> Path:
    shutil.rmtree(root / "bottle" / "test")
    return root


def _no_train_good(root: Path) -> Path:
    shutil.rmtree(root / "bottle" / "train" / "good")
    return root


def _no_images(root: Path) -> Path:
    shutil.rmtree(root / "bottle" / "train" / "good")
    (root / "bottle" / "train" / "good").mkdir()
    return root


def _one_deeper(root: Path) -> Path:
    (root / "bottle" / "train" / "good" / "good").mkdir()
    for path in (root / "bottle" / "train" / "good").glob("*.png"):
        path.rename(path.parent / "good" / path.name)
    return root


def _no_defects(root: Path) -> Path:
    for name in ("crack", "hole"):
        shutil.rmtree(root / "bottle" / "test" / name)
    return root


def _an_empty_defect(root: Path) -> Path:
    shutil.rmtree(root / "bottle" / "test" / "hole")
    (root / "bottle" / "test" / "hole").mkdir()
    return root


def _absent(root: Path) -> Path:
    return root / "nowhere"


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (_pass_the_category, "is itself one category .* Pass {root}"),
        (_nest, "one folder deeper than expected. Pass {root}/mvtec"),
        (_nest_the_category, "one folder deeper than expected. Pass {root}/bottle"),
        (_empty_category, "{root}/bottle has no folder train; found: nothing. Expected train/good"),
        (_empty_root, "holds no category 'bottle' of mvtec_ad; found: nothing"),
        (_archive, "found: bottle.tar.xz. .* Unpack bottle.tar.xz first"),
        (_the_archive_itself, "is a file; expected the folder of a dataset. Unpack it"),
        (_no_test, "{root}/bottle has no folder test; found: ground_truth/, train/"),
        (_no_train_good, "{root}/bottle/train has no folder good; found: nothing"),
        (_no_images, "{root}/bottle/train/good holds no images; found: nothing"),
        (_one_deeper, "{root}/bottle/train/good holds no images; found: good/"),
        (_no_defects, "{root}/bottle/test has no folder with anomalies; found: good/"),
        (_an_empty_defect, "{root}/bottle/test/hole holds no images"),
        (_absent, "does not exist; .* Nothing is downloaded"),
    ],
)
def test_a_wrong_folder_says_what_was_found_and_what_to_do(
    tmp_path: Path, mistake: Callable[[Path], Path], said: str
) -> None:
    trees.mvtec(tmp_path / "bottle")
    root = mistake(tmp_path)
    with pytest.raises(DatasetError, match=said.format(root=tmp_path)):
        load("mvtec_ad", root, "bottle")


def test_a_category_that_is_not_on_disk(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    with pytest.raises(DatasetError, match="no category 'cable' of mvtec_ad; found: bottle/"):
        load("mvtec_ad", tmp_path, "cable")
    with pytest.raises(UnknownNameError, match="Did you mean 'bottle'"):
        load("mvtec_ad", tmp_path, "bottel")


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    bad = trees.mask(home / "ground_truth" / "crack" / "000_mask.png", size=(32, 48))
    with pytest.raises(DatasetError, match=f"{bad} is 48 x 32 pixels .* 24 x 16"):
        load("mvtec_ad", tmp_path, "bottle").test[2].annotation()


def test_a_broken_mask_is_named(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    bad = home / "ground_truth" / "crack" / "000_mask.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=f"{bad} cannot be read as a mask"):
        load("mvtec_ad", tmp_path, "bottle").test[2].annotation()


def test_names_stay_unique_where_stems_are_not(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    trees.image(home / "train" / "good" / "000.bmp")
    names = [s.name for s in load("mvtec_ad", tmp_path, "bottle").train]
    assert names == ["good/000.bmp", "good/000.png", "good/001", "good/002"]


def test_nothing_is_decoded_on_loading(tmp_path: Path) -> None:
    home = trees.mvtec(tmp_path / "bottle")
    for path in home.rglob("*.png"):
        path.write_bytes(b"not yet read")
    assert len(load("mvtec_ad", tmp_path, "bottle").test) == 6


def test_samples_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    import pickle

    trees.mvtec(tmp_path / "bottle")
    found = load("mvtec_ad", tmp_path, "bottle")
    again = pickle.loads(pickle.dumps(found))  # noqa: S301
    assert again == found
    first, second = found.test[3].annotation(), again.test[3].annotation()
    assert np.array_equal(first.regions, second.regions)
