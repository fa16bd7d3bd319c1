"""Outputs that are there already: what a job replaces, what it takes away, what it leaves."""

import fake
import nibabel as nib
import numpy as np
import pytest
from jobs import fail_at, files

from gmmseg import volume
from gmmseg.batch import Job, run_job
from gmmseg.checks import InputError


def test_existing_outputs_are_refused_before_the_scan_is_read(job_scan, calls, tmp_path):
    out = tmp_path / "out"
    run_job(Job(job_scan, out))
    job_scan.write_bytes(b"no image any more")
    with pytest.raises(InputError, match=r"sub-01_dseg.nii.gz exists already and 15 more"):
        run_job(Job(job_scan, out))
    assert len(calls) == 1


def test_overwrite_replaces_outputs_and_keeps_other_files(job_scan, calls, tmp_path):
    out = tmp_path / "out"
    run_job(Job(job_scan, out))
    (out / "notes.txt").write_text("mine")
    run_job(Job(job_scan, out, labels="fsl", overwrite=True))
    assert (out / "notes.txt").read_text() == "mine"
    assert "1\tCerebrospinal Fluid" in (out / "sub-01_dseg.tsv").read_text()


def test_an_input_is_never_overwritten(job_scan, calls, tmp_path):
    corrected = job_scan.with_name("sub-01_desc-biascorr_T1w.nii.gz")
    corrected.write_bytes(job_scan.read_bytes())
    with pytest.raises(InputError, match="would overwrite an input"):
        run_job(Job(corrected, job_scan.parent, overwrite=True))
    mask = job_scan.with_name("sub-01_desc-brain_mask.nii.gz")
    nib.save(nib.Nifti1Image((fake.ball() > 0).astype(np.uint8), fake.AFFINE), mask)
    with pytest.raises(InputError, match="would overwrite an input"):
        run_job(Job(job_scan, job_scan.parent, mask, overwrite=True))
    assert calls == []


def test_overwrite_takes_away_what_only_the_earlier_run_made(job_scan, calls, tmp_path):
    out = tmp_path / "out"
    run_job(Job(job_scan, out, uncertainty=True))
    more = {f"sub-01_desc-uncertainty_probseg.{kind}" for kind in ("nii.gz", "json")}
    assert more <= set(files(out))
    (out / "sub-01_label-mine_probseg.nii.gz").write_text("mine")
    (out / "sub-012_dseg.nii.gz").write_text("of another scan")
    done = run_job(Job(job_scan, out, overwrite=True))
    mine = {"sub-01_label-mine_probseg.nii.gz", "sub-012_dseg.nii.gz"}
    there = {path.name for path in done.written} | mine | {"dataset_description.json"}
    assert set(files(out)) == there


def test_a_map_of_an_earlier_run_stays_where_a_run_fails_or_reads_it(
    job_scan, calls, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    run_job(Job(job_scan, out, uncertainty=True))
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        fail_at(patch, volume, "save")
        with pytest.raises(InputError, match="No space"):
            run_job(Job(job_scan, out, overwrite=True))
    assert files(tmp_path) == before
    mask = out / "sub-01_desc-uncertainty_probseg.nii.gz"
    nib.save(nib.Nifti1Image((fake.ball() > 0).astype(np.uint8), fake.AFFINE), mask)
    run_job(Job(job_scan, out, mask, overwrite=True))
    assert mask.exists()


def test_results_of_a_run_that_was_faster_are_not_replaced(job_scan, calls, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def slow(image, mask=None, settings=None, **_):
        (out / "sub-01_dseg.nii.gz").write_text("of the faster run")
        (out / "dataset_description.json").write_text("{}")
        return fake.segmentation(image, settings)

    fake.install_workflow(monkeypatch, slow)
    with pytest.raises(InputError, match=r"sub-01_dseg.nii.gz exists already; replace with"):
        run_job(Job(job_scan, out))
    assert set(files(out)) == {"sub-01_dseg.nii.gz", "dataset_description.json"}
    (out / "sub-01_dseg.nii.gz").write_text("of the faster run")
    run_job(Job(job_scan, out, overwrite=True))


def test_a_name_too_long_for_an_output_is_refused_before_the_scan_is_read(
    job_scan, calls, tmp_path
):
    job_scan = job_scan.rename(job_scan.with_name(f"{'x' * 240}.nii.gz"))
    (tmp_path / "out").mkdir()  # where the system looks at names
    with pytest.raises(InputError, match=r"name of \d+ bytes; its disk takes 255 at most"):
        run_job(Job(job_scan, tmp_path / "out"))
    assert calls == []
    job_scan = job_scan.rename(job_scan.with_name(f"{'x' * 224}.nii.gz"))
    longest = max(len(path.name) for path in run_job(Job(job_scan, tmp_path / "out")).written)
    assert 240 < longest <= 255


def test_replacing_the_results_of_another_scan_is_remarked_on(calls, tmp_path):
    """Two people's scans of one name and one folder for both: the first one's results are lost."""
    values = np.random.default_rng(0).normal(100, 10, (2, *fake.ball().shape)).astype(np.float32)
    scans = [tmp_path / person / "t1.nii" for person in ("anna", "otto")]
    for scan, data in zip(scans, values, strict=True):
        scan.parent.mkdir()
        nib.save(nib.Nifti1Image(data, fake.AFFINE), scan)
    first, again, other = (
        run_job(Job(scan, tmp_path / "out", overwrite=True)).segmentation.warnings
        for scan in (scans[0], scans[0], scans[1])
    )
    assert first == again == ()
    (remark,) = other
    assert remark.startswith(f"Results of another scan, {scans[0]}, had the same names")
    # One that has moved, or was written anew, is the same.
    moved = scans[1].rename(tmp_path / "t1.nii")
    assert run_job(Job(moved, tmp_path / "out", overwrite=True)).segmentation.warnings == ()
    nib.save(nib.Nifti1Image(values[0], fake.AFFINE), moved)
    assert run_job(Job(moved, tmp_path / "out", overwrite=True)).segmentation.warnings == ()
