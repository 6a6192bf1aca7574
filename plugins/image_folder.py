"""Anyone's pictures: a folder for each class."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Len
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import DataError
from prunebench.records import cores

from .decoding import glance, is_turned, opened

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("prunebench.data.prepared")

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
CLUTTER = frozenset({"__macosx", "@eadir", "$recycle.bin", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"})
"""What operating systems leave in folders, in lower case; it is ignored as hidden files are."""
TEST_FOLDERS = ("test", "val", "valid", "validation")
IN_MEMORY = 2**32
"""Bytes of a split that are decoded in memory; a larger one is decoded into a temporary file."""
DECODED = 16 * 10**9
"""Bytes that are kept decoded; what would take more is streamed."""
BLOCK = 500
"""Pictures that a thread decodes at a time."""

Pictures = list[tuple[Path, int]]
"""Files and their labels."""


class NormalizedImages(prunebench.Dataset):
    """Images whose channels are standardized, or only scaled to the range from 0 to 1."""

    channel_mean: ClassVar[tuple[float, ...]]
    """Of each channel of the training images, from 0 to 255."""
    channel_std: ClassVar[tuple[float, ...]]

    normalize: Annotated[
        Literal["standardize", "unit"],
        Doc(
            "standardize: subtract the mean of each channel, and divide by its standard deviation; unit: only divide "
            "the pixels by 255"
        ),
    ] = prunebench.added_later("standardize")

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.channel_mean if self.normalize == "standardize" else (0.0,) * len(self.channel_mean)

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.channel_std if self.normalize == "standardize" else (255.0,) * len(self.channel_std)


class ImageFolder(NormalizedImages):
    """Your own pictures: PATH/train/CLASS/*.jpg, and the same in PATH/test (or val, valid, validation).

    Classes are numbered in the order of their names. A plan touches no data, so a suite says how many pictures and
    classes there are; where the folder has others, the error says how many.

    Every picture is decoded once, scaled and cropped to a square, and kept as 3 * size * size bytes, which training
    reads from memory-mapped arrays. Decoders differ in the last bits of a JPEG, and so may fingerprints.

    Colours become 8-bit RGB as in torchvision's ImageFolder: grey, palette and CMYK pictures are converted, an EXIF
    orientation is not applied (a warning says how many pictures have one). Grey pictures of 16 bits are scaled from
    0..65535 to 0..255. Refused by name are floats and 32-bit values, LAB, several frames or pages, and transparent
    pixels unless `background` is given; so are damaged and empty files. The content decides, not the file's extension.

    Hidden files and folders are ignored at any depth; links are followed. Files with other extensions are left out,
    and a warning counts and names them.

    What would take more than 16 GB that way, such as ImageNet, is streamed instead: files are decoded while a network
    trains, by as many processes beside it as it has threads (on a CPU one fewer), and `resized-crop` is cut out of the
    whole picture, as torchvision does it. The fingerprint is then that of the files.
    """

    name = "image-folder"
    version = 1
    channel_mean = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    channel_std = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    presets = {
        "imagenet": prunebench.Preset(
            "ILSVRC 2012 (Russakovsky et al. 2015, arXiv:1409.0575), the pictures of each class in a folder",
            {"path": "imagenet", "classes": 1000, "train": 1_281_167, "test": 50_000, "size": 224, "crop": 0.875},
        )
    }

    path: Annotated[str, Len(1), Doc("the folder, as seen from the one that --data names")]
    classes: Annotated[int, Ge(2), Doc("how many classes there are")]
    train: Annotated[int, Ge(1), Doc("how many training pictures there are")]
    test: Annotated[int, Ge(1), Doc("how many test pictures there are")]
    size: Annotated[int, Ge(1), Doc("width and height that networks see, in pixels")] = 224
    crop: Annotated[float, Gt(0), Le(1), Doc("share of a picture's shorter side that is kept, in its middle")] = 1.0
    background: Annotated[
        int, Ge(0), Le(255), Doc("grey level behind transparent pixels; without it they are refused")
    ] | (None) = None
    stream: Annotated[bool, Doc("decode while training; by default what is larger than 16 GB")] | None = None

    def __post_init__(self) -> None:
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise ValueError(f"{self.path!r} is not a folder inside of the one that --data names")

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts((3, self.size, self.size), self.classes, self.train, self.test)

    @property
    def streamed(self) -> bool:
        """Whether pictures are decoded while a network trains."""
        return (self.train + self.test) * 3 * self.size**2 > DECODED if self.stream is None else self.stream

    def load(self, root: Path | None) -> prunebench.Arrays:
        pictures, test_pictures = self._listed(root)
        return prunebench.Arrays(
            *decoded(pictures, self.size, self.crop, self.background),
            *decoded(test_pictures, self.size, self.crop, self.background),
        )

    def files(self, root: Path | None) -> prunebench.Files | None:
        if not self.streamed:
            return None
        splits = self._listed(root)
        folder = self._folders(root)[0].parent
        check_pictures((path for pictures in splits for path, _ in pictures), self.background)
        parts = [([str(path.relative_to(folder)) for path, _ in one], [label for _, label in one]) for one in splits]
        return prunebench.Files(folder, *parts[0], *parts[1])

    def decode(self, path: Path, draw: int | None) -> np.ndarray:
        picture = opened(path, self.background)
        return pixels(middle(picture, self.size, self.crop) if draw is None else random_part(picture, self.size, draw))

    def _listed(self, root: Path | None) -> tuple[Pictures, Pictures]:
        """The training and the test pictures; raises DataError for other numbers than the suite says."""
        train, test = self._folders(root)
        names = class_names(train)
        pictures, test_pictures = listed(train, names), listed(test, names)
        found = {"classes": len(names), "train": len(pictures), "test": len(test_pictures)}
        if found != {key: getattr(self, key) for key in found}:
            numbers = ", ".join(f"{key}: {number}" for key, number in found.items())
            raise DataError(f"data set {self.name!r}: for {train.parent} the suite must say {{{numbers}}}")
        return pictures, test_pictures

    def signature(self, root: Path | None) -> str:
        return signature_of(root and root / self.path)

    def _folders(self, root: Path | None) -> tuple[Path, Path]:
        """Those of the training and of the test pictures."""
        folder = (root or Path("DIR")) / self.path
        tests = [folder / name for name in TEST_FOLDERS if (folder / name).is_dir()]
        if root is None or not tests or not (folder / "train").is_dir():
            others = ", ".join(TEST_FOLDERS[1:])
            raise missing(self.name, [f"{folder / 'train'}/CLASS/", f"{folder / 'test'}/CLASS/ (or {others})"])
        return folder / "train", tests[0]


def missing(dataset: str, places: Sequence[str], *ways: str) -> DataError:
    """The error for data that is in none of the `places`; `ways` are more ways to get it."""
    ways = ("put it there", "or name the folder DIR that has it, with --data DIR or PRUNEBENCH_DATA=DIR", *ways)
    looked_for = "\n    ".join([f"data set {dataset!r} is not there; looked for", *places])
    return DataError(looked_for + "\n" + "\n    ".join(["to get it,", *ways]))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not part of the data: a hidden one, or an operating system's."""
    return name.startswith(".") or name.lower() in CLUTTER


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads back to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder and not hidden, sorted by name; raises DataError for a folder that cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error


def class_names(folder: Path) -> list[str]:
    """The folders in a folder, sorted; hidden ones are none."""
    return [entry.name for entry in entries(folder) if is_folder(entry)]


def listed(folder: Path, names: Sequence[str]) -> Pictures:
    """The pictures in a folder, class by class and sorted, without files of other kinds, which a warning counts.

    Raises DataError for other classes than these, and for one without a picture.
    """
    if others := sorted(set(class_names(folder)) ^ set(names)):
        raise DataError(f"{folder} should have a folder for each class and no other; this is amiss: {others[:9]}")
    left_out = [Path(entry.path) for entry in entries(folder) if not is_folder(entry)]
    pictures: Pictures = []
    for label, name in enumerate(names):
        found = sorted(files_below(folder / name))
        known = [(path, label) for path in found if path.suffix.lower() in SUFFIXES]
        if not known:
            raise DataError(f"{folder / name} has no picture ({', '.join(sorted(SUFFIXES))}): every class needs one")
        pictures += known
        left_out += [path for path in found if path.suffix.lower() not in SUFFIXES]
    if left_out:
        _log.warning("%s", _said_of(folder, left_out))
    return pictures


def files_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files in a folder at any depth, links followed; raises DataError for a link that leads back."""
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder} is reached by a link from inside of itself; remove that link")
    for entry in entries(folder):
        if is_folder(entry):
            yield from files_below(Path(entry.path), above | {real})
        else:
            yield Path(entry.path)


def _said_of(folder: Path, files: Sequence[Path]) -> str:
    """How many files of which kinds are left out, and the name of one."""
    counts = Counter(
        "outside of the class folders" if path.parent == folder else path.suffix.lower() or "without an extension"
        for path in files
    )
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    many = "files are" if len(files) > 1 else "file is"
    return f"{folder}: {len(files)} {many} left out ({kinds}), such as {files[0]}"


def decoded(
    pictures: Pictures, size: int, crop: float = 1.0, background: int | None = None, exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures as bytes of shape (N, 3, size, size), and their labels; in as many threads as there are cores.

    Args:
        exact: whether a picture of another size is refused instead of scaled.
    """
    inputs = _room((len(pictures), 3, size, size))
    turned: list[Path] = []

    def fill(start: int) -> None:
        for index, (path, _) in enumerate(pictures[start : start + BLOCK], start):
            picture = opened(path, background)
            turned.extend([path] if is_turned(picture) else [])
            if exact and picture.size != (size, size):
                found = "x".join(map(str, picture.size))
                raise DataError(f"{path} has {found} pixels, and should have {size}x{size}")
            inputs[index] = pixels(middle(picture, size, crop))

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(fill, range(0, len(pictures), BLOCK)))
    _say_turned(turned)
    return inputs, np.array([label for _, label in pictures], np.int64)


def check_pictures(paths: Iterable[Path], background: int | None = None) -> None:
    """Raise DataError for a file that does not begin as a picture does: minutes for a million, not hours."""

    def turned(path: Path) -> Path | None:
        return path if glance(path, background) else None

    with ThreadPoolExecutor(cores()) as pool:
        _say_turned([path for path in pool.map(turned, paths) if path is not None])


def _say_turned(paths: Sequence[Path]) -> None:
    if paths:
        many = "pictures have" if len(paths) > 1 else "picture has"
        _log.warning("%d %s an EXIF orientation, which is not applied, such as %s", len(paths), many, min(paths))


def middle(picture: "Image.Image", size: int, crop: float) -> "Image.Image":
    """The square of side `size` in the middle of a picture, once that is scaled to size / crop."""
    from PIL import Image

    if picture.size == (size, size) and crop == 1:
        return picture
    side = crop * min(picture.size)
    left, top = ((length - side) / 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box)


def random_part(picture: "Image.Image", size: int, draw: int) -> "Image.Image":
    """What torchvision's RandomResizedCrop makes of a picture, once torch is seeded with `draw`."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(draw)
        part: Image.Image = RandomResizedCrop(size)(picture)
    return part


def pixels(picture: "Image.Image") -> np.ndarray:
    """Bytes of shape (3, height, width)."""
    return np.asarray(picture).transpose(2, 0, 1)


def _room(shape: tuple[int, ...]) -> np.ndarray:
    if prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < prod(shape):
        raise DataError(
            f"decoding needs {prod(shape) / 1e9:.0f} GB in {folder}, which has less: set TMPDIR to a folder with more"
        )
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def signature_of(*places: Path | None) -> str:
    """A hash of the names, sizes and times of files, and of all files in folders; of those that are there."""
    state = hashlib.sha256()
    for place in filter(None, places):
        for name, size, changed in sorted(_files(str(place))):
            # A name may have bytes that are no text.
            state.update(os.fsencode(f"{name.removeprefix(str(place.parent))} {size} {changed}\n"))
    return state.hexdigest()[:32]


def _files(place: str, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of a file, or of all files below a folder that are not hidden."""
    real = os.path.realpath(place)
    try:
        found = [] if real in above else list(os.scandir(place))
    except NotADirectoryError:
        yield _stamp(place, Path(place).stat())
        return
    except OSError:  # what is not there; or reading the data says why it cannot be listed
        return
    for entry in found:
        if is_folder(entry) and not is_hidden(entry.name):
            yield from _files(entry.path, above | {real})
        elif not is_hidden(entry.name):
            yield _stamp(entry.path, _stat(entry))


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # of a link that leads nowhere
        return entry.stat(follow_symlinks=False)


def _stamp(path: str, stat: os.stat_result) -> tuple[str, int, int]:
    return path, stat.st_size, stat.st_mtime_ns


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [ImageFolder]
