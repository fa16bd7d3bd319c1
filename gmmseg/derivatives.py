"""Files of one segmentation under the names of BIDS derivatives."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import gmmseg
from gmmseg import volume as volumes
from gmmseg.labels import BIDS_MORE, NAMES, SCHEMES, codes, colours
from gmmseg.outputs import (
    DESCRIPTION,
    FRACTION,
    LABELS,
    MASK,
    PROBABILITY,
    REGION_FILES,
    UNCERTAINTY,
    Outputs,
)

if TYPE_CHECKING:
    import nibabel as nib

    from gmmseg.regions import BrainRegions
    from gmmseg.tissues import BrainSegmentation

BIDS_VERSION = "1.10.0"


def write_images(
    segmentation: BrainSegmentation,
    outputs: Outputs,
    folder: Path,
    *,
    scheme: str = "bids",
    extra: Sequence[str] = (),
) -> None:
    """Write the images to ``folder``, under the names of ``outputs``.

    Parameters
    ----------
    segmentation : BrainSegmentation
    outputs : Outputs
        Names; its own folder is not touched.
    folder : Path
        Where to write, which exists.
    scheme : {"bids", "fsl", "spm", "freesurfer"}
        Codes of the label image.
    extra : sequence of str
        Endings of further images: ``UNCERTAINTY``.
    """
    from gmmseg.threads import n_threads, use_threads  # numba is loaded while the scan is read

    images = _images(segmentation, outputs, scheme, extra)

    def store(ending: str) -> None:
        volumes.save(images[ending].make(), folder / outputs.path(f"{ending}.nii.gz").name)

    # ISA-L lets go of the interpreter lock: up to two files are compressed at a time, on a thread
    # each. One thread is left to the picture, which takes as long.
    at_a_time = max(1, min(2, n_threads() - 1))
    with ThreadPoolExecutor(at_a_time, initializer=use_threads, initargs=(1,)) as pool:
        list(pool.map(store, images))


class _Image(NamedTuple):
    """One image of a scan."""

    make: Callable[[], nib.Nifti1Image]
    sidecar: dict[str, Any]  # what its JSON says beside where it is from


def _images(
    segmentation: BrainSegmentation, outputs: Outputs, scheme: str, extra: Sequence[str]
) -> dict[str, _Image]:
    """All images by their endings, without extension; the slowest to compress goes first."""
    stripped = bool(segmentation.decisions.get("stripped", False))
    made = {"Manual": False}
    images = {outputs.corrected: _Image(segmentation.corrected_image, {"SkullStripped": stripped})}
    for name in segmentation.names:
        make = partial(segmentation.probability_image, name)
        images[PROBABILITY.format(name)] = _Image(make, made)
    for name in segmentation.names if segmentation.fractions is not None else ():
        what = {**made, "Description": f"Share of each voxel that is {NAMES.get(name, name)}"}
        images[FRACTION.format(name)] = _Image(partial(segmentation.fraction_image, name), what)
    images[LABELS] = _Image(partial(segmentation.label_image, scheme), made)
    images[MASK] = _Image(segmentation.mask_image, {"Type": "Brain"})
    if UNCERTAINTY in extra:
        about = _about_uncertainty(segmentation)
        images[UNCERTAINTY] = _Image(segmentation.uncertainty_image, about)
    return images


def write_tables(
    segmentation: BrainSegmentation,
    outputs: Outputs,
    folder: Path,
    *,
    scheme: str = "bids",
    provenance: Mapping[str, Any],
    extra: Sequence[str] = (),
) -> None:
    """Write what goes with the images: tables, sidecars, and the record of the run.

    Parameters
    ----------
    segmentation, outputs, folder, scheme, extra
        As :func:`write_images` takes them.
    provenance : mapping
        What ``_desc-provenance.json`` is to hold.
    """
    here = outputs.within(folder)
    scan = segmentation.volume.path
    common = {} if scan is None else {"Sources": [scan.name], "SpatialReference": scan.name}
    for ending, image in _images(segmentation, outputs, scheme, extra).items():
        _write_json(here.path(f"{ending}.json"), {**common, **image.sidecar})
    _write_text(here.path(f"{LABELS}.tsv"), _tsv(label_table(segmentation.names, scheme)))
    _write_text(here.path("desc-volumes.tsv"), _tsv(volume_table(segmentation)))
    write_record(here.record, provenance)


def write_regions(regions: BrainRegions, outputs: Outputs, folder: Path) -> None:
    """Write the parts of the brain: label image, its tables, volumes.

    Parameters
    ----------
    regions : BrainRegions
    outputs : Outputs
        Names; its own folder is not touched.
    folder : Path
        Where to write, which exists.
    """
    here = outputs.within(folder)
    image, table, sidecar, volumes_tsv = (here.path(ending) for ending in REGION_FILES)
    volumes.save(regions.label_image(), image)
    _write_text(table, _tsv(label_table(regions.names, "bids")))
    scan = regions.volume.path
    common = {} if scan is None else {"Sources": [scan.name], "SpatialReference": scan.name}
    _write_json(sidecar, {**common, "Manual": False})
    rows = [
        {"name": name, "volume_from_labels_ml": f"{ml:.3f}"}
        for name, ml in regions.volumes_ml().items()
    ]
    _write_text(volumes_tsv, _tsv(rows))


def label_table(names: Sequence[str], scheme: str) -> list[dict[str, object]]:
    """Rows of ``_dseg.tsv``: code, name and colour of each class, and its code in BIDS."""
    rows = zip(names, codes(names, scheme), colours(names, scheme), strict=True)
    return [
        {
            "index": code,
            "name": NAMES.get(name, name),
            "abbreviation": name,
            "color": colour,
            "mapping": {**SCHEMES["bids"], **BIDS_MORE}.get(name, "n/a"),
        }
        for name, code, colour in sorted(rows, key=lambda row: row[1])
    ]


def volume_table(segmentation: BrainSegmentation) -> list[dict[str, object]]:
    """Rows of ``_desc-volumes.tsv``: mL of each class and of the brain, and a 90 % interval."""
    return [
        {
            "name": row.name,
            "volume_from_labels_ml": f"{row.from_labels:.3f}",
            "volume_from_probabilities_ml": f"{row.from_probabilities:.3f}",
            "volume_low_ml": _number(row.low),
            "volume_high_ml": _number(row.high),
            **_fractions(row.from_fractions),
        }
        for row in segmentation.volumes_ml()
    ]


def _fractions(ml: float | None) -> dict[str, str]:
    """The column of fractions, where they were asked for."""
    return {} if ml is None else {"volume_from_fractions_ml": f"{ml:.3f}"}


def _number(value: float) -> str:
    """Three digits after the point; what is not known is n/a in BIDS tables."""
    return f"{value:.3f}" if np.isfinite(value) else "n/a"


def dataset_description() -> dict[str, Any]:
    """Content of ``dataset_description.json``, which makes a folder a BIDS derivative."""
    return {
        "Name": "Brain tissues by gmmseg",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "gmmseg", "Version": gmmseg.__version__}],
    }


def write_dataset_description(folder: Path) -> None:
    """Write ``dataset_description.json``."""
    _write_json(folder / DESCRIPTION, dataset_description())


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write the record of a run."""
    _write_json(path, content)


def _about_uncertainty(segmentation: BrainSegmentation) -> dict[str, Any]:
    """Sidecar of the map of the entropy."""
    classes = [*segmentation.names, *(["outside"] if segmentation.uncertainty is not None else [])]
    return {
        "Manual": False,
        "Description": "Entropy of the posterior over the classes, in the brain; 0 outside of it",
        "Units": "nat",
        "Classes": classes,
        "Maximum": float(np.log(len(classes))),
    }


def _tsv(rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), delimiter="\t", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(content, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
