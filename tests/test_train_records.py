"""TFRecord files are read by index as TensorFlow Datasets describes them; here a stand-in does so.

`test_train_formats.py` does it with TensorFlow Datasets itself, where that is installed.
"""
import pickle
import struct
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from timm_coded.train.args import parse_args
from timm_coded.train.data import class_names, open_datasets
from timm_coded.train.data.records import index_records
from timm_coded.train.data.slices import Slices
from timm_coded.train.errors import UserError

CONTENTS = [[b'first', b'', b'a third of 24 characters'], [b'4', b'five']]
ENCODED = object()  # tfds's word for: leave the image as it is stored


def write_records(path, contents) -> int:
    """A TFRecord file: length, its checksum, content, its checksum; the checksums are any."""
    path.write_bytes(b''.join(struct.pack('<QI', len(one), 77) + one + struct.pack('<I', 78) for one in contents))
    return len(contents)


@pytest.fixture
def shards(tmp_path):
    """Two files, as instructions to read them whole."""
    found = []
    for number, contents in enumerate(CONTENTS):
        path = tmp_path / f'{number}.tfrecord'
        count = write_records(path, contents)
        found.append(SimpleNamespace(filename=path, skip=0, take=count, examples_in_shard=count))
    return found


def read(instructions) -> list[bytes]:
    slices = Slices(index_records(instructions))
    return [slices[index] for index in range(len(slices))]


def test_records_are_the_contents_in_order(shards):
    assert read(shards) == CONTENTS[0] + CONTENTS[1]
    assert read(shards[::-1]) == CONTENTS[1] + CONTENTS[0]


@pytest.mark.parametrize('skip, take, expected', [
    (1, 2, CONTENTS[0][1:]), (0, 1, CONTENTS[0][:1]), (2, 1, CONTENTS[0][2:])])
def test_part_of_a_file_is_what_is_left_after_skipping(shards, skip, take, expected):
    shards[0].skip, shards[0].take = skip, take
    assert read(shards) == expected + CONTENTS[1]


@pytest.mark.parametrize('keep, said', [
    (-1, 'is damaged: 3 records and 76 bytes, expected 3 and 77'),
    (-4 - 24 - 12, 'is damaged: 2 records and 37 bytes, expected 3 and 37'),  # a whole record is missing
    (-4 - 24 - 12 + 5, 'cannot read the records of'),  # in the middle of a header
    (0, 'is damaged: 0 records and 0 bytes, expected 3 and 0'),
])
def test_file_that_was_cut_is_named(shards, keep, said):
    path = shards[0].filename
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=said) as told:
        index_records(shards)
    assert str(path) in str(told.value)


def test_file_with_more_records_than_it_should_have_and_one_that_is_gone_are_named(shards):
    write_records(shards[0].filename, [*CONTENTS[0], b'more'])
    with pytest.raises(UserError, match='0.tfrecord is damaged: 4 records'):
        index_records(shards)
    shards[0].filename.unlink()
    with pytest.raises(UserError, match='cannot read the records of .*0.tfrecord: .*No such file'):
        index_records(shards)


class Features(dict):
    """Of examples that are pickled dicts."""

    def deserialize_example_np(self, record, decoders):
        assert decoders == {'image': ENCODED}
        return pickle.loads(record)


class Builder:
    """Of a data set in a folder: train is 2 files, of 3 and 2 examples; image and target of each tell its place."""

    def __init__(self, folder, kind='tfrecord', features=('image', 'label')):
        features = Features({name: SimpleNamespace(names=['cat', 'dog', 'owl']) for name in features})
        files = [SimpleNamespace(filename=str(folder / f'{shard}.tfrecord'), skip=0, take=3 - shard,
                                 examples_in_shard=3 - shard) for shard in range(2)]
        parts = {'train': files, 'train[:1]': [SimpleNamespace(**{**vars(files[0]), 'take': 1})]}
        self.data_dir = str(folder)
        self.info = SimpleNamespace(
            features=features, file_format=SimpleNamespace(value=kind),
            splits={name: SimpleNamespace(file_instructions=part) for name, part in parts.items()})

    def as_data_source(self, split, decoders):
        assert decoders == {'image': ENCODED}
        return [{'image': f'{split} {index}'.encode(), 'label': index} for index in range(2)]


@pytest.fixture
def tfds(tmp_path, monkeypatch):
    """`tensorflow_datasets` with one data set, pets, that is prepared in `folder`."""
    stand_in = ModuleType('tensorflow_datasets')
    stand_in.folder = tmp_path / 'pets' / '1.0.0'
    stand_in.folder.mkdir(parents=True)
    stand_in.made = Builder(stand_in.folder)
    stand_in.decode = SimpleNamespace(SkipDecoding=lambda: ENCODED)

    def builder(name, data_dir):
        assert (name, data_dir) == ('pets', str(tmp_path))
        return SimpleNamespace(data_dir=stand_in.made.data_dir)  # what it would download is none of ours

    def builder_from_directory(folder):
        assert folder == str(stand_in.folder)
        return stand_in.made

    stand_in.builder, stand_in.builder_from_directory = builder, builder_from_directory
    (stand_in.folder / 'dataset_info.json').touch()
    for shard in range(2):
        write_records(stand_in.folder / f'{shard}.tfrecord', [
            pickle.dumps({'image': f'{shard} {number}'.encode(), 'label': np.int64(shard + number)})
            for number in range(3 - shard)])
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', stand_in)
    return stand_in


def open_pets(root):
    return open_datasets(parse_args(
        ['--dataset', 'tfds/pets', str(root), '--train-split', 'train', '--val-split', 'train[:1]']))


def test_images_stay_encoded_and_have_their_targets_and_places(tfds, tmp_path):
    train, validation = open_pets(tmp_path)
    assert (len(train), len(validation)) == (5, 1)
    found = [(image.read(), target) for image, target in map(train.reader.__getitem__, range(5))]
    assert found == [(b'0 0', 0), (b'0 1', 1), (b'0 2', 2), (b'1 0', 1), (b'1 1', 2)]
    assert all(type(target) is int for _, target in found)
    assert validation.reader[0][0].read() == b'0 0'
    assert class_names(train) == ['cat', 'dog', 'owl']
    assert train.reader.filename(3) == f'{tfds.folder}, train, number 3'


def test_array_records_are_read_by_tfds_own_source(tfds, tmp_path):
    tfds.made = Builder(tfds.folder, 'array_record')
    train, validation = open_pets(tmp_path)
    assert [(image.read(), target) for image, target in map(train.reader.__getitem__, range(2))] == [
        (b'train 0', 0), (b'train 1', 1)]
    assert validation.reader[1][0].read() == b'train[:1] 1'


@pytest.mark.parametrize('options, said', [
    ({'features': ('image', 'objects')}, "tfds/pets has image, objects: expected 'image' and 'label'"),
    ({'features': ('label',)}, "tfds/pets has label: expected 'image' and 'label'"),
    ({'kind': 'riegeli'}, 'tfds/pets is stored as riegeli: expected tfrecord or array_record'),
])
def test_data_set_of_another_kind_is_told(tfds, tmp_path, options, said):
    tfds.made = Builder(tfds.folder, **options)
    with pytest.raises(UserError, match=said):
        open_pets(tmp_path)


def test_data_set_that_was_not_prepared_is_told_with_its_folder(tfds, tmp_path):
    (tfds.folder / 'dataset_info.json').unlink()
    with pytest.raises(UserError, match=f'tfds/pets is not in {tfds.folder}: prepare it with the tfds command first'):
        open_pets(tmp_path)


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
    with pytest.raises(UserError, match=r"tfds/pets needs TensorFlow Datasets, .*pip install 'timm_coded\[data\]'"):
        open_pets(tmp_path)
