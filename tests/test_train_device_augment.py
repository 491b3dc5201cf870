import random

import pytest
import torch
from timm.data.random_erasing import RandomErasing

from timm_coded.train.device_augment import BoxSampler, DeviceAugment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device('cpu')


def uint8_images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.double() / 255 - mean) / std


def test_normalisation_is_that_of_pixels_in_0_to_1():
    images = uint8_images(4, 3, 8, 8)
    result = DeviceAugment(MEAN, STD, 'pixel', CPU)(images)
    assert result.dtype == torch.float32
    assert torch.allclose(result.double(), normalised(images), atol=1e-5)


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('height, width', [(32, 32), (16, 40)])
def test_constant_erasing_equals_timm_exactly(count, height, width):
    images = uint8_images(64, 3, height, width)
    sample, augment = BoxSampler(0.6, count), DeviceAugment(MEAN, STD, 'const', CPU)
    random.seed(1)
    boxes = torch.stack([sample(image) for image in images])
    ours = augment(images, boxes)
    random.seed(1)
    theirs = RandomErasing(0.6, mode='const', max_count=count, device='cpu')(augment(images))
    assert torch.equal(ours, theirs)
    assert boxes.shape == (64, count, 4) and boxes.dtype == torch.int32


def test_pixel_erasing_fills_the_same_boxes_with_normal_noise():
    images = uint8_images(400, 3, 32, 32)
    sample, augment = BoxSampler(0.5, 3), DeviceAugment(MEAN, STD, 'pixel', CPU)
    torch.manual_seed(0)
    random.seed(2)
    plain = augment(images)
    ours = augment(images, torch.stack([sample(image) for image in images]))
    random.seed(2)
    marked = RandomErasing(0.5, mode='const', max_count=3, device='cpu')(torch.ones_like(plain))
    assert torch.equal(ours[marked == 1], plain[marked == 1])
    noise = ours[marked == 0]
    assert noise.mean().abs() < 0.01 and (noise.std() - 1).abs() < 0.01
    assert len(noise.unique()) > 0.98 * len(noise), 'each pixel has its own noise'


def test_rand_erasing_fills_a_box_with_one_colour_per_channel():
    images = uint8_images(50, 3, 32, 32)
    augment = DeviceAugment(MEAN, STD, 'rand', CPU)
    torch.manual_seed(0)
    boxes = torch.tensor([[[2, 3, 10, 20], [20, 0, 5, 9]]]).expand(50, 2, 4)
    erased = augment(images, boxes)
    first, second = erased[:, :, 2:12, 3:23].flatten(2), erased[:, :, 20:25, :9].flatten(2)
    for box in (first, second):
        assert torch.equal(box.amin(2), box.amax(2))
    colours = torch.cat([first[..., 0], second[..., 0]]).flatten()
    assert len(colours.unique()) == 300 and colours.mean().abs() < 0.2 and (colours.std() - 1).abs() < 0.2


def test_a_later_box_covers_an_earlier_one():
    augment = DeviceAugment(MEAN, STD, 'rand', CPU)
    torch.manual_seed(0)
    erased = augment(uint8_images(1, 3, 8, 8), torch.tensor([[[0, 0, 8, 8], [2, 2, 4, 4]]]))[0, 0]
    assert len(erased.unique()) == 2 and (erased == erased[2, 2]).sum() == 16


def test_how_often_and_how_much_is_erased_is_as_in_timm():
    sample = BoxSampler(0.4, 3)
    random.seed(3)
    boxes = torch.stack([sample(torch.zeros(3, 64, 64)) for _ in range(4000)]).float()
    counts = (boxes[..., 2] > 0).sum(1)
    assert (counts > 0).float().mean() == pytest.approx(0.4, abs=0.03)
    erased = counts[counts > 0]
    for number in (1, 2, 3):  # drawn evenly
        assert (erased == number).float().mean() == pytest.approx(1 / 3, abs=0.05)
    for number in (1, 2, 3):  # 0.02 to 1/3 of the image, divided among the boxes
        area = (boxes[counts == number][:, :number, 2:].prod(2) / 64 ** 2).flatten() * number
        assert area.min() > 0.015 and area.max() < 0.36
        assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    aspect = (boxes[..., 2] / boxes[..., 3])[boxes[..., 2] > 0].log()
    assert aspect.mean() == pytest.approx(0, abs=0.06), 'log-uniform about 1'
