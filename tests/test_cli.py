"""The installed command: its options, what it prints, and how it refuses bad input."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fake
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from gmmseg import cli, report
from gmmseg.settings import BrainSettings

COMMAND = Path(sys.executable).with_name("gmmseg")


def run(*words, cwd=None):
    """Run the installed command; its exit code and what it printed."""
    command = [str(COMMAND), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def save(path, data, affine=fake.AFFINE, **options):
    nib.save(nib.Nifti1Image(data, affine, **options), path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A scan that can be read (noise, so no brain)."""
    rng = np.random.default_rng(3)
    data = rng.normal(100, 10, fake.ball().shape).astype(np.float32)
    return save(tmp_path_factory.mktemp("good") / "t1.nii.gz", data)


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(result, message):
    """Assert exit code 2 and one sentence on stderr that matches."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def bad_scans(folder):
    """Path, further words and expected message of every kind of scan that is refused."""
    rng = np.random.default_rng(0)
    data = rng.integers(1, 1000, (12, 11, 10)).astype(np.int16)
    whole = save(folder / "whole.nii.gz", data).read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii").write_text("no image" * 100)
    flat = bytearray(save(folder / "flat.nii", data).read_bytes())
    flat[80:84] = np.float32(0).tobytes()
    (folder / "flat.nii").write_bytes(flat)
    flat[80:84] = np.float32(-2).tobytes()
    (folder / "negative.nii").write_bytes(flat)
    save(folder / "4d.nii", np.stack([data, data], axis=-1))
    save(folder / "complex.nii", data.astype(np.complex64))
    save(folder / "zeros.nii", data * 0)
    save(folder / "constant.nii", data * 0 + 5)
    save(folder / "nan.nii", np.full(data.shape, np.nan, np.float32))
    return [
        ("missing.nii", (), "does not exist"),
        ("truncated.nii.gz", (), "truncated or damaged"),
        ("text.nii", (), "not an image"),
        ("flat.nii", (), "voxel size 0 x"),
        ("negative.nii", (), "voxel size -2 x"),
        ("4d.nii", (), "--volume N, with N from 0 to 1"),
        ("4d.nii", ("--volume", 2), "no volume 2"),
        ("complex.nii", (), "is complex"),
        ("zeros.nii", (), "empty: every voxel has the value 0"),
        ("constant.nii", (), "every voxel has the value 5"),
        ("nan.nii", (), "no finite voxel"),
        (".", (), "is a folder"),
    ]


def test_a_bad_scan_is_refused_with_exit_code_2_and_nothing_is_written(tmp_path):
    cases = bad_scans(tmp_path)
    before = entries(tmp_path)
    for name, words, message in cases:
        refused(run("brain", name, "-o", "out", *words, cwd=tmp_path), message)
    assert entries(tmp_path) == before


def test_a_bad_mask_is_refused_with_exit_code_2_and_nothing_is_written(good, tmp_path):
    shape = fake.ball().shape
    moved = fake.AFFINE.copy()
    moved[1, 3] += 7
    save(tmp_path / "moved.nii", np.ones(shape, np.uint8), moved)
    save(tmp_path / "small.nii", np.ones((4, 4, 4), np.uint8))
    save(tmp_path / "empty.nii", np.zeros(shape, np.uint8))
    before = entries(tmp_path)
    for name, message in (
        ("moved.nii", "not on the image's grid.*up to 7 mm apart"),
        ("small.nii", "size 4x4x4 and the image 40x24x16"),
        ("empty.nii", "mask .*empty.nii is empty"),
        ("missing.nii", "mask .*missing.nii does not exist"),
    ):
        refused(run("brain", good, "--mask", name, "-o", "out", cwd=tmp_path), message)
    assert entries(tmp_path) == before


def test_outputs_that_exist_or_cannot_be_written_are_refused(good, tmp_path):
    (tmp_path / "t1_dseg.tsv").write_text("mine")
    refused(run("brain", good, "-o", tmp_path), "t1_dseg.tsv exists already.*--overwrite")
    refused(run("brain", good, "-o", tmp_path / "t1_dseg.tsv" / "out"), "cannot be written")
    assert entries(tmp_path) == ["t1_dseg.tsv"]


def test_a_folder_without_permission_is_refused(good, tmp_path, monkeypatch):
    """The system call refuses, and not the folder's mode: root may write everywhere."""

    def forbid(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkdtemp", forbid)
    out = tmp_path / "new" / "out"
    result = CliRunner().invoke(cli.main, ["brain", str(good), "-o", str(out)])
    assert result.exit_code == 2
    assert re.match(r"Error: .* cannot be written \(Permission denied\)", result.stderr)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["brain", "t1.nii", "--labels", "itk"], "'itk' is not one of 'bids', 'fsl'"),
        (["brain", "t1.nii", "--mrf", "-1"], "from 0 to 10"),
        (["brain", "t1.nii", "--bias-fwhm", "0"], "from 30 to 300"),
        (["brain", "t1.nii", "--threads", "0"], "x>=1"),
        (["brain", "t1.nii", "--volume", "-1"], "x>=0"),
        (["brain", "t1.nii", "--volume", "two"], "not a valid integer"),
        (["brain", "t1.nii", "--quiet", "--verbose"], "exclude each other"),
        (["brain", "t1.nii", "t2.nii"], "unexpected extra argument"),
        (["brain", "t1.nii", "--colour"], "No such option"),
        (["brain"], "Usage: "),
        (["thorax"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2(words, message):
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert message in result.output


def test_the_version_is_that_of_the_package():
    import gmmseg

    assert run("--version").stdout == f"gmmseg, version {gmmseg.__version__}\n"


def test_help_names_every_option_and_loads_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from gmmseg import cli;"
        "print(CliRunner().invoke(cli.main, ['brain', '--help']).output);"
        "heavy = {'numpy', 'nibabel', 'numba', 'matplotlib', 'scipy', 'rich'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for option in (
        *("--out", "--mask", "--stripped", "--whole-head", "--labels", "--mrf", "--bias-fwhm"),
        *(
            "--bias",
            "--no-bias",
            "--no-deformation",
            "--volume",
            "--threads",
            "--quiet",
            "--verbose",
            "--overwrite",
        ),
    ):
        assert option in result.stdout


@pytest.fixture
def calls(monkeypatch):
    """Settings the workflow was called with; it answers with the fake segmentation."""
    calls = []

    def segment_brain(image, mask=None, settings=None, *, volume_index=None, progress=None):
        calls.append((image, settings))
        return fake.segmentation(image, settings, warnings=("2 voxels were missing.",))

    fake.install_workflow(monkeypatch, segment_brain)
    monkeypatch.setattr(report, "draw", lambda *_, **__: Figure(figsize=(1, 1)))
    return calls


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--stripped"], {"stripped": True}),
        (["--whole-head"], {"stripped": False}),
        (["--mrf", "0"], {"mrf": 0.0}),
        (["--mrf", "auto"], {"mrf": "auto"}),
        (["--bias-fwhm", "42.5"], {"bias_fwhm": 42.5}),
        (["--no-bias"], {"bias": "off"}),
        (["--bias", "on"], {"bias": "on"}),
        (["--no-deformation"], {"deformation": "off"}),
        (["--deformation", "on"], {"deformation": "on"}),
        (["--gaussians", "GM=2", "--gaussians", "deepGM=1"], {"gaussians": {"GM": 2, "deepGM": 1}}),
        (["--threads", "1"], {"threads": 1}),
    ],
)
def test_each_option_reaches_the_workflow_and_no_other_setting_changes(
    good, tmp_path, calls, words, expected
):
    result = CliRunner().invoke(cli.main, ["brain", str(good), "-o", str(tmp_path), *words])
    assert result.exit_code == 0, result.output
    assert calls[0][1] == BrainSettings(**expected)


def test_paths_go_to_stdout_and_warnings_to_stderr(good, tmp_path, calls):
    result = CliRunner().invoke(cli.main, ["brain", str(good), "-o", str(tmp_path)])
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert paths[0] == tmp_path / "t1_dseg.nii.gz"
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert result.stderr == "Warning: 2 voxels were missing.\n"  # and no bar: no terminal


def test_quiet_prints_warnings_only_and_verbose_what_was_decided(good, tmp_path, calls):
    words = ["brain", str(good), "--overwrite", "-o", str(tmp_path)]
    quiet = CliRunner().invoke(cli.main, [*words, "-q"])
    assert (quiet.stdout, quiet.stderr) == ("", "Warning: 2 voxels were missing.\n")
    verbose = CliRunner().invoke(cli.main, [*words, "-v"])
    assert "stripped: False\n" in verbose.stderr
    assert "fit: 2.00 s\n" in verbose.stderr
    assert re.search(r"brain: [\d.]+ mL\n", verbose.stderr)


def test_a_profile_goes_to_stderr_and_into_the_record(good, tmp_path, calls):
    words = ["brain", str(good), "-o", str(tmp_path), "--profile", "-q"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    shown = [line.split()[0] for line in result.stderr.splitlines()[1:-1]]  # after the warning
    assert shown == ["stage", "importing", "reading", "drawing", "writing"]
    assert result.stderr.splitlines()[-1].startswith("total")
    record = json.loads((tmp_path / "t1_desc-provenance.json").read_text())
    assert [row["name"] for row in record["profile"]] == shown[1:]
    assert record["scan"]["path"] == str(good)  # and the rest of the record is still there


def test_a_volume_of_a_4d_scan_can_be_chosen(tmp_path, calls, rng):
    data = rng.normal(100, 10, (*fake.ball().shape, 2)).astype(np.float32)
    path = save(tmp_path / "t1.nii", data)
    words = ["brain", str(path), "-o", str(tmp_path / "out"), "--volume", "1"]
    assert CliRunner().invoke(cli.main, words).exit_code == 0
    np.testing.assert_array_equal(calls[0][0].data, data[..., 1])


def test_results_go_to_derivatives_below_the_current_folder(good, tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli.main, ["brain", str(good)]).exit_code == 0
    assert (tmp_path / "derivatives" / "gmmseg" / "t1_dseg.nii.gz").exists()


def test_lack_of_memory_is_one_sentence(good, tmp_path, monkeypatch):
    def segment_brain(*_, **__):
        raise MemoryError

    fake.install_workflow(monkeypatch, segment_brain)
    result = CliRunner().invoke(cli.main, ["brain", str(good), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr == "Error: There is not enough memory for this scan.\n"
    assert not (tmp_path / "out").exists()


SLOW = """
import signal, sys, time, types
# Started in the background by a script, a process inherits Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
import fake
def segment_brain(*_, **__):
    print("working", flush=True)
    time.sleep(60)
module = types.ModuleType("gmmseg.workflows.brain")
module.segment_brain = segment_brain
sys.modules["gmmseg.workflows.brain"] = module
from gmmseg.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_nothing_behind(good, tmp_path, number, code):
    script = SLOW.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", script, "brain", str(good), "-o", str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"working\n", process.stderr.read()
        assert (tmp_path / "out").exists()
        time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert entries(tmp_path) == []


FAST = """
import sys, time, types
sys.path.insert(0, {tests!r})
import fake
def segment_brain(image, mask=None, settings=None, *, volume_index=None, progress=None):
    if progress is not None:
        progress("joint fit", 0.5)
        time.sleep(0.5)  # the bar is drawn ten times a second
    return fake.segmentation(image, settings)
module = types.ModuleType("gmmseg.workflows.brain")
module.segment_brain = segment_brain
sys.modules["gmmseg.workflows.brain"] = module
from gmmseg.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_the_stage_unless_told_to_be_quiet(good, tmp_path, quiet):
    import pty

    script = FAST.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", script, "brain", str(good), "-o", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    result = subprocess.run(
        [*words, *(["-q"] if quiet else [])],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a closed terminal is an error on Linux
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert (b"joint fit" in shown) is not quiet
    assert b"joint fit" not in result.stdout
