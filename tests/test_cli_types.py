"""Option values: what is taken, and what is said of the rest."""

from pathlib import Path

import click
import pytest

from gmmseg.cli_types import AnyPath, ClassNumber, Names, Number


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (Number(0, 10), "0.5", 0.5),
        (Number(0, 10, auto=True), "auto", "auto"),
        (Number(2, 50, whole=True), "3", 3),
        (ClassNumber(), "deep GM=2", ("deep GM", 2)),
        (Names(), "red, green", ("red", "green")),
        (AnyPath(), "a/b.nii", Path("a/b.nii")),
    ],
)
def test_a_value_that_is_allowed_is_taken(kind, word, value):
    found = kind.convert(word, None, None)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "word", "sentence"),
    [
        (Number(0, 10), "strong", "'strong' is no number from 0 to 10."),
        (Number(0, 10), "10.1", "'10.1' is no number from 0 to 10."),
        (Number(0, 10), "nan", "'nan' is no number from 0 to 10."),
        (Number(0, 10), "auto", "'auto' is no number from 0 to 10."),
        (Number(0, 1, auto=True), "on", "'on' is no number from 0 to 1, nor the word auto."),
        (Number(2, 50, whole=True), "2.5", "'2.5' is no whole number from 2 to 50."),
        (Number(0, 10), "1_0", "'1_0' is no number from 0 to 10."),
        (AnyPath(), "", "it is empty; was a variable of the shell not set?"),
        (ClassNumber(), "soft", "'soft' is not a class and a number, as in soft=2."),
    ],
)
def test_of_any_other_value_is_said_what_is_allowed(kind, word, sentence):
    with pytest.raises(click.BadParameter) as error:
        kind.convert(word, None, None)
    assert error.value.message == sentence
