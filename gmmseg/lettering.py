"""Text in pictures that carries names from outside: drawn as it stands, whatever is in it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties


def letter(figure: Figure) -> None:
    """Make all texts and legends of a figure such that drawing them neither fails nor warns.

    Names of files and classes may hold dollar signs, which are no formulas, and characters that
    the font has not or that stand for bytes of no text. Numbers at the ticks are not touched.

    Parameters
    ----------
    figure : matplotlib Figure
    """
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    written = chain(
        figure.texts,
        *(ax.texts for ax in figure.axes),
        *(legend.get_texts() for legend in legends if legend is not None),
    )
    for text in written:
        text.set_parse_math(False)
        text.set_text(drawable(text.get_text(), text.get_fontproperties()))


def drawable(text: str, properties: FontProperties | None = None) -> str:
    """The text with a question mark for each character that the font lacks.

    >>> drawable("sub-01_日本")
    'sub-01_??'
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(properties or FontProperties()))
    return "".join(one if one == "\n" or font.get_char_index(ord(one)) else "?" for one in text)
