"""Names of the files of one scan, as BIDS derivatives have them, and what is there of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

_BIDS = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*_[A-Za-z0-9]+")
_EXTENSIONS = re.compile(
    r"(\.(nii|img|hdr|mnc|mgh|mgz|head|brik|par|rec))?(\.(gz|bz2|zst))?$", re.I
)
REGION_FILES = (
    *(f"seg-regions_dseg.{kind}" for kind in ("nii.gz", "tsv", "json")),
    "seg-regions_desc-volumes.tsv",
)
DESCRIPTION = "dataset_description.json"  # of the folder, for all scans in it
LABELS, MASK, UNCERTAINTY = "dseg", "desc-brain_mask", "desc-uncertainty_probseg"
PROBABILITY, FRACTION = "label-{}_probseg", "label-{}_desc-pve_probseg"  # of a class


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

    def within(self, folder: Path) -> Outputs:
        """The same names in another folder."""
        return replace(self, folder=folder)

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
        images = [LABELS, *map(PROBABILITY.format, names)]
        images += map(FRACTION.format, names) if pve else []
        images += [MASK, *extra]
        endings = [
            *(f"{LABELS}.{kind}" for kind in ("nii.gz", "tsv", "json")),
            *(f"{image}.{kind}" for image in images[1:] for kind in ("nii.gz", "json")),
            *(f"{self.corrected}.nii.gz", f"{self.corrected}.json"),
            *(REGION_FILES if regions else ()),
            *("desc-volumes.tsv", "desc-provenance.json", "qc.png"),
        ]
        return tuple(self.path(ending) for ending in endings)


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
