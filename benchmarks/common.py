"""What the benchmarks share: where the photographs are, how results are printed and kept."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fmlad
from fmlad.errors import DatasetError

if TYPE_CHECKING:
    from fmlad.views import BackboneSet

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
CODE = ("fmlad", "benchmarks", "prompts", ":!benchmarks/results")  # what figures hang on


def shared(*parts: str) -> Path:
    """A folder of the shared photographs: in ``$FMLAD_SHARED``, else ``../shared``."""
    path = Path(os.environ.get("FMLAD_SHARED") or ROOT.parent / "shared").joinpath(*parts)
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; set FMLAD_SHARED to the folder with the photographs."
        )
    return path


def json_options(given: Iterable[str]) -> dict[str, Any]:
    """Options of a method from ``NAME=JSON`` each."""
    return {name: json.loads(value) for name, _, value in (one.partition("=") for one in given)}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Of normal against anomalous scores."""
    return fmlad.metrics.auroc([0] * len(good) + [1] * len(bad), [*good, *bad])


def scene_counts(train: int, tests: int) -> dict[str, int]:
    """Images of a category of scenes, ``tests`` in each test group, none for validation."""
    groups = ("test_good", "test_logical", "test_structural")
    return {"train": train, "validation": 0, **dict.fromkeys(groups, tests)}


def builtin_backbones(proposer: str | None = None, method: str = "banks") -> BackboneSet:
    """A method's own extractor and proposer on ``builtin``; nothing cached on disk.

    ``proposer`` takes the place of the method's.
    """
    from fmlad import profiles
    from fmlad.methods.registry import method_class
    from fmlad.views import BackboneSet

    override = {"mask_proposer": proposer} if proposer else None
    roles = ("feature_extractor", "mask_proposer")
    declared = method_class(method).declared.get("builtin")
    chosen = profiles.resolve(roles, "builtin", declared, override)
    return BackboneSet(profiles.load_backbones(chosen, "cpu"))


def dinov2_small() -> Any:
    """A DINOv2 ViT-S/14 of true size; its random weights do not change the time."""
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(
        Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518,
            patch_size=14,
        )
    ).eval()  # fmt: skip


def keep(
    name: str, protocol: str, figures: Mapping[str, Any], *, seeds: Sequence[int] | None = None,
    finished: bool = True,
) -> None:  # fmt: skip
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
    start = ["-m", spec.name.removesuffix(".__main__")] if spec else [Path(sys.argv[0]).name]
    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    return shlex.join(["python", *start, *words])


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
