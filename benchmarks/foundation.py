"""What the profile `foundation` costs at true size, with random weights: time, passes and memory.

    python -m benchmarks.foundation
    python -m benchmarks.foundation --sam vit-huge --cases banks --shots 2 --queries 1 \\
        --name foundation-huge

Every network has its published size and lies on disk in its published format; random weights do not
change the time. Each case has two processes: one fits and predicts, the other loads what was saved
and predicts again, with a disk cache of its own, so that it computes everything anew. Scores of the
two must be the same. SAM is asked for few points (`--points`), as is advised without a GPU, and
keeps every mask, since a random network is sure of none. The tagger reads a short vocabulary: what
a word costs is a figure of its own, and each is embedded once and kept on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.common import ROOT, keep

if TYPE_CHECKING:
    from fmlad import Detector

T = TypeVar("T")

CLIP = "ViT-L-14@datacomp_xl_s13b_b90k"
FEATURES = "dinov2:facebook/dinov2-small"
FEATUP = "featup:dinov2_jbu_stack_cocostuff"
GROUNDER = "grounding-dino:IDEA-Research/grounding-dino-tiny"
SAMS = {"vit-base": "sam:facebook/sam-vit-base", "vit-huge": "sam:facebook/sam-vit-huge"}
VOCABULARY = ("screw", "nut", "washer", "bolt", "pin", "bag", "plastic", "metal")
PROMPTS = """
coarse: {background: [background, plastic bag], foreground: [screw, nut, washer]}
templates: ['a photo of a {}.']
fine:
  screw: {words: [long screw, bolt], expect: 0..99}
  nut: [hex nut]
  washer: {words: [washer], decide: region}
"""
CASES = ("banks", "banks, grounded", "clip-lad", "sam-lad")
SCALES = (1.0, 0.75, 1.0, 1.25)  # of the scenes of 352 x 512 px: shots of mixed sizes


def backbones(case: str, sam: str, points: int, words: Path) -> dict[str, str]:
    """Role -> name of what a case uses."""
    masks = f"{SAMS[sam]}#points={points},iou=0,stability=0,nms=1"
    if case == "clip-lad":
        return {"text_aligner": f"clip:{CLIP}"}
    if case == "sam-lad":
        squashed = f"{FEATURES}#side=224,fit=squash"
        return {"feature_extractor": squashed, "mask_proposer": masks, "upsampler": FEATUP}
    chosen = {"feature_extractor": FEATURES, "mask_proposer": masks}
    if case == "banks, grounded":
        chosen |= {
            "grounder": f"{GROUNDER}#box=0,text=0,nms=0.3",
            "tagger": f"clip-tags:{CLIP}#least=0,most=4,words={words}",
        }
    return chosen


def pictures(number: int) -> list[Any]:
    """Scenes of mixed sizes, uint8 ``(H, W, 3)``."""
    import numpy as np
    from PIL import Image

    from fmlad.datasets import render_scene

    found = []
    for index in range(number):
        image = Image.fromarray(render_scene("screw_bag", index=index).image)
        scale = SCALES[index % len(SCALES)]
        found.append(np.asarray(image.resize([round(side * scale) for side in image.size])))
    return found


# --- in a process of its own ----------------------------------------------------------------------


def timed(work: Callable[[], T]) -> tuple[T, tuple[float, float]]:
    """A result, seconds that passed, and those that all threads computed.

    The second hangs less on what else the machine does.
    """
    start, used = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - start, time.process_time() - used)


def said(what: str, seconds: tuple[float, float], number: int = 1) -> dict[str, float]:
    """Figures of what :func:`timed` gives, or of the sum of ``number`` of them."""
    passed, used = (round(one / number, 1) for one in seconds)
    return {f"{what}, s": passed, f"{what}, CPU s": used}


def memory(device: str) -> dict[str, int]:
    """Peak so far, in MB."""
    found = {"peak memory, MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    if device.startswith("cuda"):
        import torch

        found["peak GPU memory, MB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def fit(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Loads the networks, fits, predicts and saves."""
    import fmlad
    from fmlad.profiles import load_backbones
    from tools.passes import counted

    chosen = backbones(given.stage, given.sam, given.points, home / "words.txt")
    shots, queries = (lambda found: (found[: given.shots], found[given.shots :]))(
        pictures(given.shots + given.queries)
    )
    prompts = fmlad.PromptSet.from_text(PROMPTS) if given.stage == "clip-lad" else None
    options: dict[str, Any] = {"proposals": "grounded"} if given.stage == "banks, grounded" else {}
    _, loading = timed(lambda: load_backbones(chosen, given.device))
    figures: dict[str, Any] = said("load networks", loading)
    if "tagger" in chosen:
        tagger: Any = load_backbones({"tagger": chosen["tagger"]}, given.device)["tagger"]
        _, words = timed(lambda: tagger.aligner.text(VOCABULARY, ("a photo of a {}",)))
        figures |= said("embed a word", words, len(VOCABULARY))

    def fitted() -> Detector:
        return fmlad.Detector.from_shots(
            shots, method=given.stage.partition(",")[0], profile="foundation", prompts=prompts,
            backbones=chosen, device=given.device, **options,
        )  # fmt: skip

    with counted() as passes:
        detector, seconds = timed(fitted)
    figures |= {**said("fit", seconds), "passes at fit": dict(passes)}
    figures["fit"] = memory(given.device)
    figures |= judged(detector, queries)
    detector.save(home / "detector")
    return figures


def load(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Loads what was saved, and predicts."""
    import fmlad

    queries = pictures(given.shots + given.queries)[given.shots :]
    detector, seconds = timed(lambda: fmlad.Detector.load(home / "detector", device=given.device))
    figures = {**said("load detector", seconds), **judged(detector, queries)}
    return figures | {"load and predict": memory(given.device)}


def judged(detector: Detector, queries: list[Any]) -> dict[str, Any]:
    """Scores and seconds of each query, and passes of all."""
    from tools.passes import counted

    with counted() as passes:
        found = [timed(lambda query=query: detector.predict(query).score) for query in queries]
    passed, used = (sum(seconds[which] for _, seconds in found) for which in (0, 1))
    return {
        **said("predict an image", (passed, used), len(found)),
        f"passes for {len(queries)} queries": dict(passes),
        "scores": [score for score, _ in found],
    }


# --- all of them ----------------------------------------------------------------------------------


def measured(case: str, given: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Both processes of a case."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "words.txt").write_text("\n".join(VOCABULARY))
        first, second = (_process(case, stage, given, weights, folder) for stage in ("fit", "load"))
    if first.pop("scores") != second.pop("scores"):
        raise SystemExit(f"{case}: a saved detector has other scores in a new process")
    figures = {**first, "in a new process": second, "same scores": True}
    for key, value in figures.items():
        print(f"{case}: {key}: {value}", flush=True)
    return figures


def _process(
    case: str, stage: str, given: argparse.Namespace, weights: Path, folder: str
) -> dict[str, Any]:
    words = [
        "--stage", case, "--load" if stage == "load" else "--fit", "--home", folder,
        "--device", given.device, "--sam", given.sam, "--points", str(given.points),
        "--shots", str(given.shots), "--queries", str(given.queries),
    ]  # fmt: skip
    environment = {
        **os.environ, "FMLAD_WEIGHTS": str(weights), "HF_HUB_OFFLINE": "1",
        "FMLAD_CACHE_DIR": f"{folder}/cache-{stage}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.foundation", *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", type=Path, help="folder of random weights, filled if empty")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sam", default="vit-base", choices=sorted(SAMS))
    parser.add_argument("--points", type=int, default=8, help="of SAM, on a side of its grid")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--name", default="foundation", help="of the results file")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    for name in ("--stage", "--home"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--fit", "--load"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps((load if given.load else fit)(given, Path(given.home))))
        return
    import torch

    from tools.random_weights import fill

    with tempfile.TemporaryDirectory() as temporary:
        weights = given.weights or Path(temporary)
        named = {
            name.partition("#")[0].replace("clip-tags:", "clip:")
            for case in given.cases
            for name in backbones(case, given.sam, given.points, Path()).values()
        }
        fill(weights, sorted(named), "true")
        figures = {case: measured(case, given, weights) for case in given.cases}
    if given.no_keep:
        return
    protocol = (
        f"SAM {given.sam} with {given.points} x {given.points} points, {given.shots} shots and "
        f"{given.queries} queries of 264 x 384 to 440 x 640 px, random weights, {given.device}, "
        f"{torch.get_num_threads()} threads"
    )
    keep(given.name, protocol, figures)


if __name__ == "__main__":
    main()
