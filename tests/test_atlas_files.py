"""Tissue maps named on the command line: found, read, and refused when they cannot be used."""

import json
import sys
import types
import weakref

import nibabel as nib
import numpy as np
import packaged
import pytest
from click.testing import CliRunner

from gmmseg import atlasfiles, cli
from gmmseg.batch import Job, run_job
from gmmseg.checks import InputError
from gmmseg.template import icbm_head_atlas

AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
AFFINE[:3, 3] = (-92, -130, -70)


def balls():
    """Two nested balls the size of a brain, as maps of GM and WM on a coarse grid."""
    axes = [AFFINE[i, i] * np.arange(24) + AFFINE[i, 3] for i in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + (y + 18) ** 2 + (z - 10) ** 2)
    white = (radius < 45).astype(np.float32)
    return {"GM": ((radius < 66) - white).astype(np.float32), "WM": white}


@pytest.fixture
def files(tmp_path):
    return packaged.write(tmp_path, balls(), AFFINE)


def image(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def test_without_an_atlas_the_packaged_one_is_taken():
    assert atlasfiles.head_atlas() is icbm_head_atlas()
    assert atlasfiles.class_names() == icbm_head_atlas().tissues == ("GM", "WM", "CSF")


def test_the_packaged_atlas_does_not_stay_in_memory_once_it_was_taken(files):
    atlasfiles.load_ahead()
    kept = weakref.finalize(atlasfiles.head_atlas().maps, lambda: None)
    assert kept.alive  # negative control: until it is taken
    atlas, blurred = atlasfiles.taken()
    assert blurred.fine.maps.shape == atlas.maps.shape
    del atlas, blurred
    assert not kept.alive
    assert atlasfiles.taken(files)[0] is atlasfiles.head_atlas(files)  # takes long to make


def test_names_come_from_the_word_the_file_name_or_the_list(files, tmp_path):
    plain = image(tmp_path / "plain.nii", balls()["WM"])
    assert atlasfiles.class_names(files) == ("GM", "WM")
    assert atlasfiles.class_names([files[0], f"lesion={plain}"]) == ("GM", "lesion")
    assert atlasfiles.class_names([files[0], plain], ("A", "B")) == ("A", "B")
    assert atlasfiles.class_names([files[1], f"deep GM={files[0]}"]) == ("WM", "SGM")


def test_one_4d_file_holds_all_classes_named_by_its_label_map_or_by_hand(tmp_path):
    both = image(tmp_path / "seg_probseg.nii.gz", np.stack([*balls().values()], axis=-1))
    (tmp_path / "seg_probseg.json").write_text(json.dumps({"LabelMap": ["CGM", "WM"]}))
    named = atlasfiles.head_atlas([both])
    assert named.tissues == ("CGM", "WM")
    by_hand = atlasfiles.head_atlas([both], ("x", "y"))
    assert by_hand.tissues == ("x", "y")
    np.testing.assert_array_equal(by_hand.maps, named.maps)


@pytest.mark.parametrize("axes", ["LPI", "SRA"])
def test_the_order_of_the_axes_does_not_matter(tmp_path, files, axes):
    expected = atlasfiles.head_atlas(files)
    turned = atlasfiles.head_atlas(packaged.write(tmp_path, balls(), AFFINE, axes=axes))
    np.testing.assert_array_equal(turned.maps, expected.maps)
    np.testing.assert_allclose(turned.affine, expected.affine)


@pytest.mark.parametrize(("scale", "dtype"), [(100, np.int16), (255, np.uint8)])
def test_percent_and_bytes_are_probabilities_too(tmp_path, files, scale, dtype):
    expected = atlasfiles.head_atlas(files).maps
    other = packaged.write(tmp_path, balls(), AFFINE, scale=scale, dtype=dtype)
    np.testing.assert_allclose(atlasfiles.head_atlas(other).maps, expected, atol=1e-6)


def bad_atlases(folder):
    """Words, names and expected message of every kind of atlas that is refused."""
    grey, white = balls().values()
    gm, wm = image(folder / "gm.nii", grey), image(folder / "wm.nii", white)
    moved = AFFINE.copy()
    moved[0, 3] += 4
    hole = white.copy()
    hole[0, 0, 0] = np.nan
    both = image(folder / "both.nii", np.stack([grey, white], axis=-1))
    labelled = image(folder / "map.nii", np.stack([grey, white], axis=-1))
    faint = [image(folder / f"faint{k}.nii", 0.4 * m) for k, m in enumerate((grey, white))]
    (folder / "map.json").write_text('{"LabelMap": ["GM"]}')
    return [
        ([f"GM={gm}"], "", "at least two classes"),
        ([f"GM={gm}", f"GM={wm}"], "", "Two maps .* name GM"),
        ([f"SCGM={gm}", f"deep GM={wm}"], "", "Two maps .* name SGM"),
        ([gm, wm], "", "gm.nii has no class name; give it as NAME=gm.nii"),
        ([gm, wm], "GM,WM,CSF", "2 maps and 3 names"),
        ([f"GM={gm}", f"W M={wm}"], "", "not made of letters and digits"),
        ([f"GM={gm}", f"Bone={wm}"], "", "'Bone' stands for what lies around"),
        ([f"GM={gm}", f"WM={folder / 'no.nii'}"], "", "no.nii does not exist"),
        ([both], "", "no both.json that names"),
        ([labelled], "", "no LabelMap of 2 names"),
        ([f"GM={both}", f"WM={wm}"], "", "holds 2 volumes, so it cannot be GM alone"),
        ([f"GM={gm}", f"WM={image(folder / 'm.nii', white, moved)}"], "", "not on the grid of"),
        ([f"GM={gm}", f"WM={image(folder / 's.nii', white[1:])}"], "", "23x24x24 against 24x24x24"),
        ([f"GM={gm}", f"WM={image(folder / 'n.nii', white - 0.2)}"], "", "WM is negative"),
        ([f"GM={gm}", f"WM={image(folder / 'h.nii', hole)}"], "", "1 voxels that are NaN"),
        ([f"GM={gm}", f"WM={image(folder / 'z.nii', 0 * white)}"], "", "empty"),
        ([f"GM={gm}", f"WM={image(folder / 'o.nii', grey + white)}"], "", "maps overlap: .* 1 "),
        ([f"GM={gm}", f"WM={image(folder / 'b.nii', 999 * white)}"], "", "reach 999; prob"),
        ([f"GM={image(folder / 'g.nii', 255 * grey)}", f"WM={wm}"], "", "WM reaches 1 at most"),
        ([f"GM={gm}", f"WM={image(folder / 'p.nii', 100 * white)}"], "", "GM reaches 1 at most"),
        ([f"GM={faint[0]}", f"WM={faint[1]}"], "", "never add up to more than half: 0.4 of 1"),
        ([], "GM,WM", "without an atlas"),
    ]


def test_a_bad_atlas_is_refused_with_one_sentence_and_exit_code_2(tmp_path, sample_t1):
    for words, names, message in bad_atlases(tmp_path):
        with pytest.raises(InputError, match=message):
            atlasfiles.head_atlas(words, tuple(names.split(",")) if names else ())
        options = [word for one in words for word in ("--atlas", one)]
        options += ["--atlas-names", names] if names else []
        out = tmp_path / "out"
        result = CliRunner().invoke(cli.main, ["brain", str(sample_t1), "-o", str(out), *options])
        assert result.exit_code == 2, (words, result.output)
        assert result.stderr.count("\n") == 1
        assert not out.exists()


def test_other_label_schemes_have_no_code_for_names_of_the_users(files, tmp_path, sample_t1):
    words = ["brain", str(sample_t1), "-o", str(tmp_path / "out"), "--labels", "fsl"]
    words += ["--atlas", files[0], "--atlas", f"lesion={files[1]}"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert "fsl has no code for lesion" in result.stderr


@pytest.mark.parametrize("rest", [[], ["--quiet"], ["--mrf", "0"]])
def test_one_option_takes_all_the_files_that_follow_it(files, tmp_path, sample_t1, rest):
    words = ["brain", str(sample_t1), "-o", str(tmp_path / "out"), "--labels", "fsl"]
    words += ["--atlas", files[0], f"lesion={files[1]}", *rest]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert "fsl has no code for lesion" in result.stderr


def test_no_file_is_taken_for_a_map_before_the_scan_is_named(files, tmp_path, sample_t1):
    """Negative control: the last of three may be the scan, and the one before it is too much."""
    words = ["brain", "-o", str(tmp_path / "out"), "--atlas", *files[:2], str(sample_t1)]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert "unexpected extra argument" in result.stderr


@pytest.mark.parametrize("option", ["--regions", "--parts"])
def test_parts_of_the_packaged_atlas_are_not_put_on_another(files, tmp_path, sample_t1, option):
    words = ["brain", str(sample_t1), "-o", str(tmp_path / "out"), option]
    result = CliRunner().invoke(cli.main, [*words, "--atlas", files[0], "--atlas", files[1]])
    assert result.exit_code == 2
    assert f"{option} carries parts" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_job_repeats_its_atlas_and_regions(tmp_path):
    settings = {"atlas": ("GM=a.nii", "b.nii"), "atlas_names": ("GM", "WM")}
    words = Job(tmp_path / "t1.nii", settings=settings).command()
    at = words.index("--atlas")
    assert words[at : at + 4] == ["--atlas", "GM=a.nii", "--atlas", "b.nii"]
    assert words[words.index("--atlas-names") + 1] == "GM,WM"
    assert "--regions" in Job(tmp_path / "t1.nii", regions=True).command()
    words = Job(tmp_path / "t1.nii", settings={"atlas": "maps.nii"}).command()
    assert words[words.index("--atlas") + 1] == "maps.nii"


def test_a_job_takes_one_file_for_an_atlas_by_its_name_alone(tmp_path, sample_t1):
    job = Job(sample_t1, tmp_path / "out", settings={"atlas": str(tmp_path / "maps.nii")})
    with pytest.raises(InputError, match=r"maps\.nii"):  # and not of one letter of it
        run_job(job)


@pytest.fixture
def no_templateflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "templateflow", None)  # its import fails


def test_templateflow_is_asked_for_the_maps_of_a_template(monkeypatch, tmp_path, files):
    asked = {}

    def get(name, **entities):
        asked.update(name=name, **entities)
        brain = tmp_path / "tpl-X_res-01_label-brain_probseg.nii.gz"
        brain.write_bytes(b"not a tissue")
        return [*files, brain]

    module = types.ModuleType("templateflow")
    module.api = types.SimpleNamespace(get=get)
    monkeypatch.setitem(sys.modules, "templateflow", module)
    assert atlasfiles.class_names(["templateflow:MNIInfant:cohort-3"]) == ("GM", "WM")
    assert asked["name"] == "MNIInfant"
    assert (asked["cohort"], asked["suffix"], asked["resolution"]) == ("3", "probseg", 1)


@pytest.mark.parametrize("answer", [[], OSError("no network"), "stubs"])
def test_a_template_that_cannot_be_had_is_refused_with_the_remedy(monkeypatch, tmp_path, answer):
    stub = tmp_path / "tpl-X_res-01_label-GM_probseg.nii.gz"
    stub.touch()  # listed, and never fetched

    def get(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return [stub, stub] if answer == "stubs" else answer

    module = types.ModuleType("templateflow")
    module.api = types.SimpleNamespace(get=get)
    monkeypatch.setitem(sys.modules, "templateflow", module)
    with pytest.raises(InputError, match="fetch it once while online"):
        atlasfiles.head_atlas(["templateflow:X"])


def test_the_folder_of_templateflow_is_enough(no_templateflow, monkeypatch, tmp_path):
    folder = tmp_path / "tpl-X"
    folder.mkdir()
    packaged.write(folder, balls(), AFFINE)
    (folder / "tpl-X_res-02_label-CSF_probseg.nii.gz").write_bytes(b"of another grid")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    assert atlasfiles.class_names(["templateflow:X"]) == ("GM", "WM")
    with pytest.raises(InputError, match="pip install templateflow"):
        atlasfiles.head_atlas(["templateflow:Y"])
    with pytest.raises(InputError, match="not a template"):
        atlasfiles.head_atlas(["templateflow:X:cohort"])
