"""A product in several kinds: a prompt set each, and a memory of its own for each (ours).

A group of prompt sets is attached by the shots: each shot belongs to the kind that the user named
for it, else to the one whose words fit it best. An image is judged as one kind, by the shots of
that kind alone. CLIP-LAD splits such categories before it begins (its section 4) and says of the
whole ones (its table 3) no more than that they work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError, PromptError
from fmlad.io.tensors import TensorReader
from fmlad.methods.clip_lad.coarse_to_fine import Stages, Wording, presence
from fmlad.methods.clip_lad.state import ClipLadState
from fmlad.methods.clip_lad.wording import make_ready
from fmlad.prompts import PromptGroup
from fmlad.views import ImageView

POOLED = "pooled"
RestoreOne = Callable[[Mapping[str, Tensor], Mapping[str, Any]], ClipLadState]


@dataclass(frozen=True)
class KindsState:
    """State of a detector fitted to a group of prompt sets.

    Attributes:
        group: The group.
        fitted: State of each kind that has shots.
        own: Indices of the shots of each of these kinds.
        pooled: float32 ``(k, C)``, pooled features of the shots, for the nearest one.
    """

    group: PromptGroup
    fitted: Mapping[str, ClipLadState]
    own: Mapping[str, Sequence[int]]
    pooled: Tensor = field(repr=False)

    @property
    def shots(self) -> int:
        """Number of shots of all kinds."""
        return len(self.pooled)

    @property
    def prompts(self) -> PromptGroup:
        """The group."""
        return self.group

    @cached_property
    def alone(self) -> frozenset[int]:
        """Shots that no other picture of their kind can judge: single ones, and copies of one."""
        found: set[int] = set()
        for own in self.own.values():
            features = self.pooled[list(own)]
            if bool((features == features[0]).all()):
                found.update(own)
        return frozenset(found)

    def kind_of(
        self, view: ImageView, near: Tensor | None, exclude: frozenset[int]
    ) -> tuple[str, frozenset[int]]:
        """The kind that an image is judged as, and which of that kind's shots are excluded.

        By words, or, given the image's pooled features ``(C,)``, as the nearest shot. Kinds whose
        shots are all excluded are not considered.
        """
        kept = {kind: [i for i in own if i not in exclude] for kind, own in self.own.items()}
        kept = {kind: indices for kind, indices in kept.items() if indices}
        if not kept:
            raise OptionError("All shots are excluded; at least one must stay.")
        if near is None:
            kind = max(kept, key=lambda one: presence(view, self.fitted[one].wording))
        else:
            gaps = (self.pooled.to(near) - near).norm(dim=1)
            kind = min(kept, key=lambda one: float(gaps[kept[one]].min()))
        return kind, frozenset(row for row, i in enumerate(self.own[kind]) if i in exclude)

    def note(self) -> str:
        """How many shots are of which kind."""
        counts = ", ".join(f"{len(own)} as {kind!r}" for kind, own in self.own.items())
        return f"several kinds, each judged by its own shots: {counts}"

    def tensors(self) -> dict[str, Tensor]:
        """Everything remembered, on the CPU."""
        found = {POOLED: self.pooled.cpu().contiguous()}
        for number, state in enumerate(self.fitted.values()):
            found |= {f"{number}/{name}": tensor for name, tensor in state.tensors().items()}
        return found

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        kinds = []
        for kind, state in self.fitted.items():
            described = state.meta()
            del described["prompts"]
            kinds.append({"kind": kind, "own": list(self.own[kind]), "state": described})
        return {"prompts": self.group.to_dict(), "kinds": kinds}

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        restore_one: RestoreOne,
    ) -> KindsState:
        """Inverse of :meth:`tensors` and :meth:`meta`; ``restore_one`` is that of one kind.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        fitted: dict[str, ClipLadState] = {}
        own: dict[str, list[int]] = {}
        left = dict(tensors)
        try:
            group = PromptGroup.from_dict(meta["prompts"])
            for number, one in enumerate(meta["kinds"]):
                kind, start = one["kind"], f"{number}/"
                mine = {name: left.pop(name) for name in list(left) if name.startswith(start)}
                described = {**one["state"], "prompts": group.sets[kind].to_dict()}
                fitted[kind] = restore_one(
                    {name.removeprefix(start): value for name, value in mine.items()}, described
                )
                own[kind] = [int(index) for index in one["own"]]
            every = sorted(index for indices in own.values() for index in indices)
            sizes = [fitted[kind].shots == len(own[kind]) > 0 for kind in own]
        except PromptError as error:
            raise CorruptDetectorError(f"The saved prompt sets are not valid: {error}") from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = f"The description of the saved kinds is bad: {error!r}."
            raise CorruptDetectorError(what) from None
        reader = TensorReader(left, device)
        with reader.description("kinds"):
            pooled = reader.take(POOLED, (len(every), None))
        if not every or every != list(range(len(every))) or not all(sizes):
            raise CorruptDetectorError("The saved kinds do not share the shots among themselves.")
        return cls(group, fitted, own, pooled)


def kinds_of(
    group: PromptGroup, stages: Stages, views: Sequence[ImageView]
) -> dict[str, list[int]]:
    """Indices of the shots of each kind, in the group's order; kinds without shots are left out.

    Named shots go as they are named, others by the words that fit them best.

    Raises:
        PromptError: The picture of an exemplar is not there.
    """
    ready: dict[str, Wording] = {}

    def best(view: ImageView) -> str:
        for kind, prompts in group.sets.items():
            if kind not in ready:
                ready[kind] = make_ready(prompts, stages, views, views[0].again)
        return max(ready, key=lambda kind: presence(view, ready[kind]))

    found: dict[str, list[int]] = {kind: [] for kind in group.sets}
    for index, view in enumerate(views):
        found[group.shots.get(Path(view.name).name) or best(view)].append(index)
    return {kind: indices for kind, indices in found.items() if indices}
