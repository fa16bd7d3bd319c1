"""How the project is kept: short files, no stray output, everything where it belongs."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "gmmseg").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_is_one_idea_long(path):
    """350 lines are the aim; beyond 400 it is time to split."""
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda p: p.name)
def test_a_pipeline_fits_on_a_screen(path):
    assert len(path.read_text("utf-8").splitlines()) <= 30


def test_the_version_is_the_same_everywhere():
    import tomllib

    import gmmseg

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == gmmseg.__version__


def test_files_in_the_repository_are_small_enough_to_clone():
    """1 MB a file; data belong elsewhere, or are drawn by a script."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git repository")
    paths = [ROOT / name for name in run.stdout.decode().split("\0") if name]
    large = [str(p) for p in paths if p.exists() and p.stat().st_size > 1_000_000]
    assert not large
