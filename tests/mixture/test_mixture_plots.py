"""Pictures of mixtures show what was fitted."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import integrate

from gmmseg.checks import InputError
from gmmseg.mixture.histogram import cuts
from gmmseg.mixture.model import Mixture
from gmmseg.plots import plot_mixture

TWO = Mixture([0.3, 0.7], [[20.0], [60.0]], [[[25.0]], [[64.0]]])


@pytest.mark.parametrize("whole", [True, False])
def test_components_sum_and_boundaries_are_drawn(whole, tmp_path):
    x, _ = TWO.sample(3000, np.random.default_rng(0))
    figure = plot_mixture(np.rint(x) if whole else x, TWO, names=["CSF", "GM"])
    density, agreement = figure.axes
    labels = density.get_legend_handles_labels()[1]
    assert labels == ["CSF (30%)", "GM (70%)", "sum", "decision boundary"]
    drawn = [line.get_xdata()[0] for line in density.lines if line.get_linestyle() == ":"]
    assert drawn == pytest.approx(cuts(TWO))
    points = agreement.lines[1]
    assert np.abs(points.get_xdata() - points.get_ydata()).max() < 3  # fitted: near the diagonal
    figure.savefig(tmp_path / "mixture.png")
    assert (tmp_path / "mixture.png").stat().st_size > 1000


def test_the_curve_has_the_area_of_the_histogram():
    x, _ = TWO.sample(3000, np.random.default_rng(1))
    density = plot_mixture(x, TWO).axes[0]
    total = next(line for line in density.lines if line.get_label() == "sum")
    assert integrate.trapezoid(total.get_ydata(), total.get_xdata()) == pytest.approx(1, abs=0.01)


def test_a_histogram_is_drawn_like_its_values():
    x = np.rint(TWO.sample(3000, np.random.default_rng(2))[0])
    levels, counts = np.unique(x, return_counts=True)
    heights = [
        [bar.get_height() for bar in plot_mixture(v, TWO, sample_weight=w).axes[0].patches]
        for v, w in ((x, None), (levels, counts))
    ]
    assert heights[0] == pytest.approx(heights[1])


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="one channel"):
        plot_mixture([1.0], Mixture([1.0], [[0.0, 0.0]], [np.eye(2)]))
    with pytest.raises(InputError, match="names"):
        plot_mixture([1.0], TWO, names=["one"])
    with pytest.raises(InputError, match="no values"):
        plot_mixture([np.nan], TWO)


def test_neither_plots_nor_the_engine_load_what_they_do_not_need():
    code = (
        "import sys, gmmseg.plots, gmmseg.mixture.em, gmmseg.mixture.histogram;"
        "print([m for m in ('matplotlib', 'nibabel', 'sklearn', 'dask') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
