"""How many images a second the host loads: the paper's way, ours, and ours with `--fast-decode`, side by side."""
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageDataset, create_loader

from ..train import replicas
from ..train.args import parse_args
from ..train.data.class_folders import read_class_folders
from ..train.data.images import create_evaluation_batches, create_training_batches
from ..train.data.prefetch import prefetch
from ..train.errors import UserError

WAYS = {
    'paper': "timm's create_loader, normalised and erased on the host in float32",
    'ours': 'bytes, normalised and erased on the device',
    'fast': 'ours with --fast-decode',
}
AUGMENTATION: dict[str, Any] = dict(  # the recipe's
    auto_augment='rand-m7-mstd0.5-inc1', re_prob=0.4, re_count=3, re_mode='pixel')
OURS = ['--aa', 'rand-m7-mstd0.5-inc1', '--reprob', '0.4', '--recount', '3', '--device', 'cpu']
CROP_PCT = 0.875
FEWEST_BATCHES = 6  # of a pass
BATCHES = 4  # of a pass for each worker

Rates = dict[tuple[str, bool], list[float]]  # of a way, in training or not: images/s of each round


@dataclass
class Sizes:
    """Images of a batch, and pixels of a side in training and in evaluation."""
    batch: int = 32
    train: int = 160
    eval: int = 224

    def images(self, workers: int) -> int:
        """Of a pass over a loader."""
        return self.batch * max(FEWEST_BATCHES, BATCHES * workers)


def open_images(folder: Path, count: int) -> ImageDataset:
    """`count` images, evenly out of all of a folder of class folders.

    Raises:
        UserError: there are too few, or they lie in another form.
    """
    if not folder.is_dir():
        raise UserError(f'there is no folder {folder}: give one of class folders, or none, for JPEG files made on the '
                        'spot')
    try:
        dataset = read_class_folders(str(folder))
    except RuntimeError as error:
        raise UserError(f'{folder}: {error}; give a folder of class folders, or none, for JPEG files made on the '
                        'spot') from error
    found = len(dataset)
    if found < count:
        raise UserError(f'{folder} has {found} images, and a pass takes {count}: give fewer --workers or a lower '
                        '--batch-size')
    dataset.reader.samples = [dataset.reader.samples[number * found // count] for number in range(count)]
    return dataset


def create(way: str, training: bool, dataset: ImageDataset, workers: int, sizes: Sizes) -> Any:
    """A loader of one of `WAYS`; each pass over it has all the images."""
    pixels = sizes.train if training else sizes.eval
    size = (3, pixels, pixels)
    if way == 'paper':
        dataset = ImageDataset(dataset.reader.root, reader=dataset.reader)  # it gets a transform
        return create_loader(
            dataset,
            size,
            sizes.batch,
            is_training=training,
            interpolation='random' if training else 'bicubic',
            crop_pct=CROP_PCT,
            num_workers=workers,
            use_prefetcher=False,
            **(AUGMENTATION if training else {}),
        )
    classes = len(dataset.reader.class_to_idx)
    args = parse_args([*OURS, '-j', str(workers), '-b', str(sizes.batch), '--num-classes', str(classes),
                       *(['--fast-decode'] if way == 'fast' else [])])
    config = dict(input_size=size, interpolation='bicubic', crop_pct=CROP_PCT, crop_mode='center',
                  mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    make = create_training_batches if training else create_evaluation_batches
    return make(args, dataset, config, replicas.create('cpu'))


def measure_rates(dataset: ImageDataset, workers: int, rounds: int, sizes: Sizes) -> Rates:
    """Images a second of each way in training and evaluation; in a round, all have their turn."""
    loaders = {(way, training): create(way, training, dataset, workers, sizes)
               for training in (True, False) for way in WAYS}
    rates: Rates = {key: [] for key in loaders}
    with one_thread():
        for turn in range(1 + rounds):  # the first starts the workers and fills the caches
            for key, loader in loaders.items():
                rate = time_pass(loader, turn)
                rates[key] += [rate] if turn else []
    return rates


def time_pass(loader: Iterable[Any], epoch: int) -> float:
    """Images a second of one pass; of this process' own time if it loads alone, of which others can take none away."""
    if hasattr(loader, 'set_epoch'):
        loader.set_epoch(epoch)
    clock = time.perf_counter if getattr(loader, 'num_workers', 1) else time.process_time
    count, start = 0, clock()
    for batch in loader:
        count += len(batch[0])
    return count / (clock() - start)


def measure_overlap(dataset: ImageDataset, workers: int, share: float, sizes: Sizes) -> dict[str, float]:
    """Passes training images, sent ahead as on the way to a TPU, to a device whose step is a sleep.

    Args:
        share: what the host needs for a batch, of the device's time for one.
    """
    batches = create('ours', True, dataset, workers, sizes)
    time_pass(batches, 0)
    host = statistics.median(sizes.batch / time_pass(batches, epoch) for epoch in (1, 2, 3))
    batches.set_epoch(4)
    waits, total = run_device(batches, host / share)
    steps = len(waits)
    return {
        'workers': workers,
        'batches': steps,
        'host_ms_a_batch': 1000 * host,
        'device_ms_a_batch': 1000 * host / share,
        'run_ms_a_batch': 1000 * total / steps,
        'device_waits_percent': 100 * sum(waits) / total,
    }


def run_device(batches: Iterable[Any], seconds: float) -> tuple[list[float], float]:
    """Steps of so many seconds on batches that are sent ahead.

    Returns:
        How long each waited for its batch, and how long all of them took, in seconds; but for the first, before which
        there is nothing to do meanwhile.
    """
    waits: list[float] = []
    start, begun = 0.0, time.perf_counter()
    for _ in prefetch(batches, lambda batch: batch):
        now = time.perf_counter()
        waits += [now - begun] if start else []
        start = start or now
        time.sleep(seconds)
        begun = time.perf_counter()
    return waits, begun - start - seconds


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for this process' tensors, as a loader's worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
