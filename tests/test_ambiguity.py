"""Entropy and volume intervals, against sums done another way and against known truth."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import fake
import nibabel as nib
import numpy as np
import pytest
from scipy.special import entr

from gmmseg import derivatives
from gmmseg.batch import Job
from gmmseg.outputs import Outputs
from gmmseg.spatial import ambiguity, interval
from gmmseg.tissues import BrainSegmentation


@pytest.fixture
def posteriors(rng):
    return rng.dirichlet([0.3] * 4, (7, 6, 5)).astype(np.float32)


def test_the_entropy_is_scipys_in_the_brain_and_0_outside(posteriors, rng):
    brain = rng.random((7, 6, 5)) < 0.5
    box = (slice(1, 8), slice(0, 6), slice(2, 7))
    found = ambiguity.entropy(posteriors, brain, box, (9, 6, 8))
    expected = np.zeros((9, 6, 8))
    expected[box] = np.where(brain, entr(posteriors.astype(float)).sum(-1), 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_contacts_are_the_products_of_probabilities_summed(posteriors, rng):
    active = rng.random((7, 6, 5)) < 0.5
    q = posteriors[active].astype(float)
    expected = q.T @ q
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(ambiguity.contacts(posteriors, active), expected, rtol=1e-5)


def test_contacts_are_the_slope_of_a_volume_by_a_shift_of_the_log_odds(posteriors):
    """Class 0 gains on class 1 alone: with the others at zero the derivative is exact."""
    q = posteriors[..., :2] / posteriors[..., :2].sum(-1, keepdims=True)
    everywhere = np.ones(q.shape[:3], bool)
    shift = 1e-3
    moved = q[..., 0] * np.exp(shift) / (q[..., 0] * np.exp(shift) + q[..., 1])
    slope = (moved - q[..., 0]).sum(dtype=float) / shift
    assert ambiguity.contacts(q, everywhere)[0, 1] == pytest.approx(slope, rel=1e-2)


def test_border_voxels_do_not_depend_on_the_unit_of_intensity(rng):
    labels = rng.integers(1, 4, 5000)
    values = np.array([0, 80, 110, 30])[labels] + rng.normal(0, 8, 5000)
    plain = interval.border_voxels(values, labels, {1: 80, 2: 110, 3: 30})
    scaled = interval.border_voxels(1e3 * values, labels, {1: 8e4, 2: 1.1e5, 3: 3e4})
    assert plain == scaled
    assert plain[1, 2] > 0


def test_what_one_tissue_gains_at_a_border_the_other_loses_and_the_brain_keeps():
    contacts = np.zeros((4, 4))
    tissues, brain = interval.deviations(contacts, {(1, 2): 1000.0}, fluid=3)
    assert tissues.tolist() == pytest.approx([interval.BORDER * 1000, interval.BORDER * 1000, 0])
    assert brain == 0
    tissues, _ = interval.deviations(contacts, {(1, 3): 1000.0}, fluid=3)
    assert tissues.tolist() == pytest.approx(
        [interval.FLUID_BORDER * 1000, 0, interval.FLUID_BORDER * 1000]
    )


def test_the_interval_is_wider_than_with_independent_voxels(sample_result):
    """Negative control: with voxels wrong on their own, the truth would lie outside."""
    voxel = sample_result.volume.voxel_ml
    alone = interval.Z90 * voxel * np.sqrt(sample_result.contacts[:-1].sum(axis=1))
    for row, half in zip(sample_result.volumes_ml(), alone, strict=False):
        assert row.high - row.from_labels > 3 * half


def test_the_true_volumes_lie_in_their_intervals(sample_result, sample_head):
    """True volumes are summed fractions; with independent voxels they would lie outside."""
    voxel = sample_result.volume.voxel_ml
    truth = sample_head.fractions.sum(axis=(0, 1, 2), dtype=float) * voxel
    for row, known in zip(sample_result.volumes_ml(), (*truth, truth.sum()), strict=True):
        assert row.low <= known <= row.high, (row, known)


def test_volumes_without_what_the_interval_needs_have_none():
    table = derivatives.volume_table(fake.segmentation())
    assert {row["volume_low_ml"] for row in table} == {"n/a"}


def test_every_volume_lies_in_its_interval_and_none_is_negative(sample_result):
    for row in sample_result.volumes_ml():
        assert 0 <= row.low < row.from_labels < row.high


def test_the_uncertainty_of_a_scan_is_high_between_tissues_and_nothing_outside(sample_result):
    found = sample_result.entropy()
    assert found.dtype == np.float32
    assert not found[~sample_result.mask].any()
    assert 0 <= found.min() <= found.max() <= np.log(4) + 1e-6
    certain = sample_result.posteriors.max(axis=-1) > 0.999
    undecided = sample_result.mask & (sample_result.posteriors.max(axis=-1) < 0.6)
    # A tissue at .6 leaves at least -.6 log .6 - .4 log .4 = .673 nats. A voxel of a filled hole
    # may be sure to be none of the tissues, so not every one has as much.
    assert np.median(found[undecided]) > 0.67
    assert np.median(found[certain]) < 0.05


def test_without_a_kept_map_the_tissues_alone_make_the_entropy():
    result = fake.segmentation()
    inside = result.entropy()[result.mask]
    one = entr(np.array([14 / 15, 1 / 30, 1 / 30])).sum()
    np.testing.assert_allclose(inside, one, rtol=1e-5)


def test_the_map_is_written_with_its_units_only_when_asked_for(tmp_path):
    result = fake.segmentation()
    job = Job(tmp_path / "t1.nii", uncertainty=True)
    assert "--uncertainty" in job.command()
    outputs = Outputs.of(job.scan, tmp_path)
    derivatives.write_images(result, outputs, tmp_path, extra=job.extra)
    derivatives.write_tables(result, outputs, tmp_path, provenance={}, extra=job.extra)
    image = nib.load(tmp_path / "t1_desc-uncertainty_probseg.nii.gz")
    np.testing.assert_allclose(image.get_fdata(), result.entropy(), rtol=1e-6)
    sidecar = json.loads((tmp_path / "t1_desc-uncertainty_probseg.json").read_text())
    assert sidecar["Units"] == "nat"
    assert sidecar["Classes"] == ["GM", "WM", "CSF"]
    written = {path for path in outputs.all(result.names, extra=job.extra) if path.exists()}
    assert outputs.path("desc-uncertainty_probseg.nii.gz") in written
    plain = outputs.all(result.names)
    assert not any("uncertainty" in path.name for path in plain)


def test_other_warnings_leave_the_volumes_as_they_were_measured(sample_result, monkeypatch):
    """They take a tenth of a second each time; other labels have other volumes."""
    expected = sample_result.volumes_ml()
    warned = sample_result.warned(("a cloud",))
    halved = replace(sample_result, labels=np.where(sample_result.labels == 1, 0, 2))
    assert halved.volumes_ml()[0].from_labels == 0
    monkeypatch.setattr(BrainSegmentation, "_measured", None)
    assert warned.volumes_ml() == expected
    assert warned.warnings == ("a cloud",)


def test_volumes_that_table_and_picture_ask_for_at_once_are_measured_alike(
    sample_result, monkeypatch
):
    expected = sample_result.volumes_ml()
    fresh, measured = replace(sample_result), BrainSegmentation._measured
    together = threading.Barrier(2, timeout=60)

    def at_once(self):
        together.wait()
        yield from measured(self)

    monkeypatch.setattr(BrainSegmentation, "_measured", at_once)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: fresh.volumes_ml(), range(2)))
    assert [row.name for row in fresh.volumes_ml()] == ["GM", "WM", "CSF", "brain"]
    assert found == [expected] * 2
