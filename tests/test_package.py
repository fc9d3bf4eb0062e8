"""What ``import fmlad`` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fmlad

MODULES = ("bench", "datasets", "errors", "metrics")


def test_dir_shows_public_names_alone() -> None:
    assert set(dir(fmlad)) == set(fmlad.__all__)
    for name in dir(fmlad):
        assert name == "__version__" or not name.startswith("_")
        assert getattr(fmlad, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fmlad.nonsense  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_a_bare_import_reaches_every_public_module_and_loads_nothing_heavy(name: str) -> None:
    code = (
        "import sys, fmlad; before = set(sys.modules); "
        "assert not {'torch', 'numpy', 'gradio', 'PIL', 'pandas', 'jinja2'} & before, before; "
        f"assert fmlad.{name}.__name__ == 'fmlad.{name}'"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
