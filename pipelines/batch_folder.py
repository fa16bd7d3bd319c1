"""Label every scan below a folder: python pipelines/batch_folder.py FOLDER [OUT]."""

import sys
from pathlib import Path

from gmmseg.batch import Job, run_job

IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".mnc", ".img")


def main(folder: str, out: str = "derivatives/gmmseg") -> int:
    """Write the derivatives of each scan to the same subfolder of OUT; returns the exit code."""
    found = sorted(path for path in Path(folder).rglob("*") if path.name.endswith(IMAGES))
    results = {Path(folder, "derivatives").resolve(), Path(out).resolve()}
    scans = [path for path in found if not results & set(path.resolve().parents)]
    failed = []
    for number, scan in enumerate(scans, start=1):
        print(f"[{number}/{len(scans)}] {scan}", file=sys.stderr)
        try:
            done = run_job(Job(scan, Path(out) / scan.parent.relative_to(folder)))
            print(done.written[0])
            sys.stderr.writelines(f"Warning: {w}\n" for w in done.segmentation.warnings)
        except Exception as error:  # noqa: BLE001 (one bad scan must not stop the others)
            failed.append(f"FAILED {scan}: {error}\n")
    sys.stderr.writelines([*failed, f"{len(scans) - len(failed)} of {len(scans)} scans done\n"])
    return 1 if failed or not scans else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else __doc__)
