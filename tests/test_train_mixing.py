from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_folder import make_image_folder

from timm_coded.train.args import parse_args
from timm_coded.train.data import open_datasets
from timm_coded.train.data.images import create_training_batches
from timm_coded.train.data.samples import seeded
from timm_coded.train.errors import UserError

CONFIG = dict(input_size=(3, 16, 16), mean=(0.5,) * 3, interpolation='bicubic', crop_pct=1.0, crop_mode='center')
CLASSES = {'cat': 5, 'dog': 4, 'eel': 4}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    for split in ('train', 'val'):
        make_image_folder(root / split, CLASSES, (16, 16))
    return root


def batches_of(folder, *argv, epoch=0, first_step=0, workers=0, rank=0, world=1):
    words = [folder, '-b', 4, '-j', workers, '--num-classes', 3, '--seed', 9, *argv]
    args = parse_args([str(word) for word in words])
    batches = create_training_batches(args, open_datasets(args)[0], CONFIG, SimpleNamespace(rank=rank, world=world))
    batches.set_epoch(epoch, first_step)
    return list(batches)


def soft(targets, smoothing):
    """One-hot targets with label smoothing, by hand: the off classes share smoothing * (K - 1) / K."""
    return torch.full((len(targets), 3), float(smoothing) / 3).scatter_add_(
        1, targets[:, None], torch.full((len(targets), 1), 1 - float(smoothing)))


def first_index(epoch, step, length=13):
    return int(np.random.default_rng((9, epoch)).permutation(length)[4 * step])


def equal(batches, others):
    return all(torch.equal(a, b) for batch, other in zip(batches, others, strict=True) for a, b in zip(batch, other))


@pytest.mark.parametrize('epoch', [0, 2])
def test_mixup_adds_each_image_to_its_mirror_in_the_batch(folder, epoch):
    plain, mixed = batches_of(folder, epoch=epoch), batches_of(folder, '--mixup', 0.4, epoch=epoch)
    for step, ((images, targets), (mix, mix_targets)) in enumerate(zip(plain, mixed, strict=True)):
        with seeded(9, epoch, first_index(epoch, step), 1):
            np.random.rand()  # whether to mix
            share = np.random.beta(0.4, 0.4)
        expected = images.float() * share + images.flip(0).float() * (1 - share)
        assert mix.dtype == torch.uint8 and (mix.float() - expected).abs().max() <= 0.501
        expected = soft(targets, 0.1) * share + soft(targets, 0.1).flip(0) * (1 - share)
        assert mix_targets.dtype == torch.float32 and mix_targets.shape == (4, 3)
        torch.testing.assert_close(mix_targets, expected)


@pytest.mark.parametrize('argv', [['--cutmix', 1.0], ['--cutmix-minmax', 0.2, 0.8]])
def test_cutmix_pastes_a_box_and_mixes_targets_by_its_area(folder, argv):
    plain, mixed = batches_of(folder), batches_of(folder, *argv, '--smoothing', 0.0)
    shares = []
    for (images, targets), (mix, mix_targets) in zip(plain, mixed, strict=True):
        pasted = (mix != images).any(1).any(0) & (images != images.flip(0)).any(1).any(0)
        rows, columns = (torch.nonzero(pasted.any(axis)).flatten() for axis in (1, 0))
        box = torch.zeros(16, 16, dtype=torch.bool)
        if len(rows):
            box[rows.min():rows.max() + 1, columns.min():columns.max() + 1] = True
        assert torch.equal(mix, torch.where(box, images.flip(0), images))
        share = 1 - box.float().mean()
        torch.testing.assert_close(mix_targets, soft(targets, 0) * share + soft(targets, 0).flip(0) * (1 - share))
        shares.append(float(share))
    assert min(shares) < 1


@pytest.mark.parametrize('mode', ['batch', 'pair', 'elem'])
def test_mix_depends_on_seed_epoch_and_first_image_alone(folder, mode):
    argv = ['--mixup', 0.8, '--cutmix', 1.0, '--mixup-mode', mode, '--reprob', 0.5]
    whole = batches_of(folder, *argv, epoch=1)
    assert equal(whole, batches_of(folder, *argv, epoch=1, workers=2))
    assert equal(whole[1:], batches_of(folder, *argv, epoch=1, first_step=1))
    assert not equal(whole, batches_of(folder, *argv, epoch=0))
    shared = batches_of(folder, *argv, epoch=1, rank=1, world=2)
    assert equal(whole[1:2], shared), "replica 1's first batch is the second of one replica"
    for _, targets, _ in whole:
        torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_each_mode_mixes_with_a_number_for_the_batch_the_pair_or_the_image(folder):
    argv = ['--mixup', 1.0, '--smoothing', 0.0, '--mixup-mode']
    images, _ = batches_of(folder)[0]
    counts = {}
    for mode in ('batch', 'pair', 'elem'):
        mix, _ = batches_of(folder, *argv, mode)[0]
        numbers = []
        for image, mirror, mixed in zip(images.float(), images.flip(0).float(), mix.float()):
            difference = image - mirror
            numbers.append(float(((mixed - mirror) * difference).sum() / (difference ** 2).sum()))  # least squares
        counts[mode] = len({round(number, 1) for number in numbers})
        assert mode == 'elem' or abs(numbers[0] - numbers[3]) < 0.01
    assert counts['batch'] == 1 and 1 < counts['pair'] <= 2 < counts['elem'] <= 4


def test_batches_are_mixed_unlike_each_other(folder):
    """The same number for all batches would be mixup by a constant."""
    shares = [float(targets.max()) for _, targets in batches_of(folder, '--mixup', 1.0, '--smoothing', 0.0)]
    assert len(set(shares)) == len(shares) == 3


def test_off_epoch_ends_the_mixing_but_not_the_soft_targets(folder):
    argv = ['--mixup', 0.4, '--mixup-off-epoch', 2]
    assert equal(batches_of(folder, *argv, epoch=1), batches_of(folder, '--mixup', 0.4, epoch=1))
    for workers in (0, 2):
        for (images, targets), (mix, mix_targets) in zip(
                batches_of(folder, epoch=2), batches_of(folder, *argv, epoch=2, workers=workers), strict=True):
            assert torch.equal(images, mix)
            torch.testing.assert_close(mix_targets, soft(targets, 0.1))


def test_probabilities_turn_mixing_off_and_choose_between_the_two(folder):
    plain = [images for images, _ in batches_of(folder)]
    none = [images for images, _ in batches_of(folder, '--mixup', 0.4, '--cutmix', 1, '--mixup-prob', 0)]
    assert all(map(torch.equal, plain, none))
    for switch in (0, 1):
        argv = ['--mixup', 0.4, '--cutmix', 1.0, '--mixup-switch-prob', switch]
        mixed = [images for images, _ in batches_of(folder, *argv)]
        assert [is_cut(mix, images) for mix, images in zip(mixed, plain, strict=True)] == [bool(switch)] * 3


def is_cut(mix, images):
    """Whether each pixel comes from one image."""
    return bool(((mix == images) | (mix == images.flip(0))).all())


def test_boxes_of_random_erasing_pass_through(folder):
    plain = batches_of(folder, '--reprob', 1.0, '--recount', 2)
    mixed = batches_of(folder, '--reprob', 1.0, '--recount', 2, '--mixup', 0.4)
    assert all(torch.equal(a[2], b[2]) and a[2].shape == (4, 2, 4) for a, b in zip(plain, mixed, strict=True))


@pytest.mark.parametrize('argv, expected', [
    (['--mixup', 0.2, '-b', 3], '--batch-size 3 must be even'),
    (['--cutmix', 0.2, '--skip-corrupt', 1], '--skip-corrupt leaves images out of a batch'),
    (['--cutmix-minmax', 0.5, 0.2], '--cutmix-minmax takes two fractions .* got 0.5 0.2'),
])
def test_options_that_cannot_be_mixed_are_named(folder, argv, expected):
    with pytest.raises(UserError, match=expected):
        batches_of(folder, *argv)
