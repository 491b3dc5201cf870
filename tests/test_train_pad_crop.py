from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from timm_coded.train.args import parse_args
from timm_coded.train.data import images
from timm_coded.train.errors import UserError

CONFIG = {'input_size': (3, 8, 8), 'mean': (0.5,) * 3, 'std': (0.5,) * 3}
PLAIN = ['--num-classes', '1', '--batch-size', '1', '--hflip', '0', '--color-jitter', '0']


def training_samples(monkeypatch, *argv, size=(8, 8)):
    pixels = np.random.default_rng(0).integers(1, 256, (*size, 3), dtype=np.uint8)
    monkeypatch.setattr(images, 'create_batches', lambda samples, *args, **kwargs: samples)
    args = parse_args([*PLAIN, *argv])
    dataset = [(Image.fromarray(pixels), 0)]
    return pixels, images.create_training_batches(args, dataset, CONFIG, SimpleNamespace(rank=0, world=1))


def drawn(samples, epochs):
    return [samples[epoch, 0].image.permute(1, 2, 0).numpy() for epoch in range(epochs)]


def test_every_window_of_the_padded_image_is_drawn_about_equally_often(monkeypatch):
    pixels, samples = training_samples(monkeypatch, '--train-pad', '2')
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    windows = [padded[top:top + 8, left:left + 8].tobytes() for top in range(5) for left in range(5)]
    counts = [0] * 25
    for image in drawn(samples, 1000):
        counts[windows.index(image.tobytes())] += 1
    assert 15 < min(counts) and max(counts) < 75  # 40 expected of each, 4 to 6 standard deviations


def test_window_is_a_function_of_seed_epoch_and_index(monkeypatch):
    _, samples = training_samples(monkeypatch, '--train-pad', '2')
    assert all(np.array_equal(*pair) for pair in zip(drawn(samples, 5), drawn(samples, 5)))


def test_image_is_not_resized(monkeypatch):
    pixels, samples = training_samples(monkeypatch, '--train-pad', '1', size=(20, 20))
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    windows = {padded[top:top + 8, left:left + 8].tobytes() for top in range(15) for left in range(15)}
    assert {image.tobytes() for image in drawn(samples, 20)} <= windows


def test_flip_and_augmentation_follow_as_without_it(monkeypatch):
    argv = ['--hflip', '0.3', '--vflip', '0.1', '--aa', 'rand-m5-n4']
    (_, with_pad), (_, without) = (
        training_samples(monkeypatch, *argv, *more) for more in (['--train-pad', '4'], []))
    later = [[*map(repr, samples.transform.transforms[1:])] for samples in (with_pad, without)]
    assert later[0] == later[1] and len(later[0]) == 4


def test_no_aug_trains_on_the_whole_image(monkeypatch):
    pixels, samples = training_samples(monkeypatch, '--train-pad', '2', '--no-aug')
    assert all(np.array_equal(image, pixels) for image in drawn(samples, 5))


@pytest.mark.parametrize('argv', [['--scale', '0.5', '1'], ['--ratio', '1', '1'], ['--train-crop-mode', 'rrc']])
def test_flag_of_the_resizing_crop_is_refused_beside_it(monkeypatch, argv):
    with pytest.raises(UserError, match=f'{argv[0]} is of the resizing crop, .*--train-pad 4.* leave out one'):
        training_samples(monkeypatch, '--train-pad', '4', *argv)
