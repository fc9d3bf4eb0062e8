"""The checks that turn plain data into the fields of a prompt set.

Files and saved detectors go through the same ones; messages about a file name the line, those about
plain data the place.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from fmlad.prompts.model import (
    DIRECTIONS,
    RULE_HELP,
    Decide,
    Exemplar,
    Expectation,
    PromptPart,
    Relation,
    read_rule,
)
from fmlad.prompts.text import Place
from fmlad.prompts.values import Reader, is_number, near, say

KEYS = ("name", "description", "coarse", "fine", "decide", "templates", "states")
PART_KEYS = ("words", "exemplars", "decide", "expect")
BACKGROUND = "background"  # the reserved name of what is no part
MOST_PARTS = 250  # labels must fit into a byte


def check(data: Any, where: Callable[[Place], str]) -> dict[str, Any]:
    """Plain data as the fields of a :class:`~fmlad.prompts.sets.PromptSet`.

    Args:
        data: As YAML or JSON gives it.
        where: Says in a message where a path of keys and positions is.

    Raises:
        PromptError: Anything is not as it should be; the first fault found is told.
    """
    return _Check(where).prompt_set(data)


class _Check:
    def __init__(self, where: Callable[[Place], str]) -> None:
        self._read = Reader(where)
        self._homes: dict[str, Place] = {}  # of each part's words

    def prompt_set(self, data: Any) -> dict[str, Any]:
        top = self._read.mapping(data, (), KEYS, "a prompt set")
        decide = self._read.decide(top, (), "patch")
        name = self._read.text(top["name"], ("name",)) if "name" in top else ""
        about = (
            self._read.text(top["description"], ("description",), 2000)
            if "description" in top
            else ""
        )
        coarse = self._coarse(top)
        parts = self._fine(top, decide)
        self._distinct(coarse, parts)
        self._relations(parts)
        # Without words of its own, whatever is a part is foreground.
        foreground = coarse["foreground"] or tuple(word for part in parts for word in part.words)
        states = self._read.mapping(
            top.get("states", {}), ("states",), ("normal", "abnormal"), "'states'"
        )
        return {
            "name": name,
            "description": about,
            "background": coarse["background"],
            "foreground": foreground,
            "parts": parts,
            "decide": decide,
            "templates": self._templates(top),
            "normal_states": self._states(states, "normal"),
            "abnormal_states": self._states(states, "abnormal"),
        }

    # --- sections --------------------------------------------------------------------------------

    def _coarse(self, top: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        if "coarse" not in top:
            self._read.fail((), "'coarse' is missing; add 'coarse: {background: [background]}'.")
        at = ("coarse",)
        coarse = self._read.mapping(top["coarse"], at, ("background", "foreground"), "'coarse'")
        if not coarse.get("background"):
            self._read.fail(
                (*at, "background") if "background" in coarse else at,
                "there is no background word; add 'background: [background]' under 'coarse'.",
            )
        return {
            key: self._read.words(coarse[key], (*at, key)) if key in coarse else ()
            for key in ("background", "foreground")
        }

    def _fine(self, top: Mapping[str, Any], decide: Decide) -> tuple[PromptPart, ...]:
        at = ("fine",)
        if not top.get("fine"):
            self._read.fail(
                at if "fine" in top else (),
                "there are no parts; add 'fine:' with at least one part, such as "
                "'  pushpin: [pushpin, drawing pin]'.",
            )
        fine = self._read.mapping(top["fine"], at, None, "'fine'")
        if len(fine) > MOST_PARTS:
            self._read.fail(at, f"{len(fine)} parts; at most {MOST_PARTS} are possible.")
        names: dict[str, str] = {}
        parts = []
        for key, value in fine.items():
            here = (*at, key)
            name = " ".join(self._read.text(key, here, 60, "a part's name").split())
            if name.casefold() == BACKGROUND:
                self._read.fail(
                    here,
                    "no part can be called 'background'; put its words under 'coarse: background'.",
                )
            if name.casefold() in names:
                self._read.fail(
                    here, f"the parts {names[name.casefold()]!r} and {name!r} differ in case only."
                )
            names[name.casefold()] = name
            parts.append(self._part(name, value, here, decide))
        return tuple(parts)

    def _part(self, name: str, value: Any, at: Place, decide: Decide) -> PromptPart:
        self._homes[name] = (*at, "words") if isinstance(value, dict) else at
        if not isinstance(value, dict):
            return PromptPart(name, self._read.words(value, at), decide=decide)
        body = self._read.mapping(value, at, PART_KEYS, f"part {name!r}")
        if ("words" in body) == ("exemplars" in body):
            found = "both" if "words" in body else "neither"
            self._read.fail(
                at, f"part {name!r} has {found} of 'words' and 'exemplars'; give exactly one."
            )
        return PromptPart(
            name,
            self._read.words(body["words"], (*at, "words")) if "words" in body else (),
            self._exemplars(body, at),
            self._read.decide(body, at, decide),
            self._expect(body["expect"], (*at, "expect")) if "expect" in body else None,
        )

    def _exemplars(self, body: Mapping[str, Any], at: Place) -> tuple[Exemplar, ...]:
        if "exemplars" not in body:
            return ()
        here = (*at, "exemplars")
        found = []
        for index, item in enumerate(self._read.list(body["exemplars"], here, "{crop: nut.png}")):
            place = (*here, index)
            one = self._read.mapping(item, place, ("image", "box", "crop"), "an exemplar")
            if one.keys() not in ({"image", "box"}, {"crop"}):
                self._read.fail(
                    place,
                    "an exemplar is either {image: photo.png, box: [x1, y1, x2, y2]} or "
                    f"{{crop: part.png}}; this one has {', '.join(one) or 'nothing'}.",
                )
            key = "crop" if "crop" in one else "image"
            image = self._read.text(one[key], (*place, key), 1000)
            box = None if key == "crop" else self._box(one["box"], (*place, "box"))
            found.append(Exemplar(image, box))
        return tuple(found)

    def _box(self, value: Any, at: Place) -> tuple[float, float, float, float]:
        numbers = [v for v in value if is_number(v)] if isinstance(value, list) else []
        if not isinstance(value, list) or len(numbers) != 4 or len(value) != 4:
            self._read.fail(at, f"expected a box [x1, y1, x2, y2] in pixels, got {say(value)}.")
        x1, y1, x2, y2 = (float(v) for v in numbers)
        if not (0 <= x1 < x2 and 0 <= y1 < y2):
            self._read.fail(
                at,
                f"the box {say(value)} is empty or outside; expected 0 <= x1 < x2, 0 <= y1 < y2.",
            )
        return x1, y1, x2, y2

    def _expect(self, value: Any, at: Place) -> Expectation:
        rules = value if isinstance(value, list) else [value]
        if not rules:
            self._read.fail(at, f"nothing is expected; {RULE_HELP}.")
        count: tuple[int, int] | None = None
        share: tuple[float, float] | None = None
        relations: list[Relation] = []
        for index, rule in enumerate(rules):
            here = (*at, index) if isinstance(value, list) else at
            found = read_rule(rule)
            if found is None:
                self._read.fail(here, f"cannot read {say(rule)} as an expectation; {RULE_HELP}.")
            if isinstance(found, Relation):
                if found in relations:
                    self._read.fail(here, f"{say(rule)} is said twice; remove one.")
                relations.append(found)
                continue
            kind, low, high = found
            if (count if kind == "count" else share) is not None:
                self._read.fail(
                    here, f"two rules for the {kind}; join them into one range 'low..high'."
                )
            if low > high or (kind == "share" and high > 1):
                self._read.fail(here, f"the range {say(rule)} is impossible; write 'low..high'.")
            if kind == "count":
                count = (int(low), int(high))
            else:
                share = (low, high)
        return Expectation(count, share, tuple(relations))

    def _templates(self, top: Mapping[str, Any]) -> tuple[str, ...]:
        at = ("templates",)
        if "templates" not in top:
            return ()
        found = self._read.words(top["templates"], at)
        for index, text in enumerate(found):
            if text.count("{}") != 1 or re.search(r"[{}]", text.replace("{}", "")):
                self._read.fail(
                    (*at, index),
                    f"a template needs one {{}} for the word and no other braces, such as "
                    f"'a photo of a {{}}'; got {text!r}.",
                )
        return found

    def _states(self, states: Mapping[str, Any], key: str) -> tuple[str, ...]:
        if key not in states:
            if states:
                self._read.fail(
                    ("states",), f"'states' needs both 'normal' and 'abnormal'; add {key!r}."
                )
            return ()
        at = ("states", key)
        found = self._read.words(states[key], at)
        for index, text in enumerate(found):
            if text.count("{}") > 1 or re.search(r"[{}]", text.replace("{}", "")):
                self._read.fail(
                    (*at, index),
                    f"a state is a word ('scratched') or has one {{}} for the part ('{{}} with a "
                    f"crack'); got {text!r}.",
                )
        return tuple(text if "{}" in text else f"{text} {{}}" for text in found)

    # --- between sections ------------------------------------------------------------------------

    def _distinct(
        self, coarse: Mapping[str, tuple[str, ...]], parts: tuple[PromptPart, ...]
    ) -> None:
        """A word must not name two classes, nor both the background and something."""
        sides = {side: {word.casefold() for word in words} for side, words in coarse.items()}
        for index, word in enumerate(coarse["foreground"]):
            if word.casefold() in sides["background"]:
                self._read.fail(
                    ("coarse", "foreground", index),
                    f"{word!r} is a word of the background as well; keep it in one of the two.",
                )
        owners: dict[str, str] = {}
        for part in parts:
            for index, word in enumerate(part.words):
                key = word.casefold()
                rival = "the background" if key in sides["background"] else owners.get(key)
                if rival is not None:
                    self._read.fail(
                        (*self._homes[part.name], index),
                        f"{word!r} is a word of {rival} as well; keep it in one of the two.",
                    )
            owners |= {word.casefold(): f"part {part.name!r}" for word in part.words}

    def _relations(self, parts: tuple[PromptPart, ...]) -> None:
        names = [part.name for part in parts]
        order: dict[str, dict[str, set[str]]] = {kind: {} for kind in ("across", "down", "inside")}
        for part in parts:
            at = ("fine", part.name, "expect")
            for relation in part.expect.relations if part.expect else ():
                if relation.part not in names:
                    self._read.fail(
                        at,
                        f"{relation.kind!r} names {say(relation.part)}, which is no part."
                        f"{near(relation.part, names)} Parts: {', '.join(names[:12])}"
                        f"{', ...' if len(names) > 12 else ''}.",
                    )
                kind, forward = DIRECTIONS[relation.kind]
                first, second = (part.name, relation.part)[:: 1 if forward else -1]
                order[kind].setdefault(first, set()).add(second)
                try:
                    graphlib.TopologicalSorter(order[kind]).prepare()
                except graphlib.CycleError:
                    self._read.fail(
                        at,
                        f"'{relation.kind} {relation.part}' contradicts the other relations: "
                        f"{part.name!r} would lie so with respect to itself. Remove one of them.",
                    )
