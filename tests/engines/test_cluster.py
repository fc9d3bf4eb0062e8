"""What fits on a cluster, what workers are told, and what is heard of Ray."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fmlad.engines import cluster
from fmlad.engines.threads import Threads
from fmlad.errors import ClusterError, OptionError


def machines(*sizes: tuple[float, float]) -> Any:
    """In place of Ray: machines with so many CPUs and GPUs, and one that is gone."""
    nodes = [{"Alive": True, "Resources": {"CPU": c, "GPU": g, "memory": 1.0}} for c, g in sizes]
    nodes.append({"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}})
    return SimpleNamespace(nodes=lambda: nodes)


@pytest.mark.parametrize(
    ("sizes", "threads", "device", "fit", "taken"),
    [
        ([(4, 0)], 1, "cpu", 4, (1.0, 0.0, "cpu")),
        ([(4, 0)], 2, "auto", 2, (2.0, 0.0, "cpu")),
        ([(4, 0)], 3, "cpu", 1, (3.0, 0.0, "cpu")),  # the fourth CPU is of no use
        ([(2, 0)], 8, "cpu", 1, (2.0, 0.0, "cpu")),  # as one process would be
        ([(4, 0), (7, 0), (0, 0)], 2, "cpu", 5, (2.0, 0.0, "cpu")),
        ([(16, 2), (8, 1), (8, 0)], 4, "auto", 3, (4.0, 1.0, "cuda")),
        ([(4, 2)], 4, "cuda", 1, (4.0, 1.0, "cuda")),
        ([(16, 2)], 4, "cpu", 4, (4.0, 0.0, "cpu")),
        ([(16, 1)], 4, "cuda:3", 1, (4.0, 1.0, "cuda")),  # Ray shows a worker one GPU
    ],
)
def test_as_many_workers_as_fit_and_not_one_more(
    sizes: list[tuple[float, float]], threads: int, device: str, fit: int, taken: Any
) -> None:
    found = cluster.worker_pool(machines(*sizes), None, threads, device, 1000)
    assert found.workers == fit
    options = found.options
    assert (options["num_cpus"], options["num_gpus"] or 0.0, found.device) == taken
    assert cluster.worker_pool(machines(*sizes), fit, threads, device, 1000).workers == fit
    with pytest.raises(OptionError, match=f"at most {fit} worker"):
        cluster.worker_pool(machines(*sizes), fit + 1, threads, device, 1000)


def test_no_more_workers_than_there_is_work() -> None:
    assert cluster.worker_pool(machines((64, 0)), 9, 1, "cpu", 2).workers == 2


def test_no_machine_no_worker() -> None:
    with pytest.raises(OptionError, match="at most 0 workers"):
        cluster.worker_pool(machines(), None, 1, "cpu", 2)


def test_workers_are_told_what_may_change_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_MAX_PIXELS", "123")
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setenv("SECRET", "1")
    told = cluster.worker_pool(machines((8, 0)), 1, 3, "cpu", 1).options["runtime_env"]["env_vars"]
    assert told["FMLAD_MAX_PIXELS"] == "123"
    assert told["OMP_NUM_THREADS"] == "3"
    assert "SECRET" not in told


def test_settling_computes_as_told_and_in_the_folder_of_the_driver(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Threads.current()
    monkeypatch.chdir(tmp_path)
    there = cluster.setting(1, needed=True)
    monkeypatch.chdir("/")
    try:
        cluster.settle(there)
        assert torch.get_num_threads() == 1
        assert Threads.current() == Threads(1, 1)
        assert tmp_path.samefile(".")
        gone = cluster.Setting(there.version, there.threads, str(tmp_path / "gone"), True)
        with pytest.raises(ClusterError, match=r"no folder .*gone"):
            cluster.settle(gone)
        cluster.settle(cluster.Setting(gone.version, gone.threads, gone.folder, False))
    finally:
        before.apply()


def test_what_rays_threads_print_is_no_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = sys.stdout
    connected = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setattr(cluster, "import_ray", lambda: connected)
    with cluster.connected():
        print("a result")
        speaker = threading.Thread(
            target=print, args=("a worker died",), name="ray_listen_error_messages"
        )
        speaker.start()
        speaker.join()
    assert sys.stdout is outer
    said = capsys.readouterr()
    assert said.out == "a result\n"
    assert said.err == "a worker died\n"
