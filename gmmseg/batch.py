"""One scan from file to files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from gmmseg import atlasfiles, derivatives, labels, provenance, staging, volume
from gmmseg.checks import InputError, reachable
from gmmseg.maskfile import read_mask
from gmmseg.outputs import DESCRIPTION, UNCERTAINTY, Earlier, Outputs
from gmmseg.settings import BrainSettings

if TYPE_CHECKING:
    from gmmseg.selfcheck import Check
    from gmmseg.stopwatch import Stopwatch
    from gmmseg.tissues import BrainSegmentation

SWITCHES = {"stripped": ("--stripped", "--whole-head"), "parts": ("--parts", "--no-parts")}
"""Settings that are options without a value."""

MODEL = ("gmmseg.spatial.atlas", "gmmseg.workflows.brain")
"""Modules with compiled kernels, those that blur the atlas first."""


@dataclass(frozen=True, slots=True)
class Job:
    """One scan to segment.

    Paths may be given as str.

    Raises
    ------
    InputError
        If there is no such setting, or a path is none.
    """

    scan: Path
    out: Path = Path("derivatives/gmmseg")
    mask: Path | None = None
    labels: str = "bids"  # convention of the label image, see gmmseg.labels.SCHEMES
    settings: Mapping[str, Any] = field(default_factory=dict)  # of BrainSettings, by name
    volume: int | None = None  # of a 4-D image, from 0
    overwrite: bool = False
    regions: bool = False  # also write cortex, deep grey matter, brainstem and cerebellum
    uncertainty: bool = False  # write the map of the entropy, too
    strict: bool = False  # for the record: whether the command is to fail with the self-check

    def __post_init__(self) -> None:
        for name in ("scan", "out", "mask"):
            value = getattr(self, name)
            known = isinstance(value, str | os.PathLike) and os.fspath(value) != ""
            if not (known or (name == "mask" and value is None)):
                raise InputError(f"The {name} of a job must be a path; got {value!r}.")
            if value is not None:
                object.__setattr__(self, name, Path(value))
        names = [one.name for one in fields(BrainSettings)]
        if not isinstance(self.settings, Mapping):
            raise InputError(f"settings must be a mapping, by name; got {self.settings!r}.")
        for name in self.settings:
            if name not in names:
                raise InputError(f"There is no setting {name!r}; there are {', '.join(names)}.")

    @property
    def extra(self) -> tuple[str, ...]:
        """Images beside those that are always written; see :meth:`Outputs.all`."""
        return (UNCERTAINTY,) if self.uncertainty else ()

    def command(self) -> list[str]:
        """Words of the command that does this job."""
        scan = str(self.scan)
        scan = f"./{scan}" if scan.startswith("-") else scan  # which would be an option
        words = ["gmmseg", "brain", scan, "-o", str(self.out), "--labels", self.labels]
        if self.mask is not None:
            words += ["--mask", str(self.mask)]
        if self.volume is not None:
            words += ["--volume", str(self.volume)]
        words += ["--regions"] if self.regions else []
        settings = BrainSettings(**self.settings)  # which takes one word for a list of one
        for name in self.settings:
            words += _option(name, getattr(settings, name))
        words += ["--uncertainty"] if self.uncertainty else []
        words += ["--strict"] if self.strict else []
        return [*words, *(["--overwrite"] if self.overwrite else [])]


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What a job left behind."""

    segmentation: BrainSegmentation
    written: tuple[Path, ...]
    checks: tuple[Check, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(c.name for c in self.checks if not c.passed)


def run_job(
    job: Job,
    *,
    progress: Callable[[str, float], None] | None = None,
    watch: Stopwatch | None = None,
) -> Done:
    """Segment one scan and write its derivatives, all of them or none.

    Parameters
    ----------
    job : Job
    progress : callable, optional
        Told the name of each stage and the fraction of the whole that is done, 0 to 1.
    watch : Stopwatch, optional
        Told the same, in place of ``progress``; what it saw joins the record of the run.

    Returns
    -------
    Done
        The segmentation and the files written, in the order of :meth:`Outputs.all`.

    Raises
    ------
    InputError
        If the scan, the mask or a setting cannot be used, if outputs exist and the job may not
        overwrite them, or if they cannot be written. Nothing is left behind then.
    """
    tell = watch or progress or _nobody
    tell("reading", 0.0)
    plan = _Plan.of(job)
    settings, outputs = plan.settings, plan.outputs
    model = Thread(target=_load, args=MODEL)  # while the scan is inflated
    model.start()
    scan = volume.read(job.scan, volume=job.volume)
    mask = None if job.mask is None else read_mask(job.mask, scan)
    with suppress(InputError):  # told where the atlas is used
        atlasfiles.load_ahead(settings.atlas, settings.atlas_names, settings.threads)
    # the model is still being loaded
    read = provenance.inputs(job.scan, job.mask, atlasfiles.paths(settings.atlas))
    before = Earlier.of(outputs)
    stale = staging.left_over(
        job.out, outputs.stem, before.files, targets=plan.targets, inputs=plan.inputs
    )
    new = () if job.overwrite else plan.own
    with staging.staged(job.out, plan.targets, new=new, stale=stale) as stage:
        tell("importing", 0.0)
        model.join()
        from gmmseg.threads import use_threads
        from gmmseg.workflows.brain import unchecked

        use_threads(settings.threads)
        result = unchecked(scan, mask, settings, progress=_preparing(tell))
        replaced = before.remark(job.scan, read["scan"]["sha256"])
        with staging.writing(job.out):
            return _write(result, plan, stage, read=read, replaced=replaced, tell=tell, watch=watch)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a job is going to write, and what it reads."""

    job: Job
    settings: BrainSettings
    outputs: Outputs
    own: tuple[Path, ...]  # files of this scan
    shared: tuple[Path, ...]  # of all scans in the folder, which other runs may write meanwhile
    inputs: frozenset[Path]

    @classmethod
    def of(cls, job: Job) -> _Plan:
        """The plan of a job; InputError if it may not be, or would overwrite what it may not."""
        settings = BrainSettings(**job.settings)
        names = atlasfiles.class_names(settings.atlas, settings.atlas_names)
        for option, asked in (("--regions", job.regions), ("--parts", job.settings.get("parts"))):
            if asked and settings.atlas:
                raise InputError(
                    f"{option} carries parts of the packaged atlas and cannot be used with "
                    f"--atlas; give maps named CGM, SGM, BS and CBM instead."
                )
        labels.codes(names, job.labels)
        outputs = Outputs.of(job.scan, job.out)
        own = outputs.all(names, regions=job.regions, pve=settings.pve, extra=job.extra)
        with reachable():
            inputs = staging.resolved((job.scan, job.mask, *atlasfiles.paths(settings.atlas)))
            staging.check_free(own, inputs=inputs, overwrite=job.overwrite)
            description = job.out / DESCRIPTION
            shared = (description,) if outputs.is_bids and not description.exists() else ()
        return cls(job, settings, outputs, own, shared, inputs)

    @property
    def targets(self) -> tuple[Path, ...]:
        """All files that are going to be written."""
        return (*self.own, *self.shared)


def _write(
    result: BrainSegmentation,
    plan: _Plan,
    stage: Path,
    *,
    read: Mapping[str, Any],
    replaced: Sequence[str],
    tell: Callable[[str, float], None],
    watch: Stopwatch | None,
) -> Done:
    """Write everything to a folder, and say what the result is doubted for."""
    from gmmseg import regions, report, selfcheck
    from gmmseg.threads import n_threads, use_threads

    job, outputs = plan.job, plan.outputs
    how: dict[str, Any] = {"scheme": job.labels, "extra": job.extra}
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(n_threads(),)) as pool:
        # Compression lets go of the interpreter lock: all else is done meanwhile.
        images = pool.submit(derivatives.write_images, result, outputs, stage, **how)
        checks = selfcheck.check(result)
        result = selfcheck.doubted(result, checks)
        result = result.warned((*result.warnings, *replaced))
        parts = regions.brain_regions(result) if job.regions else None
        tell("drawing", 1.0)
        notes = provenance.record(
            result,
            read=read,
            labels=job.labels,
            command=job.command(),
            checks=checks,
            files=plan.own,
        )
        derivatives.write_tables(result, outputs, stage, provenance=notes, **how)
        report.save(report.draw(result, title=outputs.stem), stage / outputs.path("qc.png").name)
        if plan.shared:
            derivatives.write_dataset_description(stage)
        if parts is not None:
            derivatives.write_regions(parts, outputs, stage)
        tell("writing", 1.0)  # what is left of it
        images.result()
        if watch is not None:
            notes["profile"] = provenance.plain([s._asdict() for s in watch.finish()])
            derivatives.write_record(stage / outputs.record.name, notes)
    return Done(result, plan.targets, checks)


def _nobody(*_: object) -> None:
    """Where no one watches."""


def _load(*modules: str) -> None:
    """Load modules ahead of their use, which says what is wrong with them."""
    with suppress(Exception):
        for name in modules:
            import_module(name)


def _preparing(tell: Callable[[str, float], None]) -> Callable[[str, float], None]:
    """Load what draws the picture in the stage whose kernels leave the interpreter idle longest."""

    def told(stage: str, fraction: float) -> None:
        tell(stage, fraction)
        if stage == "labelling":
            Thread(target=_load, args=("matplotlib.figure",)).start()

    return told


def _option(name: str, value: Any) -> list[str]:
    """Words of the command line for one setting of BrainSettings."""
    if name == "pve":
        return ["--pve"] if value else []
    if name in SWITCHES:
        on, off = SWITCHES[name]
        return [] if value is None else [on if value else off]
    if name == "atlas":
        return [word for one in value for word in ("--atlas", one)]
    if name == "gaussians":
        pairs = (f"{one.replace(' ', '')}={number}" for one, number in value.items())
        return [word for pair in pairs for word in ("--gaussians", pair)]
    if name == "atlas_names":
        return ["--atlas-names", ",".join(value)] if value else []
    return [] if value is None else ["--" + name.replace("_", "-"), str(value)]
