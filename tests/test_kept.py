"""Arrays kept between runs: never older than what they were made of, never damaged."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gmmseg import template
from gmmseg.kept import FOLDER, GENERATIONS, kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    """A file that the arrays depend on."""
    path = tmp_path / "source.txt"
    path.write_text("one")
    return path


class Maker:
    """Makes two arrays and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return np.arange(6, dtype=np.float32).reshape(2, 3) + self.calls, np.eye(2)


def test_the_second_run_finds_what_the_first_made(folder, source):
    make = Maker()

    first, second = kept("it", [source], make), kept("it", [source], make)

    assert make.calls == 1
    assert len(second) == 2
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype


def test_arrays_are_made_anew_once_a_source_has_changed(folder, source):
    make = Maker()
    kept("it", [source], make)
    source.write_text("two")

    again = kept("it", [source], make)

    assert make.calls == 2
    assert again[0][0, 0] == 2


@pytest.mark.parametrize("damage", ["shortened", "overwritten", "empty"])
def test_a_damaged_file_is_made_anew_and_replaced(folder, source, damage):
    make = Maker()
    kept("it", [source], make)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes({"shortened": content[:-9], "overwritten": b"x" * 99, "empty": b""}[damage])

    again = kept("it", [source], make)

    assert make.calls == 2
    assert again[0][0, 0] == 2
    assert kept("it", [source], make)[0][0, 0] == 2
    assert make.calls == 2


def test_nothing_is_kept_where_the_variable_is_empty(monkeypatch, source, tmp_path):
    monkeypatch.setenv(FOLDER, "")
    monkeypatch.chdir(tmp_path)
    make = Maker()

    kept("it", [source], make)
    kept("it", [source], make)

    assert make.calls == 2
    assert sorted(tmp_path.iterdir()) == [source]


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, source):
    monkeypatch.setenv(FOLDER, str(source / "below-a-file"))
    make = Maker()

    assert kept("it", [source], make)[0][0, 0] == 1
    assert kept("it", [source], make)[0][0, 0] == 2


def test_nothing_is_kept_for_a_user_without_a_home(monkeypatch, source):
    def homeless(*_, **__):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    make = Maker()
    for _ in range(2):
        kept("arrays", [source], make)
    assert make.calls == 2


def test_only_the_newest_files_stay(folder, source):
    make = Maker()
    for n in range(GENERATIONS + 2):
        source.write_text(str(n))
        kept("it", [source], make)
        for path in folder.iterdir():  # older by a second than the next one
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 1))

    assert len(list(folder.iterdir())) == GENERATIONS
    kept("it", [source], make)
    assert make.calls == GENERATIONS + 2


def test_the_atlas_from_the_folder_is_bit_for_bit_the_one_that_was_made(folder):
    template.icbm_head_atlas.cache_clear()
    made = template.icbm_head_atlas()
    assert len(list(folder.iterdir())) == 1

    template.icbm_head_atlas.cache_clear()
    found = template.icbm_head_atlas()

    assert found is not made
    assert np.array_equal(found.maps, made.maps)
    assert np.array_equal(found.affine, made.affine)
    assert (found.names, found.labels) == (made.names, made.labels)


def test_an_atlas_that_no_file_keeps_stays_in_memory(folder, monkeypatch):
    monkeypatch.setattr("gmmseg.kept._stored", set())
    made = template._made()
    monkeypatch.setattr(template, "_made", lambda: made)
    with monkeypatch.context() as without:
        without.setenv(FOLDER, "")
        template.icbm_head_atlas.cache_clear()
        atlas = template.icbm_head_atlas()
        template.let_go()
        assert template.icbm_head_atlas() is atlas
    template.icbm_head_atlas.cache_clear()
    atlas = template.icbm_head_atlas()
    template.let_go()
    assert template.icbm_head_atlas() is not atlas  # negative control: there is a file now


def test_maps_are_let_go_where_a_file_keeps_them(folder):
    """A hundred MB each, which a program of many scans would carry along."""
    for made in (template.icbm_head_atlas, template.region_maps):
        first = made()
        assert made() is first
        template.let_go()
        assert made() is not first


def test_regions_of_the_template_are_found_once_and_are_the_same_bits_from_the_folder(
    folder, monkeypatch
):
    template.region_maps.cache_clear()
    made = template.region_maps()
    assert len(list(folder.iterdir())) == 1

    template.region_maps.cache_clear()
    monkeypatch.setattr(template, "_found", None)  # nobody looks for them again
    found = template.region_maps()

    assert found[0] is not made[0]
    assert np.array_equal(found[0], made[0])
    assert np.array_equal(found[1], made[1])


def test_the_kept_atlas_is_made_anew_when_any_code_it_came_through_changes():
    """All modules that its makers load are among those whose content is in its name."""
    code = (
        "import sys; import gmmseg.spatial.headatlas, gmmseg.spatial.regions\n"
        "import gmmseg.spatial.components\n"
        "names = [n for n, m in sys.modules.items() if not hasattr(m, '__path__')]\n"
        "print(*[n for n in names if n.startswith('gmmseg.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    makers = set(run.stdout.split())
    assert {"gmmseg.spatial.headatlas", "gmmseg.affines"} <= makers
    package = Path(template.__file__).parent.parent
    known = {path.relative_to(package).with_suffix("").parts for path in template._CODE}
    assert makers <= {".".join(parts) for parts in known}
