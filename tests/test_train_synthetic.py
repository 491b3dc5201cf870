import time
from types import SimpleNamespace

import pytest
import torch

from timm_coded.train.args import parse_args
from timm_coded.train.data import open_datasets
from timm_coded.train.data.images import create_evaluation_batches, create_training_batches

CONFIG = dict(input_size=(3, 160, 160), mean=(0.5,) * 3, interpolation='bicubic', crop_pct=0.9, crop_mode='center')
ONE = SimpleNamespace(rank=0, world=1)


def batches_of(*argv):
    args = parse_args(['--synthetic', '-b', '2', '--aa', 'rand-m7-mstd0.5-inc1', *argv])
    train, validation = open_datasets(args)
    args.num_classes = args.num_classes or 1000
    return (create_training_batches(args, train, CONFIG, ONE), create_evaluation_batches(args, validation, CONFIG, ONE))


@pytest.mark.parametrize('workers', ['0', '2'])
def test_synthetic_images_have_the_shapes_of_real_ones_and_are_the_same_again(workers):
    train, validation = batches_of('-j', workers, '--eval-img-size', '224', '--reprob', '0.5', '--num-classes', '7')
    train.set_epoch(0)
    first = list(train)
    assert (len(first), len(validation)) == (100, 10)
    images, targets, boxes = map(torch.cat, zip(*first))
    assert images.shape == (200, 3, 160, 160) and images.dtype == torch.uint8 and boxes.shape == (200, 1, 4)
    assert sorted(targets.tolist()) == sorted(index % 7 for index in range(200))
    assert len({image.numpy().tobytes() for image in images}) == 160, 'noise, and a row further for each index'
    assert 126 < images.float().mean() < 129
    assert all(torch.equal(a, b) for batch, again in zip(first, train, strict=True) for a, b in zip(batch, again))
    images, targets = map(torch.cat, zip(*validation))
    assert images.shape == (20, 3, 224, 224) and targets.tolist() == [index % 7 for index in range(20)]


def test_synthetic_images_cost_little_beside_decoding_and_augmenting_real_ones():
    """Those take 5 ms each."""
    train, _ = batches_of('-j', '0')
    train.set_epoch(0)
    started = time.process_time()
    for _ in train:
        pass
    assert (time.process_time() - started) / 200 < 0.003
