"""The page of each method names what is there: files that exist, and functions in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

METHODS = Path(__file__).parents[2] / "fmlad" / "methods"
PAGES = sorted(METHODS.glob("*/README.md"))


def names(file: Path) -> set[str]:
    """Classes, functions, methods and module-level names of a Python file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_every_method_has_a_page() -> None:
    folders = {file.parent.name for file in METHODS.glob("*/method.py")}
    assert {page.parent.name for page in PAGES} == folders


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_lead_to_what_they_name(page: Path) -> None:
    links = re.findall(r"\[([^]]+)\]\(([^)#]+)[^)]*\)", page.read_text())
    assert links
    for text, target in links:
        file = (page.parent / target).resolve()
        assert file.exists(), (text, target)
        if file.suffix == ".py":
            for quoted in re.findall(r"`(\w+(?:\.\w+)?)`", text.replace(file.name, "")):
                assert set(quoted.split(".")) <= names(file), (quoted, target)
