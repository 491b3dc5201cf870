"""WebDataset shards, plain tars of KEY.jpg and KEY.cls, read by index."""
import json
import os
import re
from typing import Any

from ..errors import UserError
from .slices import Slice, SliceReader
from .tars import members

IMAGES = ('jpg', 'jpeg', 'png', 'webp')


def read_shards(root: str, split: str) -> SliceReader:
    """All images of a split, in the order of its shards.

    An index of the shards takes the place of timm's stream (which drops or repeats images where shards do not divide
    evenly among workers and replicas), so that shuffling, evaluation and resuming are those of class folders.

    Args:
        root: the folder of the shards.
        split: as timm reads it: a split of root/_info.json or root/info.json, or 'name-{0000..0099}.tar', by
            '|128000' the number of its images if that is to be checked.

    Raises:
        UserError: there is no such split, or a shard is missing, damaged or has an image without a class.
    """
    files, expected, label_key = find_split(root, split)
    pairs = [pair for file in files for pair in read_pairs(file, label_key)]
    labelled = [pair for pair in pairs if pair[2] >= 0]  # -1 stands for no label, in timm too
    if expected and expected not in (len(pairs), len(labelled)):
        raise UserError(f'{root}, split {split!r}: found {len(pairs)} images in {len(files)} shards, not {expected}')
    if not labelled:
        raise UserError(f'{root}, split {split!r}: the {len(files)} shards have no images')
    names, images, targets = zip(*labelled)
    return SliceReader(images, names, targets, {}, root)


def find_split(root: str, split: str) -> tuple[list[str], int, str]:
    """Files of a split, its number of images (0: not known), and the json key of its labels ('' for .cls files)."""
    info = read_info(root).get('splits', {})
    if split in info:
        chosen = info[split]
        count = chosen.get('num_samples') or sum(chosen.get('shard_lengths', ()))
        names, label_key = chosen['filenames'], chosen.get('alt_label', '')
    elif '.tar' in split:
        pattern, _, count = split.partition('|')
        names, label_key = [name for part in pattern.split('::') for name in expand(part)], ''
    else:
        known = f'{", ".join(info)} of its info.json' if info else 'it has no info.json'
        raise UserError(f'{root} has no split {split!r} ({known}): give one of those, or the names of the shards, such '
                        "as --train-split 'train-{0000..0099}.tar'")
    files = [os.path.join(root, name) for name in names]
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise UserError(f'the shard {missing[0]} of the split {split!r} is missing ({len(missing)} of {len(files)}); '
                        'shards are read from a disk, a mount or a copy, not from an address')
    return files, int(count or 0), label_key


def read_info(root: str) -> dict[str, Any]:
    for name in ('_info.json', 'info.json'):
        path = os.path.join(root, name)
        if os.path.isfile(path):
            with open(path) as file:
                return json.load(file)
    return {}


def expand(pattern: str) -> list[str]:
    """'a-{08..10}.tar' -> ['a-08.tar', 'a-09.tar', 'a-10.tar']"""
    match = re.search(r'\{(\d+)\.\.(\d+)\}', pattern)
    if not match:
        return [pattern]
    first, last = match.groups()
    numbers = [f'{number:0{len(first)}d}' for number in range(int(first), int(last) + 1)]
    return [name for number in numbers for name in expand(pattern[:match.start()] + number + pattern[match.end():])]


def read_pairs(file: str, label_key: str) -> list[tuple[str, Slice, int]]:
    """Key, image and label of each sample of a shard; a sample's members share all before their first dot."""
    images, labels = {}, {}
    for name, header, offset, tar in members(file):
        folder, _, base = name.rpartition('/')
        key, _, extension = base.partition('.')
        key = f'{folder}/{key}' if folder else key
        extension = extension.lower()
        if extension in IMAGES:
            images[key] = Slice(file, offset, header.size)
        elif extension == ('json' if label_key else 'cls'):
            member = tar.extractfile(header)
            assert member is not None  # it is a file
            content = member.read()
            try:
                labels[key] = int(json.loads(content)[label_key] if label_key else content)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f'{file}: {name} holds no class index ({type(error).__name__}: {error})') from error
    if images.keys() != labels.keys():
        key = min(images.keys() ^ labels.keys())
        raise UserError(f'{file}: {key} has no {"class" if key in images else "image"}')
    return [(key, image, labels[key]) for key, image in images.items()]
