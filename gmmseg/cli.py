"""The command line: parse, build a job, call the library, print what was written."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import gmmseg
from gmmseg.cli_failures import Commands, after_writing
from gmmseg.cli_files import FilesCommand
from gmmseg.cli_threshold import threshold
from gmmseg.cli_types import AnyPath, ClassNumber, Names, Number
from gmmseg.kernelcache import check_threads, ensure_folder
from gmmseg.listing import Listing
from gmmseg.progressbar import progress
from gmmseg.stopping import stop_by_exceptions

if TYPE_CHECKING:
    from gmmseg.batch import Done

# Our matrices are small: BLAS threads would only fight the kernels' own for the cores.
_BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")

UNTRUSTED = 3  # exit code of `--strict`: results are there, and not to be trusted


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(gmmseg.__version__, prog_name="gmmseg")
def main() -> None:
    """Images into labels with Gaussian mixture models."""
    atexit.register(gc.freeze)  # else leaving takes a third of a second, to look for garbage
    for variable in _BLAS:
        os.environ[variable] = "1"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # paths may hold bytes that are no text
    check_threads()
    ensure_folder()
    stop_by_exceptions()


@main.command(no_args_is_help=True, cls=FilesCommand)
@click.argument("t1", type=AnyPath())
@click.option(
    "-o",
    "--out",
    type=AnyPath(),
    default="derivatives/gmmseg",
    show_default=True,
    help="Folder for the results; made if it is not there.",
)
@click.option(
    "--mask",
    type=AnyPath(),
    metavar="FILE",
    help="Brain mask on the grid of T1; only voxels inside it are labelled.",
)
@click.option(
    "--stripped/--whole-head",
    default=None,
    help="Whether the skull has been removed from T1.  [default: detected from the scan]",
)
@click.option(
    "--contrast",
    type=click.Choice(["t1", "t2", "pd", "auto"]),
    help="Weighting of the scan, by which the result is judged; auto tells it by the tissues "
    "(t1 if not given).",
)
@click.option(
    "--labels",
    type=click.Choice(["bids", "fsl", "spm", "freesurfer"]),
    default="bids",
    show_default=True,
    help="Codes of GM, WM, CSF in the label image: bids and spm 1, 2, 3; fsl 2, 3, 1; "
    "freesurfer 3, 2, 24 (for both hemispheres).",
)
@click.option(
    "--mrf",
    type=Number(0, 10, auto=True),
    metavar="X",
    help="How strongly neighbouring voxels pull towards the same tissue, in nats per "
    "neighbour, 0 to 10; 0 turns it off, auto (if not given) goes by the noise, from 0.3, and "
    "by whether it helps at all.",
)
@click.option(
    "--bias-fwhm",
    type=Number(30, 300),
    metavar="MM",
    help="Smallest wave length of the bias field, in mm, 30 to 300 (60 if not given).",
)
@click.option(
    "--pve",
    is_flag=True,
    help="Also write how much of each voxel is which tissue: partial volumes, 0 to 1.",
)
@click.option(
    "--bias",
    type=click.Choice(["auto", "on", "off"]),
    help="Estimate a bias field; auto, if not given, keeps it where grey and white matter share "
    "the shading.",
)
@click.option("--no-bias", "bias", flag_value="off", help="The same as --bias off.")
@click.option(
    "--deformation",
    type=click.Choice(["auto", "on", "off"]),
    help="Let the atlas deform to the scan, or only shift, turn and stretch; auto, if not given, "
    "goes by the evidence for it.",
)
@click.option(
    "--no-deformation", "deformation", flag_value="off", help="The same as --deformation off."
)
@click.option(
    "--gaussians",
    type=ClassNumber(),
    multiple=True,
    metavar="CLASS=N",
    help="How many Gaussians a class has, 1 to 6; once for each class (GM, WM, CSF, deepGM, bone, "
    "soft, air, and thalamicGM, pallidalGM, putaminalGM, brainstemWM, cerebellarGM, "
    "cerebellarWM, occipitalGM). If not given, one, and up to three for soft tissue, as the scan "
    "asks.",
)
@click.option(
    "--parts/--no-parts",
    default=None,
    help="Whether thalamus, putamen, pallidum, brainstem, grey and white matter of the cerebellum "
    "and occipital cortex have an intensity of their own in the packaged atlas.  [default: parts]",
)
@click.option(
    "--atlas",
    multiple=True,
    metavar="[NAME=]FILE...",
    help="Tissue maps to use in place of the packaged ones, one for each class, named after T1. "
    "Names also come from label-NAME in the file's name, or from --atlas-names. One 4-D FILE can "
    "hold all classes. templateflow:TEMPLATE takes those of templateflow.",
)
@click.option(
    "--atlas-names",
    type=Names(),
    metavar="NAMES",
    help="Names of the atlas's classes in their order, with commas between: GM,WM,CSF.",
)
@click.option(
    "--regions",
    is_flag=True,
    help="Also write cortex, deep grey matter, brainstem and cerebellum "
    "(_seg-regions_dseg), as the packaged atlas places them.",
)
@click.option(
    "--volume",
    type=click.IntRange(min=0),
    metavar="N",
    help="Which volume of a 4-D image to segment, from 0.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many processor cores to use.  [default: all]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also print what was decided and how long each stage took.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Print the seconds and the memory of each stage, and keep them in the record.",
)
@click.option("--overwrite", is_flag=True, help="Replace results that exist already.")
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Also write how undecided each voxel is (_desc-uncertainty_probseg), in nats.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with code 3 if the result does not look like a brain; it is written all the same.",
)
def brain(
    t1: Path,
    out: Path,
    mask: Path | None,
    labels: str,
    volume: int | None,
    quiet: bool,
    verbose: bool,
    profile: bool,
    overwrite: bool,
    regions: bool,
    uncertainty: bool,
    strict: bool,
    **settings: Any,
) -> None:
    """Label grey matter, white matter and CSF in T1, a T1-weighted scan of a head.

    T1 is any image that nibabel reads: NIfTI, MGZ, MINC, Analyze. Neither a brain mask nor
    skull stripping is needed. Written to OUT, on the grid of T1: labels (_dseg), a probability
    map of each tissue (_label-GM_probseg and so on), the brain mask, the bias-corrected scan,
    volumes in mL (_desc-volumes.tsv), a picture to check them by (_qc.png) and a record of the
    run (_desc-provenance.json).

    \b
    Examples:
      gmmseg brain sub-01_T1w.nii.gz
      gmmseg brain t1.nii.gz -o results --labels fsl
      gmmseg brain stripped.mgz --stripped --mrf 0
      gmmseg brain t1.nii.gz --atlas GM=gm.nii.gz WM=wm.nii.gz CSF=csf.nii.gz
    """  # noqa: D301 (click wants the backspace itself)
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    settings["atlas"] = settings["atlas"] or None
    settings["gaussians"] = dict(settings["gaussians"]) or None
    given = {name: value for name, value in settings.items() if value is not None}
    from gmmseg.stopwatch import Stopwatch, table

    watch = Stopwatch() if profile else None
    if watch is not None:
        watch("importing", 0.0)
    from gmmseg.batch import Job, run_job  # here, to keep `gmmseg --help` fast

    job = Job(t1, out, mask, labels, given, volume, overwrite, regions, uncertainty, strict)
    with progress(show=not quiet) as bar:
        if watch is not None:
            watch.then = bar
        done = run_job(job, progress=bar, watch=watch)
    with after_writing():
        for warning in done.segmentation.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if verbose:
            _explain(done)
        if watch is not None:
            click.echo(table(watch.finish()), err=True)
        names = Listing(out)
        if not quiet:
            names.add(done.written)
        if strict and done.failed:
            click.echo(f"Error: The self-check failed: {', '.join(done.failed)}.", err=True)
            sys.exit(UNTRUSTED)
        names.finish()


def _explain(done: Done) -> None:
    """Decisions, seconds and volumes, on stderr."""
    from gmmseg.provenance import plain

    result = done.segmentation
    for name, value in result.decisions.items():
        click.echo(f"{name}: {plain(value)}", err=True)
    for name, seconds in result.stages.items():
        click.echo(f"{name}: {seconds:.2f} s", err=True)
    for row in result.volumes_ml():
        click.echo(f"{row.name}: {row.from_labels:.1f} mL", err=True)


main.add_command(threshold)
