"""What all peers from anomalib share: pictures in, one score and one map out.

Their networks and formulas run as they are shipped, without Engine and data modules: pictures are
decoded here, nothing is written to disk, and maps are brought to the size of the picture.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.bench.model import Scored
from fmlad.bench.peers.options import fill
from fmlad.errors import MissingDependencyError, OptionError, ShotsError, WeightsUnavailableError
from fmlad.io.images import load_image
from fmlad.profiles import pick_device
from fmlad.training.loop import seeded

RANDOM = "random"  # value of the option weights: for tests and timing
INSTALL = 'pip install "fmlad[bench]"'

Transform = Callable[[Tensor], Tensor]


class Peer(ABC):
    """A :class:`fmlad.bench.model.Estimator` around a model of anomalib's."""

    takes: type[Any]  # its options
    takes_word = False  # whether a word for the category is of use
    takes_validation = False

    model: Any  # anomalib's torch model
    transform: Transform  # float32 RGB (3, H, W) in 0..1 to what the model takes

    def __init__(self, name: str, options: Mapping[str, Any], device: str) -> None:
        """See :func:`fmlad.bench.peers.make_peer`."""
        self.name = name
        self._options = fill(self.takes, options, name)
        self._device = pick_device(device)
        self._random = self._options.weights == RANDOM
        self._fitted = False
        self._build()

    @abstractmethod
    def _build(self) -> None:
        """Sets the model, on its device, and the transform."""

    @abstractmethod
    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        """Forgets earlier shots and learns from these, each ``(1, 3, h, w)`` on the device."""

    def _memory(self) -> Iterable[Tensor]:
        """What is remembered of the shots."""
        return ()

    def fit(
        self,
        shots: Sequence[Path],
        *,
        seed: int,
        validation: Sequence[Path] = (),
        prompts: str | None = None,
    ) -> None:
        """See :class:`fmlad.bench.model.Estimator`.

        Of a prompt set (``"mvtec_loco/screw_bag"``) only the name of the category is used
        (``"screw bag"``), by those peers that read.

        Raises:
            OptionError: It makes no use of prompts or of validation images, but some are given.
            ShotsError: There are no shots.
            InvalidImageError: An image cannot be read.
        """
        for what, given, taken in (
            ("prompts", prompts is not None, self.takes_word),
            ("validation images", bool(validation), self.takes_validation),
        ):
            if given and not taken:
                raise OptionError(f"The peer {self.name!r} makes no use of {what}; leave them out.")
        if not shots:
            raise ShotsError(f"The peer {self.name!r} got no shots; expected at least one.")
        word = None if prompts is None else Path(prompts).stem.replace("_", " ")
        self._fitted = False
        normal, held_out = ([self._pixels(p)[0] for p in paths] for paths in (shots, validation))
        with seeded(seed, self._device):
            self._learn(normal, held_out, word)
        self.model.eval()
        self._fitted = True

    def score(self, image: Path) -> Scored:
        """See :class:`fmlad.bench.model.Estimator`; no threshold is set.

        Raises:
            OptionError: It was not fitted.
            InvalidImageError: The image cannot be read.
        """
        if not self._fitted:
            raise OptionError(f"The peer {self.name!r} is asked before it was fitted.")
        pixels, size = self._pixels(image)
        with torch.no_grad():
            said = self.model(pixels)
            # (B, h, w) or (B, 1, h, w), as the model likes
            small = said.anomaly_map.reshape(1, 1, *said.anomaly_map.shape[-2:]).float()
            large = F.interpolate(small, size, mode="bilinear", align_corners=False)
        score = float(said.pred_score.reshape(-1)[0])
        return Scored(score, large[0, 0].cpu().numpy().astype(np.float32, copy=False))

    def facts(self) -> Mapping[str, float]:
        """``weights_mb`` of the networks and ``memory_mb`` of what is remembered of the shots."""
        memory = {tensor.data_ptr(): tensor.nbytes for tensor in self._memory()}
        held = (*self.model.parameters(), *self.model.buffers())
        tensors = {tensor.data_ptr(): tensor.nbytes for tensor in held}
        weights = sum(size for key, size in tensors.items() if key not in memory)
        return {"weights_mb": weights / 2**20, "memory_mb": sum(memory.values()) / 2**20}

    def notes(self) -> tuple[str, ...]:
        """Whose code ran, and whether its weights were random; for the row."""
        ours = f"{self.name}: code of anomalib {importlib.metadata.version('anomalib')}"
        return (ours, f"{self.name}: random weights") if self._random else (ours,)

    def _pixels(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        """What the model takes ``(1, 3, h, w)``, and height and width of the picture."""
        pixels = torch.from_numpy(load_image(path)).permute(2, 0, 1).float() / 255
        return self.transform(pixels)[None].to(self._device), (pixels.shape[1], pixels.shape[2])


class MemoryPeer(Peer):
    """A peer whose model keeps a memory bank of patches."""

    def _embed(self, shots: Sequence[Tensor]) -> Any:
        """Its model, emptied and shown the shots."""
        model = self.model
        model.memory_bank = torch.empty(0, device=self._device)
        model.embedding_store.clear()
        model.train()
        with torch.no_grad():
            for shot in shots:
                model(shot)
        return model

    def _memory(self) -> Iterable[Tensor]:
        return (self.model.memory_bank,)


def anomalib(module: str) -> Any:
    """A module of anomalib's (``"models.image.patchcore.torch_model"``).

    Raises:
        MissingDependencyError: anomalib, or something it needs, is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own imports; nothing a user could change
            return importlib.import_module(f"anomalib.{module}")
    except ImportError as error:
        lacking = error.name or str(error)
        raise MissingDependencyError(
            f"Peers need the package anomalib, and {lacking!r} is not there; {INSTALL} brings it."
        ) from error


@contextmanager
def swapped(module: Any, name: str, value: Any) -> Iterator[None]:
    """Gives a module another object under a name for a while.

    Where anomalib fetches weights by itself, whatever we loaded takes the place of the function
    that would.

    Raises:
        MissingDependencyError: It has no such name, so it is another version than we know.
    """
    if not hasattr(module, name):
        raise MissingDependencyError(
            f"{module.__name__} has no {name!r}: this version is not one that the peers know. "
            f"{INSTALL} brings one."
        )
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def quiet_sampling() -> Iterator[None]:
    """Keeps the progress bar of anomalib's coreset, and a warning to itself, out of our own."""
    module = anomalib("models.components.sampling.k_center_greedy")
    with swapped(module, "tqdm", lambda items, **_: items), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def no_weights(peer: str, why: str, pass_what: str) -> WeightsUnavailableError:
    """The error of a peer without weights: what is missing, and what ``weights`` may hold."""
    return WeightsUnavailableError(
        f"The peer {peer!r} has no weights: {why}. Pass weights={pass_what}; or, for a trial of "
        f"the machinery alone, weights='random'."
    )


@contextmanager
def blaming(peer: str, pass_what: str) -> Iterator[None]:
    """Our backbones speak of profiles when weights are missing; peers have none."""
    try:
        yield
    except WeightsUnavailableError as error:
        why = str(error).partition(" Ways out:")[0].rstrip(".")
        raise no_weights(peer, why, pass_what) from error
