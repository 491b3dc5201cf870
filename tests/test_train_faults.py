"""What goes wrong while images are read is named, and never shortens an epoch."""
import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from image_folder import make_image_folder, truncate
from PIL import Image
from timm.data import create_dataset, create_transform
from torch.utils.data import Dataset

from timm_coded.train import replicas
from timm_coded.train.args import parse_args
from timm_coded.train.data import open_datasets
from timm_coded.train.data.images import create_evaluation_batches, create_training_batches
from timm_coded.train.data.loader import Batches, create_batches
from timm_coded.train.data.sampler import EvaluationSampler, TrainingSampler
from timm_coded.train.data.samples import Samples
from timm_coded.train.data.unreadable import Unreadable
from timm_coded.train.device_augment import BoxSampler
from timm_coded.train.errors import UserError

CONFIG = dict(input_size=(3, 16, 16), mean=(0.5,) * 3, interpolation='bicubic', crop_pct=1.0, crop_mode='center')
ONE = SimpleNamespace(rank=0, world=1)


@pytest.fixture
def folder(tmp_path):
    for split in ('train', 'val'):
        make_image_folder(tmp_path / split, {'cat': 7, 'dog': 6})
    return tmp_path


def batches_of(folder, split, *argv, said=None, workers=0, classes=2):
    words = [folder, '-b', 4, '-j', workers, '--num-classes', classes, *argv]
    args = parse_args([str(word) for word in words])
    train, validation = open_datasets(args)
    unreadable = None if said is None else Unreadable(args.skip_corrupt, said.append)
    if split == 'val':
        return create_evaluation_batches(args, validation, CONFIG, ONE, unreadable)
    batches = create_training_batches(args, train, CONFIG, ONE, unreadable=unreadable)
    batches.set_epoch(0)
    return batches


def stack(batches):
    return [torch.cat(parts) for parts in zip(*batches)]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_unreadable_images_are_left_out_and_change_no_other(folder, split, workers):
    whole = stack(batches_of(folder, split, '--reprob', 0.5))
    corrupt = [truncate(folder / split / 'cat' / '2.jpg'), truncate(folder / split / 'dog' / '3.jpg')]
    said = []
    batches = batches_of(folder, split, '--reprob', 0.5, '--skip-corrupt', 2, said=said, workers=workers)
    images, targets, *boxes = stack(batches)
    left_out = (targets == -1) & (whole[1] != -1)
    assert 1 <= left_out.sum() <= 2 and (split == 'train' or left_out.sum() == 2)
    assert torch.equal(targets[~left_out], whole[1][~left_out])
    for found, expected in zip((images, *boxes), (whole[0], *whole[2:]), strict=True):
        assert found.shape == expected.shape and torch.equal(found[~left_out], expected[~left_out])
    assert len(boxes) == (split == 'train')
    assert all(sum(str(path) in line for line in said) <= 1 for path in corrupt)
    assert len(said) == left_out.sum()
    list(batches)
    assert len(said) <= 2 and len(said) == len(set(said)), 'a second pass names none again'


def test_workers_name_the_same_images_in_the_same_order(folder):
    for name in ('cat/1', 'cat/5', 'dog/0', 'dog/4'):
        truncate(folder / 'val' / f'{name}.jpg')
    said = [[], []]
    for workers, lines in zip((0, 2), said):
        list(batches_of(folder, 'val', '--skip-corrupt', 4, said=lines, workers=workers))
    assert said[0] == said[1]
    assert [f'/{name}.jpg: ' in line and 'runcated' in line for name, line in
            zip(('cat/1', 'cat/5', 'dog/0', 'dog/4'), said[0], strict=True)] == [True] * 4


@pytest.mark.parametrize('workers', [0, 2])
def test_one_more_than_allowed_ends_the_run_with_a_list(folder, workers):
    broken = [truncate(folder / 'val' / f'{name}.jpg') for name in ('cat/1', 'dog/0', 'dog/4')]
    with pytest.raises(UserError, match='3 images cannot be read, --skip-corrupt allows 2') as raised:
        list(batches_of(folder, 'val', '--skip-corrupt', 2, said=[], workers=workers))
    assert all(str(path) in str(raised.value) for path in broken)


def test_by_default_the_first_unreadable_image_ends_the_run(folder):
    broken = truncate(folder / 'val' / 'dog' / '0.jpg')
    with pytest.raises(UserError, match=f'cannot read the image {broken}: .*--skip-corrupt'):
        list(batches_of(folder, 'val', said=[]))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_flag_alone_leaves_out_and_prints(folder, split, capsys):
    for number in range(6):  # 12 of the 13 images are trained on
        truncate(folder / split / 'dog' / f'{number}.jpg')
    list(batches_of(folder, split, '--skip-corrupt', 6))
    assert capsys.readouterr().out.count(f'left out {folder}/{split}/dog/') >= 5


def test_a_batch_may_be_unreadable_as_a_whole(folder):
    for number in range(7):
        (folder / 'val' / 'cat' / f'{number}.jpg').write_bytes(b'')
    images, targets = stack(batches_of(folder, 'val', '--skip-corrupt', 7, said=[]))
    assert images.shape == (16, 3, 16, 16) and targets.tolist() == [-1] * 7 + [1] * 6 + [-1] * 3


def test_class_map_with_too_many_classes_is_found_before_any_image_is_read(folder):
    (folder / 'classes.txt').write_text('cat\neel\ndog\n')
    for split in ('train', 'val'):
        with pytest.raises(UserError, match=f'{folder}/{split}/dog/0.jpg has the class index 2, expected 0 to 1.*6 su'):
            batches_of(folder, split, '--class-map', folder / 'classes.txt')


class Wrong(Dataset):
    """Labels that are known only once an image is read."""
    samples = [('first.jpg', None), ('second.jpg', None)]

    def __init__(self, target):
        self.target = target

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Image.new('RGB', (16, 16)), self.target * index


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('target', [2, -1])
def test_target_beyond_the_classes_is_named_as_it_is_read(target, workers):
    samples = Samples(Wrong(target), create_transform(16, use_prefetcher=True), 2)
    with pytest.raises(UserError, match=f'the image second.jpg has the class index {target}, expected 0 to 1'):
        list(create_batches(samples, EvaluationSampler(2, 0, 1), 2, workers, unreadable=Unreadable(2)))


class Slow(Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        time.sleep(0.05)
        return Image.new('RGB', (16, 16)), 0


@pytest.mark.parametrize('ahead', [True, False])
def test_killed_worker_is_an_error_within_ten_seconds(ahead):
    samples = Samples(Slow(), create_transform(16, use_prefetcher=True), 1, 0, BoxSampler(0.5, 1))
    batches = create_batches(samples, TrainingSampler(1000, 4, 1, 0, 1, 0), 4, 2)
    others = set(multiprocessing.active_children())
    passing = iter(replicas.create('cpu').send(batches) if ahead else batches)
    next(passing)
    victim = (set(multiprocessing.active_children()) - others).pop()
    os.kill(victim.pid, signal.SIGKILL)
    started, received = time.monotonic(), 1
    with pytest.raises(UserError, match='a loader process died .*/dev/shm.*--workers'):
        for _ in passing:
            received += 1
    assert time.monotonic() - started < 10
    assert received < len(batches)


def test_loader_that_ends_early_is_an_error():
    class Short(list):
        num_workers = 0

        def __len__(self):
            return 3

    with pytest.raises(UserError, match='ended after 0 of 3 batches'):
        list(Batches(Short(), Unreadable()))


def test_error_of_the_data_set_is_not_taken_for_a_dead_worker(folder):
    samples = Samples(create_dataset('', root=str(folder / 'val')), create_transform(16, use_prefetcher=True), 2)
    samples.sample_boxes = odd_boxes
    with pytest.raises(RuntimeError, match='Caught RuntimeError in DataLoader worker'):
        list(create_batches(samples, EvaluationSampler(13, 0, 1), 4, 1))


def odd_boxes(image):
    """Boxes of another shape for each image, which cannot be stacked."""
    return torch.zeros(int(image.float().sum()) % 1000, 4)
