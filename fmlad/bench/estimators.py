"""Methods of this package as they are entered in the benchmark, and peers by name.

Methods look through the same pipeline as ``Detector``. Their views stay in a cache that all entries
of a task share, so that a backbone runs once per image over all shots, seeds and entries.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from torch import Tensor, nn

from fmlad import pipeline, profiles
from fmlad.automatic_labels import auto_labels
from fmlad.backbones.roles import Backbone, Encoder
from fmlad.bench import plan
from fmlad.bench.model import Entry, Estimator, Scored
from fmlad.bench.plan import is_peer
from fmlad.errors import MissingDependencyError, OptionError
from fmlad.io.cache import DiskCache
from fmlad.io.images import load_image
from fmlad.loading import method_roles
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.prompts import load_prompts
from fmlad.views import BackboneSet, ImageView

CACHE_MB = 1024  # of pixels, features and masks; the least recently used view goes first
TIMED = 5  # queries that are looked at anew after the first fit of each size, to be timed


class CountingCache(DiskCache):
    """A disk cache that counts its hits, so that timings with a hit are told from those without."""

    hits = 0

    def get(self, key: str) -> dict[str, Tensor] | None:
        """As the cache itself."""
        found = super().get(key)
        self.hits += found is not None
        return found


class ViewCache:
    """Views by path, the least recently used forgotten first.

    Entries that see through different backbones have views of their own on a picture; what a
    backbone said about it is shared.
    """

    def __init__(self, limit_mb: float = CACHE_MB) -> None:
        self._limit = limit_mb * 2**20
        self._views: OrderedDict[Path, dict[str, ImageView]] = OrderedDict()

    def __contains__(self, path: Path) -> bool:
        return path in self._views

    def view(self, path: Path, backbone_set: BackboneSet, names: str) -> ImageView:
        """The view on a picture through some backbones; of the same names always the same object.

        Raises:
            InvalidImageError: The picture cannot be read.
        """
        self._shrink()
        views = self._views.get(path, {})
        if names not in views:
            if views:
                views[names] = next(iter(views.values())).through(backbone_set)
            else:
                views[names] = backbone_set.view(load_image(path), path.name)
        self._views[path] = views
        self._views.move_to_end(path)
        return views[names]

    def _shrink(self) -> None:
        """Views grow after they were handed out, so all are weighed before the next."""

        def size(views: Mapping[str, ImageView]) -> int:
            return max(view.nbytes for view in views.values())  # they share backbones' results

        while len(self._views) > 1 and sum(map(size, self._views.values())) > self._limit:
            self._views.popitem(last=False)


class MethodEstimator:
    """A method of this package."""

    def __init__(self, entry: Entry, views: ViewCache, device: str = "auto") -> None:
        """Builds the method and loads its backbones.

        Raises:
            OptionError: A name or option does not exist or does not fit.
            WeightsUnavailableError: Weights are not here and cannot be fetched.
        """
        self._method, self._profile = create_method(entry.method, entry.options), entry.profile
        roles = method_roles(self._method, entry.profile)
        declared = self._method.declared.get(entry.profile)
        chosen = profiles.resolve(roles, entry.profile, declared)
        device = profiles.pick_device(device)
        loaded = profiles.load_backbones(chosen, device)
        default = DiskCache.default()
        self._cache = CountingCache(default.folder, default.limit / 2**20) if default else None
        self._backbones = BackboneSet(loaded, self._cache, device)
        self._names = repr(sorted((role, str(name)) for role, name in chosen.items()))
        self._views = views
        self._fitted: pipeline.Fitted | None = None
        self._weights_mb = _weights_mb(loaded)
        self._fit_sizes: set[int] = set()
        self._fit_fresh = True
        self._timed = 0  # images looked at anew since the first fit of this size

    def fit(
        self,
        shots: Sequence[Path],
        *,
        seed: int,
        validation: Sequence[Path] = (),
        prompts: str | None = None,
    ) -> None:
        """See :class:`fmlad.bench.model.Estimator`."""
        if prompts is not None and "prompts" not in self._method.takes:
            raise OptionError(f"The method {self._method.name!r} makes no use of prompts.")
        # The first fit of each size looks at everything anew, so that its time is that of a fit.
        anew = len(shots) not in self._fit_sizes
        self._fit_sizes.add(len(shots))
        self._timed = 0 if anew else self._timed
        known = {path for path in (*shots, *validation) if path in self._views}
        before = self._hits
        views = [self._view(path, anew, path in known) for path in shots]
        labels: list[Any] | None = None
        names: tuple[str, ...] = ()
        rest: list[ImageView] = []
        if "labels" in self._method.takes and not getattr(self._method, "finds_labels", False):
            pictures = [(view.name, view.pixels) for view in views]
            device = self._backbones.device
            found = auto_labels(pictures, profile=self._profile, device=device, seed=seed)
            names = found.names
            views, labels, rest = found.shared_out(views)
        self._fitted = pipeline.fit(
            self._method,
            views,
            FitContext(
                labels=labels,
                label_names=names,
                unlabeled=rest,
                encoder=cast("Encoder | None", self._backbones.backbones.get("encoder")),
                validation=[self._view(path, anew, path in known) for path in validation],
                prompts=None if prompts is None else load_prompts(prompts),
                device=self._backbones.device,
                seed=seed,
            ),
        )
        self._fit_fresh = anew or not (known or self._hits > before)

    def score(self, image: Path) -> Scored:
        """See :class:`fmlad.bench.model.Estimator`."""
        if self._fitted is None:
            raise OptionError("An entry is asked before it was fitted; call fit first.")
        known, before, anew = image in self._views, self._hits, self._timed < TIMED
        self._timed += anew
        verdict = pipeline.judge(self._view(image, anew, known), self._fitted)
        fresh = anew or (not known and self._hits == before)
        return Scored(verdict.score, verdict.anomaly_map, verdict.threshold, fresh, verdict)

    def notes(self) -> tuple[str, ...]:
        """Where part labels come from, for methods that learn from them."""
        auto = "part labels of the shots were found by the method 'banks', not given"
        return (auto,) if "labels" in self._method.takes else ()

    def facts(self) -> Mapping[str, float]:
        """``weights_mb`` of all backbones, ``memory_mb`` of the memory, and ``fit_fresh``."""
        facts = {"weights_mb": self._weights_mb, "fit_fresh": float(self._fit_fresh)}
        if self._fitted is not None:
            tensors = self._fitted.state.tensors().values()
            facts["memory_mb"] = sum(tensor.nbytes for tensor in tensors) / 2**20
        return facts

    @property
    def _hits(self) -> int:
        return self._cache.hits if self._cache else 0

    def _view(self, path: Path, anew: bool, known: bool) -> ImageView:
        """A view; ``anew`` one that neither earlier looks nor the disk make quick."""
        if not anew:
            return self._views.view(path, self._backbones, self._names)
        fresh = BackboneSet(self._backbones.backbones, device=self._backbones.device)
        if known:
            return fresh.view(load_image(path), path.name)
        return self._views.view(path, fresh, self._names)


def make_estimator(entry: Entry, views: ViewCache, device: str = "auto") -> Estimator:
    """The estimator of an entry; ``views`` are of the task's images, shared by its entries.

    Raises:
        MissingDependencyError: A peer's package is not installed.
        OptionError: A name or option does not exist or does not fit.
        WeightsUnavailableError: Weights are not here and cannot be fetched.
    """
    if not is_peer(entry.method):
        return MethodEstimator(entry, views, device)
    try:
        make = resolve_name(plan.PEERS[entry.method.partition(":")[0]])
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"The peer {entry.method!r} needs the package {error.name!r}; install the extra: "
            f"pip install 'fmlad[bench]'."
        ) from None
    return cast(Estimator, make(entry.method, dict(entry.options), device))


def _weights_mb(backbones: Mapping[str, Backbone]) -> float:
    """MiB of all networks that backbones hold; 0 for those without any."""
    parts = [p for b in backbones.values() for p in (b, *getattr(b, "__dict__", {}).values())]
    modules = [part for part in parts if isinstance(part, nn.Module)]
    tensors = (tensor for m in modules for tensor in (*m.parameters(), *m.buffers()))
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values()) / 2**20
