"""``gmmseg threshold``: grayscale and colour images into classes of intensity."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gmmseg.cli_failures import after_writing
from gmmseg.cli_types import AnyPath, Names, Number
from gmmseg.listing import Listing
from gmmseg.progressbar import progress

if TYPE_CHECKING:
    from gmmseg.thresholdbatch import ImageDone, ThresholdJob, ThresholdRun

BAD_INPUT = 2  # exit code where an image could not be labelled


_GIVEN = {
    "classes": "-k", "mask": "--mask", "smooth": "--smooth", "neighbours": "--neighbours",
    "method": "--method", "illumination": "--illumination", "features": "--features",
    "families": "--families", "superpixels": "--superpixels", "channel": "--channel",
    "volume": "--volume",
}  # fmt: skip
_SWITCHED = {
    "dark": "--dark", "edges": "--edges", "local": "--local", "per_slice": "--per-slice",
    "channels": "--channels", "always_cut": "--always-cut", "report": "--report",
    "posteriors": "--posteriors", "uncertainty": "--uncertainty",
}  # fmt: skip


@click.command(no_args_is_help=True)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-o",
    "--out",
    type=AnyPath(),
    default="derivatives/gmmseg",
    show_default=True,
    help="Folder for the results; made if it is not there.",
)
@click.option(
    "-k",
    "--classes",
    type=Number(2, 50, whole=True, auto=True),
    metavar="K|auto",
    help="Number of classes; auto takes the one of least ICL, 1 to 6 (2 if not given).",
)
@click.option(
    "--bright/--dark",
    "bright",
    default=True,
    help="Whether the foreground, label 1 of two classes, is the brighter or the darker.  "
    "[default: bright]",
)
@click.option(
    "--mask",
    type=AnyPath(),
    metavar="FILE",
    help="Where to label: an image of the same size, 0 outside; one plane serves a "
    "stack. It holds for every IMAGE.",
)
@click.option(
    "--smooth",
    type=Number(0, 10),
    metavar="B",
    help="How strongly neighbouring pixels pull towards the same class, in nats per "
    "neighbour; 0, if not given, turns it off, 0.5 to 1 removes specks.",
)
@click.option("--edges", is_flag=True, help="Let --smooth pull less across edges of the image.")
@click.option(
    "--neighbours",
    type=click.Choice(["4", "8", "6", "26"]),
    help="Neighbours for --smooth: 4 or 8 in a plane, 6 or 26 in a volume.",
)
@click.option(
    "--method",
    type=click.Choice(["mean_field", "icm", "graph_cut"]),
    help="How --smooth is solved; graph_cut is exact for two classes, and slow.",
)
@click.option(
    "--stack-histogram/--per-slice",
    "whole",
    default=True,
    help="One mixture, and one set of thresholds, for all slices and frames, or each "
    "plane an image of its own.  [default: stack-histogram]",
)
@click.option(
    "--illumination",
    type=click.Choice(["auto", "off"]),
    help="Take uneven light out, if there is any (off if not given, auto with --local).",
)
@click.option(
    "--local", is_flag=True, help="Let the thresholds follow the page or the field; for documents."
)
@click.option(
    "--families",
    type=Names(),
    metavar="A,B,...|auto",
    help="A family for each class, dark to bright: gaussian, rayleigh, rician, poisson, "
    "poisson_gaussian; uniform adds outliers. auto tries the usual ones.",
)
@click.option(
    "--features",
    type=Names(),
    metavar="A,B,...",
    help="Features of a pixel: intensity, gradient, texture, position.",
)
@click.option(
    "--superpixels",
    type=click.IntRange(2),
    metavar="N",
    help="Label about N patches in place of pixels.",
)
@click.option(
    "--gray/--channels",
    "gray",
    default=True,
    help="Average the channels of a colour image, or take each as a feature.  [default: gray]",
)
@click.option(
    "--channel", type=click.IntRange(0), metavar="N", help="The only channel to look at, from 0."
)
@click.option(
    "--volume",
    type=click.IntRange(0),
    metavar="N",
    help="Which volume of a 4-D NIfTI image to look at, from 0.",
)
@click.option(
    "--always-cut", is_flag=True, help="Part two classes even where one explains the image as well."
)
@click.option(
    "--report",
    is_flag=True,
    help="Also say how far each threshold can be trusted: a 90 % band, and the area at "
    "both its ends.",
)
@click.option(
    "--posteriors", is_flag=True, help="Also write the probability of each class (_probseg)."
)
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Also write how undecided each pixel is (_desc-uncertainty_probseg), in nats.",
)
@click.option("--no-picture", is_flag=True, help="Draw no picture (_threshold.png).")
@click.option(
    "--large/--no-large",
    default=None,
    help="Threshold TIFF and OME-Zarr in parts, without holding them in memory.  "
    "[default: where memory is short]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many processor cores to use.  [default: all]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
@click.option("--overwrite", is_flag=True, help="Replace results that exist already.")
@click.option(
    "--resume",
    is_flag=True,
    help="Skip images that an earlier run with the same options has labelled.",
)
def threshold(images: tuple[str, ...], quiet: bool, **given: Any) -> None:
    """Sort the pixels of each IMAGE into classes by a mixture fitted to its histogram.

    IMAGE is a file, a folder or a pattern: PNG, JPEG, TIFF stacks, OME-TIFF, OME-Zarr, NIfTI.
    Written to OUT: labels of the kind that came in (_dseg; a JPEG gives a PNG), a picture to
    check them by (_threshold.png) and a row for each image in thresholds.tsv. Of two classes
    label 1 is the foreground; more count from 1 in order of intensity. A bad image does not stop
    the others; the exit code is 2 if there was one.

    \b
    Examples:
      gmmseg threshold cells.png
      gmmseg threshold "scans/*.tif" -k 3 --smooth 0.5 -o labels
      gmmseg threshold page.jpg --dark --local
      gmmseg threshold head.nii.gz --mask brain.nii.gz -k 3
    """  # noqa: D301 (click wants the backspace itself)
    seen: list[ImageDone] = []
    names = Listing(given["out"])
    total = 0
    try:
        from gmmseg.raster.paths import expand  # here, to keep `gmmseg --help` fast

        paths = tuple(expand(images))
        total = len(paths)
        job = _job(paths, given)
        from gmmseg.thresholdbatch import run_threshold

        def after(one: ImageDone) -> None:
            seen.append(one)
            if not quiet:
                names.add(one.written)

        with progress(show=not quiet) as bar:
            run = run_threshold(job, progress=bar, after=after)
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted: {_count(sum(not one.error for one in seen), 'image')} of {total} "
            f"labelled; --resume goes on from there.",
            err=True,
        )
        sys.exit(130)
    with after_writing():
        if not quiet:
            names.add(run.table[:1])
        _tell(run, total, quiet=quiet)
        if run.failed or run.unsaved:
            sys.exit(BAD_INPUT)
        names.finish()


def _job(paths: tuple[Path, ...], given: dict[str, Any]) -> ThresholdJob:
    """The job of a command line."""
    from gmmseg.settings import ThresholdSettings
    from gmmseg.thresholdbatch import ThresholdJob
    from gmmseg.thresholdimage import ThresholdOptions

    given["dark"] = not given.pop("bright")
    given["per_slice"] = not given.pop("whole")
    given["channels"] = not given.pop("gray")
    if given["neighbours"] is not None:
        given["neighbours"] = int(given["neighbours"])
    if given["families"] == ("auto",):
        given["families"] = "auto"
    names = set(ThresholdSettings.__dataclass_fields__)
    settings = {name: given[name] for name in names & set(given) if given[name] is not None}
    about = {name: given[name] for name in ThresholdOptions.__dataclass_fields__ if name in given}
    options = ThresholdOptions(settings=settings, **about)
    _ = options.checked  # before any image is read
    return ThresholdJob(
        paths, given["out"], given["mask"], options, not given["no_picture"], given["large"],
        given["threads"], given["overwrite"], given["resume"], _words(given),
    )  # fmt: skip


def _words(given: dict[str, Any]) -> str:
    """The options that decide labels, as they are typed; n/a if none was given."""
    words = []
    for name, option in _GIVEN.items():
        value = given[name]
        if value is not None:
            words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
    words += [option for name, option in _SWITCHED.items() if given[name]]
    return " ".join(words) or "n/a"


def _tell(run: ThresholdRun, total: int, *, quiet: bool) -> None:
    """Warnings, notes and how it went, on stderr."""
    for label, found in (("Warning", "warnings"), ("Note", "notes")):
        if quiet and label == "Note":
            continue
        images: dict[str, list[str]] = {}
        for one in run.done:
            for text in getattr(one, found):
                images.setdefault(text, []).append(one.image.name)
        for text, names in images.items():
            who = ", ".join(names) if len(names) <= 3 else f"{len(names)} images"
            click.echo(f"{label}: {who}: {text}", err=True)
    if total == 1 and run.failed:
        click.echo(f"Error: {run.failed[0].error}", err=True)
    elif total > 1 and (run.failed or not quiet):
        click.echo(summary(run), err=True)
    if run.unsaved:
        click.echo(f"Error: {run.unsaved}", err=True)


def summary(run: ThresholdRun) -> str:
    """How a run of several images went."""
    labelled = len(run.done) - len(run.failed)
    parts = [f"{_count(labelled, 'image')} labelled"]
    if run.skipped:
        parts.append(f"{run.skipped} done before")
    if not run.failed:
        return ", ".join(parts) + "."
    lines = [f"  {one.error}" for one in run.failed]
    return "\n".join([", ".join([*parts, f"{len(run.failed)} failed"]) + ":", *lines])


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
