"""Label the tissues of one T1-weighted scan: python pipelines/brain_t1w.py SCAN [OUT]."""

import sys
from pathlib import Path

from gmmseg import InputError
from gmmseg.batch import Job, run_job


def main(scan: str, out: str = "derivatives/gmmseg") -> int:
    """Write the derivatives of a scan and print its volumes; returns the exit code."""
    try:
        done = run_job(Job(Path(scan), Path(out)))
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    sys.stderr.writelines(f"Warning: {w}\n" for w in done.segmentation.warnings)
    for row in done.segmentation.volumes_ml():
        print(f"{row.name:6s} {row.from_probabilities:7.1f} mL")
    print(*done.written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else __doc__)
