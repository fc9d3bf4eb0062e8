"""Everything `fmlad` raises on purpose.

A message says three things: what came, what was expected, and what to do about it. Whatever is
wrong with the input or its surroundings raises a subclass of :class:`FmladError`; any other
exception that reaches a user is a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean ...?``, for a message; nothing where no known name is like it."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


class FmladError(Exception):
    """Root of all errors that a user can cause and mend."""


class InvalidImageError(FmladError):
    """A file, array or buffer that cannot be read as one picture."""


class ShotsError(FmladError):
    """The normal images as a set are unusable: none at all, an empty folder, an index too high."""


class OptionError(FmladError):
    """An option, name or combination of arguments that does not exist or does not fit."""


class UnknownNameError(OptionError):
    """A method, profile, backbone or role that nobody registered."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
        """Builds the error, naming the nearest spelling and all that exists.

        Args:
            kind: What was looked up, as a noun (``"method"``).
            name: What the user wrote.
            known: All valid names.
        """
        names = sorted(known)
        hint, listed = nearest(str(name), names), ", ".join(names) or "none"
        return cls(f"There is no {kind} named {name!r}.{hint} Known ones: {listed}.")


class PromptError(FmladError):
    """A prompt set that cannot be read or grounded."""


class DatasetError(FmladError):
    """A dataset folder that does not hold what its layout promises."""


class WeightsUnavailableError(FmladError):
    """Pretrained weights that are not on this machine and could not be fetched."""


class CorruptBundleError(FmladError):
    """A bundle of weights that is damaged, or holds something else than it says."""


class MissingDependencyError(FmladError):
    """A package that this feature needs is not installed."""


class CorruptDetectorError(FmladError):
    """A saved detector whose files do not agree with what was saved."""


class BackboneMismatchError(FmladError):
    """A saved detector asked to score with other weights than it was fitted with."""


class TrainingError(FmladError):
    """A training that came to no usable weights."""


class CheckpointError(TrainingError):
    """A checkpoint that is damaged, of another training, or cannot be written."""


class CorruptResultsError(FmladError):
    """A results folder of the benchmark with a file that is damaged."""


class ClusterError(FmladError):
    """A Ray cluster that is not there, or whose workers cannot do the work."""
