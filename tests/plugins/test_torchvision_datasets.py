"""MNIST and its kin: read from tiny files in torchvision's layouts; missing, damaged and downloaded ones."""

import gzip
import hashlib
import http.server
import os
import pickle
import socket
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prunebench_plugins import torchvision_datasets
from scipy.io import savemat
from torchvision import datasets

from prunebench.api.errors import DataError
from prunebench.data.prepared import find, prepare
from prunebench.records.keys import canonical, canonical_digest

NAMES = ("cifar10", "cifar100", "fashion-mnist", "mnist", "svhn")
ROOT = os.environ.get("PRUNEBENCH_DATA")
NO_NETWORK = "http://nowhere.invalid/: no network"


@pytest.fixture
def dataset(built_in):
    return lambda name, **parameters: built_in("dataset", name, **parameters)


@pytest.fixture
def disconnected(monkeypatch):
    """No server answers."""
    monkeypatch.setattr(torchvision_datasets, "_silence", lambda address: NO_NETWORK)


def md5(content):
    return hashlib.md5(content).hexdigest()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5(content)


def idx(array):
    """The IDX format of MNIST's files."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


IMAGES, LABELS = numbers(4, 28, 28), np.array([3, 1, 4, 1], np.uint8)
SCANS = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:2],
    "t10k-labels-idx1-ubyte": LABELS[:2],
}


@pytest.fixture
def packed_scans(tmp_path, monkeypatch):
    """Fashion-MNIST of six scans, packed."""
    folder = tmp_path / "FashionMNIST" / "raw"
    sums = [(f"{name}.gz", write(folder / f"{name}.gz", gzip.compress(idx(array)))) for name, array in SCANS.items()]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)
    return folder


def is_read(arrays):
    assert np.array_equal(arrays.train_inputs, IMAGES[:, None])
    assert np.array_equal(arrays.test_inputs, IMAGES[:2, None])
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([3, 1, 4, 1], [3, 1])
    assert {arrays.train_inputs.dtype, arrays.test_inputs.dtype} == {np.dtype(np.uint8)}
    assert {arrays.train_labels.dtype, arrays.test_labels.dtype} == {np.dtype(np.int64)}
    return True


def test_packed_scans_are_read_and_left_packed(dataset, tmp_path, packed_scans, disconnected):
    assert is_read(dataset("fashion-mnist").load(tmp_path))
    assert len(list(packed_scans.iterdir())) == 4


def test_unpacked_scans_are_read_without_the_packed_ones(dataset, tmp_path, packed_scans, disconnected):
    for name, array in SCANS.items():
        write(packed_scans / name, idx(array))
        (packed_scans / f"{name}.gz").unlink()
    assert is_read(dataset("fashion-mnist").load(tmp_path))


def test_a_packed_file_that_is_damaged_is_named(dataset, tmp_path, packed_scans):
    path = packed_scans / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{path} is damaged: its MD5 is \w+, and should be \w+; delete it"):
        dataset("fashion-mnist").load(tmp_path)


@pytest.mark.parametrize("keep", [3, 17, -1])
def test_an_unpacked_file_that_is_cut_short_is_named(dataset, tmp_path, packed_scans, keep):
    path = packed_scans / "train-images-idx3-ubyte"
    path.write_bytes(idx(IMAGES)[:keep])
    with pytest.raises(DataError, match=f"{path} is damaged"):
        dataset("fashion-mnist").load(tmp_path)


def test_mnist_is_checked_in_its_unpacked_form_too(dataset, tmp_path):
    for name, array in SCANS.items():
        write(tmp_path / "MNIST" / "raw" / name, idx(array))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is damaged: its MD5 is \w+, and should be 6bbc9ace"):
        dataset("mnist").load(tmp_path)


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """CIFAR-10 of six pictures, unpacked; and the same as archive, made when it is needed."""
    folder, kind = tmp_path / "cifar-10-batches-py", datasets.CIFAR10

    def batch(count, seed):
        return pickle.dumps({"data": numbers(count, 3072, seed=seed), "labels": list(range(count))})

    contents = {"data_batch_1": batch(3, 1), "data_batch_2": batch(1, 2), "test_batch": batch(2, 3)}
    contents["batches.meta"] = pickle.dumps({"label_names": ["a", "b"]})
    sums = {name: write(folder / name, content) for name, content in contents.items()}
    monkeypatch.setattr(kind, "train_list", [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]})

    def archive():
        path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(folder, folder.name)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        monkeypatch.setattr(kind, "tgz_md5", md5(path.read_bytes()))
        return path

    return archive


def is_unpickled(arrays):
    first = numbers(3, 3072, seed=1).reshape(3, 3, 32, 32)
    assert np.array_equal(arrays.train_inputs[:3], first)
    assert np.array_equal(arrays.test_inputs, numbers(2, 3072, seed=3).reshape(2, 3, 32, 32))
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([0, 1, 2, 0], [0, 1])
    return True


def test_unpacked_batches_are_read(dataset, tmp_path, batches):
    assert is_unpickled(dataset("cifar10").load(tmp_path))


def test_a_damaged_batch_is_named_before_it_is_unpickled(dataset, tmp_path, batches):
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(b"no pickle")
    with pytest.raises(DataError, match=f"{path} is damaged: its MD5"):
        dataset("cifar10").load(tmp_path)


def test_an_archive_is_read_and_not_unpacked_beside_it(dataset, tmp_path, batches):
    path = batches()
    assert is_unpickled(dataset("cifar10").load(tmp_path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_archive_is_named(dataset, tmp_path, batches):
    path = batches()
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{path} is damaged: its MD5"):
        dataset("cifar10").load(tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """CIFAR-10 as pictures, one grey value a class, so that labels follow from pixels."""
    for part, count in (("train", 2), ("test", 1)):
        for value, kind in enumerate(torchvision_datasets.CIFAR10.kinds):
            folder = tmp_path / "cifar10" / part / kind
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32, 32), (20 * value, number, 7)).save(folder / f"{number:04}.png")
    return tmp_path / "cifar10"


def test_pictures_stand_in_for_the_archive(dataset, tmp_path, pictures):
    arrays = dataset("cifar10").load(tmp_path)
    assert arrays.train_inputs.shape == (20, 3, 32, 32)
    assert arrays.test_inputs.shape == (10, 3, 32, 32)
    assert np.array_equal(arrays.train_inputs[:, 0, 5, 6], 20 * arrays.train_labels)
    assert arrays.train_inputs[:, 1, 0, 0].tolist() == [0, 1] * 10
    assert arrays.test_labels.tolist() == list(range(10))


def test_the_archive_is_taken_where_there_are_both(dataset, tmp_path, pictures, batches):
    assert is_unpickled(dataset("cifar10").load(tmp_path))
    batches()
    assert is_unpickled(dataset("cifar10").load(tmp_path))


def test_pictures_of_other_classes_are_an_error(dataset, tmp_path, pictures):
    (pictures / "train" / "truck").rename(pictures / "train" / "lorry")
    with pytest.raises(DataError, match=r"train should have a folder for each class .*\['lorry', 'truck'\]"):
        dataset("cifar10").load(tmp_path)


def test_pictures_of_another_size_are_refused_by_name(dataset, tmp_path, pictures):
    path = next((pictures / "test" / "cat").iterdir())
    Image.new("RGB", (32, 31)).save(path)
    with pytest.raises(DataError, match=f"{path} has 32x31 pixels, and should have 32x32"):
        dataset("cifar10").load(tmp_path)


def test_too_few_pictures_are_an_error(dataset, tmp_path, pictures):
    with pytest.raises(DataError, match=r"train_inputs is uint8 of shape \(20, 3, 32, 32\), .* \(50000, 3, 32, 32\)"):
        prepare(dataset("cifar10"), tmp_path, tmp_path / "cache")


def test_svhn_is_read_with_its_ten_as_zero(dataset, tmp_path, monkeypatch):
    split_list = {}
    for split, count in (("train", 3), ("test", 2)):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": numbers(32, 32, 3, count), "y": np.array([[10], [9], [1]][:count], np.uint8)})
        split_list[split] = ["http://nowhere.invalid/", path.name, md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    arrays = dataset("svhn").load(tmp_path)
    assert arrays.train_labels.tolist() == [0, 9, 1]
    assert np.array_equal(arrays.test_inputs, numbers(32, 32, 3, 2).transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("mnist", ["MNIST/raw/train-images-idx3-ubyte.gz", "MNIST/raw/t10k-labels-idx1-ubyte.gz", "without .gz"]),
        ("fashion-mnist", ["FashionMNIST/raw/train-images-idx3-ubyte.gz"]),
        ("cifar10", ["cifar-10-python.tar.gz", "cifar-10-batches-py/", "cifar10/train/CLASS/"]),
        ("cifar100", ["cifar-100-python.tar.gz", "cifar-100-python/"]),
        ("svhn", ["train_32x32.mat", "test_32x32.mat"]),
    ],
)
def test_missing_data_is_an_error_that_says_where_it_was_looked_for_and_how_to_get_it(
    dataset, tmp_path, disconnected, name, places
):
    with pytest.raises(DataError) as caught:
        dataset(name).load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"data set {name!r} is not there; looked for\n    {tmp_path / places[0]}\n")
    assert all(place in message for place in places)
    assert message.endswith(
        "to get it,\n"
        "    put it there\n"
        "    or name the folder DIR that has it, with --data DIR or PRUNEBENCH_DATA=DIR\n"
        f"    or run this on a machine with a network, and it is downloaded (not here: {NO_NETWORK})"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_without_a_folder_nothing_is_looked_for_or_downloaded(dataset, name):
    with pytest.raises(DataError, match=r"(?s)looked for\n    DIR/.*\(not here: no folder to put it in was named\)$"):
        dataset(name).load(None)


def test_only_what_is_missing_is_told(dataset, tmp_path, packed_scans, disconnected):
    (packed_scans / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError) as caught:
        dataset("fashion-mnist").load(tmp_path)
    assert "t10k-labels" in str(caught.value)
    assert "train" not in str(caught.value)


@pytest.fixture
def server(tmp_path_factory):
    """A server on this machine: its folder and its address."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{served.server_port}/"
        served.shutdown()


@pytest.fixture
def served_scans(server, packed_scans, monkeypatch):
    """Fashion-MNIST on a server instead of in the folder."""
    folder, address = server
    for path in packed_scans.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
        path.unlink()
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:1/", address])
    return folder


def test_what_is_missing_is_downloaded_from_the_first_mirror_that_answers(
    dataset, tmp_path, packed_scans, served_scans
):
    assert is_read(dataset("fashion-mnist").load(tmp_path))
    assert sorted(path.name for path in packed_scans.iterdir()) == sorted(f"{name}.gz" for name in SCANS)


def test_a_download_that_is_not_what_was_published_is_not_kept(dataset, tmp_path, packed_scans, served_scans):
    path = served_scans / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"it is downloaded \(not here: http://127.*labels.*corrupted"):
        dataset("fashion-mnist").load(tmp_path)
    assert [path.name for path in packed_scans.iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_a_file_in_the_way_of_the_download_is_an_error(dataset, tmp_path, packed_scans, served_scans):
    packed_scans.rmdir()
    packed_scans.write_text("a file")
    with pytest.raises(DataError, match=r"it is downloaded \(not here: http://127"):
        dataset("fashion-mnist").load(tmp_path)


def test_a_server_that_keeps_silent_is_waited_for_a_bounded_time(dataset, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(torchvision_datasets, "TIMEOUT", 0.2)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        monkeypatch.setattr(datasets.CIFAR100, "url", address)
        began = time.monotonic()
        with pytest.raises(DataError, match=rf"not here: {address}: (no answer in 0.2 s|timed out)"):
            dataset("cifar100").load(tmp_path)
        assert time.monotonic() - began < 5
        assert socket.getdefaulttimeout() is None


def test_a_changed_file_is_read_again(dataset, tmp_path, batches, monkeypatch):
    cifar = dataset("cifar10")
    before = cifar.signature(tmp_path)
    assert before == cifar.signature(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    os.utime(path, (1, 1))
    changed = cifar.signature(tmp_path)
    batches()
    assert len({before, changed, cifar.signature(tmp_path), cifar.signature(tmp_path / "nothing")}) == 4


def test_a_signature_is_of_names_not_of_where_they_lie(dataset, tmp_path, pictures):
    before = dataset("cifar10").signature(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    pictures.rename(tmp_path / "elsewhere" / "cifar10")
    assert dataset("cifar10").signature(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", NAMES)
def test_facts_fit_the_channels_of_mean_and_deviation(dataset, name):
    channels = dataset(name).facts().shape[0]
    assert len(dataset(name).mean) == len(dataset(name).std) == channels
    assert all(0 < value < 255 for value in (*dataset(name).mean, *dataset(name).std))


@pytest.mark.parametrize("name", NAMES)
def test_unit_range_divides_pixels_by_255_and_is_another_data_set(dataset, name):
    standardized, unit = dataset(name), dataset(name, normalize="unit")
    channels = standardized.facts().shape[0]
    assert (unit.mean, unit.std) == ((0.0,) * channels, (255.0,) * channels)
    assert dataset(name, normalize="standardize").mean == standardized.mean == type(standardized).channel_mean
    assert canonical_digest(unit) != canonical_digest(standardized)
    assert "normalize" not in canonical(standardized)["parameters"]  # older results stay valid


@pytest.mark.data
@pytest.mark.skipif(not ROOT or not Path(ROOT, "MNIST").is_dir(), reason="no MNIST under PRUNEBENCH_DATA")
def test_mnist_is_mnist(dataset, tmp_path):
    mnist = dataset("mnist")
    prepared = prepare(mnist, Path(ROOT), tmp_path)
    assert prepared.fingerprint == "ef9ca48d0fbf407dc2079a5f7e826721"
    assert find(mnist, Path(ROOT), tmp_path) == prepared
    inputs, labels = (np.load(prepared.folder / f"train_{part}.npy", mmap_mode="r") for part in ("inputs", "labels"))
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert abs(inputs.mean() - mnist.mean[0]) < 0.02
    assert abs(inputs.std() - mnist.std[0]) < 0.02


@pytest.mark.data
@pytest.mark.skipif(not ROOT or not Path(ROOT, "cifar10").is_dir(), reason="no pictures under PRUNEBENCH_DATA")
@pytest.mark.slow
def test_pictures_of_cifar10_have_its_means_and_deviations(dataset, tmp_path):
    cifar = dataset("cifar10")
    prepared = prepare(cifar, Path(ROOT), tmp_path)
    inputs = np.load(prepared.folder / "train_inputs.npy")
    assert np.allclose(inputs.mean((0, 2, 3)), cifar.mean, atol=0.3)
    assert np.allclose(inputs.std((0, 2, 3)), cifar.std, atol=1)
    labels = np.load(prepared.folder / "train_labels.npy")
    assert np.bincount(labels).tolist() == [5000] * 10
