"""Trains the decoder of the embedded mask proposer: ``python -m tools.objects.train``.

On procedural pictures alone (``tools/objects/pictures``), EfficientNet-Lite0 frozen; then fits the
rating of regions (``rating.py``). Two processes of one thread each, gradients averaged; checkpoints
every few minutes, and the same command with ``--resume`` goes on after a kill. The result replaces
``fmlad/backbones/embedded/weights/objects.safetensors``.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from fmlad.backbones.embedded.networks import lite_pixels, lite_stages
from fmlad.networks.object_decoder import ObjectDecoder
from fmlad.training.loop import Shuffled, seeded, train
from tools.objects.store import Store, sample
from tools.objects.targets import affinities_of, loss, maps_of

CROP = 256  # px
BATCH = 8  # of each process
RATE, DECAY = 3e-3, 1e-3
TELL_SECONDS = 15.0


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


def work(rank: int, arguments: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{arguments.out.resolve()}/meeting", rank=rank,
        world_size=arguments.processes, timeout=timedelta(hours=2),
    )  # fmt: skip
    store, device = Store(arguments.out / "pictures"), arguments.device
    with seeded(arguments.seed, device):
        decoder: nn.Module = ObjectDecoder().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parallel = nn.parallel.DistributedDataParallel(decoder)
    stages = lite_stages(device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, weight_decay=DECAY)
    order = Shuffled(arguments.pictures, BATCH, arguments.seed, stream=rank)

    def step_loss(step: int, rng: np.random.Generator) -> Tensor:
        chance = np.random.default_rng((arguments.seed, rank, step))
        pixels, maps, affinities = (t.to(device) for t in batch(store, order(step), chance))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            said = parallel(lite_pixels(pixels), stages(pixels))
        return loss(said, maps, affinities)

    def tell(done: int, total: int, what: str) -> None:
        nonlocal told
        if rank == 0 and (time.monotonic() - told > TELL_SECONDS or done == total):
            told = time.monotonic()
            print(f"{done} / {total} {what}, {told - begun:.0f} s", flush=True)

    begun = told = time.monotonic()
    own = arguments.out / f"checkpoint-{rank}.safetensors"
    if arguments.resume and rank:
        torch.distributed.barrier()
    first = arguments.out / "checkpoint-0.safetensors"
    if rank and first.exists():  # the one that is kept up to date
        shutil.copy(first, own)
    if arguments.resume and not rank:
        torch.distributed.barrier()
    train(
        step_loss, {"decoder": decoder}, [optimizer], steps=arguments.steps, seed=arguments.seed,
        schedule=warm_cosine, mixed=False, checkpoint=own, resume=arguments.resume,
        settings={"crop": CROP, "batch": BATCH, "pictures": arguments.pictures},
        save_seconds=120.0 if rank == 0 else math.inf, progress=tell, what="objects",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=8000, help="of BATCH crops a process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/objects"))
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    Store(arguments.out / "pictures").draw(arguments.pictures, arguments.processes)
    (arguments.out / "meeting").unlink(missing_ok=True)
    spawn: Any = multiprocessing.spawn  # type: ignore[attr-defined]
    spawn(work, (arguments,), arguments.processes)


if __name__ == "__main__":
    main()
