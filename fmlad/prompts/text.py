"""A prompt file's text as plain data, with the line of everything in it.

The file may come from anybody, so it is read with PyYAML's safe loader as nodes: no object is ever
built from a tag, no alias is followed (they make bombs), and size and depth are bounded before the
text is composed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fmlad.errors import PromptError

MOST_BYTES = 65_536  # a set of 26 classes needs about 4,000
DEEPEST = 12  # the schema needs six levels

Place = tuple[str | int, ...]  # keys and positions from the top of the file
Lines = dict[Place, int]
MakeError = Callable[[int | None, str], PromptError]
"""Makes the error of a line (None: of the whole text) and a message."""

_TAG = "tag:yaml.org,2002:"
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,15}")


def read_file(path: Path) -> str:
    """Text of a prompt file; PromptError: missing, a folder, too large, not UTF-8."""
    try:
        if path.is_dir():
            example = f"{path}/my.yaml"
            raise PromptError(f"{path} is a folder; expected one YAML file, such as {example}.")
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise PromptError(f"{path} is no regular file; expected a YAML file.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise PromptError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PromptError(f"{path} cannot be read: {error}.") from None
    if len(data) > MOST_BYTES:
        raise PromptError(
            f"{path} is larger than {MOST_BYTES // 1024} KiB, too large for a prompt set; "
            f"is it the right file?"
        )
    if b"\0" in data:
        raise PromptError(f"{path} holds binary data; expected a YAML file, text in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from None


def parse(text: str, source: str) -> tuple[Any, Lines]:
    """Plain data (dict, list, str, int, float, bool, None) and the line of each piece, from 1.

    Raises:
        PromptError: Not YAML, or YAML with features that a prompt set has no use for.
    """
    import yaml

    def fault(line: int | None, message: str) -> PromptError:
        where = source if line is None else f"{source}, line {line}"
        return PromptError(f"{where}: {message}")

    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # before anything recursive
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                message = "anchors (&) and aliases (*) are not supported; write the words out, or"
                raise fault(line, f"{message} put them in quotes if the sign is part of a word.")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                message = f"nested more than {DEEPEST} levels deep; a prompt set needs six."
                raise fault(line, f"{message} Look for brackets that are never closed.")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character {chr(code)!r} is not allowed in YAML; remove it."
        raise fault(line, message) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _shorten(" ".join(str(error.problem or error.context).split()), 120)
        message = f"not valid YAML ({problem}); check the indentation, the quotes and the brackets"
        raise fault(mark.line + 1 if mark else None, f"{message} there.") from None
    except (ValueError, ArithmeticError) as error:  # PyYAML, on "\\UFFFFFFFF"
        raise fault(None, f"not valid YAML ({error}); look for a \\U in it.") from None
    if root is None:
        raise fault(None, "it is empty; expected a prompt set with 'coarse' and 'fine'.")
    lines: Lines = {(): root.start_mark.line + 1}
    return _plain(root, (), lines, fault), lines


def _plain(node: Any, at: Place, lines: Lines, fault: MakeError) -> Any:
    """A node as plain data; the line of every entry below it is noted."""
    import yaml

    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, line, fault)
    if node.tag != _TAG + ("seq" if isinstance(node, yaml.SequenceNode) else "map"):
        raise fault(line, f"the tag {_shorten(str(node.tag))!r} is not supported; remove it.")
    if isinstance(node, yaml.SequenceNode):
        lines |= {(*at, i): item.start_mark.line + 1 for i, item in enumerate(node.value)}
        return [_plain(item, (*at, i), lines, fault) for i, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
            written = repr(_shorten(key.value)) if isinstance(key, yaml.ScalarNode) else "a list"
            raise fault(line, f"expected text before the colon, got {written}; put it in quotes.")
        here = (*at, key.value)
        if key.value in result:
            again = f"{_shorten(key.value)!r} stands here a second time (first in line "
            raise fault(line, f"{again}{lines[here]}); remove one of the two.")
        lines[here] = line
        result[key.value] = _plain(value, here, lines, fault)
    return result


def _scalar(node: Any, line: int, fault: MakeError) -> str | int | float | bool | None:
    text, tag = str(node.value), str(node.tag).removeprefix(_TAG)
    if tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if tag == "int" and _INTEGER.fullmatch(text):
        return int(text)
    if tag == "float":
        with suppress(ValueError):  # base 60, say
            return float(text.lower().replace(".nan", "nan").replace(".inf", "inf"))
    message = f"YAML takes {_shorten(text)!r} for {_shorten(tag)!r}, which a prompt set has no use"
    raise fault(line, f"{message} for; put it in quotes if it is a word.")


def _shorten(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
