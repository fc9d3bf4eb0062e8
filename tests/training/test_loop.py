"""The loop trains, does the same for the same seed, and can be stopped and resumed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fmlad.errors import CheckpointError, TrainingError
from fmlad.training.loop import Shuffled, constant, duration, late_drop, seeded, train
from tests.training.tiny import STEPS, batch, predict, run, weights


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    """The weights of seed 5, trained without a stop."""
    return weights(run(5))


# --- training -------------------------------------------------------------------------------------


def test_a_small_segmenter_beats_the_commonest_class_on_new_images() -> None:
    told: list[tuple[int, int, str]] = []
    modules = run(0, progress=lambda *said: told.append(said))
    images, labels = batch([100, 101, 102], None)
    with torch.no_grad():
        right = (predict(modules, images).argmax(1) == labels).float().mean()
    commonest = labels.flatten().bincount().max() / labels.numel()
    assert commonest < 0.9
    assert right > 0.97
    losses = [float(what.split()[2].rstrip(",")) for _, _, what in told]
    assert losses[-1] < 0.5 * losses[0]
    assert [done for done, _, _ in told][:: len(told) - 1] == [1, STEPS]
    assert {total for _, total, _ in told} == {STEPS}
    assert told[-1][2].startswith("training: loss ")
    assert told[-1][2].endswith(", 0 s left")
    assert not any(module.training for module in modules.values())


def test_the_weights_are_a_function_of_the_seed(whole: dict[str, Tensor]) -> None:
    torch.manual_seed(99)
    random.seed(99)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    again, other = weights(run(5)), weights(run(6))
    assert same(again, whole)
    assert not any(torch.equal(other[key], whole[key]) for key in whole if "weight" in key)
    assert torch.equal(before[0], torch.get_rng_state())  # nobody else's chance is touched
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_an_average_is_found_as_a_closed_form_has_it() -> None:
    """Plain gradient descent on (w - 3)^2 / 2 shrinks the error by 1 - rate in every step."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    seen = []

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        seen.append((step, rng.random()))
        return (layer.weight - 3).square().sum() / 2

    def halved_late(done: float) -> float:
        return 1.0 if done < 0.5 else 0.5

    sgd = torch.optim.SGD(layer.parameters(), 0.2)
    train(loss, {"layer": layer}, [sgd], steps=10, seed=1, schedule=halved_late)
    assert float(layer.weight.detach()) == pytest.approx(3 - 3 * 0.8**5 * 0.9**5, rel=1e-5)
    assert seen == [(step, np.random.default_rng((1, step)).random()) for step in range(10)]


def test_weights_that_are_not_finite_end_the_training(tmp_path: Path) -> None:
    layer = nn.Linear(2, 1)
    sgd = torch.optim.SGD(layer.parameters(), 1e30)
    file = tmp_path / "c.safetensors"
    with pytest.raises(TrainingError, match=r"diverged: after \d+ steps the weights 'net\."):
        train(
            lambda step, rng: layer(torch.ones(4, 2)).square().mean(),
            {"net": layer}, [sgd], steps=5, seed=0, checkpoint=file,
        )  # fmt: skip
    assert not file.exists()


@pytest.mark.gpu
def test_half_precision_trains_on_cuda_and_resumes(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    dtypes = []

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        dtypes.append(output.dtype)

    file = tmp_path / "c.safetensors"
    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        modules = run(0, device="cuda", checkpoint=file)
    finally:
        handle.remove()
    assert torch.float16 in dtypes
    images, labels = batch([100, 101, 102], None)
    with torch.no_grad():
        right = (predict(modules, images.cuda()).argmax(1).cpu() == labels).float().mean()
    assert right > 0.97
    assert same(weights(modules), weights(run(0, device="cuda", checkpoint=file, resume=True)))
    with pytest.raises(CheckpointError, match="its mixed is True, here it is False"):
        run(0, device="cuda", checkpoint=file, resume=True, mixed=False)


# --- stops and resumptions ------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 23, STEPS])
def test_ctrl_c_finishes_the_step_and_keeps_it(
    stop: int, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "c.safetensors"

    def interrupt(step: int) -> None:
        if step == stop - 1:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"after {stop} of {STEPS} steps; .*resume=True"):
        run(5, checkpoint=file, each=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    steps: list[int] = []
    resumed = run(5, checkpoint=file, resume=True, each=steps.append)
    assert steps == list(range(stop, STEPS))
    assert same(weights(resumed), whole)
    assert same(weights(run(5, checkpoint=file, resume=True)), whole)  # finished: just read
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """A shell that starts tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def interrupt(step: int) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)  # Python calls handlers between steps of its own

    with pytest.raises(KeyboardInterrupt):
        run(5, each=interrupt, checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_without_a_checkpoint_ctrl_c_says_that_all_is_lost() -> None:
    with pytest.raises(KeyboardInterrupt, match="after 1 of 60 steps; they are lost"):
        run(5, each=lambda step: signal.raise_signal(signal.SIGINT))


def test_other_threads_train_as_well(whole: dict[str, Tensor]) -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(weights(run(5))))
    thread.start()
    thread.join()
    assert same(found[0], whole)


def test_resuming_without_a_checkpoint_begins_and_not_resuming_begins_anew(
    whole: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "c.safetensors"
    for resume in (True, False):
        steps: list[int] = []
        found = run(5, checkpoint=file, resume=resume, each=steps.append)
        assert steps == list(range(STEPS))
        assert same(weights(found), whole)
    # What was not resumed is not lost.
    aside = tmp_path / "c.safetensors.earlier"
    aside.replace(file)
    again: list[int] = []
    assert same(weights(run(5, checkpoint=file, resume=True, each=again.append)), whole)
    assert again == []


def test_what_changes_the_weights_must_be_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    run(5, checkpoint=file, settings={"images": ["a"]})
    for seed, changed, message in (
        (6, {}, "seed is 5, here it is 6"),
        (5, {"steps": 70}, "steps is 60, here it is 70"),
        (5, {"settings": {"images": ["b"]}}, "images is"),
    ):
        with pytest.raises(CheckpointError, match=f"of another training: its {message}"):
            run(seed, checkpoint=file, resume=True, **{"settings": {"images": ["a"]}, **changed})


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_training_ends_with_the_very_same_weights(
    whole: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "c.safetensors"
    command = [sys.executable, "-m", "tests.training.tiny", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert next(itertools.islice(process.stdout, 30, None)) == "30\n"
    process.kill()
    process.wait()
    steps: list[int] = []
    resumed = run(5, checkpoint=file, resume=True, each=steps.append)
    assert 30 <= steps[0] < STEPS  # it was killed on the way, at whatever it was doing
    assert same(weights(resumed), whole)


# --- pieces ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.integers(1, 4))
def test_every_order_holds_each_item_once(count: int, size: int, seed: int, epochs: int) -> None:
    order = Shuffled(count, size, seed)
    drawn = [index for step in range(order.steps(epochs)) for index in order(step)]
    assert order.steps(epochs) * size - epochs * count in range(size)
    for epoch in range(epochs):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_orders_differ_by_epoch_seed_and_stream() -> None:
    orders = [
        Shuffled(50, 50, seed, stream)(epoch)
        for seed, stream, epoch in itertools.product(range(2), repeat=3)
    ]
    assert len({tuple(order) for order in orders}) == 8


def test_the_rates_of_the_papers() -> None:
    assert {constant(step / 100) for step in range(100)} == {1.0}
    # Torch's StepLR after 95 % of the steps, as EfficientAD's codes have it.
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.StepLR(sgd, 190, 0.1)
    for step in range(200):
        assert late_drop(step / 200) == pytest.approx(theirs.get_last_lr()[0])
        sgd.step()
        theirs.step()


def test_seeds_last_only_as_long_as_they_are_wanted() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    def fail() -> None:
        draw()
        raise ZeroDivisionError

    with seeded(8, "cpu"):
        with seeded(3, "cpu"):
            first = draw()
        second = draw()
    with seeded(8, "cpu"):
        with pytest.raises(ZeroDivisionError), seeded(3, "cpu"):
            fail()
        assert draw() == second != first
    with seeded(3, "cpu"):
        assert draw() == first


def test_spans_of_time_are_for_people() -> None:
    assert [duration(s) for s in (0.2, 89, 90, 3000, 9000)] == [
        "0 s", "89 s", "2 min", "50 min", "2.5 h",
    ]  # fmt: skip
