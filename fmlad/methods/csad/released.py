"""Options for pseudo-labels and LSA that a prompt set brings (CSAD's released settings, 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmlad.errors import PromptError
from fmlad.prompts import PromptSet
from fmlad.prompts.groups import PromptGroup

WORDS = ("tags", "background")
OF_SEGMENTER = ("distance",)


def settings_of(prompts: PromptSet | PromptGroup | None) -> dict[str, Any]:
    """What the key ``pseudo_labels`` says; {} where there is none.

    Of a group the words of all kinds together, as the paper's appendix A.1 has it: one list for
    all types of a product. Its other options must be the same for all kinds.

    Raises:
        PromptError: Kinds contradict each other.
    """
    if prompts is None:
        return {}
    sets = list(prompts.sets.values()) if isinstance(prompts, PromptGroup) else [prompts]
    found: dict[str, Any] = {}
    for one in sets:
        for name, value in one.pseudo_labels.items():
            if name in WORDS:
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *value)))
            elif found.setdefault(name, value) != value:
                raise PromptError(
                    f"The kinds of {prompts.name!r} differ in 'pseudo_labels': {name} is "
                    f"{found[name]!r} and {value!r}. Give all kinds the same."
                )
    return found


def pseudo_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those for the pseudo-labels."""
    return {name: value for name, value in settings.items() if name not in OF_SEGMENTER}


def segmenter_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those for the training of the segmenter."""
    return {name: value for name, value in settings.items() if name in OF_SEGMENTER}
