"""Every benchmark behind the numbers of README and docs, one after the other.

    python -m benchmarks --list
    python -m benchmarks
    python -m benchmarks --only dice pcb --again

A benchmark is left out if its results were written by the code as it is now; so a run that was
stopped goes on where it was. Afterwards `python -m tools.docs tables` brings the documents up to
date. Many hours on two cores; most of all CLIP-LAD's ablations.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import common

PHOTOGRAPHS = "photographs"  # $FMLAD_SHARED, else ../shared
FEATUP = "featup_clip_jbu_stack_cocostuff.ckpt"  # published by FeatUp's authors
FULL = "supervised + entropy + histogram"  # losses of PSAD's segmenter
TEXTURE_FEATURES = (
    "builtin:features@1 builtin:handmade@1 'builtin:squeezenet@1#side=320' "
    "'builtin:efficientnet-lite0@1#side=320'"
)


@dataclass(frozen=True)
class Benchmark:
    """One command.

    Attributes:
        command: After ``python -m``, as README and docs have it.
        results: Names of the files it writes in ``benchmarks/results``; none where it prints only.
        needs: What it needs beside this package: ``PHOTOGRAPHS``, ``FEATUP``.
    """

    command: str
    results: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its first results file, else its command."""
        return self.results[0] if self.results else self.command

    def done(self) -> bool:
        """Whether its results were written by this very command and the code as it is now."""
        for name in self.results:
            path = common.RESULTS / f"{name}.json"
            if not path.is_file():
                return False
            found = json.loads(path.read_text())
            if found.get("command") != f"python -m {self.command}" or found.get("dirty", True):
                return False
            if not found.get("finished", True) or not common.code_as_at(found.get("commit")):
                return False
        return bool(self.results)

    def missing(self) -> list[str]:
        """What it needs and is not there."""
        places = {PHOTOGRAPHS: shared_root() / "data", FEATUP: checkpoint()}
        return [need for need in self.needs if not places[need].exists()]

    def argv(self) -> list[str]:
        """Words to run it with."""
        words = shlex.split(self.command)
        return [str(checkpoint()) if word == FEATUP else word for word in words]


BENCHMARKS = (
    Benchmark("benchmarks.training_free", ("bench-training-free",), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.peers", ("bench-peers",), (PHOTOGRAPHS,)),  # and fmlad[bench]
    Benchmark("benchmarks.pcb", ("pcb",), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.pcb --baselines", (), (PHOTOGRAPHS,)),
    Benchmark("""benchmarks.pcb --option 'banks=["patch"]'""", (), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.cost", ("cost",)),
    Benchmark("benchmarks.dice", ("dice",), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.dice --draws 20 --name dice-draws", ("dice-draws",), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.scenes --worlds 0 3 --images 20", ("scenes",)),
    Benchmark(
        "benchmarks.scenes --worlds 0 3 --images 20 --masks truth --name scenes-truth",
        ("scenes-truth",),
    ),
    Benchmark("benchmarks.first_minute", ("first-minute",)),
    Benchmark("benchmarks.false_alarms", ("false-alarms",)),
    Benchmark(
        "benchmarks.scenes --ablations --images 8 --seeds 1 --name scenes-ablations",
        ("scenes-ablations",),
    ),
    Benchmark("benchmarks.clip_lad", ("clip-lad", "clip-lad-dice"), (PHOTOGRAPHS,)),
    Benchmark(
        "benchmarks.clip_lad --world 1 --images 16 --seeds 2 --only fusions", ("clip-lad-tuning",)
    ),
    Benchmark("benchmarks.clip_lad_cost", ("clip-lad-cost",)),
    Benchmark("benchmarks.product_types", ("product-types",)),
    Benchmark("benchmarks.sam_lad matching --images 8", ("sam-lad-matching",)),
    Benchmark("benchmarks.sam_lad digits", ("sam-lad-digits",)),
    Benchmark("benchmarks.sam_lad scenes --images 12 --seeds 3", ("sam-lad-scenes",)),
    Benchmark("benchmarks.sam_lad_exchange backbones --images 12", ("sam-lad-backbones",)),
    Benchmark("benchmarks.sam_lad_exchange factors --images 12", ("sam-lad-factors",)),
    Benchmark("benchmarks.sam_lad cost", ("sam-lad-cost",)),
    Benchmark("benchmarks.sam_lad ablation --root scenes", ("sam-lad-ablation",), (PHOTOGRAPHS,)),
    Benchmark("benchmarks.psad cost", ("psad-cost",)),
    Benchmark(f"benchmarks.psad tables --cells '{FULL}'", ("psad",)),
    Benchmark("benchmarks.psad tables --worlds 0 --name psad-truth --cells truth", ("psad-truth",)),
    Benchmark("benchmarks.psad tables --worlds 0 --name psad-auto --cells auto", ("psad-auto",)),
    Benchmark(
        "benchmarks.psad tables --worlds 0 --category screw_bag splicing_connectors --cells "
        f"supervised 'supervised + entropy' '{FULL}' '50 %' '25 %' '12.5 %' --name psad-ablation",
        ("psad-ablation",),
    ),
    Benchmark("benchmarks.csad tables --rows 'table 4' 'table 6' 'table 7' true", ("csad",)),
    Benchmark(
        "benchmarks.csad tables --worlds 0 --category screw_bag splicing_connectors --rows "
        "'table 3' 'table 5' 'figure 10' --name csad-ablation",
        ("csad-ablation",),
    ),
    Benchmark("benchmarks.csad cost", ("csad-cost",)),
    Benchmark("benchmarks.csad_labels --worlds 0 3", ("csad-labels",)),
    Benchmark("benchmarks.psad pictures --worlds 0 --to docs/images/psad-segments.png"),
    Benchmark("pytest -m soak tests/test_soak.py", ("soak",)),
    Benchmark("benchmarks.spro", ("spro",)),
    Benchmark("benchmarks.embedded", ("embedded",)),
    Benchmark(f"benchmarks.textures --features {TEXTURE_FEATURES}", ("textures",)),
    Benchmark("benchmarks.nouns"),
    Benchmark("benchmarks.scenes --objects --worlds 0 3 --images 20 --name objects", ("objects",)),
    Benchmark(
        "benchmarks.scenes --objects --worlds 0 3 --images 20 --proposer builtin:regions@2 "
        "--name objects-regions",
        ("objects-regions",),
    ),
    Benchmark("benchmarks.feature_cost", ("feature-cost",)),
    Benchmark("benchmarks.ray_scaling", ("ray",)),
    Benchmark("benchmarks.foundation", ("foundation",)),
    Benchmark(
        "benchmarks.foundation --sam vit-huge --cases banks --shots 2 --queries 1 "
        "--name foundation-huge",
        ("foundation-huge",),
    ),
    Benchmark(f"benchmarks.upsampling --checkpoint {FEATUP}", ("upsampling",), (FEATUP,)),
)


def shared_root() -> Path:
    """Folder of the photographs and weights, there or not."""
    return Path(os.environ.get("FMLAD_SHARED") or common.ROOT.parent / "shared")


def checkpoint() -> Path:
    """FeatUp's published weights, there or not."""
    here = Path(FEATUP)
    return here if here.exists() else shared_root() / "weights" / FEATUP


def listing() -> str:
    """Each command with its results file, what it needs and whether that is up to date."""
    lines = []
    for one in BENCHMARKS:
        files = ", ".join(f"benchmarks/results/{name}.json" for name in one.results)
        needs = ", ".join(
            f"{need} (missing)" if need in one.missing() else need for need in one.needs
        )
        state = "up to date" if one.done() else "to be run"
        lines += [
            f"python -m {one.command}",
            f"    writes {files or 'nothing, prints'}; needs {needs or 'nothing'}; {state}",
        ]
    return "\n".join(lines)


def main() -> int:
    """Exit code: 0 if all was run or up to date, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--again", action="store_true", help="also what is up to date")
    parser.add_argument("--only", nargs="+", metavar="RESULTS", help="names of results files")
    arguments = parser.parse_args()
    if arguments.list:
        print(listing())
        return 0
    known = [name for one in BENCHMARKS for name in one.results]
    for name in arguments.only or ():
        if name not in known:
            parser.error(f"there are no results {name!r}; expected some of {', '.join(known)}")
    short = []
    for one in BENCHMARKS:
        if arguments.only and not set(arguments.only) & set(one.results):
            continue
        if one.missing():
            short.append(f"python -m {one.command}: needs {', '.join(one.missing())}")
        elif one.done() and not arguments.again:
            print(f"up to date: python -m {one.command}", flush=True)
        else:
            print(f"python -m {one.command}", flush=True)
            command = [sys.executable, "-m", *one.argv()]
            code = subprocess.run(command, cwd=common.ROOT, check=False).returncode
            if code:
                short.append(f"python -m {one.command}: ended with {code}")
    for line in short:
        print(f"not done: {line}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
