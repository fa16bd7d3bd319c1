"""What may come in: formats, types, and one sentence for each thing that may not."""

import contextlib
import gzip

import h5py
import nibabel as nib
import numpy as np
import pytest
from nibabel.externals.netcdf import netcdf_file

from gmmseg import affines, volume
from gmmseg.checks import InputError

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 0, 3.0, -20], [0, 1.5, 0, -30], [0, 0, 0, 1]])


def write(path, data, affine=AFFINE, kind=nib.Nifti1Image, **header):
    image = kind(data, affine)
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, path)
    return path


@pytest.fixture
def data(rng):
    return rng.integers(-50, 1000, (7, 6, 5)).astype(np.int16)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"]
)
def test_every_number_type_gives_the_same_intensities(tmp_path, rng, dtype):
    data = rng.integers(0, 100, (5, 4, 3)).astype(dtype)
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(data, AFFINE, dtype=dtype), path)
    scan = volume.read(path)
    assert scan.data.dtype == np.float32
    np.testing.assert_array_equal(scan.data, data)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scan.nii", nib.Nifti1Image),
        ("scan.nii.gz", nib.Nifti1Image),
        ("scan.nii", nib.Nifti2Image),
        ("scan.img", nib.Nifti1Pair),
        ("scan.hdr", nib.Nifti1Pair),
        ("scan.mgz", nib.MGHImage),
    ],
)
def test_every_format_gives_the_same_voxels_and_the_same_place(tmp_path, data, name, kind):
    scan = volume.read(write(tmp_path / name, data, kind=kind))
    np.testing.assert_array_equal(scan.data, data)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-5)
    assert scan.n_missing == 0


def test_an_analyze_pair_is_read(tmp_path, data):
    path = write(tmp_path / "scan.img", data, np.diag([2.0, 2, 2, 1]), nib.Spm2AnalyzeImage)
    np.testing.assert_array_equal(volume.read(path).data, data)


def write_minc(path, data):
    """A MINC 2 file with axes z, y, x, or time, z, y, x, of 2 mm."""
    names = ["time", "zspace", "yspace", "xspace"][-data.ndim :]
    with h5py.File(path, "w") as file:
        root = file.create_group("minc-2.0")
        for name, size in zip(names, data.shape, strict=True):
            axis = root.create_dataset(f"dimensions/{name}", (), dtype="i4")
            axis.attrs.update(
                {"start": -5.0, "step": 2.0, "length": size, "spacing": np.bytes_("regular__")}
            )
        image = root.create_dataset("image/0/image", data=data)
        image.attrs.update({"dimorder": np.bytes_(",".join(names)), "valid_range": [0.0, 255.0]})
        for bound, value in (("min", 0.0), ("max", 255.0)):
            bounds = root.create_dataset(f"image/0/image-{bound}", data=value)
            bounds.attrs["dimorder"] = np.bytes_("")
    return path


def write_minc1(path, data):
    """A MINC 1 file with axes z, y, x of 2 mm."""
    names = ("zspace", "yspace", "xspace")
    with netcdf_file(path, "w") as file:
        for name, size in zip(names, data.shape, strict=True):
            file.createDimension(name, size)
            axis = file.createVariable(name, "i", ())
            axis.start, axis.step, axis.length, axis.spacing = -5.0, 2.0, size, b"regular__"
        image = file.createVariable("image", "b", names)
        image.signtype, image.valid_range = b"unsigned", np.array([0.0, 255.0])
        image[:] = data.view(np.int8)
        for bound, value in (("min", 0.0), ("max", 255.0)):
            file.createVariable(f"image-{bound}", "d", ("zspace",))[:] = value
    return path


def test_the_older_minc_is_read(tmp_path, rng):
    data = rng.integers(0, 255, (4, 5, 6)).astype(np.uint8)
    scan = volume.read(write_minc1(tmp_path / "scan.mnc", data))
    np.testing.assert_allclose(scan.data, data, atol=1e-4)


def test_minc_is_read(tmp_path, rng):
    data = rng.integers(0, 255, (4, 5, 6)).astype(np.uint8)
    scan = volume.read(write_minc(tmp_path / "scan.mnc", data))
    np.testing.assert_allclose(scan.data, data, atol=1e-4)
    np.testing.assert_allclose(affines.voxel_sizes(scan.affine), 2.0)


def test_the_volumes_of_a_minc_file_are_along_its_first_axis(tmp_path, rng):
    data = rng.integers(0, 255, (3, 4, 5, 6)).astype(np.uint8)
    path = write_minc(tmp_path / "scan.mnc", data)
    np.testing.assert_allclose(volume.read(path, volume=2).data, data[2], atol=1e-4)
    with pytest.raises(InputError, match="holds 3 volumes"):
        volume.read(path)


def test_scaling_in_the_header_is_applied(tmp_path, data):
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_slope_inter(0.5, 100)
    nib.save(image, tmp_path / "scan.nii")
    np.testing.assert_allclose(volume.read(tmp_path / "scan.nii").data, 0.5 * data + 100)


def test_an_image_in_memory_is_as_good_as_a_file(data):
    scan = volume.read(nib.Nifti1Image(data, AFFINE))
    np.testing.assert_array_equal(scan.data, data)
    assert scan.path is None
    assert volume.read(scan) is scan


def test_what_was_given_is_never_changed(data):
    floats = data.astype(np.float32)
    floats[0, 0, 0] = np.inf
    before = floats.copy()
    scan = volume.read(nib.Nifti1Image(floats, AFFINE))
    scan.data[:] = 0
    np.testing.assert_array_equal(floats, before)


def test_nan_and_infinite_voxels_are_missing_and_counted(tmp_path, data):
    holes = data.astype(np.float64)
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    scan = volume.read(write(tmp_path / "scan.nii", holes))
    assert scan.n_missing == 3
    assert np.isnan(scan.data[0, 0, :3]).all()
    np.testing.assert_array_equal(scan.data[1:], data[1:])


def test_trailing_axes_of_one_are_dropped(tmp_path, data):
    path = write(tmp_path / "scan.nii", data[..., None, None])
    np.testing.assert_array_equal(volume.read(path).data, data)
    np.testing.assert_array_equal(volume.read(path, volume=0).data, data)


def test_one_volume_of_a_4d_image_can_be_chosen(tmp_path, rng):
    data = rng.integers(0, 100, (5, 4, 3, 2)).astype(np.int16)
    path = write(tmp_path / "scan.nii.gz", data)
    np.testing.assert_array_equal(volume.read(path, volume=1).data, data[..., 1])
    with pytest.raises(InputError, match=r"holds 2 volumes.*--volume N, with N from 0 to 1"):
        volume.read(path)
    with pytest.raises(InputError, match="has no volume 2: it holds 2"):
        volume.read(path, volume=2)


def broken(tmp_path, data, what):
    """A file with one thing wrong with it."""
    path = tmp_path / "scan.nii"
    zipped = tmp_path / "scan.nii.gz"
    whole = write(path, data).read_bytes()
    floats = data.astype(np.float32)
    if what == "truncated":
        path.write_bytes(whole[:-100])
    elif what == "truncated gz":
        noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
        write(zipped, noise)
        zipped.write_bytes(zipped.read_bytes()[:5000])
        return zipped
    elif what == "damaged gz":
        content = bytearray(gzip.compress(whole, 1))
        content[len(content) // 2 : len(content) // 2 + 40] = b"x" * 40
        zipped.write_bytes(content)
        return zipped
    elif what in ("wrong check sum", "wrong length"):
        noise = np.random.default_rng(0).integers(0, 30000, (40, 40, 40)).astype(np.int16)
        content = bytearray(gzip.compress(write(path, noise).read_bytes(), 1))
        content[-8 if what == "wrong check sum" else -4] ^= 1
        zipped.write_bytes(content)
        return zipped
    elif what == "header only":
        path.write_bytes(whole[:200])
    elif what == "text":
        path.write_text("This is no image.\n" * 100)
    elif what == "text gz":
        zipped.write_text("This is no gzip file.")
        return zipped
    elif what == "another format":
        (tmp_path / "scan.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        return tmp_path / "scan.png"
    elif what == "empty file":
        path.write_bytes(b"")
    elif what == "pair without image":
        write(tmp_path / "pair.img", data, kind=nib.Nifti1Pair)
        (tmp_path / "pair.img").unlink()
        return tmp_path / "pair.hdr"
    elif what == "complex":
        write(path, data.astype(np.complex64))
    elif what == "colour":
        rgb = np.zeros(data.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        write(path, rgb)
    elif what == "2-D":
        write(path, data[:, :, 0])
    elif what == "zeros":
        write(path, data * 0)
    elif what == "constant":
        write(path, data * 0 + 7)
    elif what == "constant with holes":
        write(path, np.where(data > 100, 7, np.nan))
    elif what == "too large":
        write(path, np.maximum(data, 0) * 1e100)
    elif what == "too small":
        write(path, data * 1e-100)
    elif what == "one value, too large":
        write(path, floats.astype(np.float64) * 0 + 1e100)
    elif what == "gz without its name":
        path.write_bytes(gzip.compress(whole))
    elif what == "all NaN":
        write(path, floats * np.nan)
    elif what == "surface":
        points = nib.gifti.GiftiDataArray(np.zeros((3, 3), np.float32), "NIFTI_INTENT_POINTSET")
        nib.save(nib.gifti.GiftiImage(darrays=[points]), tmp_path / "scan.gii")
        return tmp_path / "scan.gii"
    elif what == "folder":
        return tmp_path
    elif what == "missing":
        return tmp_path / "nothing.nii"
    return path


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", "truncated or damaged"),
        ("truncated gz", "truncated or damaged"),
        ("damaged gz", "damaged"),
        ("wrong check sum", "truncated or damaged.*CRC"),
        ("wrong length", "truncated or damaged.*length"),
        ("header only", "not an image"),
        ("text", "not an image"),
        ("text gz", "not an image"),
        ("another format", "not an image"),
        ("empty file", "is an empty file"),
        ("pair without image", "pair.img.* does not exist"),
        ("complex", "is complex"),
        ("colour", "holds colours"),
        ("2-D", "size 7x6; it must have three dimensions"),
        ("zeros", "is empty: every voxel has the value 0"),
        ("constant", "is constant: every voxel has the value 7"),
        ("constant with holes", "is constant: every finite voxel has the value 7"),
        ("too large", r"from 0 to 9.*e\+102, which numbers of 32 bits cannot hold"),
        ("one value, too large", r"from 1e\+100 to 1e\+100, which numbers of 32 bits cannot"),
        ("too small", "which numbers of 32 bits cannot hold or tell apart"),
        ("gz without its name", r"compressed by gzip.*rename it to scan\.nii\.gz"),
        ("all NaN", "no finite voxel"),
        ("surface", "holds no voxels"),
        ("folder", "is a folder"),
        ("missing", "does not exist"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, data, what, message):
    path = broken(tmp_path, data, what)
    with pytest.raises(InputError, match=message) as refusal:
        volume.read(path, name="scan")
    text = str(refusal.value)
    assert text.startswith(f"The scan {path}")
    assert "\n" not in text


@pytest.mark.parametrize("after", [bytes(100), b"what no gzip file begins with"])
def test_bytes_after_the_compressed_ones_do_no_harm(tmp_path, rng, after):
    path = tmp_path / "scan.nii.gz"
    noise = rng.integers(0, 30000, (40, 40, 40)).astype(np.int16)
    whole = write(tmp_path / "scan.nii", noise).read_bytes()
    path.write_bytes(gzip.compress(whole) + after)
    assert np.array_equal(volume.read(path).data, noise)


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("form", ["qform", "sform"])
def test_a_voxel_size_that_is_no_size_is_refused_unless_the_sform_has_it(
    tmp_path, data, size, form
):
    path = write(tmp_path / "scan.nii", data)
    content = bytearray(path.read_bytes())
    content[76 + 8 : 76 + 12] = np.float32(size).tobytes()  # pixdim[2]
    if form == "qform":
        content[252:256] = np.array([1, 0], np.int16).tobytes()  # qform_code, sform_code
    path.write_bytes(content)
    if form == "sform":
        scan = volume.read(path)
        np.testing.assert_array_equal(scan.affine, AFFINE)
        out = volume.to_image(scan.data, scan, dtype=np.float32)
        np.testing.assert_array_equal(out.affine, AFFINE)
        np.testing.assert_allclose(out.header["pixdim"][1:4], affines.voxel_sizes(AFFINE))
        return
    with pytest.raises(InputError, match=r"voxel size 2 x .* mm in its header; all must be posit"):
        volume.read(path)


def test_an_affine_that_spans_no_space_is_refused(tmp_path, data):
    path = write(tmp_path / "scan.nii", data)
    flat = path.read_bytes()
    rows = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    path.write_bytes(flat[:280] + rows.tobytes() + flat[328:])
    with pytest.raises(InputError, match="singular affine"):
        volume.read(path)
    rows[0, 0] = np.nan
    path.write_bytes(flat[:280] + rows.tobytes() + flat[328:])
    with pytest.raises(InputError, match="affine that is not finite"):
        volume.read(path)


def test_what_is_neither_path_nor_image_is_refused():
    with pytest.raises(InputError, match="must be a path or a nibabel image, not list"):
        volume.read([1, 2, 3])


def test_the_odd_files_are_read_or_refused_in_one_sentence(bench):
    """nibabel's and niivue's test images: axis orders, oblique, sheared, 4-D, NaN, no image."""
    refused = {}
    for path in sorted((bench / "oddformats").iterdir()):
        with contextlib.suppress(InputError):
            assert np.isfinite(volume.read(path).data).any()
            continue
        with pytest.raises(InputError) as refusal:
            volume.read(path)
        refused[path.name] = str(refusal.value)
    assert set(refused) == {
        *("FLAIR.nrrd", "analyze.hdr", "nifti1.hdr", "phantom_truncated.REC"),
        *("complex.nii.gz", "example4d.nii.gz", "minc2_4d.mnc"),
    }
    assert not any("\n" in message for message in refused.values())
