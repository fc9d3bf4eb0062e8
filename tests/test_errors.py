"""Errors: one root, and names that help."""

from __future__ import annotations

import inspect

import pytest

import fmlad
from fmlad import errors
from fmlad.errors import FmladError, OptionError, UnknownNameError


def test_everything_raised_on_purpose_has_one_root() -> None:
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    ]
    assert len(classes) > 8
    for cls in classes:
        assert issubclass(cls, FmladError)
        assert cls.__doc__
        if cls is not FmladError:
            assert cls.__name__.endswith("Error")
    # Not a ValueError or OSError: nobody should catch ours by accident.
    assert FmladError.__bases__ == (Exception,)


def test_errors_are_reachable_after_a_bare_import() -> None:
    assert fmlad.errors.FmladError is FmladError


def test_an_unknown_name_lists_what_exists_and_the_nearest() -> None:
    error = UnknownNameError.of("method", "bank", ["sam-lad", "banks"])
    assert str(error) == (
        "There is no method named 'bank'. Did you mean 'banks'? Known ones: banks, sam-lad."
    )
    assert isinstance(error, OptionError)


def test_nothing_near_is_not_guessed() -> None:
    assert "mean" not in str(UnknownNameError.of("method", "zzz", ["banks"]))


@pytest.mark.parametrize("name", ["", None, 5, ["banks"], "x" * 1000])
def test_whatever_was_written_is_named(name: object) -> None:
    assert repr(name) in str(UnknownNameError.of("profile", name, ["builtin"]))


def test_nothing_known_is_said_so() -> None:
    assert "Known ones: none." in str(UnknownNameError.of("role", "x", []))
