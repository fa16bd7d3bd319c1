"""The installed command: its options, and what it prints."""

import json
import re
import subprocess
import sys
from pathlib import Path

import fake
import numpy as np
import pytest
from click.testing import CliRunner
from commandline import run, save
from matplotlib.figure import Figure

from gmmseg import cli, report
from gmmseg.settings import BrainSettings


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


def test_python_runs_the_package_as_the_command():
    words = [sys.executable, "-P", "-m", "gmmseg", "--version"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout == run("--version").stdout


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
    noise_t1, tmp_path, calls, words, expected
):
    result = CliRunner().invoke(cli.main, ["brain", str(noise_t1), "-o", str(tmp_path), *words])
    assert result.exit_code == 0, result.output
    assert calls[0][1] == BrainSettings(**expected)


def test_paths_go_to_stdout_and_warnings_to_stderr(noise_t1, tmp_path, calls):
    result = CliRunner().invoke(cli.main, ["brain", str(noise_t1), "-o", str(tmp_path)])
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert paths[0] == tmp_path / "t1_dseg.nii.gz"
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert result.stderr == "Warning: 2 voxels were missing.\n"  # and no bar: no terminal


def test_quiet_prints_warnings_only_and_verbose_what_was_decided(noise_t1, tmp_path, calls):
    words = ["brain", str(noise_t1), "--overwrite", "-o", str(tmp_path)]
    quiet = CliRunner().invoke(cli.main, [*words, "-q"])
    assert (quiet.stdout, quiet.stderr) == ("", "Warning: 2 voxels were missing.\n")
    verbose = CliRunner().invoke(cli.main, [*words, "-v"])
    assert "stripped: False\n" in verbose.stderr
    assert "fit: 2.00 s\n" in verbose.stderr
    assert re.search(r"brain: [\d.]+ mL\n", verbose.stderr)


def test_a_profile_goes_to_stderr_and_into_the_record(noise_t1, tmp_path, calls):
    words = ["brain", str(noise_t1), "-o", str(tmp_path), "--profile", "-q"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    shown = [line.split()[0] for line in result.stderr.splitlines()[1:-1]]  # after the warning
    assert shown == ["stage", "importing", "reading", "drawing", "writing"]
    assert result.stderr.splitlines()[-1].startswith("total")
    record = json.loads((tmp_path / "t1_desc-provenance.json").read_text())
    assert [row["name"] for row in record["profile"]] == shown[1:]
    assert record["scan"]["path"] == str(noise_t1)  # and the rest of the record is still there


def test_a_volume_of_a_4d_scan_can_be_chosen(tmp_path, calls, rng):
    data = rng.normal(100, 10, (*fake.ball().shape, 2)).astype(np.float32)
    path = save(tmp_path / "t1.nii", data)
    words = ["brain", str(path), "-o", str(tmp_path / "out"), "--volume", "1"]
    assert CliRunner().invoke(cli.main, words).exit_code == 0
    np.testing.assert_array_equal(calls[0][0].data, data[..., 1])


def test_results_go_to_derivatives_below_the_current_folder(noise_t1, tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli.main, ["brain", str(noise_t1)]).exit_code == 0
    assert (tmp_path / "derivatives" / "gmmseg" / "t1_dseg.nii.gz").exists()


def test_what_no_one_thought_of_is_one_sentence_and_a_traceback_where_it_is_asked_for(
    noise_t1, tmp_path, monkeypatch
):
    def segment_brain(*_, **__):
        raise RuntimeError("can't start\nnew thread")

    fake.install_workflow(monkeypatch, segment_brain)
    words = ["brain", str(noise_t1), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: It failed in a way no one thought of (RuntimeError: can't start new thread). "
        "Set GMMSEG_TRACEBACK=1 to see where.\n"
    )
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("GMMSEG_TRACEBACK", "1")
    assert type(CliRunner().invoke(cli.main, words).exception) is RuntimeError


def test_ctrl_c_when_all_was_written_says_so(noise_t1, tmp_path, calls, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_explain", stop)
    out = tmp_path / "out"
    result = CliRunner().invoke(cli.main, ["brain", str(noise_t1), "-o", str(out), "-v"])
    assert result.exit_code == 130
    assert result.stderr.endswith("\nInterrupted; all was written.\n")
    assert (out / "t1_dseg.nii.gz").exists()


def test_lack_of_memory_is_one_sentence(noise_t1, tmp_path, monkeypatch):
    def segment_brain(*_, **__):
        raise MemoryError

    fake.install_workflow(monkeypatch, segment_brain)
    result = CliRunner().invoke(cli.main, ["brain", str(noise_t1), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr == "Error: There is not enough memory for it.\n"
    assert not (tmp_path / "out").exists()
