"""Where the time of loading an image goes."""
import statistics
import time
from typing import Any, Callable

from PIL import Image
from timm.data import ImageDataset

from .input import WAYS, Sizes, create, one_thread

NAMES = {  # of what is no augmentation
    'CenterCrop': 'crop the middle', 'MaybePILToTensor': 'to a tensor', 'MaybeToTensor': 'to a tensor',
    'Normalize': 'normalise', 'RandomErasing': 'erase',
}
FLOOR = '(JPEG at 1/8 scale: little but reading its code)'


class Lap:
    """Adds up this process' own time of calls by the name of their part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, part: str, call: Callable[..., Any], *args: Any) -> Any:
        start = time.process_time()
        result = call(*args)
        self.seconds[part] = self.seconds.get(part, 0) + time.process_time() - start
        return result


def measure_parts(dataset: ImageDataset, rounds: int, sizes: Sizes) -> list[dict[str, Any]]:
    """Milliseconds of an image in each part of the work, all in this process: a row for each, medians of rounds."""
    rows = []
    with one_thread():
        for training in (True, False):
            found = [{way: time_parts(way, training, dataset, sizes) for way in WAYS} for _ in range(1 + rounds)][1:]
            parts = sorted(dict.fromkeys(part for times in found[0].values() for part in times), key=in_order)
            for part in parts:
                rows.append({'images': 'training' if training else 'evaluation', 'part': part, **{
                    f'{way}_ms': statistics.median(times[way][part] for times in found)
                    if part in found[0][way] else None for way in WAYS}})
    return rows


def in_order(part: str) -> int:
    order = ['read', 'decode', 'crop and', 'augment', 'crop the', 'to a', 'normalise', 'erase', 'draw', 'make', '(']
    return next(place for place, start in enumerate(order) if part.startswith(start))


def time_parts(way: str, training: bool, dataset: ImageDataset, sizes: Sizes) -> dict[str, float]:
    """Milliseconds of an image in each part."""
    loader = create(way, training, dataset, 0, sizes)
    loader = loader if way == 'paper' else loader.loader
    samples, lap = loader.dataset, Lap()
    fast, plain = way == 'fast', ImageDataset(dataset.reader.root, reader=dataset.reader)
    first, *others = samples.transform.transforms
    read = (lambda index: plain[index][0]) if way == 'paper' else (lambda index: samples.read(index)[0])
    boxes = None if way == 'paper' else samples.sample_boxes
    for index in range(len(dataset)):
        image = lap('read' if fast else 'read and decode', read, index)
        image = lap('decode, crop and resize' if fast else 'crop and resize', first, image)
        for step in others:
            image = lap(NAMES.get(type(step).__name__, 'augment'), step, image)
        if boxes:
            lap('draw boxes to erase', boxes, image)
    for begin in range(0, len(dataset), sizes.batch):
        keys = range(begin, begin + sizes.batch)
        batch = [samples[index if way == 'paper' else (0, index)] for index in keys]
        lap('make a batch', loader.collate_fn, batch)
    if way == 'paper':
        lap(FLOOR, decode_smallest, dataset)
    return {part: 1000 * seconds / len(dataset) for part, seconds in lap.seconds.items()}


def decode_smallest(dataset: ImageDataset) -> None:
    for file, _ in dataset.reader.samples:
        with Image.open(file) as image:
            image.draft('RGB', (image.width // 8, image.height // 8))
            image.load()
