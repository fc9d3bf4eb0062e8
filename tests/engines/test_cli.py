"""``--engine ray`` as a user meets it: real processes, clean output, nothing left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fmlad
from fmlad.engines.threads import Threads
from tests.commands.test_main import fmlad_cli, fmlad_process
from tests.conftest import picture
from tests.engines.conftest import SIZE

pytestmark = pytest.mark.slow  # processes and a cluster


@pytest.fixture
def _threads() -> Iterator[None]:
    """Commands of this process may choose threads; afterwards there are as many as before."""
    before = Threads.current()
    yield
    before.apply()


@pytest.fixture
def address(ray: Any) -> str:
    return str(ray.get_runtime_context().gcs_address)


@pytest.mark.usefixtures("_threads")
def test_a_cluster_is_joined_and_left_running(
    ray: Any, address: str, saved: Path, queries: Path, tmp_path: Path
) -> None:
    outputs = []
    for engine in (("local",), ("ray", "--workers", "2", "--ray-address", address)):
        out = tmp_path / engine[0]
        command = fmlad_process if engine[0] == "ray" else fmlad_cli
        done = command(
            "predict", saved, queries, "--threads", "1", "--json", "--overlays", out / "o",
            "--maps", out / "m", "--engine", *engine,
        )  # fmt: skip
        assert done.returncode == 1  # for the torn file
        files = {p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*.*"))}
        outputs.append((done.stdout, files))
    assert outputs[0] == outputs[1]
    assert len(outputs[0][1]) == 18
    assert ray.get(ray.remote(lambda: 7).remote()) == 7


@pytest.mark.usefixtures("_threads")
def test_the_table_and_the_exit_code_are_the_same(address: str, saved: Path, queries: Path) -> None:
    command = ("predict", saved, queries, "--threads", "1", "--fail-on-anomaly")
    here = fmlad_cli(*command)
    there = fmlad_process(*command, "--engine", "ray", "--ray-address", address, "--workers", "1")
    assert (here.returncode, here.stdout) == (there.returncode, there.stdout)
    assert here.returncode == 3
    assert here.stderr.strip() in there.stderr  # beside what Ray has to say


def test_benchmarks_take_the_same_options(address: str, tmp_path: Path) -> None:
    for kind in ("train/good", "test/good", "test/scratched"):
        (tmp_path / "line" / kind).mkdir(parents=True)
        for i in range(3):
            pixels = picture(i + 10 * len(kind), SIZE, defect="scratched" in kind)
            Image.fromarray(pixels).save(tmp_path / "line" / kind / f"{i}.png")
    done = fmlad_process(
        "bench", "run", "--dataset", "folder", "--root", tmp_path / "line", "--method", "banks",
        "--profile", "builtin", "--shots", "1", "--seeds", "2", "--threads", "1",
        "--out", tmp_path / "r", "--engine", "ray", "--workers", "1", "--ray-address", address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(fmlad.bench.load(tmp_path / "r")) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "rey"), "Did you mean 'ray'"),
        (("--workers", "2"), "go with --engine ray"),
        (("--ray-address", "x:1"), "go with --engine ray"),
        (("--engine", "ray", "--ray-address", "127.0.0.1:1"), "no Ray cluster to be had at"),
        (("--engine", "ray", "--ray-address", "nonsense"), "no Ray cluster to be had at"),
    ],
)
def test_wrong_input_is_one_clear_line(
    options: tuple[str, ...], words: str, saved: Path, queries: Path
) -> None:
    # What Ray itself prints is seen in a process alone.
    command = fmlad_process if "ray" in options else fmlad_cli
    done = command("predict", saved, queries, *options)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def with_mark(mark: str) -> list[str]:
    """Command lines of the processes that have a mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone, or not ours
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_a_cluster_of_our_own_ends_with_ctrl_c(saved: Path, queries: Path, tmp_path: Path) -> None:
    mark = f"FMLAD_TEST_MARK={tmp_path}"
    environment = {**os.environ, "FMLAD_TEST_MARK": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    images = [str(queries / f"{i % 10}.png") for i in range(4000)]
    command = ["predict", str(saved), *images, "--engine", "ray", "--threads", "1", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "fmlad", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        # Tests in the background of a shell have inherited that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"version": 1')
        assert any("raylet" in command for command in with_mark(mark))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert b"Traceback" not in said
    deadline = time.monotonic() + 60
    while with_mark(mark) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert with_mark(mark) == []
