"""Tissue fractions of the simulated head, whose true fractions are known."""

import json
from dataclasses import replace

import fake
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import gmmseg
from gmmseg import derivatives
from gmmseg.batch import Job
from gmmseg.checks import InputError
from gmmseg.outputs import Outputs
from gmmseg.regions import NAMES, brain_regions
from gmmseg.settings import BrainSettings
from gmmseg.spatial import fractions
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.fractions import check_tissues


@pytest.fixture(scope="module")
def with_fractions(sample_t1):
    return gmmseg.segment_brain(sample_t1, settings=BrainSettings(pve=True))


def errors(result, truth):
    """RMSE over brain voxels and tissues of fractions and of posteriors."""
    inside = result.mask & (truth.sum(-1) > 0.95)  # no bone in the voxel
    return [
        float(np.sqrt(np.mean((found[inside] - truth[inside]) ** 2)))
        for found in (result.fractions, result.posteriors)
    ]


def test_fractions_of_the_simulated_head_are_nearer_the_truth_than_posteriors(
    with_fractions, sample_head
):
    fractions, posteriors = errors(with_fractions, sample_head.fractions)
    assert fractions < 0.8 * posteriors, (fractions, posteriors)


def test_volumes_summed_from_fractions_are_nearer_the_truth_than_labels(
    with_fractions, sample_head
):
    """Errors of the three tissues together; the brain's is the same, since shares sum to one."""
    rows = with_fractions.volumes_ml()
    truth = sample_head.fractions.sum(axis=(0, 1, 2), dtype=float) * with_fractions.volume.voxel_ml
    off = {
        field: sum(abs(getattr(row, field) - true) for row, true in zip(rows, truth, strict=False))
        for field in ("from_labels", "from_probabilities", "from_fractions")
    }
    assert off["from_fractions"] < 0.8 * min(off["from_labels"], off["from_probabilities"]), off
    assert rows[-1].from_fractions == pytest.approx(rows[-1].from_labels, rel=1e-5)


def test_asking_for_fractions_changes_nothing_else(with_fractions, sample_result):
    assert sample_result.fractions is None
    assert {row.from_fractions for row in sample_result.volumes_ml()} == {None}
    np.testing.assert_array_equal(with_fractions.labels, sample_result.labels)
    np.testing.assert_array_equal(with_fractions.posteriors, sample_result.posteriors)
    np.testing.assert_array_equal(with_fractions.corrected, sample_result.corrected)


def test_fractions_cover_the_labelled_brain(with_fractions):
    inside = with_fractions.mask
    np.testing.assert_allclose(with_fractions.fractions[inside].sum(-1), 1, atol=1e-5)
    assert not with_fractions.fractions[~inside].any()
    assert not with_fractions.fractions.flags.writeable


def test_the_record_tells_the_means_of_pure_tissue(with_fractions):
    """The simulation paints CSF 40, GM 95, WM 130; 9 is the bound of the plain mixture's."""
    means = with_fractions.decisions["pure tissue means"]
    assert means["CSF"] < means["GM"] < means["WM"]
    assert means == {
        "GM": pytest.approx(95, abs=9),
        "WM": pytest.approx(130, abs=9),
        "CSF": pytest.approx(40, abs=9),
    }


def test_parts_have_means_of_their_own_where_the_scan_has_them(
    sample_result, sample_head, with_fractions, monkeypatch
):
    """Deep grey matter and cerebellar cortex painted a third of the way to white matter.

    The sample itself is painted in one grey, and is the control.
    """
    assert with_fractions.decisions["pure tissue by part"] is False
    parts = brain_regions(sample_result).labels
    bright = np.isin(parts, [NAMES.index(name) + 1 for name in ("SGM", "CBM")]).astype(np.float32)
    scan = sample_result.volume
    paint = 12 * ndimage.gaussian_filter(bright, 1) * sample_head.fractions[..., 0]
    image = nib.Nifti1Image(scan.data + paint, scan.affine)
    told = gmmseg.segment_brain(image, settings=BrainSettings(pve=True))
    monkeypatch.setattr(fractions, "PART_GAIN", np.inf)
    untold = gmmseg.segment_brain(image, settings=BrainSettings(pve=True))
    assert told.decisions["pure tissue by part"] is True
    assert untold.decisions["pure tissue by part"] is False
    painted = np.where(bright[..., None] > 0, sample_head.fractions, 0)
    error, without = (errors(result, painted)[0] for result in (told, untold))
    assert error < 0.6 * without  # .42 was reached


def test_fractions_are_written_under_names_of_bids(tmp_path):
    plain = fake.segmentation()
    result = replace(plain, fractions=plain.posteriors)
    outputs = Outputs(tmp_path, "sub-01", "T1w", True)
    derivatives.write_images(result, outputs, tmp_path)
    derivatives.write_tables(result, outputs, tmp_path, provenance={})
    for name in ("GM", "WM", "CSF"):
        path = tmp_path / f"sub-01_label-{name}_desc-pve_probseg.nii.gz"
        image = nib.load(path)
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(
            np.asarray(image.dataobj), plain.posteriors[..., plain.names.index(name)]
        )
        note = json.loads(path.with_name(path.name.replace("nii.gz", "json")).read_text())
        assert "Share of each voxel" in note["Description"]
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {p.name for p in outputs.all(result.names, pve=True)} - {"sub-01_qc.png"}


def test_no_fractions_are_written_unless_asked_for(tmp_path):
    outputs = Outputs(tmp_path, "sub-01", "T1w", True)
    derivatives.write_images(fake.segmentation(), outputs, tmp_path)
    derivatives.write_tables(fake.segmentation(), outputs, tmp_path, provenance={})
    assert not list(tmp_path.glob("*pve*"))
    assert not [path for path in outputs.all(("GM",)) if "pve" in path.name]


def test_the_command_repeats_the_wish_for_fractions(tmp_path):
    scan = tmp_path / "scan.nii"
    assert "--pve" in Job(scan, settings={"pve": True}).command()
    assert "--pve" not in Job(scan, settings={"pve": False}).command()


def test_an_image_of_fractions_that_are_not_there_is_refused():
    with pytest.raises(InputError, match="pve=True"):
        fake.segmentation().fraction_image("GM")
    plain = fake.segmentation()
    with pytest.raises(InputError, match="No class"):
        replace(plain, fractions=plain.posteriors).fraction_image("bone")


def test_fractions_of_other_tissues_than_the_three_are_refused():
    maps = np.full((2, 2, 2, 3), 1 / 3, np.float32)
    atlas = TissueAtlas(maps, np.eye(4), ("CGM", "WM", "CSF"), (0, 1, 2), 3)
    with pytest.raises(InputError, match="leave --pve out"):
        check_tissues(atlas)
    check_tissues(replace(atlas, names=("CSF", "WM", "GM")))
