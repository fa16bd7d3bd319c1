"""`import gmmseg` and `gmmseg --help` stay light: heavy packages wait until they are needed."""

import json
import subprocess
import sys

import pytest

HEAVY = ("numba", "nibabel", "matplotlib", "scipy", "skimage", "nilearn", "pandas", "sklearn")


def loaded_after(code, names=HEAVY):
    """Names of the heavy packages that a fresh interpreter has loaded after running ``code``."""
    report = (
        f"{code}\nimport json, sys\nprint(json.dumps([m for m in {names!r} if m in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import gmmseg") == []


def test_the_help_of_the_command_loads_nothing_heavy():
    help_page = "from gmmseg.cli import main\nmain(['--help'], standalone_mode=False)"
    assert loaded_after(help_page) == []


def test_what_inflates_the_kept_atlas_does_not_wait_for_its_makers():
    makers = ("numba", "scipy.ndimage", "gmmseg.spatial.atlas")
    assert loaded_after("import gmmseg.template", makers) == []
    assert loaded_after("import gmmseg.spatial.headatlas", makers) == list(makers)  # control


def test_what_blurs_the_atlas_does_not_wait_for_scipy():
    assert loaded_after("import gmmseg.spatial.atlas", ("numba", "scipy.ndimage")) == ["numba"]


def test_a_scan_is_inflated_before_the_model_is_loaded():
    """On its own thread: the interpreter is held by imports, not by inflating."""
    model = ("numba", "scipy.ndimage", "gmmseg.spatial.atlas", "gmmseg.workflows.brain")
    assert loaded_after("import gmmseg.batch", model) == []
    assert loaded_after("import gmmseg.selfcheck", model) == list(model[:3])  # negative control


def test_the_check_above_does_notice_a_heavy_import():
    assert loaded_after("import scipy.ndimage") == ["scipy"]


def test_every_public_name_resolves():
    import gmmseg

    assert "segment_brain" in gmmseg.__all__
    for name in gmmseg.__all__:
        assert getattr(gmmseg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segment_cat'"):
        _ = gmmseg.segment_cat
