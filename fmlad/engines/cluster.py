"""A Ray cluster to work on: the one that is there, or one of our own while the work lasts."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

from fmlad._version import __version__
from fmlad.engines.threads import Threads
from fmlad.errors import (
    BackboneMismatchError,
    ClusterError,
    FmladError,
    MissingDependencyError,
    OptionError,
)

LOCAL = "local"  # Ray's word for a cluster of one's own
RETRIES = 2  # of work whose worker died; what kills three workers would kill the fourth, too
TIMEOUT = 5.0  # seconds that the head of a cluster has to answer
LOST = 3  # jobs in a row given up for that until it is the cluster, and not the job

Job = TypeVar("Job")

# Read by Ray when it is imported. Nobody is told about runs, and a driver under `uv run` does not
# send its folder to all machines.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
# Of the driver's environment, what may change a result or where things are found.
_CARRIED = ("OMP_WAIT_POLICY", "HF_HUB_OFFLINE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """What a worker needs to know to compute as its driver would; ``version`` is fmlad's.

    Relative paths start from ``folder``; it is ``needed`` on a worker's machine if there are any.
    """

    version: str
    threads: Threads
    folder: str
    needed: bool


@dataclass(frozen=True)
class WorkerPool:
    """Workers that fit on a cluster; ``options`` tell Ray what each takes and how it starts."""

    workers: int
    device: str
    options: dict[str, Any]


def import_ray() -> Any:
    """Ray, with our settings where the user has none.

    Raises:
        MissingDependencyError: It is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"The engine 'ray' needs the package {error.name}, which is not installed. "
            f'Run `pip install "fmlad[ray]"`.'
        ) from error


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Ray, ready to work; what was started here is stopped again, and nothing else.

    A process that has started Ray itself keeps its own connection. Without an ``address``, as
    ``ray.init`` takes it, ``$RAY_ADDRESS`` counts, else a cluster of our own is started here.

    Raises:
        MissingDependencyError: Ray is not installed.
        ClusterError: There is no cluster at the address, or none can be started.
        OptionError: An address was given, and this process is connected already.
    """
    ray = import_ray()
    with redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
        if ray.is_initialized():
            if address is not None:
                raise OptionError(
                    f"Got the address {address!r}, but this process is connected to Ray already. "
                    f"Leave the address out, or call ray.shutdown() first."
                )
            yield ray
            return
        where = address or os.environ.get("RAY_ADDRESS") or LOCAL
        # Never ray.init() without an address: it would join whatever cluster ran here last.
        own = {"include_dashboard": False} if where == LOCAL else {}
        try:
            _check_answer(where)
            ray.init(address=where, log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"There is no Ray cluster to be had at {where!r} ({_first_line(error)}). Start one "
                f"with `ray start --head`, or leave out the address to work on this machine alone."
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def worker_pool(ray: Any, workers: int | None, threads: int, device: str, most: int) -> WorkerPool:
    """Workers that fit on the cluster that is connected.

    A worker takes as many CPUs from Ray's count as it computes with threads, and a whole GPU where
    it uses one. What does not fit is refused: Ray would wait for it for ever.

    Args:
        ray: From :func:`connected`.
        workers: How many; None means as many as fit.
        threads: Of each, at least 1.
        device: ``"auto"`` means ``"cuda"`` where the cluster has a GPU for Ray to give, else
            ``"cpu"``.
        most: No more than these have something to do, at least 1.

    Raises:
        OptionError: So many do not fit, or there is no GPU.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [machine.get("CPU", 0.0) for machine in machines]
    gpus = [machine.get("GPU", 0.0) for machine in machines]
    with_gpu = max(gpus, default=0.0) >= 1
    if device == "auto":
        device = "cuda" if with_gpu else "cpu"
    on_gpu = device.startswith("cuda")
    if on_gpu and not with_gpu:
        raise OptionError(
            f"Got device={device!r}, but no machine of this Ray cluster has a GPU to give. "
            f"Use 'auto' or 'cpu'."
        )
    # A machine with fewer CPUs than threads computes all the same, only not side by side.
    share = float(min(threads, max(1.0, max(cpus, default=1.0))))
    fit = sum(
        int(min(cpu // share, gpu) if on_gpu else cpu // share)
        for cpu, gpu in zip(cpus, gpus, strict=True)
    )
    if (workers or 1) > fit:
        raise OptionError(
            f"{_few(workers or 1, 'worker')} of {_few(share, 'CPU')}"
            f"{' and a GPU' if on_gpu else ''} do not fit on this Ray cluster, which has "
            f"{_few(sum(cpus), 'CPU')} and {_few(sum(gpus), 'GPU')} on "
            f"{_few(len(machines), 'machine')}: at most {_few(fit, 'worker')}. "
            f"Ask for fewer, or for fewer threads each."
        )
    names = [n for n in os.environ if n in _CARRIED or n.startswith("FMLAD_")]
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        **{name: os.environ[name] for name in names},
        "OMP_NUM_THREADS": str(threads),
    }
    options = {
        "num_cpus": share,
        "num_gpus": 1.0 if on_gpu else None,
        "runtime_env": {"env_vars": environment},
        "max_restarts": -1,  # one whose restarts were used up would be missing from then on
        "max_task_retries": RETRIES,
    }
    # Ray shows a worker its one GPU under the name "cuda", whichever it is.
    return WorkerPool(min(workers or fit, most), "cuda" if on_gpu else device, options)


def setting(threads: int | None, needed: bool) -> Setting:
    """What workers must know of this process; ``threads`` None means as many as it computes with.

    Raises:
        OptionError: ``threads`` is not a positive whole number.
    """
    check_count("threads", threads)
    both = Threads.current() if threads is None else Threads(threads, threads)
    return Setting(__version__, both, str(Path.cwd()), needed)


def settle(there: Setting) -> None:
    """Makes this process, a worker, compute as its driver would.

    Raises:
        BackboneMismatchError: It has another version of fmlad.
        ClusterError: The driver's working folder is not on this machine, and it is needed.
    """
    if there.version != __version__:
        raise BackboneMismatchError(
            f"A worker has fmlad {__version__} where this process has {there.version}; "
            f"install the same version on all machines of the cluster."
        )
    try:
        os.chdir(there.folder)
    except OSError as error:
        if there.needed:
            raise ClusterError(
                f"A worker has no folder {there.folder}, which relative paths start from. Use "
                f"paths that all machines of the cluster share, and absolute ones."
            ) from error
    there.threads.apply()


class Worker(ABC):
    """Does jobs in a process of its own, which computes as its driver would."""

    def __init__(self, there: Setting) -> None:
        self._setting: Setting | None = there

    def work(self, job: Any) -> Any:
        """What comes of a job."""
        # Settled by the first job and not when it starts: a worker that dies of starting would be
        # started again for ever, while the number of times a job is tried is limited.
        if self._setting is not None:
            settle(self._setting)
            self._setting = None
        return self.do(job)

    @abstractmethod
    def do(self, job: Any) -> Any:
        """What comes of a job; what it raises ends the run."""


def work_off(
    ray: Any,
    pool: WorkerPool,
    worker: type[Worker],
    arguments: Sequence[Any],
    take: Callable[[int], Job | None],
) -> Iterator[tuple[Job, Any]]:
    """Hands jobs to workers, one at a time to each, and yields what comes of them as it comes.

    A worker that dies is replaced and its job is done again. What comes of a job that
    ``RETRIES + 1`` workers died of is a :class:`ClusterError`, and the rest goes on.

    Args:
        ray: From :func:`connected`.
        pool: From :func:`worker_pool`.
        worker, arguments: A class, and what its constructor takes.
        take: Gives the next job for an idle worker by its number; None where it has to wait.

    Raises:
        FmladError: A worker raised it.
        ClusterError: More than ``LOST`` jobs in a row were lost.
        RuntimeError: A worker raised something else.
    """
    start = ray.remote(worker).options(**pool.options).remote
    actors = [start(*arguments) for _ in range(pool.workers)]
    try:
        yield from _handed_out(ray, actors, take)
    finally:
        for actor in actors:
            ray.kill(actor)


def _handed_out(
    ray: Any, actors: Sequence[Any], take: Callable[[int], Job | None]
) -> Iterator[tuple[Job, Any]]:
    idle = set(range(len(actors)))
    under_way: dict[Any, tuple[int, Job]] = {}

    def hand_out() -> None:
        for worker in sorted(idle):
            if (job := take(worker)) is not None:
                idle.discard(worker)
                # One at a time: a job that waits behind one that kills its worker would be lost.
                under_way[actors[worker].work.remote(job)] = worker, job

    hand_out()
    lost = 0  # in a row
    while under_way:
        (done,), _ = ray.wait(list(under_way), num_returns=1)
        worker, job = under_way.pop(done)
        try:
            outcome = ray.get(done)
            lost = 0
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, FmladError):
                raise error.cause from None
            raise RuntimeError(f"A worker failed:\n{error}") from None
        except ray.exceptions.RayError as error:
            lost += 1
            if lost > LOST:
                raise _explained(error, "The workers cannot go on") from error
            outcome = _explained(error, f"{RETRIES + 1} workers died of this job")
        idle.add(worker)
        hand_out()  # before the outcome is dealt with, so that no worker waits for that
        yield job, outcome
        hand_out()


def check_count(name: str, value: int | None) -> None:
    """Refuses anything but None and positive whole numbers."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{name} must be a positive whole number, got {value!r}.")


def _explained(error: Exception, what: str) -> ClusterError:
    """An error of Ray's as one line of ours."""
    return ClusterError(
        f"{what} ({_first_line(error)}). Ray's logs, by default in /tmp/ray/session_latest/logs on "
        f"each machine, say more; a worker that is too large for the memory is a common cause."
    )


def _check_answer(address: str) -> None:
    """Sees whether a cluster answers; Ray would try for minutes.

    Raises:
        OSError: None does. (What is no ``HOST:PORT`` is left to Ray to understand.)
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT).close()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _few(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


class _WithoutRay:
    """Standard output for results alone: what Ray's threads print goes to standard error."""

    def __init__(self, real: TextIO) -> None:
        self._real = real

    def write(self, text: str) -> int:
        from_ray = threading.current_thread().name.startswith("ray_")
        return (sys.stderr if from_ray else self._real).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
