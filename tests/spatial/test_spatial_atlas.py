"""The atlas of the head: probabilities everywhere."""

import numpy as np
import pytest

from gmmseg.spatial.atlas import CLASSES, PARTS
from gmmseg.spatial.headatlas import head_atlas
from gmmseg.spatial.sampling import sample_prior
from gmmseg.template import icbm_head_atlas


@pytest.fixture(scope="module")
def atlas():
    return icbm_head_atlas()


@pytest.fixture(scope="module")
def ball():
    """A brain without tissue, of 70 mm around the middle of the template's; voxels of 2 mm."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -80.0, -98.0, -70.0
    centres = np.stack(np.indices((81, 81, 81)), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    inside = np.linalg.norm(centres - [0.0, -18.0, 10.0], axis=-1) < 70
    nothing = np.zeros(inside.shape, np.float32)
    return nothing, nothing, inside, affine


def reach(atlas, way):
    """How far from the ball fluid is likelier than not, along a way from its middle, mm."""
    way = np.array(way) / np.linalg.norm(way)
    steps = np.arange(60.0, 85.0, 0.25)
    to_voxel = np.linalg.inv(atlas.affine)
    points = np.array([0.0, -18.0, 10.0]) + steps[:, None] * way
    prior = np.empty((len(points), len(CLASSES)), np.float32)
    sample_prior(atlas.maps, points @ to_voxel[:3, :3].T + to_voxel[:3, 3], prior)
    return float(steps[prior[:, CLASSES.index("CSF")] > 0.5].max() - 70)


def at_mm(atlas, x, y, z):
    """Probability of each class at a point of the template."""
    index = np.rint(np.linalg.solve(atlas.affine, [x, y, z, 1])[:3]).astype(int)
    return dict(zip(atlas.names, atlas.maps[tuple(index)], strict=True))


def test_probabilities_are_positive_and_sum_to_one(atlas):
    for which in (atlas, atlas.smoothed(6.0), atlas.without_head()):
        assert which.maps.min() > 0
        np.testing.assert_allclose(which.maps.sum(-1), 1, atol=1e-5)
        assert which.maps.dtype == np.float32
        assert len(which.names) == len(which.labels) == which.maps.shape[-1]


def test_classes_of_the_brain_come_first_and_are_parts_of_a_tissue(atlas):
    assert atlas.names == CLASSES
    assert all(label < atlas.n_tissues for label in atlas.labels[: atlas.n_inside])
    assert all(label == atlas.n_tissues for label in atlas.labels[atlas.n_inside :])
    without = atlas.without_head()
    assert without.names == (*atlas.names[: atlas.n_inside], "outside")
    assert without.n_inside == atlas.n_inside


def test_without_the_head_classes_of_the_brain_stay_and_the_rest_is_one(atlas):
    n = atlas.n_inside
    without = atlas.without_head()
    assert np.array_equal(without.maps[..., :n], atlas.maps[..., :n])
    assert np.array_equal(without.maps[..., n], atlas.maps[..., n:].sum(-1))


def test_around_the_brain_points_have_what_they_had_in_half_the_voxels(atlas, rng):
    near = atlas.around_brain(32.0)
    assert near.maps.size < 0.6 * atlas.maps.size
    points = rng.uniform((-75, -110, -50), (75, 75, 85), (500, 3))  # mm, in and around the brain
    whole, part = (np.empty((len(points), len(CLASSES)), np.float32) for _ in range(2))
    for which, prior in ((atlas, whole), (near, part)):
        to_voxel = np.linalg.inv(which.affine)
        sample_prior(which.maps, points @ to_voxel[:3, :3].T + to_voxel[:3, 3], prior)
    np.testing.assert_allclose(part, whole, atol=1e-5)
    far = whole[:, : atlas.n_inside].sum(1) < 0.01
    assert 50 < np.count_nonzero(far) < 450  # negative control: both kinds of places
    assert near.parted().names == atlas.parted().names


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("WM", (26, -20, 30)),  # corona radiata
        ("deep GM", (28, 0, 2)),  # putamen
        ("CSF", (6, -10, 24)),  # body of the lateral ventricle
        ("air", (0, 0, 110)),
    ],
)
def test_the_likeliest_class_is_what_anatomy_says(atlas, name, point):
    for side in (-1, 1):
        here = at_mm(atlas, side * point[0], *point[1:])
        assert max(here, key=here.get) == name, here


@pytest.mark.parametrize(
    ("part", "point"),
    [
        ("thalamic GM", (11, -19, 6)),
        ("pallidal GM", (19, -5, -1)),
        ("putaminal GM", (28, -8, 2)),  # its back, most of it white in the average maps
        ("brainstem WM", (3, -24, -34)),  # pons
        ("cerebellar GM", (28, -70, -52)),  # inferior lobules
        ("cerebellar WM", (22, -56, -38)),  # around the dentate nucleus
        ("occipital GM", (6, -86, 4)),  # along the calcarine sulcus
    ],
)
def test_parts_are_where_anatomy_has_them(atlas, part, point):
    parted = atlas.parted()
    for side in (-1, 1):
        here = at_mm(parted, side * point[0], *point[1:])
        assert max(here, key=here.get) == part, here
    cortex = at_mm(parted, 40, -20, 55)
    assert max(cortex[name] for name in PARTS) == 0


def test_deep_grey_matter_is_that_of_the_nuclei_and_not_what_lies_beside_them(atlas):
    """Fornix, body and tail of the hippocampus: as deep in the brain, and grey in average maps."""
    for point in ((12, 12, 6), (26, 2, 0), (11, -19, 6)):  # caudate, putamen, thalamus
        here = at_mm(atlas, *point)
        assert here["deep GM"] > 3 * here["GM"], here
    for point in ((0, -4, 10), (32, -26, -8), (26, -36, -6)):
        here = at_mm(atlas, *point)
        assert here["GM"] > 0.5, here
        assert here["deep GM"] < 0.05, here


def test_parts_are_taken_from_their_class_and_nothing_else(atlas):
    parted = atlas.parted()
    assert parted.tissues == atlas.tissues
    assert parted.names == (*CLASSES[:4], *PARTS, *CLASSES[4:])
    assert parted.maps.min() >= 0
    for k, name in enumerate(CLASSES):
        own = [name, *(part for part, whole in PARTS.items() if whole == name)]
        assert len({parted.labels[parted.names.index(n)] for n in own}) == 1
        total = sum(parted.maps[..., parted.names.index(n)] for n in own)
        np.testing.assert_allclose(total, atlas.maps[..., k], atol=1e-6)


def test_a_brain_without_its_head_has_the_same_parts(atlas):
    """Whichever is done first; a head that took its shares along would leave no parts at all."""
    first, last = atlas.without_head().parted(), atlas.parted().without_head()
    assert set(PARTS) <= set(first.names)
    assert (first.names, first.labels) == (last.names, last.labels)
    assert np.array_equal(first.maps, last.maps)


def test_an_atlas_that_knows_no_parts_stays_as_it_is(atlas):
    coarse = atlas.smoothed(6.0)
    assert coarse.parted() is coarse


def test_bone_lies_between_brain_and_scalp(atlas):
    """Up from the vertex: CSF, then bone, then soft tissue, then air."""
    heights = np.arange(60, 115, 1.0)
    likeliest = [max(p := at_mm(atlas, 10, -20, z), key=p.get) for z in heights]
    order = list(dict.fromkeys(name for name in likeliest if name in ("bone", "soft", "air")))
    assert order == ["bone", "soft", "air"]


def test_fluid_is_deeper_in_front_than_at_the_back_and_deepest_around_the_brainstem(ball):
    """By 1 mm over a brain of 140, as in people who lie on their back; by 2.5 at the cisterns."""
    atlas = head_atlas(*ball)
    front, back, up = (reach(atlas, way) for way in ([0, 1, 0], [0, -1, 0], [0, 0, 1]))
    assert front - back == pytest.approx(1.0, abs=0.4)
    assert up == pytest.approx((front + back) / 2, abs=0.3)
    assert reach(atlas, [0, 0, -1]) - up == pytest.approx(2.5, abs=0.4)
    assert reach(atlas, [1, 0, 0]) - up == pytest.approx(0, abs=0.4)


def test_maps_whose_own_fluid_reaches_the_bone_get_no_more_of_it(ball):
    without = head_atlas(*ball, rim_mm=0.0)
    for way in ([0, 1, 0], [0, -1, 0], [0, 0, -1]):
        assert reach(without, way) <= 0
        assert reach(head_atlas(*ball), way) > 0.5  # negative control
