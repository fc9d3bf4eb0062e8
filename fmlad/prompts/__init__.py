"""Prompt sets; see `docs/prompts.md`. Import from here: the modules inside may move."""

from fmlad.prompts.model import Exemplar, Expectation, PromptPart, Relation
from fmlad.prompts.sets import PromptSet, list_prompt_sets

__all__ = ["Exemplar", "Expectation", "PromptPart", "PromptSet", "Relation", "list_prompt_sets"]
