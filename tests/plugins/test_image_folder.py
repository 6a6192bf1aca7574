"""Folders of pictures: listed, counted, decoded; and everything that can be amiss in them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from prunebench_plugins import image_folder
from torchvision.transforms import RandomResizedCrop

import prunebench
from prunebench.api.errors import DataError, SuiteError
from prunebench.data.prepared import find, prepare
from prunebench.data.task_data import Data
from prunebench.suite import read_suite

COLOURS = {"cats": (200, 10, 30), "dogs": (20, 220, 40), "owls": (10, 20, 240)}
SUITE = """\
name: pictures
tasks:
  - dataset: {name: image-folder, DATASET}
    model: conv-2
    recipe: {steps: 1, batch_size: 2, optimizer: {name: sgd, lr: 0.1}}
methods: [random]
sparsities: [0.5]
seeds: 1
"""


@pytest.fixture
def dataset(built_in):
    """Three kinds of animals, two and one picture of each."""

    def make(**changes):
        return built_in(
            "dataset", "image-folder", **{"path": "animals", "classes": 3, "train": 6, "test": 3, "size": 8, **changes}
        )

    return make


def draw(path, colour, size=(12, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def animals(tmp_path):
    folder = tmp_path / "animals"
    for kind, colour in COLOURS.items():
        for part, names in (("train", ("b.png", "a.bmp")), ("val", ("c.PNG",))):
            for name in names:
                draw(folder / part / kind / name, colour)
    return folder


def test_every_picture_is_decoded_with_the_label_of_its_class(dataset, tmp_path, animals):
    arrays = dataset().load(tmp_path)
    assert arrays.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert arrays.test_labels.tolist() == [0, 1, 2]
    expected = np.array([COLOURS[kind] for kind in ("cats", "dogs", "owls")], np.uint8)
    assert np.array_equal(arrays.test_inputs, np.broadcast_to(expected[:, :, None, None], (3, 3, 8, 8)))
    assert np.array_equal(arrays.train_inputs, arrays.test_inputs.repeat(2, axis=0))


def test_a_network_sees_standardized_pixels_or_those_from_0_to_1(dataset, tiny, tmp_path, animals):
    def seen(**normalize):
        task = tiny.task(dataset=dataset(**normalize))
        data = Data(task, prepare(task.dataset, tmp_path, tmp_path / "kept"), torch.device("cpu"))
        return data.normalized(data.test.inputs)[0, :, 0, 0], task.dataset

    unit, _ = seen(normalize="unit")
    ordinary, animals_of = seen()
    pixel = torch.tensor([float(value) for value in COLOURS["cats"]])
    assert torch.allclose(unit, pixel / 255)
    expected = (pixel - torch.tensor(animals_of.channel_mean)) / torch.tensor(animals_of.channel_std)
    assert torch.allclose(ordinary, expected, atol=1e-5)


def test_the_arrays_are_what_the_facts_say(dataset, tmp_path, animals):
    prepared = prepare(dataset(), tmp_path, tmp_path / "cache")
    assert dataset().facts() == prunebench.DataFacts(shape=(3, 8, 8), classes=3, train=6, test=3)
    assert np.load(prepared.folder / "train_inputs.npy").shape == (6, 3, 8, 8)


def test_pictures_are_in_the_order_of_their_names_and_at_any_depth(dataset, tmp_path, animals):
    draw(animals / "train" / "cats" / "ab" / "z.png", (1, 2, 3))
    listed = image_folder.listed(animals / "train", ["cats", "dogs", "owls"])
    names = [path.relative_to(animals / "train" / "cats").as_posix() for path, label in listed if label == 0]
    assert names == ["a.bmp", "ab/z.png", "b.png"]


HIDDEN = (
    "train/cats/._a.png",
    "train/cats/.DS_Store",
    "train/cats/Thumbs.db",
    "train/cats/.ipynb_checkpoints/a-checkpoint.png",
    "train/cats/deep/__MACOSX/a.png",
    "train/.ipynb_checkpoints/a.png",
    "train/__MACOSX/cats/a.png",
    "train/@eaDir/a.png",
    "val/.cache/a.png",
    "val/desktop.ini",
)


def test_hidden_files_and_folders_are_ignored_at_any_depth_and_without_a_word(dataset, tmp_path, animals, caplog):
    for name in HIDDEN:
        (animals / name).parent.mkdir(parents=True, exist_ok=True)
        (animals / name).write_bytes(b"not a picture")
    arrays = dataset().load(tmp_path)
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 1, 2])
    assert not caplog.messages


def test_hidden_files_are_no_change_of_the_data(dataset, tmp_path, animals):
    prepared = prepare(dataset(), tmp_path, tmp_path / "cache")
    for name in HIDDEN:
        (animals / name).parent.mkdir(parents=True, exist_ok=True)
        (animals / name).write_bytes(b"not a picture")
    assert find(dataset(), tmp_path, tmp_path / "cache") == prepared


@pytest.mark.parametrize("read", ["load", "files"])
def test_files_of_other_kinds_are_counted_and_named_once_a_split(dataset, tmp_path, animals, caplog, read):
    for name in ("cats/a.gif", "cats/deep/b.gif", "cats/README", "dogs/c.heic", "d.jpg"):
        (animals / "train" / name).parent.mkdir(exist_ok=True)
        (animals / "train" / name).write_bytes(b"of another kind")
    (animals / "val" / "dogs" / "e.avif").write_bytes(b"of another kind")
    getattr(dataset(stream=read == "files"), read)(tmp_path)
    kinds = "2 .gif, 1 .heic, 1 outside of the class folders, 1 without an extension"
    assert caplog.messages == [
        f"{animals}/train: 5 files are left out ({kinds}), such as {animals}/train/d.jpg",
        f"{animals}/val: 1 file is left out (1 .avif), such as {animals}/val/dogs/e.avif",
    ]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_without_a_picture_is_refused_by_name(dataset, tmp_path, animals, part):
    for path in (animals / part / "dogs").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match=rf"{part}/dogs has no picture \(\.bmp, .*\): every class needs one"):
        dataset().load(tmp_path)


def test_links_to_pictures_and_folders_are_followed(dataset, tmp_path, animals):
    (animals / "train" / "cats").rename(tmp_path / "felines")
    (animals / "train" / "cats").symlink_to(tmp_path / "felines")
    draw(tmp_path / "more" / "z.png", (1, 1, 1))
    draw(tmp_path / "y.png", (2, 2, 2))
    (animals / "train" / "cats" / "more").symlink_to(tmp_path / "more")
    (animals / "train" / "cats" / "y.png").symlink_to(tmp_path / "y.png")
    arrays = dataset(train=8).load(tmp_path)
    assert arrays.train_labels.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert arrays.train_inputs[:4, 0, 0, 0].tolist() == [200, 200, 1, 2]  # a, b, more/z, y


def test_links_that_lead_nowhere_or_back_are_refused_by_name(dataset, tmp_path, animals):
    link = animals / "train" / "cats" / "c.png"
    link.symlink_to("nowhere")
    before = dataset().signature(tmp_path)
    with pytest.raises(DataError, match=f"{link} cannot be read as a picture .its link leads nowhere"):
        dataset(train=7).load(tmp_path)
    link.unlink()
    assert dataset().signature(tmp_path) != before
    (animals / "train" / "cats" / "loop").symlink_to(animals / "train")
    with pytest.raises(DataError, match=r"loop/cats is reached by a link from inside of itself; remove that link"):
        dataset().load(tmp_path)
    assert len(dataset().signature(tmp_path)) == 32


def test_a_link_that_leads_to_itself_is_refused_by_name(dataset, tmp_path, animals):
    link = animals / "train" / "cats" / "c.png"
    link.symlink_to("c.png")
    assert len(dataset().signature(tmp_path)) == 32
    with pytest.raises(DataError, match=f"{link} cannot be read as a picture .its link leads nowhere"):
        dataset(train=7).load(tmp_path)


def test_a_picture_may_have_a_name_that_is_no_text(dataset, tmp_path, animals):
    before = dataset().signature(tmp_path)
    expected = dataset().load(tmp_path)
    path = min((animals / "train" / "cats").iterdir())
    try:
        path.rename(path.with_name(os.fsdecode(b"\xff\xfe") + path.suffix))
    except OSError:
        pytest.skip("this file system has no such names")
    assert dataset().signature(tmp_path) != before
    assert np.array_equal(np.sort(dataset().load(tmp_path).train_inputs, 0), np.sort(expected.train_inputs, 0))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(DataError, match="away cannot be listed: No such file"):
        image_folder.listed(tmp_path / "away", ["cats"])


@pytest.mark.parametrize("spoil", ["load", "files"])
def test_pictures_with_an_exif_orientation_are_counted_and_named_once(dataset, tmp_path, animals, caplog, spoil):
    turned = Image.Exif()
    turned[274] = 8
    for name in ("a.JPG", "b.jpeg"):
        Image.new("RGB", (12, 8)).save(animals / "train" / "cats" / name, exif=turned)
    getattr(dataset(train=8, stream=spoil == "files"), spoil)(tmp_path)
    message = f"2 pictures have an EXIF orientation, which is not applied, such as {animals}/train/cats/a.JPG"
    assert caplog.messages == [message]


@pytest.mark.parametrize("stream", [False, True])
def test_16_bit_pictures_are_scaled_and_transparent_ones_need_a_background(dataset, tmp_path, animals, stream):
    path = animals / "val" / "cats" / "c.PNG"

    def first(**changes):
        made = dataset(stream=stream, **changes)
        if stream:
            return made.decode(tmp_path / "animals" / made.files(tmp_path).test[0], None)
        return made.load(tmp_path).test_inputs[0]

    Image.fromarray(np.full((8, 8), 257 * 30, np.uint16)).save(path)
    assert np.unique(first()).tolist() == [30]
    Image.new("LA", (8, 8), (99, 0)).save(path)
    with pytest.raises(DataError, match=f"{path} has transparent pixels"):
        first()
    assert np.unique(first(background=66)).tolist() == [66]


def test_the_middle_square_is_kept(dataset, tmp_path, animals):
    stripes = np.zeros((8, 12, 3), np.uint8)
    stripes[:, 2:10] = 90
    Image.fromarray(stripes).save(animals / "val" / "cats" / "c.PNG")
    assert np.unique(dataset().load(tmp_path).test_inputs[0]).tolist() == [90]


def test_a_crop_shows_the_middle_larger(dataset, tmp_path, animals):
    square = np.zeros((8, 8, 3), np.uint8)
    square[2:6, 2:6] = 90
    Image.fromarray(square).save(animals / "val" / "cats" / "c.PNG")
    shown = dataset(crop=0.5).load(tmp_path).test_inputs[0]
    assert np.unique(shown[:, 1:-1, 1:-1]).tolist() == [90]
    assert shown.min() > 40  # the border blends into what lies around the middle, as when one scales before one crops


def test_pictures_are_scaled_to_the_size(dataset, tmp_path, animals):
    assert dataset(size=5).load(tmp_path).train_inputs.shape == (6, 3, 5, 5)
    assert np.unique(dataset(size=17).load(tmp_path).test_inputs[2, 2]).tolist() == [240]


def test_grey_pictures_get_three_channels(dataset, tmp_path, animals):
    Image.new("L", (8, 8), 77).save(animals / "val" / "cats" / "c.PNG")
    assert np.unique(dataset().load(tmp_path).test_inputs[0]).tolist() == [77]


def test_test_pictures_are_taken_before_validation_pictures(dataset, tmp_path, animals):
    for kind in COLOURS:
        draw(animals / "test" / kind / "c.png", (5, 5, 5))
    assert np.unique(dataset().load(tmp_path).test_inputs).tolist() == [5]


def test_large_splits_are_decoded_into_a_file(dataset, tmp_path, animals, monkeypatch):
    expected = dataset().load(tmp_path)
    monkeypatch.setattr(image_folder, "IN_MEMORY", 1)
    arrays = dataset().load(tmp_path)
    assert isinstance(arrays.train_inputs, np.memmap)
    assert np.array_equal(arrays.train_inputs, expected.train_inputs)
    prepared = prepare(dataset(), tmp_path, tmp_path / "cache")
    assert np.array_equal(np.load(prepared.folder / "train_inputs.npy"), expected.train_inputs)


def test_too_small_a_disk_is_told_before_anything_is_decoded(dataset, tmp_path, animals, monkeypatch):
    monkeypatch.setattr(image_folder, "IN_MEMORY", 1)
    monkeypatch.setattr(image_folder.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"decoding needs 0 GB in .*, which has less: set TMPDIR"):
        dataset().load(tmp_path)


def test_blocks_of_pictures_are_put_together(dataset, tmp_path, animals, monkeypatch):
    expected = dataset().load(tmp_path)
    monkeypatch.setattr(image_folder, "BLOCK", 4)
    assert np.array_equal(dataset().load(tmp_path).train_inputs, expected.train_inputs)


def test_other_numbers_than_those_of_the_suite_are_an_error_that_says_the_right_ones(dataset, tmp_path, animals):
    with pytest.raises(DataError, match=r"for .*animals the suite must say \{classes: 3, train: 6, test: 3\}$"):
        dataset(classes=10, train=5).load(tmp_path)


def test_a_class_that_only_one_split_has_is_an_error(dataset, tmp_path, animals):
    (animals / "val" / "dogs").rename(animals / "val" / "wolves")
    with pytest.raises(DataError, match=r"val should have a folder for each class and no other.*\['dogs', 'wolves'\]"):
        dataset().load(tmp_path)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"no picture"), lambda path: os.truncate(path, 45)])
def test_a_file_that_is_no_picture_is_named(dataset, tmp_path, animals, spoil):
    path = animals / "train" / "dogs" / "b.png"
    spoil(path)
    with pytest.raises(DataError, match=f"{path} cannot be read as a picture"):
        dataset().load(tmp_path)


@pytest.mark.parametrize("lost", ["", "train", "val"])
def test_a_folder_that_is_not_there_is_an_error_that_says_what_was_looked_for(dataset, tmp_path, animals, lost):
    (animals / lost).rename(tmp_path / "away")
    with pytest.raises(DataError) as caught:
        dataset().load(tmp_path)
    assert str(caught.value) == (
        "data set 'image-folder' is not there; looked for\n"
        f"    {animals}/train/CLASS/\n"
        f"    {animals}/test/CLASS/ (or val, valid, validation)\n"
        "to get it,\n"
        "    put it there\n"
        "    or name the folder DIR that has it, with --data DIR or PRUNEBENCH_DATA=DIR"
    )


def test_without_a_folder_of_data_sets_it_is_looked_for_nowhere(dataset, tmp_path, animals, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="DIR/animals/train/CLASS/"):
        dataset().load(None)


def test_a_change_in_the_folder_is_noticed_and_nothing_else(dataset, tmp_path, animals):
    cache = tmp_path / "cache"
    prepared = prepare(dataset(), tmp_path, cache)
    assert find(dataset(), tmp_path, cache) == prepared
    (tmp_path / "other").mkdir()
    assert find(dataset(), tmp_path, cache) == prepared
    draw(animals / "train" / "cats" / "b.png", (9, 9, 9))
    assert find(dataset(), tmp_path, cache) is None
    assert prepare(dataset(), tmp_path, cache).fingerprint != prepared.fingerprint


@pytest.mark.parametrize("path", ["/data/animals", "../animals", "a/../../b"])
def test_a_path_out_of_the_folder_of_data_sets_is_no_path(dataset, path):
    with pytest.raises(ValueError, match=f"'{path}' is not a folder inside of the one that --data names"):
        dataset(path=path)


def read(tmp_path, registry, parameters):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("DATASET", parameters))
    return read_suite(path, registry)


def test_a_suite_states_the_numbers(tmp_path, registry):
    suite = read(tmp_path, registry, "path: animals, classes: 3, train: 6, test: 3, size: 16")
    assert suite.tasks[0].dataset.facts().shape == (3, 16, 16)
    assert suite.tasks[0].clock.steps_per_epoch == 3


def test_the_preset_is_imagenet(tmp_path, registry):
    dataset = read(tmp_path, registry, "preset: imagenet, size: 160").tasks[0].dataset
    assert dataset.facts() == prunebench.DataFacts((3, 160, 160), 1000, 1_281_167, 50_000)
    assert dataset.crop == 0.875


def test_every_mistake_in_a_suite_is_told(tmp_path, registry):
    with pytest.raises(SuiteError) as caught:
        read(tmp_path, registry, "path: /animals, classes: 1, train: 6, test: 3")
    assert [line.split(": ", 1)[1] for line in str(caught.value).split("\n")] == [
        "tasks.0.dataset.path: '/animals' is not a folder inside of the one that --data names",
        "tasks.0.dataset.classes: must be a whole number of at least 2, not 1",
    ]


def test_importing_the_plugin_decodes_nothing():
    code = "import sys, prunebench_plugins.image_folder; sys.exit(bool({'PIL', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_larger_decoded_than_16_gb_is_streamed_unless_the_suite_says_otherwise(dataset):
    assert not dataset().streamed
    assert dataset(stream=True).streamed
    assert not dataset(train=81_000, test=20_000, size=224, classes=3, stream=False).streamed
    assert dataset(train=81_000, test=25_300, size=224).streamed  # 106,300 pictures of 150,528 bytes
    assert not dataset(train=81_000, test=25_200, size=224).streamed


def test_what_is_not_streamed_has_no_files(dataset, tmp_path, animals):
    assert dataset().files(tmp_path) is None


def test_files_are_listed_in_the_order_in_which_they_are_decoded(dataset, tmp_path, animals):
    files = dataset(stream=True).files(tmp_path)
    assert files.folder == animals
    assert files.train == [f"train/{kind}/{name}" for kind in COLOURS for name in ("a.bmp", "b.png")]
    assert files.test == [f"val/{kind}/c.PNG" for kind in COLOURS]
    assert (files.train_labels, files.test_labels) == ([0, 0, 1, 1, 2, 2], [0, 1, 2])


def test_files_that_are_no_pictures_or_are_too_few_are_an_error_before_any_work(dataset, tmp_path, animals):
    with pytest.raises(DataError, match=r"the suite must say .*train: 6"):
        dataset(stream=True, train=7).files(tmp_path)
    (animals / "train" / "dogs" / "a.bmp").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train.dogs.a\.bmp cannot be read as a picture .*; replace or remove it"):
        dataset(stream=True).files(tmp_path)


def test_a_streamed_picture_is_decoded_for_a_test_as_any_other(dataset, tmp_path, animals):
    draw_gradient(animals / "val" / "cats" / "c.PNG", (40, 30))
    for crop in (1.0, 0.875):
        arrays = dataset(crop=crop).load(tmp_path)
        seen = dataset(crop=crop, stream=True).decode(animals / "val" / "cats" / "c.PNG", None)
        assert np.array_equal(seen, arrays.test_inputs[0])


def test_a_random_part_is_torchvisions_and_leaves_the_global_generator_alone(dataset, tmp_path, animals):
    draw_gradient(path := animals / "train" / "cats" / "b.png", (40, 30))
    torch.manual_seed(7)
    theirs = RandomResizedCrop(8)(Image.open(path).convert("RGB"))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert np.array_equal(dataset().decode(path, 7), np.asarray(theirs).transpose(2, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({dataset().decode(path, draw).tobytes() for draw in range(9)}) == 9


def draw_gradient(path, size):
    across, down = np.meshgrid(np.arange(size[0]) * 6, np.arange(size[1]) * 8)
    Image.fromarray(np.stack([across, down, across], 2).astype(np.uint8)).save(path)
