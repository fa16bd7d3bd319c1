"""Compiled loops, where compiling them can go wrong."""

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
from scipy.special import softmax
from gmmseg.mixture import kernels
joint = -np.abs(np.random.default_rng(0).normal(0, 3, (1000, 3)))
posterior = joint.copy()
kernels.softmax_rows(posterior)
print(np.abs(posterior - softmax(joint, axis=1)).max())
"""


def test_posteriors_are_exact_whichever_loop_is_compiled_first(tmp_path):
    """A caller that may reorder sums must not hand that down to exp: posteriors were .1 off."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(result.stdout) < 1e-14
