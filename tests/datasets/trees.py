"""Miniature datasets in the official layouts: pictures of 24 x 16 pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 16
SPOT = (slice(2, 6), slice(3, 8))  # 4 x 5 pixels
OTHER = (slice(10, 12), slice(20, 24))  # 2 x 4 pixels


def image(path: Path, colour: tuple[int, int, int] = (90, 120, 60)) -> Path:
    """Writes a plain picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), colour, np.uint8)).save(path)
    return path


def mask(
    path: Path,
    spots: Iterable[tuple[slice, slice]] = (SPOT,),
    value: int = 255,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Path:
    """Writes a mask with one value in some places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    for spot in spots:
        pixels[spot] = value
    Image.fromarray(pixels).save(path)
    return path


def mvtec(
    home: Path,
    good: str = "good",
    defects: Mapping[str, int] | None = None,
    suffix: str = ".png",
    mask_name: str = "{stem}_mask.png",
) -> Path:
    """A category like those of MVTec AD: 3 training images, 2 good ones, 2 of each defect."""
    for index in range(3):
        image(home / "train" / good / f"{index:03d}{suffix}")
    for index in range(2):
        image(home / "test" / good / f"{index:03d}{suffix}")
    for defect, count in (defects or {"crack": 2, "hole": 2}).items():
        for index in range(count):
            path = image(home / "test" / defect / f"{index:03d}{suffix}")
            mask(
                home / "ground_truth" / defect / mask_name.format(stem=path.stem),
                (SPOT, OTHER)[: 1 + index % 2],
            )
    return home


CONFIG: list[dict[str, Any]] = [
    {
        "defect_name": "missing",
        "pixel_value": 255,
        "saturation_threshold": 6,
        "relative_saturation": False,
    },
    {
        "defect_name": "dirt",
        "pixel_value": 254,
        "saturation_threshold": 0.5,
        "relative_saturation": True,
    },
]


def loco(home: Path, train: int = 3) -> Path:
    """A category like those of MVTec LOCO: the first logical anomaly has two masks."""
    for index in range(train):
        image(home / "train" / "good" / f"{index:03d}.png")
    for place in ("validation/good", "test/good"):
        for index in range(2):
            image(home / place / f"{index:03d}.png")
    for index in range(2):
        image(home / "test" / "logical_anomalies" / f"{index:03d}.png")
        truth = home / "ground_truth" / "logical_anomalies" / f"{index:03d}"
        mask(truth / "000.png", [SPOT], 255)
    mask(home / "ground_truth" / "logical_anomalies" / "000" / "001.png", [OTHER], 254)
    image(home / "test" / "structural_anomalies" / "000.png")
    mask(home / "ground_truth" / "structural_anomalies" / "000" / "000.png", [SPOT, OTHER], 254)
    (home / "defects_config.json").write_text(json.dumps(CONFIG))
    return home


def visa(root: Path, category: str = "candle", table: bool = True) -> Path:
    """VisA as it is unpacked: 4 normal images, 2 anomalous ones, a split that trains on 3."""
    rows = ["object,split,label,image,mask"]
    for index in range(4):
        path = f"{category}/Data/Images/Normal/{index:04d}.JPG"
        image(root / path)
        rows.append(f"{category},{'train' if index else 'test'},normal,{path},")
    for index in range(2):
        path = f"{category}/Data/Images/Anomaly/{index:03d}.JPG"
        drawn = f"{category}/Data/Masks/Anomaly/{index:03d}.png"
        image(root / path)
        mask(root / drawn, [SPOT], 1)
        rows.append(f"{category},test,anomaly,{path},{drawn}")
    if table:
        (root / "split_csv").mkdir()
        (root / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
    return root


def boxes(root: Path, labels: Mapping[str, Iterable[int]]) -> Path:
    """Photographs with YOLO boxes: the classes of each image's boxes."""
    (root / "boxes").mkdir(parents=True)
    for name, classes in labels.items():
        image(root / "images" / name)
        lines = [f"{label} 0.5 0.5 0.1 0.1" for label in classes]
        (root / "boxes" / f"{Path(name).stem}.txt").write_text("\n".join(lines) + "\n")
    return root


def pcb(root: Path, count: int = 3, group: str = "group77000") -> Path:
    """DeepPCB: scans, templates and boxes."""
    number = group.removeprefix("group")
    (root / group / f"{number}_not").mkdir(parents=True)
    for index in range(count):
        stem = f"{number}{index:03d}"
        image(root / group / number / f"{stem}_test.jpg")
        image(root / group / number / f"{stem}_temp.jpg")
        (root / group / f"{number}_not" / f"{stem}.txt").write_text("2 3 8 9 1\n5 1 10 6 4\n")
    return root
