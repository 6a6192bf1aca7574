"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN, by the addresses and checksums that torchvision has of them."""

import gzip
import hashlib
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import prunebench
from prunebench.api.errors import DataError

from .image_folder import NormalizedImages, decoded, listed, missing, signature_of

TIMEOUT = 10.0
"""Seconds that a server may keep silent."""


class Torchvision(NormalizedImages):
    """A data set that torchvision knows, in torchvision's layout."""

    source: ClassVar[str]
    """What torchvision.datasets calls it."""
    places: ClassVar[tuple[str, ...]] = ()
    """The files and folders that it is read from, inside of the folder of data sets."""

    @property
    def known(self) -> Any:
        """Torchvision's class."""
        from torchvision import datasets  # seconds to import, needed once a machine

        return getattr(datasets, self.source)

    def signature(self, root: Path | None) -> str:
        return "" if root is None else signature_of(*(root / place for place in self.places))


class MNIST(Torchvision):
    """Handwritten digits: 60,000 and 10,000 scans of 28x28 pixels."""

    name = "mnist"
    version = 1
    reference = "LeCun et al. 1998"
    source = "MNIST"
    places = ("MNIST/raw",)
    channel_mean = (0.1307 * 255,)
    channel_std = (0.3081 * 255,)
    unpacked: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    """MD5 of the files without .gz, which torchvision does not have."""

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(1, 28, 28), classes=10, train=60_000, test=10_000)

    def load(self, root: Path | None) -> prunebench.Arrays:
        known, folder = self.known, self.places[0]
        files = [
            Published(f"{folder}/{name}", md5, tuple(mirror + name for mirror in known.mirrors))
            for name, md5 in known.resources
        ]
        lacking = [file for file in files if root is None or not _unpacked(root, file).is_file()]
        root = fetched(self.name, root, lacking, f"(or those of {folder} without .gz)")
        images, labels, test_images, test_labels = (self._array(root, file) for file in files)
        return prunebench.Arrays(
            images[:, None], labels.astype(np.int64), test_images[:, None], test_labels.astype(np.int64)
        )

    def _array(self, root: Path, file: "Published") -> np.ndarray:
        path = _unpacked(root, file)
        if path.is_file():
            content = checked(path, self.unpacked.get(path.name))
        else:
            content = gzip.decompress(checked(root / file.path, file.md5))
        try:
            # The IDX format: two zeros, the type, the number of dimensions; the dimensions; the bytes.
            shape = np.frombuffer(content, ">i4", content[3], offset=4)
            return np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape)
        except (ValueError, IndexError) as error:
            raise DataError(f"{path} is damaged ({error}): delete it, and get it again") from error


def _unpacked(root: Path, file: "Published") -> Path:
    return (root / file.path).with_suffix("")


class FashionMNIST(MNIST):
    """Articles of clothing: 60,000 and 10,000 pictures of 28x28 grey pixels."""

    name = "fashion-mnist"
    version = 1
    reference = "Xiao et al. 2017, arXiv:1708.07747"
    source = "FashionMNIST"
    places = ("FashionMNIST/raw",)
    channel_mean = (0.2860 * 255,)
    channel_std = (0.3530 * 255,)
    unpacked = {}


class CIFAR100(Torchvision):
    """A hundred kinds of animals, plants and things: 50,000 and 10,000 pictures of 32x32 pixels."""

    name = "cifar100"
    version = 1
    reference = "Krizhevsky 2009"
    source = "CIFAR100"
    places: ClassVar[tuple[str, ...]] = ("cifar-100-python", "cifar-100-python.tar.gz")
    others: ClassVar[tuple[str, ...]] = ("(or cifar-100-python/, which it unpacks to)",)
    """What would do instead of the archive."""
    channel_mean = (0.5071 * 255, 0.4865 * 255, 0.4409 * 255)
    channel_std = (0.2673 * 255, 0.2564 * 255, 0.2762 * 255)

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(3, 32, 32), classes=100, train=50_000, test=10_000)

    def load(self, root: Path | None) -> prunebench.Arrays:
        known = self.known
        files = [*known.train_list, *known.test_list, (known.meta["filename"], known.meta["md5"])]
        if root is not None and all((root / known.base_folder / name).is_file() for name, _ in files):
            for name, md5 in files:
                checked(root / known.base_folder / name, md5)
            return self._read(root)
        archive = Published(known.filename, known.tgz_md5, (known.url,))
        root = fetched(self.name, root, [archive], *self.others)
        checked(root / archive.path, archive.md5)
        with tempfile.TemporaryDirectory() as folder:
            from torchvision.datasets.utils import extract_archive

            extract_archive(root / archive.path, folder)
            return self._read(Path(folder))

    def _read(self, folder: Path) -> prunebench.Arrays:
        """The arrays of the unpacked archive in a folder."""
        train, test = (self.known(folder, train=which) for which in (True, False))
        return prunebench.Arrays(
            train.data.transpose(0, 3, 1, 2),
            np.array(train.targets, np.int64),
            test.data.transpose(0, 3, 1, 2),
            np.array(test.targets, np.int64),
        )


class CIFAR10(CIFAR100):
    """Ten kinds of animals and vehicles: 50,000 and 10,000 pictures of 32x32 pixels.

    Where the official archive is not, pictures of 32x32 pixels in cifar10/train/CLASS and cifar10/test/CLASS are taken
    instead. If they are JPEGs, they are not quite the official ones: their fingerprint differs, and results are not
    ranked together.
    """

    name = "cifar10"
    version = 1
    source = "CIFAR10"
    places = ("cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar10")
    others = (
        "(or cifar-10-batches-py/, which it unpacks to)",
        "(or pictures in cifar10/train/CLASS/ and cifar10/test/CLASS/)",
    )
    channel_mean = (0.4914 * 255, 0.4822 * 255, 0.4465 * 255)
    channel_std = (0.2470 * 255, 0.2435 * 255, 0.2616 * 255)
    kinds: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    """The classes in the order of the official labels."""

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(3, 32, 32), classes=10, train=50_000, test=10_000)

    def load(self, root: Path | None) -> prunebench.Arrays:
        *official, pictures = (root / place for place in self.places) if root else [Path()]
        if any(place.exists() for place in official) or not (pictures / "train").is_dir():
            return super().load(root)
        train, test = (listed(pictures / part, self.kinds) for part in ("train", "test"))
        return prunebench.Arrays(*decoded(train, 32, exact=True), *decoded(test, 32, exact=True))


class SVHN(Torchvision):
    """Street View house numbers: 73,257 and 26,032 digits of 32x32 pixels."""

    name = "svhn"
    version = 1
    reference = "Netzer et al. 2011"
    source = "SVHN"
    places = ("train_32x32.mat", "test_32x32.mat")
    channel_mean = (0.4377 * 255, 0.4438 * 255, 0.4728 * 255)
    channel_std = (0.1980 * 255, 0.2010 * 255, 0.1970 * 255)

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(3, 32, 32), classes=10, train=73_257, test=26_032)

    def load(self, root: Path | None) -> prunebench.Arrays:
        listed = (self.known.split_list[split] for split in ("train", "test"))
        files = [Published(name, md5, (address,)) for address, name, md5 in listed]
        root = fetched(self.name, root, files)
        for file in files:
            checked(root / file.path, file.md5)
        train, test = (self.known(root, split=split) for split in ("train", "test"))
        return prunebench.Arrays(train.data, train.labels, test.data, test.labels)


@dataclass(frozen=True)
class Published:
    """A file as it is published: where it belongs in the folder of data sets, its MD5, where to download it from."""

    path: str
    md5: str
    addresses: tuple[str, ...]


def fetched(dataset: str, root: Path | None, files: Sequence[Published], *others: str) -> Path:
    """The folder of data sets, with all these files in it: those that are not there are downloaded.

    Args:
        others: what is looked for besides, for the message.

    Raises:
        DataError: when one is not there, and cannot be downloaded.
    """
    trouble = "" if root else "no folder to put it in was named"
    for file in files:
        if root and not trouble and not (root / file.path).is_file():
            trouble = _download(file, root)
    if trouble or root is None:
        lacking = [file for file in files if root is None or not (root / file.path).is_file()]
        places = [str((root or Path("DIR")) / file.path) for file in lacking]
        connected = f"or run this on a machine with a network, and it is downloaded (not here: {trouble})"
        raise missing(dataset, [*places, *others], connected)
    return root


def _download(file: Published, root: Path) -> str:
    """Put a file into the folder of data sets, whole or not at all; returns why not, or nothing."""
    from torchvision.datasets.utils import download_url

    trouble = ""
    for address in file.addresses:
        trouble = _silence(address)
        if trouble:
            continue
        target = root / file.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _timeout(), tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
                download_url(address, folder, target.name, file.md5)
                (Path(folder) / target.name).replace(target)
        except (OSError, HTTPException, RuntimeError) as error:  # of the folder, of the network, of the checksum
            trouble = f"{address}: {error}"
        else:
            return ""
    return trouble


def _silence(address: str) -> str:
    """Why a server does not answer in time, or nothing; in a thread, as looking up its name knows no timeout."""
    found = [f"{address}: no answer in {TIMEOUT:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, headers={"User-Agent": "prunebench"})):
                found.append("")
        except (OSError, HTTPException) as error:
            found.append(f"{address}: {error}")

    with _timeout():
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(TIMEOUT)
    return found[-1]


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def checked(path: Path, md5: str | None) -> bytes:
    """The content of a file; raises DataError when it is not the published one."""
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 not in (None, found):
        raise DataError(f"{path} is damaged: its MD5 is {found}, and should be {md5}; delete it, and get it again")
    return content


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [CIFAR10, CIFAR100, FashionMNIST, MNIST, SVHN]
