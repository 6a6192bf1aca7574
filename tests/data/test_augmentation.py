"""Batches with each image flipped or shifted on its own."""

import pytest
import torch

from prunebench.data.augmentation import PADDING, augment
from prunebench.data.seeds import generator


def pictures(count=200, channels=2, height=5, width=7):
    """Images of which no two pixels are equal, nor zero."""
    total = count * channels * height * width
    return (torch.arange(total, dtype=torch.float32) + 1).view(count, channels, height, width)


def test_nothing_asked_for_is_nothing_done():
    images = pictures()
    assert augment(images, (), generator("test")) is images


def test_a_flip_mirrors_left_and_right_about_half_of_the_images():
    images = pictures()
    flipped = augment(images, ("flip",), generator("test"))
    mirrored = [torch.equal(after, before.flip(-1)) for after, before in zip(flipped, images, strict=True)]
    same = [torch.equal(after, before) for after, before in zip(flipped, images, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 70 < sum(mirrored) < 130


def shift_of(after, before):
    """The (down, right) by which an image lies before its uncropped self, checked pixel by pixel."""
    padded = torch.nn.functional.pad(before, (PADDING,) * 4)
    height, width = before.shape[-2:]
    found = [
        (top, left)
        for top in range(2 * PADDING + 1)
        for left in range(2 * PADDING + 1)
        if torch.equal(after, padded[:, top : top + height, left : left + width])
    ]
    assert len(found) == 1
    return found[0]


def test_a_crop_shifts_each_image_by_up_to_four_pixels_with_zeros_around_it():
    images = pictures()
    cropped = augment(images, ("crop",), generator("test"))
    assert cropped.shape == images.shape
    shifts = [shift_of(after, before) for after, before in zip(cropped, images, strict=True)]
    assert {top for top, _ in shifts} == {left for _, left in shifts} == set(range(9))
    assert len(set(shifts)) > 50


def test_bytes_are_cropped_and_flipped_as_torchvision_does_it(monkeypatch):
    """RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor, Normalize, with the same offsets."""
    from torchvision.transforms import v2

    pixels = torch.arange(3 * 32 * 32).remainder(251).add(1).to(torch.uint8).view(1, 3, 32, 32)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    scale = 255 * torch.tensor([mean, std])[:, None, :, None, None]
    for top, left, mirrored in [(0, 0, False), (8, 8, True), (0, 8, True), (4, 4, False), (3, 6, True)]:
        monkeypatch.setattr(torch, "randint", lambda *_, top=top, left=left, **__: torch.tensor([[[top]], [[left]]]))
        monkeypatch.setattr(torch, "rand", lambda *_, mirrored=mirrored, **__: torch.tensor([0.4 if mirrored else 0.6]))
        cropped = augment(pixels, ("flip", "crop"), generator("test"))
        theirs = v2.functional.crop(v2.functional.pad(pixels, [PADDING]), top, left, 32, 32)
        theirs = v2.functional.horizontal_flip(theirs) if mirrored else theirs
        assert torch.equal(cropped, theirs)
        seen = v2.functional.normalize(v2.functional.to_dtype(theirs, torch.float32, scale=True), mean, std)
        assert torch.allclose((cropped.float() - scale[0]) / scale[1], seen, atol=1e-5)


def test_bytes_stay_bytes_where_no_pixel_lies_between_two_others():
    pixels = torch.full((4, 1, 9, 9), 200, dtype=torch.uint8)
    assert augment(pixels, ("crop", "flip"), generator("test")).dtype == torch.uint8
    assert augment(pixels, ("resized-crop",), generator("test")).dtype == torch.float32


@pytest.mark.parametrize("kinds", [("flip",), ("crop",), ("crop", "flip")])
def test_the_generator_alone_decides(kinds):
    images = pictures()
    torch.manual_seed(1)
    first = augment(images, kinds, generator("test"))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, kinds, generator("test")))
    assert not torch.equal(first, augment(images, kinds, generator("other")))


def test_the_images_that_came_in_are_left_as_they_were():
    images = pictures()
    augment(images, ("crop", "flip"), generator("test"))
    assert torch.equal(images, pictures())


def gradients(count=300, height=20, width=30):
    """Images whose first channel tells how far right a pixel lies, and the second how far down, both from 0 to 1."""
    across = ((torch.arange(width) + 0.5) / width).expand(count, height, width)
    down = ((torch.arange(height) + 0.5) / height)[:, None].expand(count, height, width)
    return torch.stack([across, down], dim=1)


def test_a_resized_crop_enlarges_a_rectangle_of_8_to_100_percent_of_the_area():
    cropped = augment(gradients(), ("resized-crop",), generator("test"))
    assert cropped.shape == (300, 2, 20, 30)
    # In the middle, where the border does not count, a pixel is as far from the next as the rectangle is wide.
    width = (cropped[:, 0, 10, 16] - cropped[:, 0, 10, 14]) * 15
    height = (cropped[:, 1, 11, 15] - cropped[:, 1, 9, 15]) * 10
    area, ratio = width * height, width / height * 30 / 20
    whole = (width > 0.999) | (height > 0.999)  # one that did not fit is cut
    assert 0.079 < float(area.min()) < 0.15
    assert 0.85 < float(area.max()) < 1.001
    assert float(area.mean()) == pytest.approx(0.53, abs=0.05)
    assert 3 / 4 - 0.01 < float(ratio[~whole].min()) < 0.8
    assert 1.25 < float(ratio[~whole].max()) < 4 / 3 + 0.01


def test_a_resized_crop_lies_inside_of_the_image_and_anywhere_in_it():
    cropped = augment(gradients(), ("resized-crop",), generator("test"))
    assert 0 < float(cropped.min()) < 0.03
    assert 0.97 < float(cropped.max()) < 1
    centres = cropped[:, :, 9:11, 14:16].mean((2, 3))
    assert centres.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert float(centres.std(0).min()) > 0.06


def test_a_resized_crop_is_the_generators_alone():
    images = gradients(20)
    torch.manual_seed(1)
    first = augment(images, ("resized-crop", "flip"), generator("test"))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, ("resized-crop", "flip"), generator("test")))
    assert not torch.equal(first, augment(images, ("resized-crop", "flip"), generator("other")))
    assert torch.equal(images, gradients(20))
