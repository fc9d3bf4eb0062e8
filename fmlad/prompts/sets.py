"""Prompt sets: what a picture is made of, in words or examples, and what is expected of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlad.errors import InvalidImageError, PromptError, UnknownNameError
from fmlad.prompts import schema, text
from fmlad.prompts.model import Decide, Exemplar, PromptPart

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class PromptSet:
    """Words of the background and of the foreground, and the parts to tell apart.

    Attributes:
        name: As given in the file, else the file's or the bundled set's own.
        background: Coarse words for what is no part; at least one.
        foreground: Coarse words for what is; the parts' own words where the file names none.
        parts: The fine classes, in the file's order; at least one.
        decide: What the file says for parts that do not say it themselves.
        templates: Texts with one ``{}`` for the word; empty: the backbone's own.
        normal_states: Texts with one ``{}`` for the part (``"flawless {}"``); may be empty.
        abnormal_states: The same for damaged ones; empty exactly when ``normal_states`` is.
        pseudo_labels: For methods that learn parts from grounded phrases: ``tags``, and other
            options of the making of pseudo-labels by name (``docs/prompts.md``); may be empty.
        folder: Where exemplar pictures are looked for. Not saved, not compared.
        pictures: Exemplar pictures that need not be looked for, ``(H, W, 3)`` RGB by the name in
            the file. Not saved, not compared.
    """

    name: str
    description: str
    background: tuple[str, ...]
    foreground: tuple[str, ...]
    parts: tuple[PromptPart, ...]
    decide: Decide = "patch"
    templates: tuple[str, ...] = ()
    normal_states: tuple[str, ...] = ()
    abnormal_states: tuple[str, ...] = ()
    pseudo_labels: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False, repr=False)
    pictures: Mapping[str, npt.NDArray[np.uint8]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all parts, each once."""
        return tuple(dict.fromkeys(word for part in self.parts for word in part.words))

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> PromptSet:
        """Reads a bundled set by name (``"scenes/screw_bag"``) or a YAML file by path.

        A bundled name wins over a file or folder of that name; a path object, or a text that ends
        in ``.yaml`` or ``.yml``, is always a file.

        Raises:
            PromptError: There is no such set, or it is not valid: names file, line and fix.
        """
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise PromptError(
                f"Expected the name of a bundled prompt set or the path of a YAML file, got "
                f"{type(name_or_path).__name__}."
            )
        path, name = _locate(name_or_path)
        loaded = cls.from_text(text.read_file(path), str(path), path.parent)
        return loaded if loaded.name else replace(loaded, name=name)

    @classmethod
    def from_text(
        cls, content: str, source: str = "prompt set", folder: Path | None = None
    ) -> PromptSet:
        """Reads YAML text; ``folder`` holds its exemplars' pictures (None: not looked for).

        Raises:
            PromptError: It is not valid: names ``source``, line and fix.
        """
        data, lines = text.parse(content, source)

        def where(place: text.Place) -> str:
            while place not in lines:
                place = place[:-1]
            return f"{source}, line {lines[place]}"

        found = cls(**schema.check(data, where), folder=folder)
        if folder is not None:
            for part in found.parts:
                for index, exemplar in enumerate(part.exemplars):
                    try:
                        found.exemplar_pixels(exemplar)
                    except PromptError as error:
                        place = where(("fine", part.name, "exemplars", index))
                        raise PromptError(f"{place}: {error}") from error
        return found

    @classmethod
    def from_dict(cls, data: Any, folder: Path | None = None) -> PromptSet:
        """The reverse of :meth:`to_dict`; exemplar pictures are not looked for.

        Raises:
            PromptError: It is not valid: names the place and the fix.
        """

        def where(place: text.Place) -> str:
            # Keys of a mapping may hold anything, line breaks too; a message is one line.
            names = (part if part.isprintable() else repr(part) for part in map(str, place))
            return " > ".join(["prompt set", *names])

        return cls(**schema.check(data, where), folder=folder)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, laid out as a file is; :meth:`from_dict` makes an equal set of it."""
        coarse = {"background": list(self.background), "foreground": list(self.foreground)}
        states = {"normal": list(self.normal_states), "abnormal": list(self.abnormal_states)}
        return _filled(
            name=self.name,
            description=self.description,
            coarse=_filled(**coarse),
            decide=self.decide,
            fine={part.name: _part_dict(part) for part in self.parts},
            templates=list(self.templates),
            states=_filled(**states),
            pseudo_labels=_plain(self.pseudo_labels),
        )

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts, in order."""
        return tuple(part.name for part in self.parts)

    def part(self, name: str) -> PromptPart:
        """One part by name; PromptError where there is none."""
        if name in self.part_names:
            return self.parts[self.part_names.index(name)]
        raise PromptError(str(UnknownNameError.of("part", name, self.part_names)))

    def phrases(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """All words of the parts in one list, and for each the index of its part."""
        pairs = [(word, index) for index, part in enumerate(self.parts) for word in part.words]
        return tuple(word for word, _ in pairs), tuple(index for _, index in pairs)

    def exemplar_pixels(
        self, exemplar: Exemplar
    ) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float, float]]:
        """The picture of an exemplar, uint8 ``(H, W, 3)`` RGB, and its box, ``xyxy`` in pixels.

        Raises:
            PromptError: The picture is not there or no picture, or the box lies outside of it.
        """
        from fmlad.io.images import load_image

        if exemplar.image in self.pictures:
            pixels = self.pictures[exemplar.image]
        else:
            try:
                pixels = load_image((self.folder or Path()) / exemplar.image)
            except InvalidImageError as error:
                raise PromptError(f"The exemplar cannot be read: {error}") from error
        height, width = pixels.shape[:2]
        box = exemplar.box or (0.0, 0.0, float(width), float(height))
        if box[2] > width or box[3] > height:
            raise PromptError(
                f"The box {[round(v, 1) for v in box]} reaches out of {exemplar.image}, which is "
                f"{width} x {height} pixels; boxes are [x1, y1, x2, y2] in pixels."
            )
        return pixels, box

    def exemplar_pictures(self) -> dict[str, npt.NDArray[np.uint8]]:
        """The pictures that exemplars are cut from, ``(H, W, 3)`` RGB by the name in the file.

        Raises:
            PromptError: As :meth:`exemplar_pixels`.
        """
        exemplars = [exemplar for part in self.parts for exemplar in part.exemplars]
        return {exemplar.image: self.exemplar_pixels(exemplar)[0] for exemplar in exemplars}

    def with_pictures(self, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> PromptSet:
        """A copy that has its exemplar pictures with it; see :meth:`exemplar_pictures`."""
        return replace(self, pictures=dict(pictures))


def list_prompt_sets() -> list[str]:
    """Names of all bundled prompt sets, for :meth:`PromptSet.load`."""
    root = bundled_folder()
    names = (path.relative_to(root).with_suffix("") for path in root.rglob("*.yaml"))
    return sorted(name.as_posix() for name in names)


def bundled_folder(package: Path | None = None) -> Path:
    """Where the bundled sets lie: in the package of a wheel, else at the top of a checkout.

    PromptError where neither is. ``package`` is the folder of ``fmlad`` itself (None: this one's).
    """
    home = package or Path(__file__).resolve().parents[1]
    # Beside a package in site-packages, a folder "prompts" would be somebody else's.
    checkout = (home.parent / "pyproject.toml").is_file()
    for folder in (home / "prompts" / "bundled", *([home.parent / "prompts"] if checkout else [])):
        if folder.is_dir():
            return folder
    raise PromptError(f"The bundled prompt sets are missing beside {home}; install fmlad again.")


def _locate(name_or_path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file of a set, and what the set is called if the file does not say."""
    path = Path(os.fsdecode(name_or_path))
    if isinstance(name_or_path, str) and not name_or_path.endswith(ENDINGS):
        known = list_prompt_sets()
        if name_or_path in known:
            return bundled_folder() / f"{name_or_path}.yaml", name_or_path
        if not name_or_path or not os.path.exists(name_or_path):  # noqa: PTH110 (never raises)
            if kinds := [name for name in known if name.startswith(f"{name_or_path}_")]:
                raise PromptError(
                    f"{name_or_path!r} is a group of prompt sets, one a kind; a detector with "
                    f"shots takes it whole, and here one is needed: {', '.join(kinds)}."
                )
            unknown = UnknownNameError.of("bundled prompt set", name_or_path, known)
            raise PromptError(f"{unknown} A file of your own is given by its path, with .yaml.")
    return path, path.stem


def _part_dict(part: PromptPart) -> dict[str, Any]:
    exemplars = [
        {"crop": one.image} if one.box is None else {"image": one.image, "box": list(one.box)}
        for one in part.exemplars
    ]
    return _filled(
        words=list(part.words),
        exemplars=exemplars,
        decide=part.decide,
        expect=part.expect.rules() if part.expect else [],
    )


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}


def _filled(**entries: Any) -> dict[str, Any]:
    """The entries that hold something."""
    return {key: value for key, value in entries.items() if value}
