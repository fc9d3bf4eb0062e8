"""What the benchmarks share: where the photographs are, how results are printed and kept."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fmlad
from fmlad.errors import DatasetError

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
CODE = ("fmlad", "benchmarks", "prompts", ":!benchmarks/results")  # what figures hang on


def shared(*parts: str) -> Path:
    """A folder of the shared photographs: in ``$FMLAD_SHARED``, else ``../shared``."""
    root = Path(os.environ.get("FMLAD_SHARED") or Path(__file__).parents[2] / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; set FMLAD_SHARED to the folder with the photographs."
        )
    return path


def keep(
    name: str,
    protocol: str,
    figures: Mapping[str, Any],
    *,
    seeds: Sequence[int] | None = None,
    finished: bool = True,
) -> None:
    """Prints figures and writes them to ``benchmarks/results/NAME.json``.

    With them go protocol, command, commit, whether the code differed from it, and versions.

    Args:
        name: Of the file.
        protocol: What was done on what, in a line.
        figures: JSON-ready.
        seeds: Of the draws, where there are any.
        finished: False where more is to come, so that a run that was stopped can be told.
    """
    import torch

    commit, dirty = code_state()
    result = {
        "protocol": protocol,
        "command": command_line(),
        "commit": commit,
        "dirty": dirty,
        **({} if seeds is None else {"seeds": list(seeds)}),
        **({} if finished else {"finished": False}),
        "fmlad": fmlad.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "figures": dict(figures),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for key, value in figures.items():
        print(f"{key}: {value}")


def command_line() -> str:
    """The command that runs now, as somebody would type it in a checkout.

    Absolute paths are cut down to their names: they say nothing on another machine.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    start = (
        ["python", "-m", spec.name.removesuffix(".__main__")]
        if spec
        else ["python", Path(sys.argv[0]).name]
    )
    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    return shlex.join([*start, *words])


def code_state() -> tuple[str | None, bool]:
    """Commit of the checkout, and whether :data:`CODE` differs from it.

    New files count as a difference, results and documents do not: a benchmark that writes its
    results leaves the next one clean. The commit is None outside a checkout.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None, False
    return commit, bool(_git("status", "--porcelain", "--", *CODE))


def unfinished(name: str, protocol: str) -> dict[str, Any]:
    """Figures of a run with the same protocol and code that was stopped; {} where there is none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    here = dict(zip(("commit", "dirty"), code_state(), strict=True))
    same = found["protocol"] == protocol and all(found.get(k) == v for k, v in here.items())
    return dict(found["figures"]) if same and not found.get("finished", True) else {}


def code_name() -> str:
    """A folder name for what this code computed: its commit, and a mark where it was changed."""
    commit, dirty = code_state()
    return (commit or "unknown")[:12] + ("-changed" if dirty else "")


def code_as_at(commit: str | None) -> bool:
    """Whether :data:`CODE` is what it was at a commit, here and now."""
    if not commit or not _git("cat-file", "-t", commit):
        return False
    changed = _git("diff", "--name-only", commit, "--", *CODE)
    return not changed and not code_state()[1]


def _git(*arguments: str) -> str:
    """What git answers; "" where it cannot."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
