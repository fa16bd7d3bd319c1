"""Sort the pixels of a grayscale image into classes by a mixture fitted to its histogram."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage import color, data, io

import gmmseg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", help="a file; or coins or camera, which scikit-image brings along")
parser.add_argument("classes", type=int, nargs="?", default=2)
parser.add_argument("out", type=Path, nargs="?", default=Path(), help="folder")
name, n_classes, out = vars(parser.parse_args()).values()

pixels = getattr(data, name)() if name in ("coins", "camera") else io.imread(name, as_gray=True)
result = gmmseg.segment_intensities(pixels, n_classes)
labels = result.labels - (n_classes > 2)  # 0, 1, ... by rising intensity
out.mkdir(parents=True, exist_ok=True)
io.imsave(out / f"{Path(name).stem}_labels.png", labels.astype(np.uint8), check_contrast=False)
left, right = (figure := Figure(figsize=(12, 5), layout="constrained")).subplots(1, 2)
left.imshow(color.label2rgb(labels, pixels, bg_label=0))
right.stairs(*np.histogram(pixels, 128, density=True), fill=True, color="0.85")
right.vlines(result.thresholds, *right.get_ylim(), color="black", ls=":")
right.set(title=", ".join(f"{share:.1%}" for share in result.fractions), xlabel="intensity")
figure.savefig(out / f"{Path(name).stem}_classes.png")
