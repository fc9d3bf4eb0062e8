"""The public names of datasets, and what the docs say of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fmlad
from fmlad.datasets import categories, list_datasets, load, subtypes
from fmlad.datasets.counts import facts
from fmlad.errors import DatasetError, UnknownNameError
from tests.datasets import trees

DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    for call in (
        lambda: load("mvtec", tmp_path, "bottle"),
        lambda: categories("mvtec", tmp_path),
        lambda: subtypes("mvtec", tmp_path, "bottle"),
    ):
        with pytest.raises(
            UnknownNameError, match=r"Did you mean 'mvtec_ad'\?.* Known ones: boxes"
        ):
            call()


@pytest.mark.parametrize(
    "name", ["btad", "deeppcb", "folder", "mpdd", "mvtec_ad", "mvtec_loco", "visa"]
)
def test_an_empty_root_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="found: nothing"):
        categories(name, tmp_path)
    with pytest.raises(DatasetError, match="found: nothing"):
        load(
            name,
            tmp_path,
            "" if name == "folder" else next(iter(facts()["counts"].get(name, {"x": 0}))),
        )
    with pytest.raises(DatasetError, match="does not exist"):
        categories(name, tmp_path / "nowhere")


def test_paths_may_be_text(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    found = fmlad.datasets.load("mvtec_ad", str(tmp_path), "bottle")
    assert isinstance(found, fmlad.datasets.Dataset)
    assert isinstance(found.test[0], fmlad.datasets.Sample)
    assert isinstance(found.test[0].annotation(), fmlad.datasets.Annotation)


@pytest.mark.slow
def test_listing_needs_no_heavy_package() -> None:
    code = (
        "import sys, fmlad; fmlad.datasets.list_datasets(); "
        "print([m for m in ('torch', 'scipy', 'skimage', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sums_of_the_official_counts() -> None:
    def sums(name: str) -> tuple[int, ...]:
        rows = facts()["counts"][name].values()
        return tuple(sum(c.get(w, 0) for c in rows) for w in ("train", "good", "anomalous"))

    assert sums("mvtec_ad") == (3629, 467, 1258)
    assert sums("visa") == (8659, 962, 1200)
    assert sums("mpdd") == (888, 176, 282)
    assert sums("btad") == (1799, 451, 290)
    assert sums("mvtec_loco") == (1772 + 6, 575, 0)  # 6 more on disk than in the paper
    loco = facts()["counts"]["mvtec_loco"].values()
    assert [sum(c[w] for c in loco) for w in ("logical", "structural")] == [561, 432]
    assert sum(c["validation"] for c in loco) == 304 + 1


def test_the_docs_name_every_dataset() -> None:
    rows = re.findall(r"^\| `([a-z]\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == list_datasets()


def test_the_table_of_the_docs_is_that_of_the_results() -> None:
    file = DOCS.parents[1] / "benchmarks" / "results" / "product-types.json"
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    text = DOCS.read_text(encoding="utf-8")
    for category in ("juice_bottle", "splicing_connectors"):
        cells = [figures[f"{category}, world {world}"] for world in (0, 1, 2)]
        assert f"| {category} | {' | '.join(cells)} |" in text
