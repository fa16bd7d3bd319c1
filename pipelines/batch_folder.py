"""Label every scan below a folder: python pipelines/batch_folder.py FOLDER [OUT]."""

import sys
from pathlib import Path

from gmmseg.batch import Job, run_job


def main(folder: str, out: str = "derivatives/gmmseg") -> int:
    """Write the derivatives of each scan to its subfolder of OUT; returns the exit code."""
    images = (".nii", ".nii.gz", ".mgz", ".mgh", ".mnc", ".img")
    ours = {Path(folder, "derivatives").resolve(), Path(out).resolve()}
    scans = sorted(path for path in Path(folder).rglob("*") if path.name.endswith(images))
    scans = [path for path in scans if ours.isdisjoint(path.resolve().parents)]
    failed: list[str] = []
    for number, scan in enumerate(scans, start=1):
        print(f"[{number}/{len(scans)}] {scan}", file=sys.stderr)
        below = "" if scan.name.startswith("sub-") else scan.parent.relative_to(folder)  # BIDS
        try:
            done = run_job(Job(scan, Path(out, below)))
            print(done.written[0])
            sys.stderr.writelines(f"Warning: {w}\n" for w in done.segmentation.warnings)
        except Exception as error:  # noqa: BLE001 (one bad scan must not stop the others)
            failed.append(f"FAILED {scan}: {error}\n")
    sys.stderr.writelines([*failed, f"{len(scans) - len(failed)} of {len(scans)} scans done\n"])
    return 1 if failed or not scans else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else __doc__)
