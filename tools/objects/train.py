"""Trains the networks of the embedded mask proposer: ``python -m tools.objects.train``.

On procedural pictures alone (``tools/objects/pictures``): first the decoder, EfficientNet-Lite0
frozen, by some processes of one thread each whose gradients are averaged; then the rating of
regions, on further pictures. A checkpoint is written every two minutes; after a kill the same
command with ``--resume`` goes on. The result replaces the weights inside fmlad.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmlad.backbones.embedded.learned_objects import BORDER, WEIGHTS_FILE
from fmlad.backbones.embedded.networks import lite_pixels, lite_stages
from fmlad.networks.object_decoder import ObjectDecoder
from fmlad.progress import Progress, silent
from fmlad.training.loop import Shuffled, seeded, train
from tools.objects.rating import add_rating
from tools.objects.store import Store, sample
from tools.objects.targets import affinities_of, loss, maps_of

CROP = 256  # px
BATCH = 8  # of each process
RATE, DECAY = 3e-3, 1e-3
SAVE_SECONDS, TELL_SECONDS = 120.0, 15.0


def warm_cosine(done: float) -> float:
    """A short warm-up, then half a cosine down to nearly nothing."""
    return min(1.0, done / 0.01 + 0.02) * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.002


def batch(store: Store, indices: list[int], rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Pixels, maps and affinities of some crops."""
    drawn = list(sample(store, indices, CROP, rng))
    pixels = np.stack([part.transpose(2, 0, 1) for part, _, _ in drawn])
    maps = np.stack([maps_of(labels, leaves) for _, labels, leaves in drawn])
    affinities = np.stack([affinities_of(labels) for _, labels, _ in drawn])
    return torch.from_numpy(pixels), torch.from_numpy(maps), torch.from_numpy(affinities)


def trained(
    store: Store, pictures: int, steps: int, *, seed: int = 0, device: str = "cpu", rank: int = 0,
    parallel: Callable[[nn.Module], nn.Module] = lambda module: module,
    start: Path | None = None, rate: float = RATE, checkpoint: Path | None = None,
    resume: bool = False, progress: Progress = silent,
) -> ObjectDecoder:  # fmt: skip
    """A decoder trained on the first ``pictures`` of a store.

    ``rank`` numbers the processes that train it together, each on crops of its own; ``parallel``
    makes of the decoder the module that averages their gradients. ``start`` is a file of decoder
    weights to go on from.
    """
    with seeded(seed, device):
        decoder = ObjectDecoder()
    if start:
        state = load_file(start)
        decoder.load_state_dict({name.removeprefix("decoder."): t for name, t in state.items()})
    decoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    together, stages = parallel(decoder), lite_stages(device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=rate, weight_decay=DECAY)
    order = Shuffled(pictures, BATCH, seed, stream=rank)

    def step_loss(step: int, _: np.random.Generator) -> Tensor:
        rng = np.random.default_rng((seed, rank, step))
        pixels, maps, affinities = (t.to(device) for t in batch(store, order(step), rng))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            framed = F.pad(pixels.float(), (BORDER,) * 4, mode="reflect")
            said = together(lite_pixels(framed), stages(framed))
        return loss(said.without(BORDER), maps, affinities)

    settings = {"crop": CROP, "batch": BATCH, "pictures": pictures, "start": str(start)}
    train(
        step_loss, {"decoder": decoder}, [optimizer], steps=steps, seed=seed, schedule=warm_cosine,
        mixed=False, checkpoint=checkpoint, resume=resume, settings=settings,
        save_seconds=math.inf if rank else SAVE_SECONDS, progress=progress, what="objects",
    )  # fmt: skip
    return decoder


def _work(rank: int, arguments: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{arguments.out.resolve()}/meeting", rank=rank,
        world_size=arguments.processes, timeout=timedelta(hours=2),
    )  # fmt: skip
    begun = told = time.monotonic()

    def tell(done: int, total: int, what: str) -> None:
        nonlocal told
        if rank == 0 and (time.monotonic() - told > TELL_SECONDS or done == total):
            told = time.monotonic()
            print(f"{done} / {total} {what}, {told - begun:.0f} s", flush=True)

    decoder = trained(
        Store(arguments.out / "pictures"), arguments.pictures, arguments.steps,
        seed=arguments.seed, device=arguments.device, rank=rank,
        parallel=nn.parallel.DistributedDataParallel, start=arguments.start, rate=arguments.rate,
        checkpoint=_checkpoint(arguments, rank), resume=arguments.resume, progress=tell,
    )  # fmt: skip
    if rank == 0:
        state = decoder.state_dict().items()
        stored = {f"decoder.{name}": tensor.cpu().contiguous() for name, tensor in state}
        save_file(stored, arguments.out / "decoder.safetensors")


def _checkpoint(arguments: argparse.Namespace, rank: int) -> Path:
    return Path(arguments.out / f"checkpoint-{rank}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=6000, help="that train the decoder")
    parser.add_argument("--steps", type=int, default=6500, help=f"of {BATCH} crops a process")
    parser.add_argument("--rated", type=int, default=1200, help="further pictures, for the rating")
    parser.add_argument("--start", type=Path, help="decoder weights to go on from")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/objects"), help="of what is kept")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    store = Store(arguments.out / "pictures")
    store.draw(arguments.pictures + arguments.rated, arguments.processes)
    (arguments.out / "meeting").unlink(missing_ok=True)
    if arguments.resume and (kept := _checkpoint(arguments, 0)).exists():
        for rank in range(1, arguments.processes):  # the first one's is kept up to date
            shutil.copy(kept, _checkpoint(arguments, rank))
    spawn: Any = multiprocessing.spawn  # type: ignore[attr-defined]
    spawn(_work, (arguments,), arguments.processes)
    rated = range(arguments.pictures, arguments.pictures + arguments.rated)
    add_rating(arguments.out / "decoder.safetensors", WEIGHTS_FILE, store, rated)


if __name__ == "__main__":
    main()
