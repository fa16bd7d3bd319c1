"""Types of option values, with messages that say what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class ClassNumber(click.ParamType):
    """A class and a whole number, ``NAME=N``."""

    name = "class=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Name and number."""
        word, _, number = value.partition("=")
        if not (word and number.isdecimal()):
            self.fail(f"{value!r} is not a class and a number, as in soft=2.", param, ctx)
        return word, int(number)


class Names(click.ParamType):
    """Words with commas between them."""

    name = "names"

    def convert(self, value: Any, *_: Any) -> Any:
        """Split at the commas."""
        return value if not isinstance(value, str) else tuple(w.strip() for w in value.split(","))


class AnyPath(click.Path):
    """A path, whether it exists or not; an empty one is a variable that was not set."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            self.fail("it is empty; was a variable of the shell not set?", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.ParamType):
    """A number within limits, or the word auto where that is allowed."""

    name = "number"

    def __init__(self, low: float, high: float, *, whole: bool = False, auto: bool = False) -> None:
        self.low, self.high, self.whole, self.auto = low, high, whole, auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, an int if it is to be whole; ``auto`` stays as it is."""
        if self.auto and value == "auto":
            return value
        try:
            if "_" in str(value):  # which Python leaves out of numbers
                raise ValueError(value)
            number = int(value) if self.whole else float(value)
        except ValueError:
            number = float("nan")
        if not self.low <= number <= self.high:
            word = ", nor the word auto" if self.auto else ""
            kind = "whole number" if self.whole else "number"
            limits = f"from {self.low:g} to {self.high:g}"
            self.fail(f"{value!r} is no {kind} {limits}{word}.", param, ctx)
        return number
