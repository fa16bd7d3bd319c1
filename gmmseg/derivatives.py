"""Files of one segmentation under the names of BIDS derivatives."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import gmmseg
from gmmseg import volume as volumes
from gmmseg.labels import BIDS_MORE, NAMES, SCHEMES, codes, colours

if TYPE_CHECKING:
    import nibabel as nib

    from gmmseg.regions import BrainRegions
    from gmmseg.tissues import BrainSegmentation

_BIDS = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*_[A-Za-z0-9]+")
_EXTENSIONS = re.compile(
    r"(\.(nii|img|hdr|mnc|mgh|mgz|head|brik|par|rec))?(\.(gz|bz2|zst))?$", re.I
)
REGION_FILES = (
    *(f"seg-regions_dseg.{kind}" for kind in ("nii.gz", "tsv", "json")),
    "seg-regions_desc-volumes.tsv",
)
BIDS_VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"  # of the folder, for all scans in it
UNCERTAINTY = "desc-uncertainty_probseg"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the files of one scan go."""

    folder: Path
    stem: str  # of every name, without a trailing underscore
    suffix: str  # of the bias-corrected scan, "T1w"
    is_bids: bool

    @classmethod
    def of(cls, scan: Path, folder: Path) -> Outputs:
        """Names for a scan: BIDS entities are kept, any other name is taken whole.

        >>> Outputs.of(Path("sub-01_ses-2_desc-preproc_T1w.nii.gz"), Path("out")).stem
        'sub-01_ses-2'
        >>> Outputs.of(Path("patient.7.nii"), Path("out")).stem
        'patient.7'
        """
        name = _EXTENSIONS.sub("", scan.name) or scan.name
        if not _BIDS.fullmatch(name):
            return cls(folder, name, "T1w", False)
        *entities, suffix = name.split("_")
        # label and desc are set anew by each output
        kept = [part for part in entities if not part.startswith(("desc-", "label-"))]
        return cls(folder, "_".join(kept), suffix, True)

    def path(self, ending: str) -> Path:
        """``<folder>/<stem>_<ending>``."""
        return self.folder / f"{self.stem}_{ending}"

    @property
    def corrected(self) -> str:
        """Ending of the bias-corrected scan, without its extension."""
        return f"desc-biascorr_{self.suffix}"

    @property
    def record(self) -> Path:
        """The record of the run."""
        return self.path("desc-provenance.json")

    def all(
        self,
        names: Sequence[str],
        *,
        regions: bool = False,
        pve: bool = False,
        extra: Sequence[str] = (),
    ) -> tuple[Path, ...]:
        """Every file of a scan with classes ``names``, in the order they are listed to the user.

        ``extra`` are endings, without extension, of images that were asked for.
        """
        images = ["dseg", *(f"label-{name}_probseg" for name in names)]
        images += [f"label-{name}_desc-pve_probseg" for name in names] if pve else []
        images += ["desc-brain_mask", *extra]
        endings = [
            *("dseg.nii.gz", "dseg.tsv", "dseg.json"),
            *(f"{image}.{kind}" for image in images[1:] for kind in ("nii.gz", "json")),
            *(f"{self.corrected}.nii.gz", f"{self.corrected}.json"),
            *(REGION_FILES if regions else ()),
            *("desc-volumes.tsv", "desc-provenance.json", "qc.png"),
        ]
        return tuple(self.path(ending) for ending in endings)


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

    images: dict[str, Callable[[], nib.Nifti1Image]] = {
        outputs.corrected: segmentation.corrected_image,  # the slowest to compress goes first
        **{
            f"label-{name}_probseg": partial(segmentation.probability_image, name)
            for name in segmentation.names
        },
        **{
            f"label-{name}_desc-pve_probseg": partial(segmentation.fraction_image, name)
            for name in (segmentation.names if segmentation.fractions is not None else ())
        },
        "dseg": partial(segmentation.label_image, scheme),
        "desc-brain_mask": segmentation.mask_image,
    }
    if UNCERTAINTY in extra:
        images[UNCERTAINTY] = segmentation.uncertainty_image

    def store(ending: str) -> None:
        volumes.save(images[ending](), folder / outputs.path(f"{ending}.nii.gz").name)

    # ISA-L lets go of the interpreter lock: up to two files are compressed at a time, on a thread
    # each. One thread is left to the picture, which takes as long.
    at_a_time = max(1, min(2, n_threads() - 1))
    with ThreadPoolExecutor(at_a_time, initializer=use_threads, initargs=(1,)) as pool:
        list(pool.map(store, images))


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
    here = Outputs(folder, outputs.stem, outputs.suffix, outputs.is_bids)
    scan = segmentation.volume.path
    common: dict[str, Any] = {}
    if scan is not None:
        common = {"Sources": [scan.name], "SpatialReference": scan.name}
    _write_text(here.path("dseg.tsv"), _tsv(label_table(segmentation.names, scheme)))
    _write_json(here.path("dseg.json"), {**common, "Manual": False})
    for name in segmentation.names:
        _write_json(here.path(f"label-{name}_probseg.json"), {**common, "Manual": False})
        if segmentation.fractions is not None:
            note = {
                "Manual": False,
                "Description": f"Share of each voxel that is {NAMES.get(name, name)}",
            }
            _write_json(here.path(f"label-{name}_desc-pve_probseg.json"), {**common, **note})
    _write_json(here.path("desc-brain_mask.json"), {**common, "Type": "Brain"})
    if UNCERTAINTY in extra:
        _write_json(
            here.path(f"{UNCERTAINTY}.json"), {**common, **_about_uncertainty(segmentation)}
        )
    stripped = bool(segmentation.decisions.get("stripped", False))
    _write_json(here.path(f"{here.corrected}.json"), {**common, "SkullStripped": stripped})
    _write_text(here.path("desc-volumes.tsv"), _tsv(volume_table(segmentation)))
    write_record(here.record, provenance)


class Earlier(NamedTuple):
    """What the record of an earlier run tells; nothing where there is none, or not one of ours."""

    files: tuple[str, ...] = ()  # names of what it wrote
    scan: str = ""  # absolute path of what it was made from
    sha256: str = ""  # of that

    @classmethod
    def of(cls, outputs: Outputs) -> Earlier:
        """The run that left results under these names."""
        try:
            record = json.loads(outputs.record.read_text(encoding="utf-8"))
            names, scan = record.get("files"), record.get("scan")
        except (OSError, ValueError, AttributeError):
            return cls()
        files = tuple(n for n in names if isinstance(n, str)) if isinstance(names, list) else ()
        known = scan if isinstance(scan, dict) else {}
        return cls(files, str(known.get("absolute_path", "")), str(known.get("sha256", "")))

    def remark(self, scan: Path, sha256: str) -> tuple[str, ...]:
        """What to say where the results of another scan are replaced, if anything."""
        if not self.scan or self.sha256 == sha256 or Path(self.scan) == scan.resolve():
            return ()
        said = (
            f"Results of another scan, {self.scan}, had the same names and were replaced; give "
            f"each scan a folder of its own with -o."
        )
        return (said,)


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
    here = Outputs(folder, outputs.stem, outputs.suffix, outputs.is_bids)
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
