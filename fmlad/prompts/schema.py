"""The layout of a prompt file as pydantic models, and one clear message about the first mistake.

Files and saved detectors go through the same checks; messages about a file name the line, those
about plain data the place.
"""

from __future__ import annotations

import graphlib
import math
import re
import reprlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    model_validator,
)

from fmlad.errors import PromptError, nearest
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

BACKGROUND = "background"  # the reserved name of what is no part
MOST_PARTS = 250  # labels must fit into a byte
MODES = ("fine", "coarse")  # of pseudo-labels
LONGEST = 200  # characters of a word or phrase
_EMPTY = "is empty"  # begins messages to which the last key of the place is the subject

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def check(data: Any, where: Callable[[Place], str]) -> dict[str, Any]:
    """Plain data as the fields of a :class:`~fmlad.prompts.sets.PromptSet`.

    ``where`` says in a message where a path of keys and positions is.

    Raises:
        PromptError: Anything is not as it should be; the first fault found is told.
    """
    try:
        return _File.model_validate(data).fields()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        cause = first.get("ctx", {}).get("error")
        place = (*first["loc"], *getattr(cause, "at", ()))
        if place[2:3] == ("words",) and not isinstance(data["fine"][place[1]], dict):
            place = place[:2] + place[3:]  # a part given as a plain list
        message = str(cause or first["msg"])
        subject = f"{place[-1]!r} " if message.startswith(_EMPTY) else ""
        raise PromptError(f"{where(place)}: {subject}{message}") from None


class Fault(ValueError):
    """A mistake, and where it is below the value that is being checked."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


def _text(value: Any, most: int = LONGEST, what: str = "text", at: tuple[str, ...] = ()) -> str:
    if not isinstance(value, str):
        quotes = "" if isinstance(value, dict | list) or value is None else "; put it in quotes"
        raise Fault(f"expected {what}, got {_say(value)}{quotes}.", *at)
    plain = " ".join(value.split())
    if not plain:
        raise Fault(f"expected {what}, got nothing; write a word or remove the entry.", *at)
    if len(plain) > most:
        raise Fault(f"{_say(plain)} has {len(plain)} characters; at most {most} are taken.", *at)
    if not plain.isprintable():
        raise Fault(f"{plain[:40]!r} holds characters that cannot be printed; remove them.", *at)
    return value.strip()


def _listed(value: Any, example: str = "first word, second word") -> list[Any]:
    if value is None or value in ([], {}, ""):
        raise Fault(f"{_EMPTY}; give at least one entry, such as [{example}].")
    if not isinstance(value, list):
        raise Fault(f"expected a list such as [{example}], got {_say(value)}.")
    return value


def _distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    folded = [word.casefold() for word in words]
    for index, word in enumerate(folded):
        if word in folded[:index]:
            raise Fault(f"{words[index]!r} stands here twice; remove one.", index)
    return words


def _slots(texts: tuple[str, ...], least: int, needed: str) -> tuple[str, ...]:
    for index, text in enumerate(texts):
        if not least <= text.count("{}") <= 1 or re.search(r"[{}]", text.replace("{}", "")):
            raise Fault(f"{needed}; got {text!r}.", index)
    return tuple(text if "{}" in text else f"{text} {{}}" for text in texts)


def _decide(value: Any) -> Any:
    if value not in get_args(Decide):
        raise Fault(f"'decide' is patch or region, not {_say(value)}.")
    return value


def _mode(value: Any) -> Any:
    if value not in MODES:
        raise Fault(f"'mode' is {' or '.join(MODES)}, not {_say(value)}.")
    return value


def _truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Fault(f"expected true or false, got {_say(value)}.")
    return value


def _positive(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and value > 0):
        raise Fault(f"expected a number above 0, got {_say(value)}.")
    return float(value)


def _share(value: Any) -> Any:
    if value != 0 and not (isinstance(value, int | float) and _positive(value) < 1):
        raise Fault(f"expected a number from 0 to 1, got {_say(value)}.")
    return float(value)


def _exemplar(value: Any) -> Exemplar:
    one = _mapping(value, "an exemplar", ("image", "box", "crop"))
    if one.keys() not in ({"image", "box"}, {"crop"}):
        raise Fault(
            "an exemplar is either {image: photo.png, box: [x1, y1, x2, y2]} or {crop: part.png}; "
            f"this one has {', '.join(one) or 'nothing'}."
        )
    if "crop" in one:
        return Exemplar(_text(one["crop"], 1000, at=("crop",)))
    return Exemplar(_text(one["image"], 1000, at=("image",)), _box(one["box"]))


def _box(value: Any) -> tuple[float, float, float, float]:
    def is_number(v: Any) -> bool:
        return isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)

    if not (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))):
        raise Fault(f"expected a box [x1, y1, x2, y2] in pixels, got {_say(value)}.", "box")
    x1, y1, x2, y2 = map(float, value)
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        wanted = "expected 0 <= x1 < x2, 0 <= y1 < y2"
        raise Fault(f"the box {_say(value)} is empty or outside; {wanted}.", "box")
    return x1, y1, x2, y2


def _expect(value: Any) -> Expectation:
    rules = value if isinstance(value, list) else [value]
    if not rules:
        raise Fault(f"nothing is expected; {RULE_HELP}.")
    ranges: dict[str, tuple[float, float]] = {}
    relations: list[Relation] = []
    for index, rule in enumerate(rules):
        at = [index] * isinstance(value, list)
        found = read_rule(rule)
        if found is None:
            raise Fault(f"cannot read {_say(rule)} as an expectation; {RULE_HELP}.", *at)
        if isinstance(found, Relation):
            if found in relations:
                raise Fault(f"{_say(rule)} is said twice; remove one.", *at)
            relations.append(found)
            continue
        kind, low, high = found
        if kind in ranges:
            raise Fault(f"two rules for the {kind}; join them into one range 'low..high'.", *at)
        if low > high or (kind == "share" and high > 1):
            raise Fault(f"the range {_say(rule)} is impossible; write 'low..high'.", *at)
        ranges[kind] = low, high
    least, most = map(int, ranges.get("count", (-1, -1)))
    return Expectation(
        (least, most) if "count" in ranges else None, ranges.get("share"), tuple(relations)
    )


def _say(value: Any) -> str:
    """A value in a message: short whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "what YAML reads as a truth value (yes, no, on, off, true, false)"
    return "'key: value' pairs" if isinstance(value, dict) else _repr.repr(value)


def _mapping(value: Any, what: str, known: Collection[str] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        keys = f" with {', '.join(known)}" if known else ""
        raise Fault(f"expected {what} as 'key: value' pairs{keys}; got {_say(value)}.")
    for key in value:
        if not isinstance(key, str):
            raise Fault(f"expected text as a key of {what}, got {_say(key)}.")
        if known and key not in known:
            hint = f"{nearest(key, known)} Known ones: {', '.join(known)}."
            raise Fault(f"unknown key {_say(key)} in {what}.{hint}", key)
    return value


_Text = Annotated[str, BeforeValidator(_text)]
_Word = Annotated[_Text, AfterValidator(lambda text: " ".join(text.split()))]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
_TEMPLATE = "a template needs one {} for the word and no other braces, such as 'a photo of a {}'"
_STATE = "a state is a word ('scratched') or has one {} for the part ('{} with a crack')"
_Templates = Annotated[_Words, AfterValidator(partial(_slots, least=1, needed=_TEMPLATE))]
_States = Annotated[_Words, AfterValidator(partial(_slots, least=0, needed=_STATE))]
_Exemplars = Annotated[
    tuple[Annotated[Exemplar, PlainValidator(_exemplar)], ...],
    BeforeValidator(partial(_listed, example="{crop: nut.png}")),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)
    what: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        return cls.complete(_mapping(data, cls.what, tuple(cls.model_fields)))

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Refuses a section of which something is missing."""
        return data


class _Coarse(_Section):
    what = "'coarse'"
    background: _Words
    foreground: _Words = ()

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not data.get("background"):
            message = "there is no background word; add 'background: [background]' under 'coarse'."
            raise Fault(message, *data.keys() & {"background"})
        return data


class _Part(_Section):
    what = "a part"
    words: _Words = ()
    exemplars: _Exemplars = ()
    decide: Annotated[Decide | None, PlainValidator(_decide)] = None
    expect: Annotated[Expectation | None, PlainValidator(_expect)] = None

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        if ("words" in data) == ("exemplars" in data):
            found = "both" if "words" in data else "neither"
            raise Fault(f"a part has {found} of 'words' and 'exemplars'; give exactly one.")
        return data


class _StateWords(_Section):
    what = "'states'"
    normal: _States = ()
    abnormal: _States = ()

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        if len(data) == 1:
            missing = "abnormal" if "normal" in data else "normal"
            raise Fault(f"'states' needs both 'normal' and 'abnormal'; add {missing!r}.")
        return data


class _PseudoLabels(_Section):
    what = "'pseudo_labels'"
    tags: _Words
    background: _Words = ()
    mode: Annotated[str, PlainValidator(_mode)] = "coarse"
    box_threshold: Annotated[float | None, PlainValidator(_share)] = None
    filter_by_grounding: Annotated[bool | None, PlainValidator(_truth)] = None
    bandwidth: Annotated[float | None, PlainValidator(_positive)] = None
    largest: Annotated[bool | None, PlainValidator(_truth)] = None
    fill_holes: Annotated[bool | None, PlainValidator(_truth)] = None
    distance: Annotated[float | None, PlainValidator(_share)] = None

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "tags" not in data:
            raise Fault("'tags' is missing; give the phrases to look for, such as [screw, nut].")
        return data

    def given(self) -> dict[str, Any]:
        """The options that the file names."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}


def _fine(value: Any) -> dict[str, Any]:
    """Parts under their names, each as a mapping."""
    fine = _mapping(value, "'fine'")
    if len(fine) > MOST_PARTS:
        raise Fault(f"{len(fine)} parts; at most {MOST_PARTS} are possible.")
    names: dict[str, str] = {}
    for key in fine:
        name = " ".join(_text(key, 60, "a part's name", (key,)).split())
        if name.casefold() == BACKGROUND:
            raise Fault(
                "no part can be called 'background'; put its words under 'coarse: background'.", key
            )
        if name.casefold() in names:
            former = names[name.casefold()]
            raise Fault(f"the parts {former!r} and {name!r} differ in case only.", key)
        names[name.casefold()] = name
    return {k: part if isinstance(part, dict) else {"words": part} for k, part in fine.items()}


class _File(_Section):
    what = "a prompt set"
    name: _Text = ""
    description: Annotated[str, BeforeValidator(partial(_text, most=2000))] = ""
    coarse: _Coarse
    fine: Annotated[dict[str, _Part], BeforeValidator(_fine)]
    decide: Annotated[Decide, PlainValidator(_decide)] = "patch"
    templates: _Templates = ()
    states: _StateWords = _StateWords()
    pseudo_labels: _PseudoLabels | None = None

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "coarse" not in data:
            raise Fault("'coarse' is missing; add 'coarse: {background: [background]}'.")
        if not data.get("fine"):
            message = "there are no parts; add 'fine:' with at least one part, such as "
            raise Fault(f"{message}'  pushpin: [pushpin, drawing pin]'.", *data.keys() & {"fine"})
        return data

    @model_validator(mode="after")
    def _distinct(self) -> _File:
        """A word must not name two classes, nor both the background and a part."""
        owners = {word.casefold(): "the background" for word in self.coarse.background}
        groups: list[tuple[Place, tuple[str, ...]]]
        groups = [(("coarse", "foreground"), self.coarse.foreground)]
        groups += [(("fine", name, "words"), part.words) for name, part in self.fine.items()]
        for at, words in groups:
            for index, word in enumerate(words):
                if rival := owners.get(word.casefold()):
                    message = f"{word!r} is a word of {rival} as well; keep it in one of the two."
                    raise Fault(message, *at, index)
            if at[0] == "fine":
                owners |= {word.casefold(): f"part {at[1]!r}" for word in words}
        return self

    @model_validator(mode="after")
    def _relations(self) -> _File:
        """Relations name parts, and no part lies left of itself or the like by way of others."""
        names = [" ".join(name.split()) for name in self.fine]
        order: dict[str, dict[str, set[str]]] = {kind: {} for kind in ("across", "down", "inside")}
        for name, (key, part) in zip(names, self.fine.items(), strict=True):
            for relation in part.expect.relations if part.expect else ():
                if relation.part not in names:
                    listed = f"{', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
                    hint = f"{nearest(relation.part, names)} Parts: {listed}."
                    message = f"{relation.kind!r} names {_say(relation.part)}, which is no part."
                    raise Fault(message + hint, "fine", key, "expect")
                kind, forward = DIRECTIONS[relation.kind]
                first, second = (name, relation.part)[:: 1 if forward else -1]
                order[kind].setdefault(first, set()).add(second)
                try:
                    graphlib.TopologicalSorter(order[kind]).prepare()
                except graphlib.CycleError:
                    message = f"'{relation.kind} {relation.part}' contradicts the other relations: "
                    why = f"{name!r} would lie so with respect to itself. Remove one of them."
                    raise Fault(message + why, "fine", key, "expect") from None
        return self

    def fields(self) -> dict[str, Any]:
        """As :class:`~fmlad.prompts.sets.PromptSet` has them."""
        names = (" ".join(key.split()) for key in self.fine)
        parts = tuple(
            PromptPart(name, part.words, part.exemplars, part.decide or self.decide, part.expect)
            for name, part in zip(names, self.fine.values(), strict=True)
        )
        words = tuple(word for part in parts for word in part.words)
        return {
            "name": self.name,
            "description": self.description,
            "background": self.coarse.background,
            # Without words of its own, whatever is a part is foreground.
            "foreground": self.coarse.foreground or words,
            "parts": parts,
            "decide": self.decide,
            "templates": self.templates,
            "normal_states": self.states.normal,
            "abnormal_states": self.states.abnormal,
            "pseudo_labels": self.pseudo_labels.given() if self.pseudo_labels else {},
        }
