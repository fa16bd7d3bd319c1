"""Seconds of thresholds and smoothing on 16 megapixels beside scikit-image, in one run.

    python benchmarks/threshold.py [--side 4096] [--repeat 3]

Prints the least of so many runs: threshold_gmm against threshold_otsu for two classes and against
threshold_multiotsu for three, on uint8 and uint16, and Potts smoothing of three classes.
"""

import argparse
import time

import numpy as np
from skimage.filters import threshold_multiotsu, threshold_otsu

import gmmseg
from gmmseg.spatial.potts import smooth_levels

TIMES = {np.uint8: 1, np.uint16: 200}


def picture(side: int, kind: type) -> np.ndarray:
    """Three classes in stripes with noise, from 0 to 255 or 51,000."""
    rng = np.random.default_rng(0)
    stripes = np.array([60, 120, 190])[(np.arange(side) // 64) % 3]
    noise = rng.normal(0, 14, (side, side)).astype(np.float32)
    return (np.clip(stripes + noise, 0, 255) * TIMES[kind]).astype(kind)


def least(repeat: int, function, *args, **options) -> float:
    """Least wall seconds of so many calls after one that compiles."""
    function(*args, **options)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function(*args, **options)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    for kind in TIMES:
        image = picture(args.side, kind)
        for k, peer in ((2, threshold_otsu), (3, threshold_multiotsu)):
            ours = least(args.repeat, gmmseg.threshold_gmm, image, k)
            theirs = least(args.repeat, peer, image)
            print(
                f"{kind.__name__:6s} K={k}: threshold_gmm {ours:.3f} s, {peer.__name__} "
                f"{theirs:.3f} s, ratio {ours / theirs:.2f}"
            )
    image = picture(args.side, np.uint8)
    means = np.array([60.0, 120.0, 190.0])
    table = -0.5 * ((np.arange(256)[:, None] - means) / 14) ** 2
    for method in ("mean_field", "icm"):
        seconds = least(args.repeat, smooth_levels, image, table, 0.5, method=method)
        print(f"Potts field, K=3, {method}: {seconds:.2f} s")
    start = time.perf_counter()
    gmmseg.segment_intensities(image, 3, smooth=0.5)
    print(f"segment_intensities, K=3, smooth=0.5: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
