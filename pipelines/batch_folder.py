"""Label every scan below a folder: python pipelines/batch_folder.py FOLDER [OUT]."""

import sys
from pathlib import Path

from gmmseg.batch import Job, run_job

IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".mnc", ".img")


def main(folder: str, out: str = "derivatives/gmmseg") -> int:
    """Write the derivatives of every scan, then list those that failed; returns the exit code."""
    found = sorted(path for path in Path(folder).rglob("*") if path.name.endswith(IMAGES))
    results = (Path(folder, "derivatives").resolve(), Path(out).resolve())
    scans = [path for path in found if not set(results) & set(path.resolve().parents)]
    failures: dict[Path, Exception] = {}
    for number, scan in enumerate(scans, start=1):
        print(f"[{number}/{len(scans)}] {scan}", file=sys.stderr)
        try:
            print(run_job(Job(scan, Path(out))).written[0])
        except Exception as error:  # noqa: BLE001 (one bad scan must not stop the others)
            failures[scan] = error
    for scan, reason in failures.items():
        print(f"FAILED {scan}: {reason}", file=sys.stderr)
    print(f"{len(scans) - len(failures)} of {len(scans)} scans done", file=sys.stderr)
    return 1 if failures or not scans else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else __doc__)
