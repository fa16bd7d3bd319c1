"""Names from outside in pictures: none makes the drawing fail or warn."""

import dataclasses
import io
import sys

import fake
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from gmmseg import cli, report
from gmmseg.lettering import drawable, letter
from gmmseg.progressbar import progress

ODD = [r"a$\frac{$", "caf\udce9", "日本", "two$ and $3", "bell\a"]


@pytest.mark.parametrize("name", ODD)
def test_any_name_of_a_scan_can_be_drawn(tmp_path, name):
    """Warnings are errors: a character that the font has not would be one."""
    figure = report.draw(fake.segmentation(), title=name)
    report.save(figure, tmp_path / "qc.png")
    shown = [text.get_text() for text in figure.texts]
    assert drawable(name) in shown


def test_classes_of_any_name_can_be_drawn(tmp_path):
    odd = dataclasses.replace(
        fake.segmentation(), component_names=(r"a$\frac{$", "日本", "CSF", "scalp")
    )
    report.save(report.draw(odd), tmp_path / "qc.png")


def test_dollar_signs_and_letters_with_accents_stay_as_they_are():
    assert drawable("3$ café\nnext line") == "3$ café\nnext line"
    figure = Figure()
    figure.text(0, 0, "$x$")
    letter(figure)
    assert figure.texts[0].get_text() == "$x$"
    assert not figure.texts[0].get_parse_math()


def test_the_bar_shows_names_in_brackets_as_they_stand(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(show=True) as tell:
        tell("[red]x.png", 0.5)
    assert "[red]x.png" in terminal.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names of files")
@pytest.mark.parametrize("name", ODD)
def test_a_picture_of_any_name_can_be_thresholded(tmp_path, name):
    rng = np.random.default_rng(0)
    pixels = np.where(np.arange(40) < 20, 60, 180) + rng.normal(0, 8, (30, 40))
    path = tmp_path / f"{name}.png"
    with path.open("wb") as file:
        Image.fromarray(pixels.astype(np.uint8)).save(file, format="png")
    words = ["threshold", str(path), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, (result.output, result.exception)
    assert len(list((tmp_path / "out").glob("*_threshold.png"))) == 1


def test_no_bar_is_drawn_where_stderr_is_closed(monkeypatch):
    """As by `2>&-`: Python has nothing in its place then."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress(show=True) as tell:
        assert tell is None
