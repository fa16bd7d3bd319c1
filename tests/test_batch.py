"""One job: everything is written or nothing, and nothing that was there is lost."""

import json
from pathlib import Path

import fake
import nibabel as nib
import numpy as np
import pytest
from jobs import fail_at, files

from gmmseg import report, volume
from gmmseg.batch import Job, run_job
from gmmseg.checks import InputError
from gmmseg.settings import BrainSettings


def test_a_job_leaves_what_it_announces_and_nothing_else(job_scan, calls, tmp_path):
    out = tmp_path / "deep" / "out"
    done = run_job(Job(job_scan, out))
    assert {path.name for path in done.written} == set(files(out))
    assert done.written[0] == out / "sub-01_dseg.nii.gz"
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_mask_and_the_settings_reach_the_workflow(job_scan, calls, tmp_path):
    mask = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image((fake.ball() > 0).astype(np.uint8), fake.AFFINE), mask)
    settings = {"mrf": 0.7, "bias_fwhm": 90.0, "bias": "off", "stripped": True}
    run_job(Job(job_scan, tmp_path / "out", mask, settings=settings))
    image, given, effective = calls[0]
    np.testing.assert_array_equal(given, fake.ball() > 0)
    assert image.path == job_scan
    assert effective == BrainSettings(**settings)


def test_threads_are_limited_to_those_there_are(job_scan, calls, tmp_path):
    import numba

    before = numba.get_num_threads()
    try:
        run_job(Job(job_scan, tmp_path / "out", settings={"threads": 1}))
        assert numba.get_num_threads() == 1
        run_job(Job(job_scan, tmp_path / "more", settings={"threads": 10_000}))
        assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    finally:
        numba.set_num_threads(before)


def test_what_is_odd_about_the_scan_joins_the_warnings_of_the_workflow(job_scan, calls, tmp_path):
    image = nib.load(job_scan)
    data = image.get_fdata(dtype=np.float32)
    data[0, 0, :2] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), job_scan)
    done = run_job(Job(job_scan, tmp_path / "out"))
    assert done.segmentation.warnings == (
        "2 voxels are NaN or infinite; they are treated as missing.",
    )
    record = json.loads((tmp_path / "out" / "sub-01_desc-provenance.json").read_text())
    assert record["warnings"] == list(done.segmentation.warnings)


def test_progress_is_told_of_the_stages_of_the_workflow_and_of_writing(job_scan, calls, tmp_path):
    seen = []
    run_job(Job(job_scan, tmp_path / "out"), progress=lambda *stage: seen.append(stage))
    assert seen == [
        *(("reading", 0.0), ("importing", 0.0)),
        ("fit", 0.5),
        *(("drawing", 1.0), ("writing", 1.0)),
    ]


def test_the_command_in_the_record_repeats_the_job(job_scan, calls, tmp_path):
    out = tmp_path / "out"
    settings = {"mrf": 0.7, "bias": "off", "stripped": False, "parts": False, "threads": 1}
    run_job(Job(job_scan, out, labels="fsl", settings=settings, overwrite=True))
    record = json.loads((out / "sub-01_desc-provenance.json").read_text())
    assert record["command"] == (
        f"gmmseg brain {job_scan} -o {out} --labels fsl --mrf 0.7 --bias off --whole-head "
        f"--no-parts --threads 1 --overwrite"
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError, MemoryError])
def test_a_job_that_fails_leaves_the_disk_as_it_was(job_scan, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error("no")

    fake.install_workflow(monkeypatch, fail)
    before = files(tmp_path)
    with pytest.raises(error):
        run_job(Job(job_scan, tmp_path / "deep" / "out"))
    assert files(tmp_path) == before
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(("module", "name"), [(report, "save"), (volume, "save")])
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    job_scan, calls, tmp_path, monkeypatch, module, name
):
    out = tmp_path / "out"
    run_job(Job(job_scan, out))
    before = files(tmp_path)
    fail_at(monkeypatch, module, name)
    with pytest.raises(InputError, match=r"Writing to .*out failed \(No space left on device\)"):
        run_job(Job(job_scan, out, overwrite=True))
    assert files(tmp_path) == before


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_job_stopped_while_renaming_puts_the_old_files_back(
    job_scan, calls, tmp_path, monkeypatch, error
):
    out = tmp_path / "out"
    run_job(Job(job_scan, out))
    (out / "sub-01_dseg.tsv").unlink()  # so that one file is new
    before = files(tmp_path)
    rename, seen = Path.replace, []

    def stumble(self, target):
        if Path(target).parent == out and self.parent.parent == out:
            seen.append(target)
            if len(seen) == 5:
                raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stumble)
    with pytest.raises((InputError, KeyboardInterrupt)):
        run_job(Job(job_scan, out, labels="fsl", overwrite=True))
    assert files(tmp_path) == before


def test_a_bad_mask_is_noticed_before_the_work_starts(job_scan, calls, tmp_path):
    mask = tmp_path / "mask.nii"
    moved = fake.AFFINE.copy()
    moved[0, 3] += 4
    nib.save(nib.Nifti1Image(np.ones(fake.ball().shape, np.uint8), moved), mask)
    with pytest.raises(InputError, match=r"mask .*mask.nii is not on the image's grid.* 4 mm"):
        run_job(Job(job_scan, tmp_path / "out", mask))
    assert calls == []
    assert not (tmp_path / "out").exists()


def test_no_kernel_is_compiled_for_a_scan_that_cannot_be_read(
    job_scan, calls, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr("gmmseg.atlasfiles.load_ahead", lambda *how: started.append(how))
    with pytest.raises(InputError, match="does not exist"):
        run_job(Job(tmp_path / "nothing.nii", tmp_path / "out"))
    assert started == []
    run_job(Job(job_scan, tmp_path / "out", settings={"threads": 1}))
    assert started == [((), (), 1)]


def test_a_folder_that_cannot_be_made_is_refused(job_scan, calls, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"output folder .* cannot be written"):
            run_job(Job(job_scan, out))
    assert calls == []


def test_a_folder_is_described_once_and_only_for_bids_names(job_scan, calls, tmp_path):
    out = tmp_path / "out"
    plain = job_scan.with_name("t1.nii.gz")
    plain.write_bytes(job_scan.read_bytes())
    run_job(Job(plain, out))
    description = out / "dataset_description.json"
    assert not description.exists()
    assert description in run_job(Job(job_scan, out)).written
    description.write_text("{}")
    assert description not in run_job(Job(job_scan, out, overwrite=True)).written
    assert description.read_text() == "{}"


def test_an_unknown_label_scheme_is_refused_first(tmp_path):
    with pytest.raises(InputError, match="Unknown label scheme"):
        run_job(Job(tmp_path / "nothing.nii", labels="itk"))


def test_the_command_in_the_record_knows_strict_and_scans_that_look_like_options():
    words = Job(Path("-x.nii.gz"), strict=True).command()
    assert words[2] == "./-x.nii.gz"
    assert "--strict" in words
    assert "--strict" not in Job(Path("x.nii.gz")).command()


def test_paths_of_a_job_may_be_text_and_settings_are_known_ones(job_scan, tmp_path):
    assert Job(str(job_scan), out=str(tmp_path)) == Job(job_scan, tmp_path)
    with pytest.raises(InputError, match="scan of a job must be a path; got 3"):
        Job(3)
    with pytest.raises(InputError, match="out of a job must be a path; got None"):
        Job(job_scan, None)
    with pytest.raises(InputError, match="no setting 'mfr'; there are mrf, bias_fwhm"):
        Job(job_scan, settings={"mfr": 0.3})


def test_a_scan_that_goes_while_it_is_read_is_told_of_as_such(
    job_scan, calls, tmp_path, monkeypatch
):
    read = volume.read

    def read_and_lose(*args, **kwargs):
        found = read(*args, **kwargs)
        job_scan.unlink()
        return found

    monkeypatch.setattr(volume, "read", read_and_lose)
    with pytest.raises(InputError, match=rf"{job_scan.name} can no longer be read"):
        run_job(Job(job_scan, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
