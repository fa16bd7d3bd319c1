"""Settings: numbers of any kind are taken, everything else is refused in one sentence."""

from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import gmmseg
from gmmseg.checks import InputError
from gmmseg.settings import BrainSettings


@pytest.mark.parametrize(
    "given",
    [
        {"mrf": np.float32(0.5)},
        {"mrf": np.int64(1)},
        {"bias_fwhm": np.float32(60)},
        {"bias_fwhm": 60},
        {"gaussians": {"GM": np.int64(2)}},
        {"threads": np.int64(1)},
        {"stripped": np.bool_(True)},
        {"pve": np.bool_(False)},
    ],
)
def test_numbers_of_numpy_are_numbers(given):
    (name, value), *_ = given.items()
    assert getattr(BrainSettings(**given), name) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mrf": True}, "mrf must be auto or lie between 0 and 10; got True"),
        ({"mrf": "0.3"}, "mrf must be auto or"),
        ({"mrf": None}, "mrf must be auto or"),
        ({"mrf": float("nan")}, "mrf must be auto or"),
        ({"bias_fwhm": "60"}, "bias_fwhm must lie between 30 and 300 mm; got '60'"),
        ({"bias_fwhm": None}, "bias_fwhm must lie"),
        ({"bias_fwhm": True}, "bias_fwhm must lie"),
        ({"gaussians": [("GM", 2)]}, "gaussians must be a mapping"),
        ({"gaussians": {1: 2}}, "gaussians must name classes, such as 'GM'; got 1"),
        ({"gaussians": {"GM": True}}, "1 to 6 for each class; got GM=True"),
        ({"gaussians": {"GM": 2.0}}, "1 to 6 for each class"),
        ({"threads": True}, "threads must be 1 or more"),
        ({"threads": "2"}, "threads must be 1 or more"),
        ({"bias": True}, "bias must be auto, on or off"),
        ({"deformation": ["on"]}, "deformation must be auto, on or off"),
        ({"contrast": ["t1"]}, r"contrast must be one of .*; got \['t1'\]"),
        ({"stripped": "yes"}, "stripped must be True, False or None; got 'yes'"),
        ({"stripped": 1}, "stripped must be True, False or None; got 1"),
        ({"parts": None}, "parts must be True or False; got None"),
        ({"pve": "no"}, "pve must be True or False; got 'no'"),
        ({"atlas": None}, "atlas must be a sequence of str"),
        ({"atlas": (1, 2)}, "atlas must be a sequence of str"),
        ({"atlas_names": 3}, "atlas_names must be a sequence of str"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        BrainSettings(**given)


def test_one_file_is_an_atlas_of_one_file_and_not_of_its_letters():
    assert BrainSettings(atlas="o2/x.nii.gz").atlas == ("o2/x.nii.gz",)
    assert BrainSettings(atlas=Path("x.nii.gz")).atlas == ("x.nii.gz",)
    assert BrainSettings(atlas=["a.nii", Path("b.nii")]).atlas == ("a.nii", "b.nii")


def test_settings_given_as_a_dict_are_refused_before_the_scan_is_read():
    with pytest.raises(InputError, match=r"must be gmmseg.BrainSettings, not dict; of a dict, giv"):
        gmmseg.segment_brain("nothing.nii", settings={"pve": True})
    with pytest.raises(InputError, match="not dict"):
        gmmseg.segment_brain("nothing.nii", settings={})


def test_settings_keep_what_they_were_given():
    """Not the caller's mapping, which may change, and which a record of the run cannot copy."""
    given = {"GM": 2}
    settings = BrainSettings(gaussians=MappingProxyType(given))
    given["GM"] = 3
    assert asdict(settings)["gaussians"] == {"GM": 2}
