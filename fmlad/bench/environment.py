"""On what and with what the figures were made."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from pathlib import Path

from fmlad._version import __version__


def environment() -> dict[str, str]:
    """Versions, machine, threads and, in a checkout, the commit."""
    import torch

    facts = {**_fixed(), "threads": str(torch.get_num_threads())}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


@lru_cache(maxsize=1)
def _fixed() -> dict[str, str]:
    import numpy as np
    import torch

    commit = _commit(Path(__file__).parent)
    return {
        "fmlad": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        **({"commit": commit} if commit else {}),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit(package: Path) -> str:
    """The commit that the package is a file of; marked where files differ from it; else ""."""
    if not _git(package, "ls-files", "__init__.py"):
        return ""  # not a checkout, or installed inside somebody else's
    commit = _git(package, "rev-parse", "HEAD")
    changed = commit and _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        quiet = subprocess.DEVNULL
        return subprocess.check_output(command, stderr=quiet, text=True, timeout=10).strip()
    except (OSError, subprocess.SubprocessError):
        return ""
