"""A Ray cluster to work on: the one that is there, or one of our own while the work lasts."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from fmlad._version import __version__
from fmlad.errors import (
    BackboneMismatchError,
    ClusterError,
    FmladError,
    MissingDependencyError,
    OptionError,
)

ADDRESS_VARIABLE = "RAY_ADDRESS"  # Ray's own
LOCAL = "local"  # Ray's word for a cluster of one's own
RETRIES = 2  # of work whose worker died; what kills three workers would kill the fourth, too
KNOCK = 5.0  # seconds that the head of a cluster has to answer
LOST = 3  # pieces of work given up for that until it is the cluster, and not the work

# Read by Ray when it is imported. Nobody is told about runs, Ray Data keeps its log to its files,
# and a driver under `uv run` does not send its folder to all machines.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
# Of the driver's environment, what may change a result or where things are found.
_CARRIED = ("OMP_WAIT_POLICY", "HF_HUB_OFFLINE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Threads:
    """What a process computes with; sums in another order end in other digits.

    Attributes:
        torch: Threads of PyTorch.
        blas: Threads of NumPy's and SciPy's linear algebra.
    """

    torch: int
    blas: int


@dataclass(frozen=True)
class Setting:
    """What a worker needs to know to compute as its driver would.

    Attributes:
        version: Of fmlad.
        threads: To compute with.
        folder: Working folder of the driver, which relative paths are relative to.
        needed: Whether there are such paths, so that the folder must be there.
    """

    version: str
    threads: Threads
    folder: str
    needed: bool


@dataclass(frozen=True)
class Crew:
    """Workers that fit on a cluster.

    Attributes:
        workers: How many.
        cpus: That each takes from Ray's count.
        gpus: That each takes; 0 or 1.
        environment: Of each.
    """

    workers: int
    cpus: float
    gpus: float
    environment: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """For Ray: what one worker takes, and that it is started again if it dies."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus or None,
            "runtime_env": {"env_vars": dict(self.environment)},
            "max_restarts": -1,  # one whose restarts were used up would be missing from then on
            "max_task_retries": RETRIES,
        }


def import_ray(module: str = "ray") -> Any:
    """Ray, or a module of it, with our settings where the user has none.

    Raises:
        MissingDependencyError: It is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"The engine 'ray' needs the package {error.name}, which is not installed. "
            f'Run `pip install "fmlad[ray]"`.'
        ) from error


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Ray, ready to work; what was started here is stopped again, and nothing else.

    A process that has started Ray itself keeps its own connection.

    Args:
        address: Of a running cluster, as ``ray.init`` takes it; None means ``$RAY_ADDRESS``, else a
            cluster of our own on this machine.

    Raises:
        MissingDependencyError: Ray is not installed.
        ClusterError: There is no cluster at the address, or none can be started.
        OptionError: An address was given, and this process is connected already.
    """
    ray = import_ray()
    with _results_alone_on_stdout():
        if ray.is_initialized():
            if address is not None:
                raise OptionError(
                    f"Got the address {address!r}, but this process is connected to Ray already. "
                    f"Leave the address out, or call ray.shutdown() first."
                )
            yield ray
            return
        where = address or os.environ.get(ADDRESS_VARIABLE) or LOCAL
        # Never ray.init() without an address: it would join whatever cluster ran here last.
        own = {"include_dashboard": False} if where == LOCAL else {}
        try:
            _knock(where)
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


def crew(ray: Any, workers: int | None, threads: int, device: str, most: int) -> tuple[Crew, str]:
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

    Returns:
        The crew, and the device of each worker.

    Raises:
        OptionError: So many do not fit, or there is no GPU.
    """
    check_count("workers", workers)
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [machine.get("CPU", 0.0) for machine in machines]
    gpus = [machine.get("GPU", 0.0) for machine in machines]
    if device == "auto":
        device = "cuda" if max(gpus, default=0.0) >= 1 else "cpu"
    on_gpu = device.startswith("cuda")
    if on_gpu and max(gpus, default=0.0) < 1:
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
            f"{workers or 1} worker{'s' if (workers or 1) > 1 else ''} of {_few(share, 'CPU')}"
            f"{' and a GPU' if on_gpu else ''} do not fit on this Ray cluster, which has "
            f"{_few(sum(cpus), 'CPU')} and {_few(sum(gpus), 'GPU')} on "
            f"{_few(len(machines), 'machine')}: at most {_few(fit, 'worker')}. "
            f"Ask for fewer, or for fewer threads each."
        )
    return (
        Crew(min(workers or fit, most), share, float(on_gpu), _environment(threads)),
        "cuda" if on_gpu else device,  # of the one GPU that Ray shows it
    )


def setting(threads: int | None, needed: bool) -> Setting:
    """What workers must know of this process.

    Args:
        threads: To compute with; None means as many as this process does.
        needed: Whether relative paths are handed over.

    Raises:
        OptionError: ``threads`` is not a positive whole number.
    """
    check_count("threads", threads)
    both = threads_here() if threads is None else Threads(threads, threads)
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
    compute_with(there.threads)


def threads_here() -> Threads:
    """What this process computes with."""
    import numpy  # noqa: F401 (its library must be there to be asked)
    import torch
    from threadpoolctl import threadpool_info

    torch_threads = torch.get_num_threads()
    pools = [int(p["num_threads"]) for p in threadpool_info() if p["user_api"] == "blas"]
    return Threads(torch_threads, max(pools, default=torch_threads))


def compute_with(threads: Threads) -> None:
    """Sets what this process computes with from now on."""
    import numpy  # noqa: F401 (its library must be there to be told)
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads.torch)
    threadpool_limits(limits=threads.blas, user_api="blas")


def check_count(name: str, value: int | None) -> None:
    """Refuses anything but None and positive whole numbers."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{name} must be a positive whole number, got {value!r}.")


def explained(error: Exception, what: str) -> FmladError:
    """An error of Ray's as one line of ours."""
    return ClusterError(
        f"{what} ({_first_line(error)}). Ray's logs, by default in /tmp/ray/session_latest/logs on "
        f"each machine, say more; a worker that is too large for the memory is a common cause."
    )


def _knock(address: str) -> None:
    """Sees whether anybody is there; Ray would try for minutes.

    Raises:
        OSError: Nobody is. (What is no ``HOST:PORT`` is left to Ray to understand.)
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def _environment(threads: int) -> dict[str, str]:
    carried = {name: os.environ[name] for name in _CARRIED if name in os.environ}
    ours = {name: value for name, value in os.environ.items() if name.startswith("FMLAD_")}
    return {"OMP_WAIT_POLICY": "PASSIVE", **carried, **ours, "OMP_NUM_THREADS": str(threads)}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _few(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


class _Sieve:
    """Standard output without what Ray's threads say, which goes to standard error."""

    def __init__(self, real: TextIO) -> None:
        self._real = real

    def write(self, text: str) -> int:
        from_ray = threading.current_thread().name.startswith("ray_")
        return (sys.stderr if from_ray else self._real).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def _results_alone_on_stdout() -> Iterator[None]:
    """Ray tells of dead workers on standard output, from threads of its own."""
    before = sys.stdout
    sieve = cast(TextIO, _Sieve(before))
    sys.stdout = sieve
    try:
        yield
    finally:
        if sys.stdout is sieve:
            sys.stdout = before


@contextmanager
def no_deprecations() -> Iterator[None]:
    """Within, Ray does not warn of what it will remove in versions that we do not allow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with suppress(ImportError):
            from ray.util.annotations import RayDeprecationWarning

            warnings.simplefilter("ignore", RayDeprecationWarning)
        yield
