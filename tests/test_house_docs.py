"""What README and docs promise: commands run, snippets run, links lead somewhere."""

import importlib.util
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import gmmseg
from gmmseg.cli import main
from gmmseg.settings import BrainSettings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])


def blocks(page, language):
    """Fenced blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands(page):
    """Every `gmmseg ...` typed in a shell block of a page."""
    lines = "\n".join(blocks(page, "bash")).splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part) for part in parts if part.startswith("gmmseg ")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder to work in, with the sample images at hand."""
    (tmp_path / "sample_images").symlink_to(ROOT / "sample_images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_the_two_commands_of_a_fresh_machine():
    run, test = (block.strip() for block in blocks(ROOT / "README.md", "bash"))
    assert run == "pip install . && gmmseg brain sample_images/sub-sim_T1w.nii.gz -o out"
    assert test == 'pip install ".[test]" && pytest -n 2 --dist loadfile'


def test_the_first_command_of_the_readme_writes_the_files_that_the_readme_lists(desk):
    (command,) = commands(ROOT / "README.md")
    program = Path(sys.executable).with_name("gmmseg")
    run = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    table = (ROOT / "README.md").read_text("utf-8").split("## What is written")[1].split("##")[0]
    named = re.findall(r"^\| `(sub-sim_[^`]+)`", table, re.M)
    assert len(named) == 7
    for name in named:
        assert (desk / "out" / name).stat().st_size > 0


SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{n}")
    for page in PAGES
    for n, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_python_snippet_runs(code, desk, monkeypatch, request):
    real = gmmseg.segment_brain

    def once(image, *args, **kwargs):
        """The sample scan is segmented once for all tests; anything else is done here."""
        if image == "sample_images/sub-sim_T1w.nii.gz" and not args and not kwargs:
            return request.getfixturevalue("sample_result")
        return real(image, *args, **kwargs)

    monkeypatch.setattr(gmmseg, "segment_brain", once, raising=False)
    exec(compile(code, "snippet", "exec"), {})
    if "to_filename" in code:
        assert (desk / "labels.nii.gz").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_on_a_page_parse(page):
    """Names and options exist; the files they mention need not."""
    for _, *words in commands(page):
        if words[0].startswith("-"):
            assert words[0] in ("--version", "--help")
            continue
        command = main.get_command(click.Context(main), words[0])
        assert command is not None, words[0]
        command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_of_a_page_are_whole(page):
    """A blank line, or one cell too many, makes text of the rows of a table."""
    lines = page.read_text("utf-8").split("\n")
    cells = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    for n, (above, here) in enumerate(pairwise([0, *cells])):
        if here and not above:
            assert re.fullmatch(r"[|: -]+", lines[n + 1]), lines[n]
        if here and above:
            assert here == above, lines[n]


def test_the_list_of_commands_is_what_the_commands_say():
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    kept = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert kept == script.page(), "run: python docs/make_cli.py"


@pytest.mark.parametrize(
    ("page", "command"),
    [("brain.md", "brain"), ("from-fast.md", "brain"), ("threshold.md", "threshold")],
)
def test_options_named_in_a_guide_exist(page, command):
    found = main.get_command(click.Context(main), command)
    known = {o for p in found.params for o in [*p.opts, *p.secondary_opts]}
    text = (ROOT / "docs" / page).read_text("utf-8")
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named
    assert named <= known


def test_the_label_codes_in_the_guide_are_those_of_the_library():
    from gmmseg.labels import SCHEMES

    text = (ROOT / "docs" / "brain.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (\d+) \| (\d+) \| (\d+) \|", text, re.M)
    table = {name: dict(zip(("GM", "WM", "CSF"), map(int, c), strict=True)) for name, *c in rows}
    assert table == SCHEMES


def test_the_help_names_the_defaults_of_the_model():
    """The command passes on what was given only; the numbers live in BrainSettings."""
    shown = " ".join(CliRunner().invoke(main, ["brain", "--help"]).output.split())
    defaults = BrainSettings()
    assert f"{defaults.mrf} (if not given)" in shown
    assert f"({defaults.bias_fwhm:g} if not given)" in shown
