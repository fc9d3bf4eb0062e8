"""Prompt sets; see `docs/prompts.md`. Import from here: the modules inside may move."""

from fmlad.prompts.groups import (
    PromptGroup,
    Prompts,
    list_prompt_groups,
    load_prompts,
    prompts_from_dict,
)
from fmlad.prompts.model import Exemplar, Expectation, PromptPart, Relation
from fmlad.prompts.sets import PromptSet, list_prompt_sets

__all__ = [
    "Exemplar", "Expectation", "PromptGroup", "PromptPart", "PromptSet", "Prompts", "Relation",
    "list_prompt_groups", "list_prompt_sets", "load_prompts", "prompts_from_dict",
]  # fmt: skip
