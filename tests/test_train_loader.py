import random

import numpy as np
import pytest
import torch
from image_folder import make_image_folder, truncate
from PIL import Image
from timm.data import create_dataset, create_transform

from timm_coded.train import replicas
from timm_coded.train.data.loader import create_batches
from timm_coded.train.data.rgb import to_rgb
from timm_coded.train.data.sampler import EvaluationSampler, TrainingSampler
from timm_coded.train.data.samples import Samples, seeded
from timm_coded.train.device_augment import BoxSampler
from timm_coded.train.errors import UserError

AUGMENTED = dict(is_training=True, auto_augment='rand-m7-mstd0.5-inc1', interpolation='random', use_prefetcher=True)
PLAIN = dict(use_prefetcher=True, crop_pct=1.0)


@pytest.fixture
def folder(tmp_path):
    return make_image_folder(tmp_path / 'images', {'cat': 7, 'dog': 6})


def samples_of(folder, seed=0, boxes=None, **transform):
    dataset = create_dataset('', root=str(folder))
    return Samples(dataset, create_transform(16, **transform), len(dataset.reader.class_to_idx), seed, boxes)


def batches_of(samples, workers=0, batch_size=4, is_training=True):
    length = len(samples)
    sampler = TrainingSampler(length, batch_size, 1, 0, 1, samples.seed) if is_training else \
        EvaluationSampler(length, 0, 1)
    return create_batches(samples, sampler, batch_size, workers)


def epoch_of(samples, epoch, workers=0, batch_size=4, is_training=True):
    batches = batches_of(samples, workers, batch_size, is_training)
    if is_training:
        batches.set_epoch(epoch)
    return list(batches)


def equal(batches, others):
    return all(torch.equal(a, b) for batch, other in zip(batches, others, strict=True) for a, b in zip(batch, other))


def test_batches_are_uint8_images_targets_and_boxes(folder):
    batches = epoch_of(samples_of(folder, boxes=BoxSampler(1.0, 3), **AUGMENTED), 0)
    assert len(batches) == 3, 'the incomplete fourth batch is left out'
    images, targets, boxes = batches[0]
    assert (images.dtype, images.shape) == (torch.uint8, (4, 3, 16, 16))
    assert targets.dtype == torch.int64 and boxes.shape == (4, 3, 4)


def test_an_epoch_is_the_same_again_and_unlike_the_next(folder):
    make = lambda seed: samples_of(folder, seed, BoxSampler(0.5, 3), **AUGMENTED)  # noqa: E731
    first = epoch_of(make(1), 0)
    assert equal(first, epoch_of(make(1), 0))
    assert not equal(first, epoch_of(make(1), 1))
    assert not equal(first, epoch_of(make(2), 0))


def test_any_number_of_workers_makes_the_same_images_in_every_epoch(folder):
    samples = samples_of(folder, 1, BoxSampler(0.5, 3), **AUGMENTED)
    alone, shared = batches_of(samples, 0), batches_of(samples, 2)
    for epoch in (0, 1):  # the second finds the workers at work already
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        assert equal(list(alone), list(shared))


def test_an_image_is_augmented_anew_in_each_epoch(folder):
    samples = samples_of(folder, 1, BoxSampler(1.0, 3), **AUGMENTED)
    assert not torch.equal(samples[0, 5].image, samples[1, 5].image)
    assert not torch.equal(samples[0, 5].boxes[0], samples[1, 5].boxes[0])


def test_an_image_does_not_depend_on_those_before_it(folder):
    samples = samples_of(folder, 1, **AUGMENTED)
    expected = samples[0, 5].image
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    samples[0, 2]
    assert torch.equal(samples[0, 5].image, expected)


def test_loading_leaves_the_random_numbers_of_the_process_alone(folder):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    epoch_of(samples_of(folder, boxes=BoxSampler(1.0, 3), **AUGMENTED), 0)
    assert draw() == expected
    with seeded(1, 2):
        inside = draw()
    with seeded(1, 3):
        assert draw() != inside


def test_random_numbers_are_those_of_generators_with_the_seeds_of_the_entropy():
    seeds = np.random.SeedSequence((1, 2)).generate_state(3).tolist()
    with seeded(1, 2):
        drawn = random.random(), np.random.rand(), torch.rand(1).item()
    assert drawn == (random.Random(seeds[0]).random(), np.random.RandomState(seeds[1]).rand(),
                     torch.rand(1, generator=torch.Generator().manual_seed(seeds[2])).item())


def test_shuffling_visits_every_image_once(folder):
    def targets(epoch):
        return torch.cat([batch[1] for batch in epoch_of(samples_of(folder, **PLAIN), epoch, batch_size=1)]).tolist()

    first, second = targets(0), targets(1)
    assert sorted(first) == sorted(second) == [0] * 7 + [1] * 6
    assert first != second and first != sorted(first)


@pytest.mark.parametrize('workers', [0, 2])
def test_evaluation_pads_the_last_batch_with_ignored_targets(folder, workers):
    samples = samples_of(folder, **PLAIN)
    images, targets = map(torch.cat, zip(*epoch_of(samples, 0, workers, batch_size=5, is_training=False)))
    assert len(images) == 15
    assert targets.tolist() == [0] * 7 + [1] * 6 + [-1] * 2
    assert torch.equal(images[:13], torch.stack([samples[0, index].image for index in range(13)]))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('is_training', [True, False])
def test_corrupt_image_stops_the_epoch_by_its_name(folder, workers, is_training):
    broken = truncate(folder / 'dog' / '3.jpg')
    batches = batches_of(samples_of(folder, **PLAIN), workers, 1, is_training)
    with pytest.raises(UserError, match=f'cannot read the image {broken}: (?i:.*truncated)'):
        for _ in replicas.create('cpu').send(batches):
            pass


def test_file_that_is_gone_or_is_no_image_is_named(folder):
    samples = samples_of(folder, **PLAIN)
    (folder / 'cat' / '0.jpg').unlink()
    (folder / 'cat' / '1.jpg').write_text('not an image')
    for index, reason in ((0, '[Errno 2]'), (1, 'cannot identify')):
        name, found = samples[0, index].unreadable
        assert name == f'{folder}/cat/{index}.jpg' and found.startswith(reason)


def test_grey_and_palette_images_become_rgb(tmp_path):
    for number, mode in enumerate(('L', 'P', 'RGBA', 'CMYK')):
        (tmp_path / 'x').mkdir(exist_ok=True)
        Image.new(mode, (20, 20)).save(tmp_path / 'x' / f'{number}.{"jpg" if mode == "CMYK" else "png"}')
    (images, _), = epoch_of(samples_of(tmp_path, **PLAIN), 0)
    assert images.shape == (4, 3, 16, 16)


def test_16_bit_grey_images_keep_their_brightness(tmp_path):
    (tmp_path / 'cat').mkdir()
    ramp = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / 'cat' / '0.png')
    with Image.open(tmp_path / 'cat' / '0.png') as image:
        assert image.mode.startswith('I;16')
    (images, _), = epoch_of(samples_of(tmp_path, **PLAIN), 0, batch_size=1, is_training=False)
    assert np.abs(images[0, 0].numpy() - ramp / 257).max() <= 1


def test_rgb_images_are_decoded_and_not_copied(folder):
    with Image.open(folder / 'cat' / '0.jpg') as image:
        pixels = to_rgb(image)
    assert pixels is image and np.asarray(pixels).shape == (32, 40, 3), 'without its file'


@pytest.mark.parametrize('kind', [np.float32, np.int32])
def test_image_without_a_known_range_is_an_error(kind):
    with pytest.raises(ValueError, match='pixels of mode . have no known range'):
        to_rgb(Image.fromarray(np.ones((16, 16), kind)))


@pytest.mark.parametrize('workers', [0, 2])
def test_image_that_cannot_be_transformed_is_named(folder, workers):
    samples = Samples(create_dataset('', root=str(folder)), fail, 2)
    with pytest.raises(UserError, match=r'cannot transform the image .*\.jpg: ZeroDivisionError'):
        epoch_of(samples, 0, workers)


def fail(image):
    return 1 / 0
