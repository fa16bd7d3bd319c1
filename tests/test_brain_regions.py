"""Parts of the brain carried from the template: where published coordinates and the truth say."""

import json
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import map_coordinates

import gmmseg
from gmmseg import cli
from gmmseg import volume as volumes
from gmmseg.checks import InputError
from gmmseg.metrics import dice
from gmmseg.regions import NAMES, brain_regions
from gmmseg.spatial.carry import TemplateMap
from gmmseg.spatial.regions import NUCLEI, REGIONS, coordinates
from gmmseg.template import region_maps

CODES = dict(zip(NAMES, (2, 3, 8, 9, 10, 11), strict=True))


@pytest.fixture(scope="module")
def parts(sample_result):
    return brain_regions(sample_result)


def curved(rng, shape=(9, 8, 7)):
    """A way to the template with a turn, a scale and a displacement of some mm."""
    to = np.array([[2.9, 0.3, 0, -11], [-0.3, 3.0, 0.2, -14], [0, -0.2, 3.1, -10], [0, 0, 0, 1.0]])
    displacement = rng.normal(0, 2, (*shape, 3)).astype(np.float32)
    return TemplateMap(np.array([2, 1, 3]), np.array([3, 3, 2]), to, displacement)


def test_a_carried_map_is_what_scipy_reads_at_the_points(rng):
    way = curved(rng)
    maps, affine = rng.random((12, 13, 11, 2)).astype(np.float32), np.diag([2.5, 2, 3, 1.0])
    affine[:3, 3] = (-12, -14, -13)
    box = (slice(4, 20), slice(2, 19), slice(5, 18))
    index = np.stack(np.meshgrid(*(np.arange(b.start, b.stop) for b in box), indexing="ij"), -1)
    points = way.points(index.reshape(-1, 3))
    at = (points - affine[:3, 3]) / np.diag(affine)[:3]
    carried = way.sample(maps, affine, box)
    assert carried.dtype == np.float32
    for k in range(2):
        expected = map_coordinates(maps[..., k], at.T, order=1, mode="nearest")
        np.testing.assert_allclose(carried[..., k].ravel(), expected, atol=2e-5)


def test_shares_lie_between_zero_and_one_and_never_add_up_to_more():
    maps, _ = region_maps()
    assert maps.shape[-1] == len(REGIONS)
    assert maps.min() >= 0
    assert maps.sum(-1).max() <= 1 + 1e-5
    np.testing.assert_allclose(maps[1:], maps[:0:-1], atol=0.51)  # nearly mirror-symmetric


def test_published_coordinates_of_nuclei_and_cerebellum_fall_into_their_regions():
    """300 regions of Seitzman et al. (2020), as nilearn ships them, none of which was fitted to."""
    folder = files("nilearn") / "datasets" / "data"
    table = folder / "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt"
    points = np.loadtxt(table.read_text().splitlines(), skiprows=1, usecols=(0, 1, 2))
    anatomy = folder / "seitzman_2018_ROIs_anatomicalLabels.txt"
    kind = np.loadtxt(anatomy.read_text().splitlines(), skiprows=1, dtype=int)
    maps, affine = region_maps()
    index = np.rint(np.linalg.solve(affine[:3, :3], (points - affine[:3, 3]).T)).astype(int)
    inside = maps[tuple(index)] > 0.5
    deep, cerebellum = np.isin(kind, (5, 6)), kind == 7
    assert np.count_nonzero(deep) == 28
    assert np.count_nonzero(cerebellum) == 27
    assert inside[deep, REGIONS.index("SGM")].mean() > 0.9
    assert inside[cerebellum, REGIONS.index("CBM")].mean() > 0.9
    assert inside[kind < 5].mean() < 0.01  # cortex, hippocampus and amygdala


def true_regions(head, affine):
    """Regions at the template points that each voxel of the phantom was really drawn from."""
    maps, maps_affine = region_maps()
    index = np.stack(np.indices(head.labels.shape), axis=-1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3] + head.warp.reshape(-1, 3)
    at = (world - maps_affine[:3, 3]) @ np.linalg.inv(maps_affine[:3, :3]).T
    shares = [map_coordinates(m, at.T, order=1) for m in np.moveaxis(maps, -1, 0)]
    return [share.reshape(head.labels.shape) > 0.5 for share in shares]


def test_the_parts_of_a_known_head_are_found(parts, sample_head, make_sample):
    """Truth: the template's regions through the phantom's own deformation.

    So what is measured is the alignment, not the template's regions. Reached: see the bounds.
    """
    true = dict(zip(REGIONS, true_regions(sample_head, make_sample.grid()), strict=True))
    tissue = {"SGM": (1,), "BS": (1, 2), "CBM": (1, 2)}
    for name, bound in {"SGM": 0.85, "BS": 0.85, "CBM": 0.92}.items():
        where = true[name] & np.isin(sample_head.labels, tissue[name])
        reached = dice(parts.labels == NAMES.index(name) + 1, where)
        assert reached > bound, (name, reached)


def test_without_the_alignment_the_parts_are_lost(sample_result, sample_head, make_sample):
    """Negative control: a head as it lies in the scanner is no template."""
    from dataclasses import replace

    way = sample_result.template_map
    shifted = way.to_template.copy()
    shifted[1, 3] += 20
    wrong = replace(sample_result, template_map=replace(way, to_template=shifted))
    stem = true_regions(sample_head, make_sample.grid())[REGIONS.index("BS")]
    stem &= np.isin(sample_head.labels, (1, 2))
    assert dice(brain_regions(wrong).labels == NAMES.index("BS") + 1, stem) < 0.5


def test_parts_divide_the_brain_and_keep_its_tissues(parts, sample_result):
    labels = sample_result.labels
    np.testing.assert_array_equal(parts.labels > 0, labels > 0)
    for name, tissue in (("CGM", 1), ("SGM", 1), ("WM", 2), ("CSF", 3)):
        assert (labels[parts.labels == NAMES.index(name) + 1] == tissue).all(), name
    assert sum(parts.volumes_ml().values()) == pytest.approx(
        sample_result.volumes_ml()[-1].from_labels
    )


def test_deep_grey_matter_does_not_turn_white(sample_result, sample_head, make_sample):
    """In the middle of each nucleus, as much is white as truly is, to 5 % of its voxels."""
    _, affine = region_maps()
    points = coordinates((197, 233, 189), affine)
    labels = volumes.turn(sample_result.labels, sample_result.volume)
    whole = tuple(slice(0, n) for n in labels.shape)
    for nucleus in NUCLEI:
        region = (nucleus.radius(points) < 1).astype(np.float32)[..., None]
        here = sample_result.template_map.sample(region, affine, whole)[..., 0] > 0.5
        assert np.count_nonzero(here) > 50
        white, truly = np.mean(labels[here] == 2), np.mean(sample_head.labels[here] == 2)
        assert white < truly + 0.05, (nucleus.name, white, truly)


def test_the_command_writes_the_parts_beside_unchanged_outputs(sample_t1, sample_result, tmp_path):
    words = ["brain", str(sample_t1), "-o", str(tmp_path), "--regions"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    main = np.asarray(nib.load(tmp_path / "sub-sim_dseg.nii.gz").dataobj)
    np.testing.assert_array_equal(main, sample_result.labels)
    image = nib.load(tmp_path / "sub-sim_seg-regions_dseg.nii.gz")
    coded = np.asarray(image.dataobj)
    assert set(np.unique(coded)) == {0, *CODES.values()}
    np.testing.assert_array_equal(coded > 0, main > 0)
    np.testing.assert_array_equal(image.affine, nib.load(sample_t1).affine)
    table = (tmp_path / "sub-sim_seg-regions_dseg.tsv").read_text().splitlines()
    assert len(table) == 7
    sizes = (tmp_path / "sub-sim_seg-regions_desc-volumes.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in sizes[1:]] == list(NAMES)
    assert not json.loads((tmp_path / "sub-sim_seg-regions_dseg.json").read_text())["Manual"]
    assert len(result.stdout.splitlines()) == len(list(tmp_path.iterdir()))


def test_regions_need_the_packaged_tissues(sample_result):
    from dataclasses import replace

    with pytest.raises(InputError, match="GM, WM and CSF with the packaged atlas"):
        gmmseg.brain_regions(replace(sample_result, template_map=None))
    other = replace(sample_result, settings=gmmseg.BrainSettings(atlas=("GM=a.nii", "WM=b.nii")))
    with pytest.raises(InputError, match="made with other maps"):
        gmmseg.brain_regions(other)


@pytest.mark.parametrize("name", ["thalamus", "pallidum"])
def test_a_nucleus_as_bright_as_white_matter_stays_grey(sample_t1, sample_result, name):
    """Negative control: with one intensity for all deep grey matter it turns white."""
    scan = volumes.read(sample_t1)
    _, affine = region_maps()
    points = coordinates(region_maps()[0].shape[:3], affine)
    place = (next(n for n in NUCLEI if n.name == name).radius(points) < 1)[..., None]
    whole = tuple(slice(0, n) for n in scan.data.shape)
    share = sample_result.template_map.sample(place.astype(np.float32), affine, whole)[..., 0]
    nucleus = (share > 0.5) & (sample_result.labels > 0)
    white = np.median(scan.data[sample_result.labels == 2])
    data = scan.data.astype(np.float32)
    data[nucleus] += white - np.median(data[nucleus])
    image = nib.Nifti1Image(data, scan.affine)
    shares = {}
    for parts in (True, False):
        result = gmmseg.segment_brain(image, settings=gmmseg.BrainSettings(parts=parts))
        shares[parts] = np.mean(result.labels[nucleus] == 2)
    assert shares[True] < 0.5, shares
    assert shares[False] > 0.8, shares
