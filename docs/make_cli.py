"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from gmmseg.cli import main


def lines(command: click.Command, name: str) -> Iterator[str]:
    """Markdown of one command and of those below it."""
    context = click.Context(command, info_name=name)
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    yield f"## `{name}`"
    yield ""
    usage = " ".join(
        [name, *(["[OPTIONS]"] if options else []), *(a.make_metavar(context) for a in arguments)]
    )
    if isinstance(command, click.Group):
        usage += " COMMAND …"
    yield f"`{usage}`"
    yield ""
    yield from paragraphs(command.help or "")
    if options:
        yield "| Option | What it does |"
        yield "| --- | --- |"
        yield from (row(option, context) for option in options)
        yield ""
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from lines(command.get_command(context, child), f"{name} {child}")


def paragraphs(text: str) -> Iterator[str]:
    """The help of a command; a block that click must not wrap becomes a code block."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, *block = paragraph[2:].splitlines()
            yield from (
                title,
                "",
                "```text",
                *inspect.cleandoc("\n".join(block)).splitlines(),
                "```",
            )
        else:
            yield paragraph
        yield ""


def row(option: click.Option, context: click.Context) -> str:
    """One line of the table of options."""
    names = ", ".join(f"`{o}`" for o in [*option.opts, *option.secondary_opts])
    if isinstance(option.type, click.Choice):
        names += " " + " | ".join(f"`{c}`" for c in option.type.choices)
    elif not option.is_flag:
        names += f" `{option.metavar or option.type.name.upper()}`"
    text = " ".join((option.help or "").split()).replace("  ", " ")
    if option.show_default and not option.is_flag:
        text += f" Default: `{option.get_default(context)}`."
    names, text = (cell.replace("|", "\\|") for cell in (names, text))
    return f"| {names} | {text} |"


def page() -> str:
    """The whole of docs/cli.md."""
    intro = [
        "# Commands",
        "",
        "Written by `python docs/make_cli.py` from the commands themselves; don't edit it.",
        "",
    ]
    return "\n".join([*intro, *lines(main, "gmmseg")]).rstrip() + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(page(), encoding="utf-8")
