#!/usr/bin/env python3
"""Sets everything up in .venv and runs a command there. Needs nothing but Python 3.11 or newer.

    python3 tools/bootstrap.py fmlad demo
    python3 tools/bootstrap.py pytest

The first call makes a virtual environment beside pyproject.toml and installs fmlad, editable, with
the pinned versions of tools/constraints.txt; later calls find it up to date and start at once. The
system's Python is never touched. $FMLAD_EXTRAS names the extras to install instead of `dev` alone
(`dev,bench` for the peers as well). Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "fmlad-bootstrap"
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
UV = "uv>=0.5"
EXTRAS = os.environ.get("FMLAD_EXTRAS") or "dev"


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before any version is assured)
        print(f"fmlad needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
        return 1
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    try:
        set_up()
    except subprocess.CalledProcessError as error:
        print(f"\nSetting up failed at: {' '.join(map(str, error.cmd))}")
        print("The lines above say why. Mend it and run the same command again.")
        return 1
    command = [str(BIN / sys.argv[1]), *sys.argv[2:]]
    if not (Path(command[0]).exists() or Path(command[0] + ".exe").exists()):
        command[0] = sys.argv[1]
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
    }
    try:
        return subprocess.call(command, env=environment)
    except FileNotFoundError:
        print(f"There is no command {sys.argv[1]!r} in {BIN} nor on the PATH.")
        return 2
    except KeyboardInterrupt:
        return 130


def set_up() -> None:
    """Makes the environment, or does nothing where it is up to date."""
    wanted = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes()
        + CONSTRAINTS.read_bytes()
        + f"{sys.version} {EXTRAS}".encode()
    ).hexdigest()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return
    print(f"Setting up {VENV} (several GB the first time, mostly PyTorch) ...", flush=True)
    STAMP.unlink(missing_ok=True)
    make_environment()
    uv = VENV / "tools"
    # uv lives in a folder of its own, so that the environment holds just what fmlad needs.
    run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "--target", uv, UV)
    executable = next(p for p in (uv / "bin" / "uv", uv / "bin" / "uv.exe") if p.exists())
    run(
        executable, "pip", "install", "--python", PYTHON, "--constraint", CONSTRAINTS,
        "--editable", f"{ROOT}[{EXTRAS}]",
        env={"UV_COMPILE_BYTECODE": "1"},
    )  # fmt: skip
    STAMP.write_text(wanted)


def make_environment() -> None:
    """A virtual environment with pip, also where the system's Python came without ensurepip."""
    if not PYTHON.exists():
        try:
            venv.create(VENV, with_pip=True)
            return
        except (subprocess.CalledProcessError, ImportError):
            venv.create(VENV, with_pip=False, clear=True)
    if subprocess.call([str(PYTHON), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    # Some distributions leave ensurepip out but have pip; it can install into another Python.
    if subprocess.call([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL):
        print(
            "This Python has neither ensurepip nor pip. Install one of them with your system's "
            "package manager (Debian, Ubuntu: apt install python3-venv) and try again."
        )
        raise SystemExit(1)
    run(sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip")


def run(*command: object, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, env={**os.environ, **(env or {})})


if __name__ == "__main__":
    sys.exit(main())
