"""Images into label files, one after the other: what ``gmmseg threshold`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path

from gmmseg import staging
from gmmseg.checks import TRACEBACK, InputError, ending, reachable
from gmmseg.raster.image import Raster, first_line
from gmmseg.raster.paths import dseg_path, split_name
from gmmseg.raster.write import write_labels, write_map
from gmmseg.thresholdimage import Part, ThresholdOptions, threshold_image
from gmmseg.thresholdlarge import is_large, threshold_large
from gmmseg.thresholdledger import Ledger
from gmmseg.thresholdtable import MISSING, Row, failed_row, row_of


@dataclass(frozen=True, slots=True)
class ThresholdJob:
    """Images to threshold, and where the results go."""

    images: tuple[Path, ...]
    out: Path = Path("derivatives/gmmseg")
    mask: Path | None = None  # holds for every image
    options: ThresholdOptions = field(default_factory=ThresholdOptions)
    picture: bool = True  # draw what was found
    large: bool | None = None  # in parts, from the file; by default where memory is short
    threads: int | None = None
    overwrite: bool = False
    resume: bool = False  # skip images whose results are there
    words: str = "n/a"  # the options as they were typed, for the table


@dataclass(frozen=True, slots=True, eq=False)
class ImageDone:
    """What came of one image."""

    image: Path
    rows: tuple[Row, ...]
    written: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()  # what the user should look at
    notes: tuple[str, ...] = ()  # what the user should know
    error: str = ""  # one sentence, if it failed
    stopped: bool = False  # whether Ctrl-C came when its files had been written


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdRun:
    """What came of all images."""

    done: tuple[ImageDone, ...]
    table: tuple[Path, ...] = ()
    skipped: int = 0  # done before
    unsaved: str = ""  # one sentence, if the table could not be written

    @property
    def failed(self) -> tuple[ImageDone, ...]:
        """Images without labels."""
        return tuple(one for one in self.done if one.error)


@reachable()
def run_threshold(
    job: ThresholdJob,
    *,
    progress: Callable[[str, float], None] | None = None,
    after: Callable[[ImageDone], None] | None = None,
) -> ThresholdRun:
    """Threshold images and write labels, pictures and a table with a row for each.

    A bad image does not stop the others; its row says why. All files of an image appear
    together, or none. An interruption leaves those of the images that were done, and their table.

    Parameters
    ----------
    job : ThresholdJob
    progress : callable, optional
        Told the name of each image and the share of the images that are done, 0 to 1.
    after : callable, optional
        Told what came of each image, when it is done.

    Returns
    -------
    ThresholdRun

    Raises
    ------
    InputError
        Before any work: if a setting is wrong, two images would have results of the same name,
        results are there already, or an input would be overwritten.
    """
    options = job.options
    if options.report and not options.plain:
        raise InputError(
            "--report is about thresholds of the whole image; leave it out, or --local, "
            "--channels, --features and --superpixels."
        )
    check_names(job.images)
    ledger = Ledger(job.out)
    images = [image for image in job.images if not (job.resume and _is_done(image, job, ledger))]
    inputs = staging.resolved((*job.images, job.mask))
    jobs = {image: _resumed(image, job, ledger) for image in images}
    for image, own in jobs.items():
        targets = _targets(image, None, job)
        stem = split_name(image)[0]
        stale = staging.left_over(job.out, stem, ledger.made(stem), targets=targets, inputs=inputs)
        staging.check_free((*targets, *stale), inputs=inputs, overwrite=own.overwrite)
    if job.threads is not None:
        from gmmseg.threads import use_threads

        use_threads(job.threads)
    done: list[ImageDone] = []
    try:
        for number, image in enumerate(images):
            if progress is not None:
                progress(image.name, number / len(images))
            stem = split_name(image)[0]
            one = _one(image, jobs[image], inputs, ledger.made(stem))
            done.append(one)
            if one.error and len(job.images) == 1:
                continue  # its one sentence says it all
            ledger.add(stem, one.rows)
            if after is not None:
                after(one)
            if one.stopped:
                raise KeyboardInterrupt
    except BaseException:
        with suppress(InputError):  # what ended the run says more
            ledger.save()
        raise
    table: tuple[Path, ...] = ()
    unsaved = ""
    try:
        table = ledger.save()
    except InputError as error:
        unsaved = str(error)
    return ThresholdRun(tuple(done), table, len(job.images) - len(images), unsaved)


def check_names(images: Sequence[Path]) -> None:
    """Raise InputError if two images would have results of the same name."""
    seen: dict[str, Path] = {}
    for image in images:
        stem = split_name(image)[0]
        other = seen.setdefault(stem.casefold(), image)
        if other is not image:
            raise InputError(
                f"The images {other} and {image} would both be written as {stem}_dseg; rename one, "
                f"or give them one by one, each with its own -o."
            )


def _one(
    image: Path, job: ThresholdJob, inputs: Collection[Path], before: Sequence[str]
) -> ImageDone:
    """Threshold one image; what is wrong with it becomes a sentence."""
    try:
        return _labelled(image, job, inputs, before)
    except InputError as error:
        text = str(error)
    except MemoryError:
        text = "There is not enough memory for it; try --large, or fewer options."
    except Exception as error:
        stop = ending(error)
        if stop is not None:
            raise stop from None
        if os.environ.get(TRACEBACK):
            raise
        what = f"{type(error).__name__}: {first_line(error)}"
        text = f"It failed in a way no one thought of ({what})."
    if str(image) not in text:
        more = text.removeprefix("The image ")
        text = f"The image {image}" + (f" {more}" if more != text else f": {text}")
    return ImageDone(image, (failed_row(image, text, job.words, before),), error=text)


def _labelled(
    image: Path, job: ThresholdJob, inputs: Collection[Path], before: Sequence[str]
) -> ImageDone:
    """Threshold one image, of which ``before`` was made by an earlier run, and write its files."""
    options, large, stopped = job.options, job.large, False
    if large is None:
        large = is_large(image, options)
    try:
        if large:
            targets = _targets(image, None, job)
            placed = _staged(image, targets, job, inputs, before)
            with placed as stage:
                first = stage / targets[0].name
                raster, part, notes = threshold_large(image, job.mask, options, first)
                parts: tuple[Part, ...] = (part,)
                _draw(parts, raster, image, job, stage / targets[-1].name)
        else:
            found = threshold_image(image, job.mask, options)
            parts, raster, notes = found.parts, found.raster, found.notes
            targets = _targets(image, raster.kind, job)
            staging.check_free(targets, inputs=inputs, overwrite=job.overwrite)
            placed = _staged(image, targets, job, inputs, before)
            with placed as stage, staging.writing(job.out):
                write_labels(stage / targets[0].name, found.assembled("labels"), raster)
                maps = iter(targets[1:])
                if options.posteriors:
                    write_map(stage / next(maps).name, found.assembled("posteriors"), raster)
                if options.uncertainty:
                    write_map(stage / next(maps).name, found.assembled("uncertainty"), raster)
                _draw(parts, raster, image, job, stage / targets[-1].name)
    except KeyboardInterrupt as stop:
        if not staging.all_written(stop):
            raise
        stopped = True  # they get a row all the same
    written = tuple(path for path in targets if path.exists())
    rows = tuple(
        row_of(
            image,
            part.name,
            part.result,
            part.band,
            dark=options.checked.dark,
            options=job.words,
            files=[path.name for path in written],
            n_pixels=part.n_pixels,
        )
        for part in parts
    )
    return ImageDone(image, rows, written, _warnings(parts), notes, stopped=stopped)


def _draw(
    parts: Sequence[Part], raster: Raster, image: Path, job: ThresholdJob, path: Path
) -> None:
    if not job.picture:
        return
    from gmmseg import thresholdreport

    thresholdreport.save(thresholdreport.draw(parts, raster, title=image.name), path)


def _warnings(parts: Sequence[Part]) -> tuple[str, ...]:
    """Warnings of all parts; of many alike, one that says how many."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for text in part.result.warnings:
            found.setdefault(text, []).append(part.name)
    return tuple(
        text if names == [""] else f"{_some(names)} of {len(parts)}: {text}"
        for text, names in found.items()
    )


def _some(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _targets(image: Path, kind: str | None, job: ThresholdJob) -> tuple[Path, ...]:
    """Files of an image: labels, maps that were asked for, the picture last."""
    options = job.options
    paths = [dseg_path(image, job.out, kind=kind)]
    for name, asked in (("probseg", options.posteriors),
                        ("desc-uncertainty_probseg", options.uncertainty)):  # fmt: skip
        if asked:
            paths.append(dseg_path(image, job.out, kind=kind, suffix=name, numbers=True))
    if job.picture:
        paths.append(job.out / f"{split_name(image)[0]}_threshold.png")
    return tuple(paths)


def _staged(
    image: Path,
    targets: Sequence[Path],
    job: ThresholdJob,
    inputs: Collection[Path],
    before: Sequence[str],
) -> AbstractContextManager[Path]:
    """Where files of an image wait; those of an earlier run go as the new ones come."""
    stem = split_name(image)[0]
    if not job.overwrite:
        return staging.staged(job.out, targets, new=targets)
    stale = staging.left_over(job.out, stem, before, targets=targets, inputs=inputs)
    return staging.staged(job.out, targets, stale=stale)


def _is_done(image: Path, job: ThresholdJob, ledger: Ledger) -> bool:
    """Whether an earlier run with the same options left labels and rows of an image."""
    own = ledger.of(split_name(image)[0])
    return (
        bool(own)
        and all(row.ok and row.cells.get("options", MISSING) == job.words for row in own)
        and all(Path(row.cells["image"]).name == image.name for row in own)  # and not of its stem
        and any(job.out.glob(f"{escape(split_name(image)[0])}_dseg.*"))
    )


def _resumed(image: Path, job: ThresholdJob, ledger: Ledger) -> ThresholdJob:
    """The job, free to replace files without a row: a run was cut off between the two."""
    left = job.resume and not ledger.of(split_name(image)[0])
    return replace(job, overwrite=job.overwrite or left)
