"""What is written: names, codes, tables, sidecars, and what a segmentation says of itself."""

import csv
import json
import pickle
import time
from dataclasses import replace
from pathlib import Path
from threading import Lock

import fake
import nibabel as nib
import numpy as np
import pytest

from gmmseg import derivatives, labels, provenance
from gmmseg.checks import InputError
from gmmseg.outputs import Outputs

NAMES = ("GM", "WM", "CSF")


@pytest.mark.parametrize(
    ("scan", "dseg", "corrected"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_dseg", "sub-01_desc-biascorr_T1w"),
        ("sub-01_ses-2_T1w.nii", "sub-01_ses-2_dseg", "sub-01_ses-2_desc-biascorr_T1w"),
        ("sub-A1_acq-x_run-1_T2w.nii.gz", "sub-A1_acq-x_run-1_dseg",
         "sub-A1_acq-x_run-1_desc-biascorr_T2w"),
        ("sub-01_desc-preproc_T1w.nii.gz", "sub-01_dseg", "sub-01_desc-biascorr_T1w"),
        ("t1.nii.gz", "t1_dseg", "t1_desc-biascorr_T1w"),
        ("T1.mgz", "T1_dseg", "T1_desc-biascorr_T1w"),
        ("my head.v2.img", "my head.v2_dseg", "my head.v2_desc-biascorr_T1w"),
        ("sub-01_T1w_brain.nii.gz", "sub-01_T1w_brain_dseg",
         "sub-01_T1w_brain_desc-biascorr_T1w"),
        ("scan.mnc.gz", "scan_dseg", "scan_desc-biascorr_T1w"),
        ("scan", "scan_dseg", "scan_desc-biascorr_T1w"),
    ],
)  # fmt: skip
def test_bids_names_keep_their_entities_and_others_their_stem(scan, dseg, corrected):
    outputs = Outputs.of(Path("somewhere", scan), Path("out"))
    written = outputs.all(NAMES)
    assert written[0] == Path("out", f"{dseg}.nii.gz")
    assert Path("out", f"{corrected}.nii.gz") in written
    assert len(set(written)) == len(written)


@pytest.fixture(scope="module")
def result():
    return fake.segmentation()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    """Folder with the files of a segmentation in FSL's codes."""
    folder = tmp_path_factory.mktemp("written")
    outputs = Outputs(Path("elsewhere"), "t1", "T1w", False)
    derivatives.write_images(result, outputs, folder, scheme="fsl")
    derivatives.write_tables(
        result, outputs, folder, scheme="fsl", provenance={"settings": {"mrf": 1}}
    )
    return folder


def image(folder, ending):
    return nib.load(folder / f"t1_{ending}.nii.gz")


def table(folder, ending):
    with (folder / f"t1_{ending}.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_announced_file_but_the_picture_is_written_and_no_other(written):
    announced = Outputs(written, "t1", "T1w", False).all(NAMES)
    assert {path.name for path in announced} - {"t1_qc.png"} == {
        path.name for path in written.iterdir()
    }


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("bids", {"GM": 1, "WM": 2, "CSF": 3}),
        ("fsl", {"GM": 2, "WM": 3, "CSF": 1}),
        ("spm", {"GM": 1, "WM": 2, "CSF": 3}),
        ("freesurfer", {"GM": 3, "WM": 2, "CSF": 24}),
    ],
)
def test_each_convention_gives_each_tissue_its_code(result, scheme, expected):
    coded = np.asarray(result.label_image(scheme).dataobj)
    assert coded.dtype == np.uint8
    for k, name in enumerate(NAMES, start=1):
        assert set(coded[result.labels == k]) == {expected[name]}
    assert not coded[result.labels == 0].any()
    rows = derivatives.label_table(NAMES, scheme)
    assert {row["abbreviation"]: row["index"] for row in rows} == expected
    assert {row["abbreviation"]: row["mapping"] for row in rows} == {"GM": 1, "WM": 2, "CSF": 3}
    assert [row["index"] for row in rows] == sorted(expected.values())


def test_an_unknown_convention_or_class_is_refused(result):
    with pytest.raises(InputError, match="choose one of bids, fsl, spm, freesurfer"):
        result.label_image("itk")
    with pytest.raises(InputError, match="has no code for lesion"):
        labels.codes(["GM", "lesion"], "fsl")


def test_images_hold_what_the_segmentation_holds_where_the_scan_is(result, written):
    expected = {
        "dseg": labels.recode(result.labels, NAMES, "fsl"),
        "desc-brain_mask": result.mask,
        "desc-biascorr_T1w": result.corrected,
        **{f"label-{name}_probseg": result.posteriors[..., k] for k, name in enumerate(NAMES)},
    }
    types = {"dseg": np.uint8, "desc-brain_mask": np.uint8}
    for ending, array in expected.items():
        found = image(written, ending)
        np.testing.assert_array_equal(np.asarray(found.dataobj), array, err_msg=ending)
        np.testing.assert_allclose(found.affine, fake.AFFINE)
        assert found.get_data_dtype() == types.get(ending, np.float32)


def test_the_label_table_names_the_codes_in_the_image(written):
    rows = table(written, "dseg")
    assert [row["index"] for row in rows] == ["1", "2", "3"]
    assert [row["name"] for row in rows] == ["Cerebrospinal Fluid", "Gray Matter", "White Matter"]
    assert rows[1]["color"] == "#ff53bb"


def test_volumes_are_voxel_counts_times_the_voxel_volume(result, written):
    rows = {row["name"]: row for row in table(written, "desc-volumes")}
    for k, name in enumerate(NAMES):
        by_label = np.count_nonzero(result.labels == k + 1) * 1 * 2 * 3 / 1000
        by_posterior = result.posteriors[..., k].sum(dtype=float) * 6 / 1000
        assert float(rows[name]["volume_from_labels_ml"]) == pytest.approx(by_label, abs=1e-3)
        assert float(rows[name]["volume_from_probabilities_ml"]) == pytest.approx(
            by_posterior, abs=1e-3
        )
    brain = np.count_nonzero(result.mask) * 6 / 1000
    assert float(rows["brain"]["volume_from_labels_ml"]) == pytest.approx(brain, abs=1e-3)
    assert float(rows["brain"]["volume_from_probabilities_ml"]) == pytest.approx(brain, abs=2e-3)


def test_volumes_from_fractions_stand_in_the_table_where_there_are_fractions(result):
    assert "volume_from_fractions_ml" not in derivatives.volume_table(result)[0]
    mixed = replace(result, fractions=result.posteriors[..., ::-1].copy())
    rows = derivatives.volume_table(mixed)
    for row, other in zip(rows[:3], rows[2::-1], strict=True):
        assert row["volume_from_fractions_ml"] == other["volume_from_probabilities_ml"]
    assert rows[3]["volume_from_fractions_ml"] == rows[3]["volume_from_probabilities_ml"]


def test_sidecars_say_what_bids_asks_for(written):
    sidecars = {path.name: json.loads(path.read_text()) for path in written.glob("*.json")}
    assert sidecars["t1_desc-brain_mask.json"]["Type"] == "Brain"
    assert sidecars["t1_desc-biascorr_T1w.json"]["SkullStripped"] is False
    assert sidecars["t1_dseg.json"]["Manual"] is False
    assert sidecars["t1_desc-provenance.json"] == {"settings": {"mrf": 1}}


def test_the_description_of_the_folder_makes_it_a_derivative():
    content = derivatives.dataset_description()
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "gmmseg"


def test_the_record_holds_what_repeats_the_run(tmp_path, result):
    scan = tmp_path / "t1.nii"
    scan.write_bytes(b"content")
    record = provenance.record(
        result,
        read=provenance.inputs(scan, None),
        labels="fsl",
        command=["gmmseg", "brain", "a b.nii"],
        files=[tmp_path / "t1_dseg.nii.gz", tmp_path / "t1_qc.png"],
    )
    assert record == json.loads(json.dumps(record, allow_nan=False))
    # printf content | sha256sum
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert record["scan"]["sha256"] == digest
    assert record["command"] == "gmmseg brain 'a b.nii'"
    assert "belonging_files" not in record["scan"]
    assert record["settings"]["bias_fwhm"] == 60
    assert record["objective_nats_per_sample"] == [-5, -4.5, -4.4]
    assert record["decisions"]["affine"] == np.eye(4).tolist()
    gm = record["components"][0]
    assert (gm["class"], gm["mean"], gm["standard_deviation"]) == ("GM", 80, 4)
    assert record["mask"] is None
    assert record["self_check"] == []
    assert record["files"] == ["t1_dseg.nii.gz", "t1_qc.png"]


def test_a_segmentation_survives_a_trip_to_another_process(result):
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.labels, result.labels)
    assert copy.decisions.keys() == result.decisions.keys()


def test_the_arrays_of_a_segmentation_are_read_only(result):
    with pytest.raises(ValueError, match="read-only"):
        result.labels[0, 0, 0] = 1


def test_a_segmentation_is_shown_in_one_line(result):
    """Not by its arrays, which would fill the pages of a notebook."""
    assert repr(result) == "<BrainSegmentation of 40x24x16: GM, WM, CSF; warnings: 0>"


def test_a_class_that_is_not_there_is_named(result):
    with pytest.raises(InputError, match="No class 'lesion'; there are GM, WM, CSF"):
        result.probability_image("lesion")


@pytest.mark.parametrize(("threads", "at_a_time"), [(1, 1), (2, 1), (3, 2), (8, 2)])
def test_one_thread_is_left_to_the_picture_while_files_are_compressed(
    monkeypatch, tmp_path, result, threads, at_a_time
):
    here, most, lock = 0, 0, Lock()

    def save(image, path):
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        time.sleep(0.05)
        with lock:
            here -= 1

    monkeypatch.setattr(derivatives.volumes, "save", save)
    monkeypatch.setattr("gmmseg.threads.n_threads", lambda: threads)

    outputs = Outputs(Path("elsewhere"), "t1", "T1w", False)
    derivatives.write_images(result, outputs, tmp_path, scheme="fsl")

    assert most == at_a_time


@pytest.mark.parametrize(
    ("named", "other"),
    [("a.hdr", "a.img"), ("a.img", "a.hdr"), ("a.HDR", "a.img.gz"), ("b+orig.HEAD", "b+orig.BRIK")],
)
def test_of_an_image_in_two_files_both_are_in_the_record(tmp_path, named, other):
    (tmp_path / named).write_text("content")
    (tmp_path / other).write_text("voxels")
    (tmp_path / "a.json").touch()
    read = provenance.inputs(tmp_path / named, None)
    # printf voxels | sha256sum
    digest = "38d11342e7802dc460247dcec95b945557f05a1bcc74a4db37f42d7e2b8b43de"
    assert read["scan"]["belonging_files"] == [{"path": str(tmp_path / other), "sha256": digest}]
