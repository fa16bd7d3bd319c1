"""Tissue maps that the user names: files, BIDS names, 4-D images, templateflow's templates."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gmmseg import imagefile
from gmmseg import volume as volumes
from gmmseg.checks import InputError, reachable
from gmmseg.labels import TISSUES

if TYPE_CHECKING:  # modules with compiled kernels are loaded while the scan is read
    from gmmseg.spatial.atlas import Blurred, TissueAtlas

TEMPLATEFLOW = "templateflow:"
ALIASES = {"SCGM": "SGM", "deep GM": "SGM", "deepGM": "SGM"}
"""Other names for the deep grey matter; ``SGM`` is BIDS's."""

RESERVED = {"outside", "fluid", "bone", "soft", "air", "brain"}
"""Names that the model gives to what lies around the tissues."""

_LABEL = re.compile(r"(?:^|_)label-([A-Za-z0-9]+)(?:_|$)")
_NAME = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class AtlasMap:
    """One class of an atlas and where its map is stored."""

    name: str
    path: Path
    volume: int | None = None  # of a 4-D image, from 0


def find_maps(atlas: Sequence[str], names: Sequence[str] = ()) -> tuple[AtlasMap, ...]:
    """Maps that the words of ``--atlas`` stand for.

    Parameters
    ----------
    atlas : sequence of str
        ``FILE``, ``NAME=FILE`` or ``templateflow:TEMPLATE``. A file of several volumes holds a
        class in each; their names come from ``names``, or from ``LabelMap`` in the JSON file of the
        same name.
    names : sequence of str
        Names of all classes, in their order; they replace any others.

    Returns
    -------
    tuple of AtlasMap; nothing but headers and JSON files are read

    Raises
    ------
    InputError
        If a file or template is not there, or a class has no name, a bad one, or that of another.
    """
    found: list[tuple[str | None, Path, int | None]] = []
    for word in atlas:
        if word.startswith(TEMPLATEFLOW):
            found += [(_label(path), path, None) for path in _templateflow(word)]
            continue
        name, path = _parted(word)
        count = imagefile.n_volumes(path, name="atlas map")
        if count == 1:
            found.append((name or _label(path), path, None))
        elif name is not None:
            raise InputError(
                f"The atlas map {path} holds {count} volumes, so it cannot be {name} alone; give "
                f"it without a name, and the names with --atlas-names."
            )
        else:
            listed = _label_map(path, count) if not names else [None] * count
            found += [(label, path, v) for v, label in enumerate(listed)]
    if names and len(names) != len(found):
        raise InputError(
            f"The atlas has {len(found)} maps and {len(names)} names were given; "
            f"each map needs one."
        )
    chosen: list[str | None] = list(names) or [label for label, _, _ in found]
    maps = [
        AtlasMap(_checked(name, path), path, volume)
        for name, (_, path, volume) in zip(chosen, found, strict=True)
    ]
    for k, one in enumerate(maps):
        if one.name in {other.name for other in maps[:k]}:
            raise InputError(f"Two maps of the atlas have the name {one.name}; give each its own.")
    if len(maps) < 2:
        raise InputError("An atlas needs at least two classes to tell apart; one was given.")
    return tuple(maps)


def class_names(atlas: Sequence[str] = (), names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the tissues that a segmentation with this atlas has."""
    return head_atlas(atlas, names).tissues if atlas or names else TISSUES


def paths(atlas: Sequence[str]) -> tuple[Path, ...]:
    """Files that the words of ``--atlas`` stand for, each once."""
    if not atlas:
        return ()
    found: list[Path] = []
    for word in atlas:
        found += _templateflow(word) if word.startswith(TEMPLATEFLOW) else [_parted(word)[1]]
    return tuple(dict.fromkeys(found))


def head_atlas(atlas: Sequence[str] = (), names: Sequence[str] = ()) -> TissueAtlas:
    """Head atlas over the maps that ``--atlas`` names; the packaged one if it names none.

    Raises
    ------
    InputError
        If the maps cannot be found or read, lie on different grids, or are not probabilities.
    """
    if not atlas:
        if names:
            raise InputError("Names of atlas classes were given without an atlas; add --atlas.")
        from gmmseg.template import icbm_head_atlas

        return icbm_head_atlas()
    found = find_maps(atlas, names)
    stamps = tuple((m.path.stat().st_mtime_ns, m.path.stat().st_size) for m in found)
    return _head_atlas(found, stamps)


def load_ahead(
    atlas: Sequence[str] = (), names: Sequence[str] = (), threads: int | None = None
) -> None:
    """Read and blur an atlas for the run that takes it next, on so many threads; None is all.

    Raises
    ------
    InputError
        As :func:`head_atlas` does.
    """
    found = head_atlas(atlas, names)
    from gmmseg.threads import on_threads  # it may be loaded while the atlas is read

    with on_threads(threads):
        _blurred(found)


def taken(atlas: Sequence[str] = (), names: Sequence[str] = ()) -> tuple[TissueAtlas, Blurred]:
    """:func:`head_atlas`, and as the alignment sees it, for one run.

    The packaged atlas does not stay beyond: it takes a tenth of a second to read, and 100 MB that
    nobody needs where memory is fullest.

    Raises
    ------
    InputError
        As :func:`head_atlas` does.
    """
    found = head_atlas(atlas, names)
    blurred = _blurred(found)
    _blurred.cache_clear()
    if not atlas:
        from gmmseg.template import let_go

        let_go()
    return found, blurred


@lru_cache(maxsize=1)
def _blurred(atlas: TissueAtlas) -> Blurred:
    from gmmseg.spatial.atlas import Blurred

    return Blurred.of(atlas)


@lru_cache(maxsize=1)
def _head_atlas(found: tuple[AtlasMap, ...], _stamps: object) -> TissueAtlas:
    from gmmseg.spatial.customatlas import maps_atlas

    first: volumes.Volume | None = None
    maps = []
    for one in found:
        label = f"The atlas map of {one.name} ({one.path.name})"
        read = volumes.read(one.path, volume=one.volume, name=f"atlas map of {one.name}")
        if read.n_missing:
            raise InputError(
                f"{label} holds {read.n_missing} voxels that are NaN or infinite; set them to 0."
            )
        first = first or read
        _check_grid(first, read, label, found[0].name)
        maps.append(volumes.turn(read.data, first))
    assert first is not None  # noqa: S101 (find_maps returns at least two)
    stacked = np.stack(maps, axis=-1)
    return maps_atlas(stacked, volumes.canonical_affine(first), [m.name for m in found])


def _check_grid(first: volumes.Volume, other: volumes.Volume, label: str, name: str) -> None:
    try:
        volumes.check_same_grid(first, other, name=label)
    except InputError as error:
        sizes = f"{imagefile.times(other.shape)} against {imagefile.times(first.shape)}"
        raise InputError(
            f"{label} is not on the grid of the map of {name} ({sizes} voxels, or another place "
            f"in space); resample the maps of an atlas to one grid first."
        ) from error


@reachable()
def _parted(word: str) -> tuple[str | None, Path]:
    """Name and path of ``NAME=FILE``; a file whose own name holds a = goes first."""
    name, equals, rest = word.partition("=")
    if not equals or Path(word).exists():
        return None, Path(word)
    return name, Path(rest)


def _label(path: Path) -> str | None:
    """Class in a BIDS file name.

    >>> _label(Path("tpl-X_res-01_label-GM_probseg.nii.gz"))
    'GM'
    """
    match = _LABEL.search(path.name.split(".")[0])
    return match[1] if match else None


def _label_map(path: Path, count: int) -> list[str | None]:
    """Names of the volumes of a 4-D file, from the JSON file beside it."""
    beside = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name) + ".json")
    remedy = "name the classes with --atlas-names."
    if not beside.exists():
        raise InputError(
            f"The atlas {path} holds {count} volumes and there is no {beside.name} that names "
            f"them; {remedy}"
        )
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{beside} cannot be read as JSON; {remedy}") from error
    names = content.get("LabelMap") if isinstance(content, dict) else None
    if not isinstance(names, list) or len(names) != count:
        raise InputError(f"{beside} has no LabelMap of {count} names; {remedy}")
    return [str(name) for name in names]


def _checked(name: str | None, path: Path) -> str:
    if name is None:
        raise InputError(
            f"The atlas map {path} has no class name; give it as NAME={path.name}, or with "
            f"--atlas-names."
        )
    name = ALIASES.get(name, name)
    if not _NAME.fullmatch(name):
        raise InputError(f"The class name {name!r} is not made of letters and digits alone.")
    if name.lower() in RESERVED:
        raise InputError(
            f"The class name {name!r} stands for what lies around the tissues; choose another."
        )
    return name


def _templateflow(word: str) -> list[Path]:
    """Probability maps of a template of templateflow, at 1 mm: from its package or its folder."""
    name, *entities = word.removeprefix(TEMPLATEFLOW).split(":")
    wanted = dict(part.partition("-")[::2] for part in entities)
    if not re.fullmatch(r"[A-Za-z0-9]+", name) or not all(wanted.values()):
        raise InputError(
            f"{word!r} is not a template; write templateflow:NAME, or "
            f"templateflow:NAME:cohort-1, for example."
        )
    try:
        from templateflow import api
    except ImportError:
        paths = _in_folder(name, wanted)
        remedy = "install templateflow (pip install templateflow) or set TEMPLATEFLOW_HOME"
    else:
        paths = _from_package(api, name, wanted)
        remedy = f"check the name, and fetch it once while online: templateflow get {name}"
    # a file that was listed and never fetched has no content
    whole = [path for path in paths if path.is_file() and path.stat().st_size > 0]
    maps = [path for path in whole if _label(path) not in (None, "brain", "head")]
    if len(maps) < 2:
        raise InputError(
            f"Tissue maps of the template {name} (..._probseg.nii.gz) were not found; {remedy}."
        )
    return sorted(maps)


def _from_package(api: object, name: str, wanted: dict[str, str]) -> list[Path]:
    try:
        got = api.get(  # type: ignore[attr-defined]
            name, resolution=1, suffix="probseg", extension=".nii.gz", desc=None, **wanted
        )
    except Exception as error:  # no network, no such template, no permission, ...
        raise InputError(
            f"templateflow has no tissue maps of {name} to give ({error!s:.120}); "
            f"check the name, and fetch it once while online."
        ) from error
    return [Path(path) for path in (got if isinstance(got, list | tuple) else [got])]


def _in_folder(name: str, wanted: dict[str, str]) -> list[Path]:
    """Files of a template in the folder that templateflow keeps its files in."""
    home = os.environ.get("TEMPLATEFLOW_HOME") or str(Path.home() / ".cache" / "templateflow")
    folder = Path(home) / f"tpl-{name}"
    parts = {f"{key}-{value}" for key, value in wanted.items()}
    found = []
    for path in sorted(folder.rglob("*_probseg.nii.gz")):
        words = set(path.name.split("_"))
        resolutions = {word for word in words if word.startswith("res-")}
        if resolutions <= {"res-1", "res-01"} and parts <= words and "_desc-" not in path.name:
            found.append(path)
    return found
