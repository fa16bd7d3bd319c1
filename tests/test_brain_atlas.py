"""Whole scans with atlases of the user's: the labels follow the maps that were given."""

import csv

import numpy as np
import packaged
import pytest
from phantom import check_labels
from scipy.spatial.transform import Rotation

import gmmseg
from gmmseg import derivatives
from gmmseg.metrics import dice, dice_per_label
from gmmseg.outputs import Outputs
from gmmseg.spatial.atlas import PARTS
from gmmseg.spatial.customatlas import _filled, maps_atlas
from gmmseg.spatial.regions import by_anatomy, coordinates
from gmmseg.template import icbm_head_atlas, region_maps


@pytest.fixture(scope="module")
def coarse():
    """The packaged maps on every second voxel, and their affine."""
    return packaged.tissue_maps(step=2)


def segment(scan, atlas, names=()):
    settings = gmmseg.BrainSettings(atlas=tuple(atlas), atlas_names=names)
    return gmmseg.segment_brain(scan, settings=settings)


def test_the_packaged_maps_given_back_yield_the_defaults_labels(tmp_path, sample_t1, sample_result):
    """The default without the parts of its classes, which three maps cannot tell.

    It also knows deep grey matter; the CSF at the rim follows small differences.
    """
    expected = gmmseg.segment_brain(sample_t1, settings=gmmseg.BrainSettings(parts=False))
    maps, affine = packaged.tissue_maps()
    maps["GM"], maps["WM"] = by_anatomy(maps["GM"], maps["WM"], affine)  # as the default has them
    paths = packaged.write(tmp_path, maps, affine, scale=255, dtype=np.uint8)
    found = segment(sample_t1, paths)
    assert found.names == ("GM", "WM", "CSF")
    assert "deep GM" not in found.component_names
    assert not set(PARTS) & set(expected.component_names)
    assert set(PARTS) <= set(sample_result.component_names)
    agreement = dice_per_label(found.labels, expected.labels)
    assert min(agreement.values()) > 0.98, agreement


def test_two_classes_leave_the_ventricles_without_a_label(
    tmp_path, coarse, sample_t1, sample_truth
):
    maps, affine = coarse
    paths = packaged.write(tmp_path, {name: maps[name] for name in ("GM", "WM")}, affine)
    found = segment(sample_t1, paths)
    assert found.names == ("GM", "WM")
    assert found.posteriors.shape[-1] == 2
    check_labels(found.labels, sample_truth, {1: 0.90, 2: 0.94})
    assert np.mean(found.labels[sample_truth == 3] > 0) < 0.15  # mixed voxels of the rim
    assert not any("do not rise" in doubt for doubt in found.warnings)


@pytest.fixture(scope="module")
def five(tmp_path_factory, coarse, sample_t1):
    """A segmentation into five classes, two of which BIDS has no single code for."""
    maps, affine = coarse
    share, share_affine = region_maps()
    assert np.allclose(share_affine @ np.diag([2, 2, 2, 1]), affine)
    deep, _, cerebellum = np.moveaxis(share[::2, ::2, ::2], -1, 0)
    grey = maps["GM"] * (1 - cerebellum)
    given = {
        "rind": grey * (1 - deep),
        "SCGM": grey * deep,
        "WM": maps["WM"] * (1 - cerebellum),
        "CSF": maps["CSF"],
        "CBM": (maps["GM"] + maps["WM"]) * cerebellum,
    }
    folder = tmp_path_factory.mktemp("five")
    return segment(sample_t1, packaged.write(folder, given, affine, axes="LPS", scale=100))


def test_five_classes_have_gaussians_and_labels_of_their_own(five, sample_truth):
    """Cerebellum is one class there, of grey and white matter; elsewhere the truth is known."""
    assert five.names == ("rind", "SGM", "WM", "CSF", "CBM")
    assert set(five.names) <= set(five.component_names)
    assert set(np.unique(five.labels)) == {0, 1, 2, 3, 4, 5}
    rest = five.labels != 5
    merged = np.array([0, 1, 1, 2, 3, 0])[five.labels][rest]
    reached = dice_per_label(merged, sample_truth[rest])
    assert min(reached[1], reached[2]) > 0.93, reached
    ml = {row.name: row.from_labels for row in five.volumes_ml()}
    assert 15 < ml["SGM"] < 60  # of a brain of 1.3 litres
    assert 100 < ml["CBM"] < 220


def test_codes_of_bids_and_free_ones_are_written(five, tmp_path):
    coded = np.unique(np.asarray(five.label_image().dataobj))
    assert coded.tolist() == [0, 2, 3, 9, 11, 20]
    outputs = Outputs.of(tmp_path / "s.nii", tmp_path)
    derivatives.write_images(five, outputs, tmp_path)
    derivatives.write_tables(five, outputs, tmp_path, provenance={})
    with (tmp_path / "s_dseg.tsv").open(newline="") as file:
        rows = {row["abbreviation"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert {name: int(row["index"]) for name, row in rows.items()} == {
        "WM": 2, "CSF": 3, "SGM": 9, "CBM": 11, "rind": 20,
    }  # fmt: skip
    assert rows["rind"]["mapping"] == "n/a"
    assert rows["SGM"]["name"] == "Subcortical Gray Matter"
    assert (tmp_path / "s_label-rind_probseg.nii.gz").exists()


def test_a_picture_is_drawn_whatever_the_classes(five):
    from gmmseg import report

    assert report.draw(five, title="five").axes


def test_with_the_names_exchanged_the_labels_are(tmp_path, coarse, sample_t1, sample_truth):
    """Negative control: the maps decide, and the bounds above would notice wrong ones."""
    maps, affine = coarse
    given = packaged.write(tmp_path, maps, affine)
    found = segment(sample_t1, given, ("WM", "GM", "CSF"))
    assert dice(found.labels == 1, sample_truth == 2) < 0.1
    assert dice(found.labels == 1, sample_truth == 1) > 0.9
    assert found.names[0] == "WM"


def test_the_head_around_the_packaged_maps_is_that_of_the_default():
    """Apart from deep grey matter, which is one class with the rest here."""
    maps, affine = packaged.tissue_maps()
    built = maps_atlas(np.stack([*maps.values()], axis=-1), affine, [*maps])
    default = icbm_head_atlas()
    np.testing.assert_allclose(built.affine, default.affine)
    for name in ("WM", "CSF", "bone", "soft", "air"):
        here, there = (a.maps[..., a.names.index(name)] for a in (built, default))
        assert np.abs(here - there).mean() < 0.005, name


def test_gaps_between_folds_are_closed_and_wider_ones_are_not_whatever_the_voxels():
    """A gap of 4 mm across slices of 4 mm, and one of 20 mm, in slabs that do not enclose them."""
    full = np.ones((30, 30, 20), np.float32)
    full[:10] = full[20:] = full[:, :10] = full[:, 20:] = 0
    full[:, :, :2] = full[:, :, -2:] = 0
    full[:, :, 5], full[:, :, 10:15] = 0, 0
    closed = _filled(full, np.array([1.0, 1.0, 4.0]))
    assert closed[13:17, 13:17, 5].all()  # at its mouth it stays open
    assert not closed[:, :, 11:14].any()
    assert closed[full == 1].all()


def test_an_oblique_grid_holds_the_same_atlas(coarse):
    """Cut obliquely by interpolation and read back: priors agree but for the blur of that."""
    from scipy import ndimage

    maps, affine = coarse
    stacked = np.stack([*maps.values()], axis=-1)
    expected = maps_atlas(stacked, affine, [*maps])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [12, -7, 9], degrees=True).as_matrix()
    middle = affine @ [*(np.array(stacked.shape[:3]) / 2), 1]
    turn[:3, 3] = middle[:3] - turn[:3, :3] @ middle[:3]
    grid = turn @ affine
    to = np.linalg.inv(affine) @ grid
    cut = np.stack(
        [ndimage.affine_transform(m, to[:3, :3], to[:3, 3], order=1) for m in maps.values()], -1
    )
    built = maps_atlas(cut, grid, [*maps])
    points = np.random.default_rng(0).uniform((-60, -90, -30), (60, 50, 65), (4000, 3))

    def at(atlas):
        index = (points - atlas.affine[:3, 3]) @ np.linalg.inv(atlas.affine[:3, :3]).T
        return np.stack(
            [ndimage.map_coordinates(m, index.T, order=1) for m in np.moveaxis(atlas.maps, -1, 0)]
        )

    assert np.abs(at(built) - at(expected)).mean() < 0.03
    wrong = maps_atlas(cut, affine, [*maps])  # the control: the turn of the grid left out
    assert np.abs(at(wrong) - at(expected)).mean() > 0.06


@pytest.mark.parametrize(("times", "held"), [(0.04, "0.1"), (5.0, "216")])
def test_maps_that_hold_no_human_brain_are_refused_for_their_voxel_size(coarse, times, held):
    """A mouse, or micrometres; the same maps as they are, in slabs and halves are taken."""
    maps, affine = coarse
    stacked = np.stack([maps["GM"], maps["WM"]], axis=-1)
    scale = np.diag([times, times, times, 1.0])
    with pytest.raises(gmmseg.InputError, match=rf"hold a brain of {held}"):
        maps_atlas(stacked, scale @ affine, ("GM", "WM"))
    slab = stacked[:, :, 30:34].copy()
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [0, 0, 30]
    assert np.isfinite(maps_atlas(slab, moved, ("GM", "WM")).maps).all()


def test_an_atlas_far_from_mni_space_is_moved_there(coarse):
    """Where the alignment looks for it; nothing else changes."""
    maps, affine = coarse
    stacked = np.stack([*maps.values()], axis=-1)
    away = affine.copy()
    away[:3, 3] += (90, 130, 70)
    near, moved = (maps_atlas(stacked, grid, [*maps]) for grid in (affine, away))
    np.testing.assert_allclose(moved.affine, near.affine, atol=8)
    top = [
        (a.affine[2, 2] * np.flatnonzero((a.maps[..., 0] > 0.5).any((0, 1)))[-1] + a.affine[2, 3])
        for a in (near, moved)
    ]
    assert top == pytest.approx([75, 75], abs=8)
    points = coordinates(moved.maps.shape[:3], moved.affine)
    assert points[0].min() < -90
    assert points[0].max() > 90
