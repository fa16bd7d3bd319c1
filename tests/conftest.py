"""What the tests share: one thread for linear algebra, the sample scan, the benchmark scans."""

import importlib.util
import os
from pathlib import Path

# Before NumPy is imported: one property test took 3.5 s with one thread and 50 s with two.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis  # noqa: E402 (the lines above must come first)
import jobs  # noqa: E402
import nibabel as nib  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from gmmseg import stopping  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_images"

# The tests go on after the signals that they send, and must not be ended a moment after the last.
stopping._GRACE = 3600.0

# Timings never fail a test; a failing example must come back in the next run.
hypothesis.settings.register_profile(
    "gmmseg", deadline=None, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("gmmseg")


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory):
    """Keep the atlas in a folder of the tests, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GMMSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng():
    """A generator that is the same in every run, whatever the order of the tests."""
    return np.random.default_rng(20260)


@pytest.fixture
def several_threads():
    """How many threads there are; their number may be set, and is set back."""
    most = numba.config.NUMBA_NUM_THREADS
    if most < 2:
        pytest.skip("numba has one thread only")
    before = numba.get_num_threads()
    yield most
    numba.set_num_threads(before)


@pytest.fixture
def alone_and_together(several_threads):
    """What a function returns on one thread, and on all of them."""

    def both(function):
        found = []
        for threads in (1, several_threads):
            numba.set_num_threads(threads)
            found.append(function())
        return found

    return both


@pytest.fixture(scope="session")
def sample_t1():
    """Path of the simulated whole head."""
    return SAMPLES / "sub-sim_T1w.nii.gz"


@pytest.fixture(scope="session")
def sample_truth():
    """True labels of the sample scan: (X, Y, Z) uint8, 1 GM, 2 WM, 3 CSF; read-only."""
    labels = np.asarray(nib.load(SAMPLES / "sub-sim_dseg.nii.gz").dataobj)
    labels.flags.writeable = False
    return labels


@pytest.fixture(scope="session")
def make_sample():
    """The script that draws the sample scan, as a module."""
    spec = importlib.util.spec_from_file_location("make_sample", SAMPLES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample_head(make_sample):
    """The sample scan drawn anew, with fractions, bias field and deformation (about 10 s)."""
    return make_sample.sample_head()


@pytest.fixture(scope="session")
def sample_result(sample_t1):
    """The sample scan, segmented with nothing else given; made once, its arrays are read-only."""
    import gmmseg

    return gmmseg.segment_brain(sample_t1)


@pytest.fixture(scope="session")
def noise_t1(tmp_path_factory):
    """Path of a scan that the command can read; it shows no brain."""
    import commandline

    return commandline.noise(tmp_path_factory.mktemp("noise") / "t1.nii.gz")


@pytest.fixture(scope="session")
def bench():
    """Folder of the benchmark scans, which are not part of the project."""
    folder = Path(os.environ.get("GMMSEG_BENCH", ROOT.parent / "shared" / "bench"))
    if not (folder / "cases.json").exists():
        pytest.skip("the benchmark scans are not here; set GMMSEG_BENCH to their folder")
    return folder


@pytest.fixture
def job_scan(tmp_path, rng):
    """A scan with a BIDS name, on the grid of the fake segmentation."""
    return jobs.write_scan(tmp_path / "in", rng)


@pytest.fixture
def calls(monkeypatch):
    """What the workflow was called with; it answers at once, with the fake segmentation."""
    return jobs.answer_at_once(monkeypatch)
