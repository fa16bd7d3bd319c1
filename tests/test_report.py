"""The picture: it shows what it says, in the right place and shape."""

import dataclasses

import fake
import numpy as np
import pytest
from matplotlib.image import imread
from scipy.integrate import trapezoid

from gmmseg import affines, bins, brainhistogram, report, volume
from gmmseg.volume import Volume


@pytest.fixture(scope="module")
def result():
    return fake.segmentation(warnings=("3 voxels were missing.",))


@pytest.fixture(scope="module")
def figure(result):
    return report.draw(result, title="sub-01")


def texts(figure):
    return [text.get_text() for ax in [figure, *figure.axes] for text in ax.texts]


def test_the_picture_is_a_legible_png(figure, tmp_path):
    report.save(figure, tmp_path / "qc.png")
    pixels = imread(tmp_path / "qc.png")
    assert pixels.shape[1] == 1600
    assert pixels[..., :3].std() > 0.1  # neither blank nor black


def test_the_picture_has_three_orientations_labels_bias_and_histogram(figure):
    pictures = [ax for ax in figure.axes if ax.images]
    assert len(pictures) == 3 + 2  # rows of slices, then labels and bias field
    assert [len(ax.images) for ax in pictures[3:]] == [2 * 3, 3]  # labels lie over the scan
    signs = [
        text for text in texts(figure) if text.endswith(" mm") and text[:3] in ("x =", "y =", "z =")
    ]
    assert len(signs) == 3 * report.N_SLICES
    titles = {ax.get_title() for ax in figure.axes}
    assert {"labels", "histogram of the brain and fitted classes"} <= titles
    assert any("bias field" in title for title in titles)


def test_the_picture_is_titled_and_carries_warnings_and_volumes(figure, result):
    shown = "\n".join(texts(figure))
    assert "sub-01" in shown
    assert "3 voxels were missing." in shown
    assert f"{result.volumes_ml()[0].from_labels:.1f}" in shown


def test_warnings_that_find_no_room_are_not_passed_over_in_silence(result):
    many = tuple(f"{n} voxels were missing, and that is why this is said." for n in range(9))
    shown = "\n".join(texts(report.draw(result.warned(many))))
    assert "0 voxels" in shown
    assert "8 voxels" not in shown
    assert "more in the provenance file" in shown
    assert "more in" not in "\n".join(texts(report.draw(result)))


def test_a_scan_that_is_negative_throughout_is_drawn_as_one_that_is_not(result, figure, tmp_path):
    """As unsigned intensities are that were read as signed ones."""
    below = dataclasses.replace(result, corrected=result.corrected - np.float32(40_000))
    drawn = report.draw(below)
    report.save(drawn, tmp_path / "qc.png")
    row = drawn.axes[0].images[0]
    assert row.norm.vmin == pytest.approx(below.corrected[result.mask].min())
    expected = figure.axes[0].images[0]
    bright = row.norm(row.get_array()).filled(0).std()
    assert bright == pytest.approx(expected.norm(expected.get_array()).filled(0).std(), rel=0.3)


def test_the_picture_has_volumes_from_fractions_where_there_are_fractions(result, figure):
    mixed = dataclasses.replace(result, fractions=result.posteriors[..., ::-1].copy())
    shown = "\n".join(texts(report.draw(mixed)))
    assert "labels  fractions" in shown
    assert f"{mixed.volumes_ml()[0].from_fractions:9.1f}" in shown
    assert "labels  probabilities" in "\n".join(texts(figure))


def test_voxels_are_drawn_with_their_true_shape(result, figure):
    """1 x 3 x 2 mm voxels: a slice of n x m voxels is drawn as large as n x m voxels are."""
    turned = volume.to_canonical(result.volume)
    spacing = affines.voxel_sizes(turned.affine)
    for ax, axis in zip(figure.axes, range(3), strict=False):
        across = np.delete(spacing, axis)
        left, right, bottom, top = ax.images[0].get_extent()
        rows, columns = ax.images[0].get_array().shape
        np.testing.assert_allclose([(right - left) / columns, (top - bottom) / rows], across)
        assert ax.get_aspect() == 1


def test_slices_are_where_they_say(figure, result):
    """The x = ... of the first row lies inside the brain, rising from the left of the patient."""
    said = [float(text.split("=")[1].split()[0]) for text in texts(figure) if text[:3] == "x ="]
    points = (np.argwhere(result.mask) @ fake.AFFINE[:3, :3].T + fake.AFFINE[:3, 3])[:, 0]
    assert len(said) == report.N_SLICES
    assert said == sorted(said)
    assert points.min() <= said[0] < said[-1] <= points.max()


def test_class_densities_integrate_to_one_and_leave_out_the_head(result):
    grid = np.linspace(-100, 250, 20001)
    curves = brainhistogram.class_densities(result, grid)
    assert list(curves) == ["GM", "WM", "CSF"]
    assert trapezoid(sum(curves.values()), grid) == pytest.approx(1, abs=1e-6)
    share = np.count_nonzero(result.labels == 1) / np.count_nonzero(result.mask)
    assert trapezoid(curves["GM"], grid) == pytest.approx(share, abs=1e-6)


def test_mixed_classes_come_after_the_tissues_and_several_gaussians_add_up(result):
    mixed = dataclasses.replace(result, component_names=("GM/WM", "WM", "CSF", "WM"))
    curves = brainhistogram.class_densities(mixed, np.array([10.0]))
    assert list(curves) == ["WM", "CSF", "GM/WM"]
    # WM is now the second and the fourth Gaussian, of mean 10 and standard deviation 4.
    weight = mixed.mixture.weights[3]
    assert curves["WM"][0] == pytest.approx(weight / np.sqrt(2 * np.pi * 16), rel=1e-6)


def test_a_part_of_a_tissue_is_of_the_brain(result):
    parts = dataclasses.replace(result, component_names=("deep GM", "WM", "CSF", "soft"))
    assert list(brainhistogram.class_densities(parts, np.array([10.0]))) == ["WM", "CSF", "deep GM"]


def test_the_legend_names_all_parts_at_once(result):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    names = ("WM", "deep GM", "cerebellar GM", "GM")
    brainhistogram.draw_histogram(ax, dataclasses.replace(result, component_names=names))
    shown = ax.get_legend_handles_labels()[1]
    assert shown == ["brain voxels", "WM", "GM", "parts of these", "sum of classes"]
    assert len(ax.lines) == 5


def test_drawing_makes_no_global_state(figure):
    from matplotlib import _pylab_helpers

    assert _pylab_helpers.Gcf.figs == {}


@pytest.mark.parametrize("shape", [(40, 24, 3), (40, 24, 300)])
def test_odd_grids_can_be_drawn(shape):
    rng = np.random.default_rng(1)
    scan = Volume(rng.normal(50, 10, shape).astype(np.float32), fake.AFFINE)
    report.draw(fake.segmentation(scan))


def test_missing_voxels_do_not_spoil_the_picture(result):
    holes = result.corrected.copy()
    holes[result.mask] = np.where(np.arange(result.mask.sum()) % 7 == 0, np.nan, 50.0)
    report.draw(dataclasses.replace(result, corrected=holes))


def test_holes_that_have_a_rhythm_leave_a_sample_all_the_same():
    values = np.where(np.arange(700) % 7 == 0, np.nan, 1.0)
    assert len(bins.some_finite(values, 100)) >= 100


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e25, -1e25])
def test_bins_are_even_whatever_the_unit(unit):
    """Large floats are all whole numbers, and around them there is no room for halves."""
    values = (np.arange(1, 1000, dtype=np.float32) * np.float32(unit)).astype(np.float32)
    edges = bins.bin_edges(values, 160)
    assert edges.dtype == np.float64
    assert 100 < len(edges) <= 162
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values.min()
    assert edges[-1] >= values.max()
