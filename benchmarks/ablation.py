"""What each part of the brain model is worth: mean Dice and seconds with it switched off.

    GMMSEG_BENCH=/path/to/bench python benchmarks/ablation.py [whole_head masked stripped heads]

The scans and their truth are those of the benchmark folder's cases.json; score.py there
defines the figures. Seconds are of the model alone, files read and none written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from gmmseg.labels import codes
from gmmseg.settings import BrainSettings
from gmmseg.workflows.brain import segment_brain

VARIANTS = {
    "as it is": {},
    "bias field always": {"bias": "on"},
    "bias field never": {"bias": "off"},
    "no deformation": {"deformation": "off"},
    "no Potts field": {"mrf": 0.0},
    "no parts": {"parts": False},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", nargs="*")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    arguments = parser.parse_args()
    bench = Path(os.environ["GMMSEG_BENCH"])
    sys.path.insert(0, str(bench))
    import score

    warnings.simplefilter("ignore")
    tracks = json.loads((bench / "cases.json").read_text())
    for track in arguments.tracks or tracks:
        spec = tracks[track]
        for name in arguments.variant or VARIANTS:
            rows, seconds = [], []
            for case in spec["cases"].values():
                mask = bench / case["mask"] if "mask" in case else None
                begin = time.perf_counter()
                result = segment_brain(bench / case["t1"], mask, BrainSettings(**VARIANTS[name]))
                seconds.append(time.perf_counter() - begin)
                table = np.array([0, *codes(result.names, "fsl")], np.int16)
                truth, _ = score.read_labels(bench / case["truth"])
                rows.append(score.score(table[result.labels], truth, spec["protocol"]))
            figures = "  ".join(f"{k} {np.mean([row[k] for row in rows]):.4f}" for k in rows[0])
            print(f"{track:10s} {name:18s} {figures}  {np.mean(seconds):5.1f} s", flush=True)


if __name__ == "__main__":
    main()
