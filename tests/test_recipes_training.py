"""What the recipes make of timm's scheduler, optimizer and transforms is what the paper describes."""
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.scheduler import CosineLRScheduler
from torch import nn
from torchvision import transforms

from timm_coded.train.args import parse_args
from timm_coded.train.build import Schedule, create_model, create_optimizer
from timm_coded.train.data import images

CONFIGS = Path(__file__).parents[1] / 'configs'
ONE_REPLICA = SimpleNamespace(rank=0, world=1)
IMAGENET = ['imagenet', 'imagenet_stock', 'imagenet_short']
CIFAR = ['cifar10', 'cifar10_stock', 'cifar100', 'cifar100_stock']


def parse_recipe(name, *argv):
    return parse_args(['--config', str(CONFIGS / f'{name}.yaml'), *argv])


def rates_of(name):
    """The rate that `Schedule` tells for each epoch, and those that it sets."""
    args = parse_recipe(name)
    optimizer = create_optimizer(args, nn.Conv2d(3, 4, 1))
    schedule = Schedule(args, optimizer)
    told = [schedule.set_epoch(epoch) for epoch in range(schedule.epochs)]
    used = []
    for epoch in range(schedule.epochs):
        schedule.set_epoch(epoch)
        rates = {group['lr'] for group in optimizer.param_groups}
        assert len(rates) == 1
        used += rates
    return told, used


def close(used, expected):
    """Equal but for the move of 2^-22 and 1e-12 that keeps a rate from being a constant of XLA's graph."""
    return used == pytest.approx([rate * (1 + 2 ** -22) + 1e-12 for rate in expected], rel=1e-12)


@pytest.mark.parametrize('name, epochs', [('imagenet', 250), ('imagenet_stock', 250), ('imagenet_short', 150)])
def test_imagenet_rate_warms_up_5_epochs_falls_as_a_cosine_and_cools_down_10(name, epochs):
    told, used = rates_of(name)
    falling = epochs - 10
    formula = [1e-4 + epoch * (0.6 - 1e-4) / 5 for epoch in range(5)]
    formula += [1e-5 + (0.6 - 1e-5) * (1 + math.cos(math.pi * epoch / falling)) / 2 for epoch in range(5, falling)]
    formula += [1e-5] * 10
    assert told == pytest.approx(formula, rel=1e-12) and len(told) == epochs
    assert close(used, formula)


def test_imagenet_rate_of_all_250_epochs_is_that_of_timms_own_scheduler():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.6)
    scheduler = CosineLRScheduler(optimizer, t_initial=240, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-4)
    expected = []
    for epoch in range(250):
        scheduler.step(epoch)
        expected.append(optimizer.param_groups[0]['lr'])
    told, used = rates_of('imagenet')
    assert told == expected
    assert close(used, expected)


@pytest.mark.parametrize('name', CIFAR)
def test_cifar_rate_falls_as_a_cosine_for_300_epochs(name):
    told, used = rates_of(name)
    formula = [1e-5 + (0.1 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2 for epoch in range(300)]
    assert told == pytest.approx(formula, rel=1e-12) and len(told) == 300
    assert close(used, formula)


@pytest.mark.parametrize('name, decay', [('imagenet', 1e-4), ('imagenet_stock', 1e-4), ('cifar10', 5e-4)])
def test_optimizer_is_nesterovs_and_spares_batchnorm_and_biases_from_weight_decay(name, decay):
    args = parse_recipe(name)
    model = create_model(args)
    optimizer = create_optimizer(args, model)
    assert type(optimizer) is torch.optim.SGD
    assert all(group['nesterov'] and group['momentum'] == 0.9 for group in optimizer.param_groups)
    decays = {id(parameter): group['weight_decay'] for group in optimizer.param_groups for parameter in group['params']}
    seen = 0
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            spared = isinstance(module, nn.BatchNorm2d) or kind == 'bias'
            assert decays[id(parameter)] == (0.0 if spared else decay), (module, kind)
            seen += 1
    assert seen == len(decays) > 50


def samples_of(monkeypatch, name, *argv, size):
    """The training and the validation samples of a recipe, on one random image of a class."""
    args = parse_recipe(name, '--batch-size', '1', *argv)
    pixels = np.random.default_rng(0).integers(1, 256, (size[1], size[0], 3), dtype=np.uint8)
    dataset = [(Image.fromarray(pixels), 0)]
    monkeypatch.setattr(images, 'create_batches', lambda samples, *args, **kwargs: samples)
    config = images.data_config(args, create_model(args))
    return (images.create_training_batches(args, dataset, config, ONE_REPLICA),
            images.create_evaluation_batches(args, dataset, config, ONE_REPLICA))


@pytest.mark.parametrize('name', IMAGENET)
def test_imagenet_images_are_cropped_flipped_augmented_and_erased_as_in_the_paper(monkeypatch, name):
    train, validation = samples_of(monkeypatch, name, size=(500, 375))
    crop, flip, augment, _ = train.transform.transforms
    assert type(crop) is RandomResizedCropAndInterpolation and crop.size == (160, 160)
    assert crop.scale == (0.08, 1.0) and crop.ratio == pytest.approx((3 / 4, 4 / 3))
    assert type(flip) is transforms.RandomHorizontalFlip and flip.p == 0.5
    assert type(augment) is RandAugment and augment.num_layers == 2
    assert {(op.magnitude, op.magnitude_std) for op in augment.ops} == {(7, 0.5)}
    assert {'PosterizeIncreasing', 'SolarizeIncreasing', 'ColorIncreasing'} <= {op.name for op in augment.ops}
    if name == 'imagenet_short':
        assert train.sample_boxes is None, 'no random erasing'
    else:
        counts = [int((train.sample_boxes(torch.zeros(3, 160, 160))[:, 2] > 0).sum()) for _ in range(2000)]
        assert np.mean(np.array(counts) > 0) == pytest.approx(0.4, abs=0.05) and set(counts) == {0, 1, 2, 3}
    resize, center, _ = validation.transform.transforms
    assert type(resize) is transforms.Resize and resize.size == 256 == round(224 / 0.875)
    assert resize.interpolation == transforms.InterpolationMode.BICUBIC
    assert type(center) is transforms.CenterCrop and tuple(center.size) == (224, 224)
    sample = train[0, 0]
    assert sample.image.shape == (3, 160, 160) and sample.image.dtype == torch.uint8 and sample.target == 0
    assert validation[0, 0].image.shape == (3, 224, 224)


@pytest.mark.parametrize('name', CIFAR)
def test_cifar_images_are_padded_cropped_and_flipped_and_then_augmented(monkeypatch, name):
    train, validation = samples_of(monkeypatch, name, size=(32, 32))
    crop, flip, augment, _ = train.transform.transforms
    assert type(crop) is transforms.RandomCrop and crop.size == (32, 32) and crop.padding == 4 and crop.fill == 0
    assert type(flip) is transforms.RandomHorizontalFlip and flip.p == 0.5
    assert type(augment) is RandAugment
    layers, magnitude = (3, 4) if 'cifar100' not in name else (1, 2)
    assert augment.num_layers == layers and {op.magnitude for op in augment.ops} == {magnitude}
    assert train.sample_boxes is None
    assert np.array_equal(validation[0, 0].image.permute(1, 2, 0), validation.dataset[0][0]), 'evaluated as it is'


@pytest.mark.parametrize('name, mean, std', [  # of the training images, as published everywhere
    ('cifar10', (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ('cifar100', (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ('imagenet', (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])
def test_images_are_normalised_by_the_mean_and_deviation_of_the_training_set(name, mean, std):
    args = parse_recipe(name)
    config = images.data_config(args, create_model(args))
    assert (config['mean'], config['std']) == (mean, std)
