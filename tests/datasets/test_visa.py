"""VisA: unpacked with its table, without it, and prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fmlad.datasets import categories, load
from fmlad.errors import DatasetError
from tests.datasets import trees


def test_the_table_splits(tmp_path: Path) -> None:
    trees.visa(tmp_path)
    found = load("visa", tmp_path, "candle")
    assert [s.name for s in found.train] == ["Normal/0001", "Normal/0002", "Normal/0003"]
    assert [(s.name, s.kind) for s in found.test] == [
        ("Normal/0000", "good"),
        ("Anomaly/000", "structural"),
        ("Anomaly/001", "structural"),
    ]
    truth = found.test[1].annotation()
    assert truth is not None
    assert truth.saturations == (20.0,)
    assert categories("visa", tmp_path) == ["candle"]
    assert "candle has 3 training images here, the official dataset 900." in found.notes


def test_without_the_table_it_is_one_pool(tmp_path: Path) -> None:
    trees.visa(tmp_path, table=False)
    found = load("visa", tmp_path, "candle")
    assert [s.kind for s in found.test] == ["good"] * 4 + ["structural"] * 2
    assert {s.path for s in found.train} < {s.path for s in found.test}
    assert any("split_csv/1cls.csv is missing" in note for note in found.notes)


def test_converted_images_are_found_by_their_stems(tmp_path: Path) -> None:
    trees.visa(tmp_path)
    for path in (tmp_path / "candle" / "Data" / "Images").rglob("*.JPG"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert len(load("visa", tmp_path, "candle").train) == 3


def test_images_missing_from_disk_or_table(tmp_path: Path) -> None:
    trees.visa(tmp_path)
    normal = tmp_path / "candle" / "Data" / "Images" / "Normal"
    trees.image(normal / "0009.JPG")
    notes = load("visa", tmp_path, "candle").notes
    assert "Left out, since not in 1cls.csv: 1 image." in notes
    (normal / "0002.JPG").unlink()
    with pytest.raises(
        DatasetError, match=r"lacks 1 image of .* first candle/Data/Images/Normal/0002.JPG"
    ):
        load("visa", tmp_path, "candle")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,b\n1,2\n", "has no column 'object'"), ("object,split,label,image\n", "has no row of")],
)
def test_a_table_that_is_another(tmp_path: Path, text: str, said: str) -> None:
    trees.visa(tmp_path)
    (tmp_path / "split_csv" / "1cls.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        load("visa", tmp_path, "candle")


def test_prepared_like_mvtec_ad(tmp_path: Path) -> None:
    home = tmp_path / "1cls" / "pcb1"
    trees.mvtec(home, defects={"bad": 2}, suffix=".JPG", mask_name="{stem}.png")
    found = load("visa", tmp_path / "1cls", "pcb1")
    assert [s.kind for s in found.test] == ["good"] * 2 + ["structural"] * 2
    assert found.localised
    with pytest.raises(DatasetError, match=f"folder deeper than expected. Pass {tmp_path}/1cls"):
        load("visa", tmp_path, "pcb1")


def test_half_unpacked(tmp_path: Path) -> None:
    trees.visa(tmp_path)
    (tmp_path / "candle" / "Data" / "Images" / "Anomaly").rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=r"Images has no folder Anomaly; found: Normal/"):
        load("visa", tmp_path, "candle")
