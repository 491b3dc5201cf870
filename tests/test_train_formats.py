"""Every form in which ImageNet comes gives the images and targets of the class folders."""
import gc
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
from image_folder import make_image_folder
from image_formats import (
    add,
    images_of,
    pack_classes,
    pack_folder,
    pack_shards,
    pixels,
    prepare_tfds,
    write_cifar,
    write_info,
)
from timm.data import create_dataset
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from torchvision import datasets as torchvision_datasets
from torchvision.transforms import PILToTensor

from timm_coded.train.args import parse_args
from timm_coded.train.data import class_names, open_datasets
from timm_coded.train.data.loader import create_batches
from timm_coded.train.data.sampler import EvaluationSampler
from timm_coded.train.data.samples import Samples
from timm_coded.train.data.targets import known_targets
from timm_coded.train.errors import UserError

CLASSES = {'n2': 4, 'n10': 3, 'dog': 2}  # in natural order: dog, n2, n10
FORMS = ['folders', 'tars', 'nested', 'classes', 'wds', 'wds_names', 'wds_json', 'hfds', 'array_record', 'tfrecord']


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('folders')
    make_image_folder(root / 'train', CLASSES)
    make_image_folder(root / 'val', dict(dog=1, n2=1, n10=3))
    return root


@pytest.fixture(scope='module')
def argv_of(folders, tmp_path_factory):
    """The arguments that name the same images in another form, made at the first request."""
    made = {}

    def argv(form):
        if form not in made:
            made[form] = make(form, folders, tmp_path_factory.mktemp(form))
        return made[form]

    return argv


def make(form, folders, root):
    if form == 'folders':
        return [folders]
    if form == 'tars':
        pack_folder(folders / 'train', root / 'train.tar')
        pack_folder(folders / 'val', root / 'val.tar')
    elif form == 'classes':
        pack_classes(folders / 'train', root / 'train')
        pack_classes(folders / 'val', root / 'val')
    elif form == 'nested':
        for split in ('train', 'val'):
            pack_folder(pack_classes(folders / split, root / f'{split}_classes'), root / f'{split}.tar')
    elif form == 'wds_names':
        for split in ('train', 'val'):
            pack_shards(folders / split, root, split, 4)
        return ['--dataset', 'wds/', root, '--train-split', 'data-train-{00..02}.tar|9', '--val-split',
                'data-val-00.tar::data-val-01.tar']
    elif form.startswith('wds'):
        key = 'label' if form == 'wds_json' else ''
        write_info(root, train=pack_shards(folders / 'train', root, 'train', 2, key),
                   validation=pack_shards(folders / 'val', root, 'val', 3, key))
        return ['--dataset', 'wds/', root]
    elif form == 'hfds':
        pytest.importorskip('datasets')
        return ['--dataset', f'hfds/{folders}', root]
    else:
        pytest.importorskip('tensorflow_datasets')
        pytest.importorskip('array_record')
        prepare_tfds({'train': folders / 'train', 'validation': folders / 'val'}, root, form)
        return ['--dataset', 'tfds/pets', root]
    return [root]


def open_with(*argv):
    return open_datasets(parse_args([str(word) for word in argv]))


def load(dataset, workers, num_classes=3):
    samples = Samples(dataset, PILToTensor(), num_classes)
    batches = create_batches(samples, EvaluationSampler(len(dataset), 0, 1), 4, workers)
    images, targets = map(torch.cat, zip(*batches))
    return images[:len(dataset)].numpy().transpose(0, 2, 3, 1), targets[:len(dataset)].tolist()


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')  # of the libraries themselves
@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('form', FORMS)
def test_images_and_targets_are_those_of_the_class_folders(argv_of, folders, form, workers, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    for split, dataset in zip(('train', 'val'), open_with(*argv_of(form))):
        files = images_of(folders / split)
        names = class_names(dataset)
        if names:  # Hugging Face and TensorFlow Datasets number the classes alphabetically
            assert sorted(names) == sorted(CLASSES)
            numbered = [(file, names.index(file.parent.name)) for file, _ in files]
        else:
            numbered = files
        expected = sorted((target, pixels(file).tobytes()) for file, target in numbered)
        images, targets = load(dataset, workers)
        assert sorted((target, image.tobytes()) for target, image in zip(targets, images)) == expected
        if form in ('folders', 'tars', 'nested', 'classes') or form.startswith('wds'):
            assert [image.tobytes() for image in images] == [pixels(file).tobytes() for file, _ in files], 'the order'
            assert names in ([], ['dog', 'n2', 'n10'])


@pytest.mark.filterwarnings('ignore::ResourceWarning')  # of timm's own reader
@pytest.mark.parametrize('form', ['tars', 'classes', 'nested'])
def test_targets_are_those_of_timms_reader_of_tars(argv_of, form):
    train, _ = open_with(*argv_of(form))
    theirs = ReaderImageInTar(train.reader.root)
    expected = sorted((int(target), file.read()) for file, target in (theirs[index] for index in range(len(theirs))))
    assert sorted((target, file.read()) for file, target in (train.reader[i] for i in range(len(train)))) == expected


@pytest.mark.filterwarnings('ignore::ResourceWarning', 'ignore::pytest.PytestUnraisableExceptionWarning')
def test_shards_have_the_samples_of_timms_reader(argv_of):
    pytest.importorskip('webdataset')
    argv = argv_of('wds')
    train, _ = open_with(*argv)
    theirs = create_dataset('wds/', root=str(argv[-1]), split='train')
    expected = [(target, np.asarray(image).tobytes()) for image, target in theirs]
    del theirs
    gc.collect()  # webdataset leaves its files open
    images, targets = load(train, 0)
    assert [(target, image.tobytes()) for target, image in zip(targets, images)] == expected


def test_class_map_numbers_the_classes_of_tars_as_it_does_those_of_folders(argv_of, folders, tmp_path):
    class_map = tmp_path / 'classes.txt'
    class_map.write_text('n10\ndog\n')  # n2 is left out
    for form in ('folders', 'classes', 'tars'):
        train, _ = open_with(*argv_of(form), '--class-map', class_map)
        images, targets = load(train, 0)
        expected = [(pixels(file).tobytes(), ['n10', 'dog'].index(file.parent.name))
                    for file, _ in images_of(folders / 'train') if file.parent.name != 'n2']
        assert sorted(zip(map(bytes, images), targets)) == sorted(expected)


def test_tfds_slices_are_the_parts_of_the_split(argv_of):
    *argv, root = argv_of('tfrecord')
    whole, _ = open_with(*argv, root)
    first, rest = open_with(*argv, root, '--train-split', 'train[:4]', '--val-split', 'train[4:]')
    expected = [whole.reader[index][0].read() for index in range(9)]
    assert [first.reader[i][0].read() for i in range(4)] + [rest.reader[i][0].read() for i in range(5)] == expected


@pytest.mark.parametrize('name, classes, files, labels, meta', [
    ('cifar10', 10, [[f'data_batch_{n}' for n in range(1, 6)], ['test_batch']], 'labels', 'batches.meta'),
    ('cifar100', 100, [['train'], ['test']], 'fine_labels', 'meta'),
])
def test_cifar_by_torchvisions_name(tmp_path, monkeypatch, name, classes, files, labels, meta):
    kind = getattr(torchvision_datasets, name.upper())
    monkeypatch.setattr(kind, '_check_integrity', lambda self: True)  # the checksums are those of the real images
    monkeypatch.setattr(torchvision_datasets.cifar, 'check_integrity', lambda *_: True)
    names = [f'class {number}' for number in range(classes)]
    first = write_cifar(tmp_path / kind.base_folder, names, files[0] + files[1], labels)
    (tmp_path / kind.base_folder / meta).write_bytes(pickle.dumps({kind.meta['key']: names}))
    train, validation = open_with('--dataset', f'torch/{name}', tmp_path)
    assert (len(train), len(validation)) == (20 * len(files[0]), 20)
    assert class_names(train) == names
    images, targets = load(train, 2, classes)
    assert targets[:20] == [number % classes for number in range(20)]
    assert np.array_equal(images[:20], first)


def test_damaged_tar_is_named(argv_of, tmp_path):
    root = tmp_path / 'tars'
    shutil.copytree(argv_of('classes')[0], root)
    path = root / 'train' / 'n2.tar'
    whole = path.read_bytes()
    for size in (len(whole) // 2, 3000, 512 * (len(whole.rstrip(b'\0')) // 512 + 1), 0):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f'cannot read the tar file {path}'):
            open_with(root)


def test_shard_that_is_missing_or_cut_is_named(argv_of, tmp_path):
    root = tmp_path / 'shards'
    shutil.copytree(argv_of('wds')[-1], root)
    path = root / 'data-train-01.tar'
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match=f'cannot read the tar file {path}'):
        open_with('--dataset', 'wds/', root)
    path.unlink()
    with pytest.raises(UserError, match=f'the shard {path} .* is missing'):
        open_with('--dataset', 'wds/', root)


def test_shards_with_fewer_images_than_stated_are_an_error(argv_of):
    *argv, root = argv_of('wds_names')[:3]
    with pytest.raises(UserError, match='found 9 images in 3 shards, not 10'):
        open_with(*argv, root, '--train-split', 'data-train-{00..02}.tar|10', '--val-split', 'data-val-00.tar')
    with pytest.raises(UserError, match="no split 'train'.*no info.json.*--train-split"):
        open_with(*argv, root)


def test_image_without_a_class_is_named(argv_of, tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        add(tar, 'x.jpg', b'1')
    with pytest.raises(UserError, match='a.tar: x has no class'):
        open_with('--dataset', 'wds/', tmp_path, '--val-split', 'a.tar', '--eval-only')
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        add(tar, 'x.jpg', b'1')
        add(tar, 'x.cls', b'cat')
    with pytest.raises(UserError, match='a.tar: x.cls holds no class index'):
        open_with('--dataset', 'wds/', tmp_path, '--val-split', 'a.tar', '--eval-only')


def test_damaged_records_are_named(argv_of, tmp_path):
    *argv, root = argv_of('tfrecord')
    shutil.copytree(root, tmp_path / 'records')
    path, = (tmp_path / 'records').rglob('*train.tfrecord*')
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=f'{path} is damaged'):
        open_with(*argv, tmp_path / 'records')


def test_data_set_that_was_not_prepared_is_named(tmp_path):
    pytest.importorskip('tensorflow_datasets')
    with pytest.raises(UserError, match='tfds/imagenet2012.*'):
        open_with('--dataset', 'tfds/imagenet2012', tmp_path)


def test_a_tar_is_read_after_its_images_were_looked_at(argv_of):
    """timm's own reader keeps the open tar, which cannot go to a worker process."""
    train, _ = open_with(*argv_of('classes'))
    train.reader[0]
    assert len(load(train, 1)[1]) == 9


def test_hugging_face_targets_are_known_without_images(argv_of):
    train, _ = open_with(*argv_of('hfds'))
    assert sorted(known_targets(train).tolist()) == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_info_json_is_read_as_timm_names_it(argv_of, tmp_path):
    root = tmp_path / 'shards'
    shutil.copytree(argv_of('wds')[-1], root)
    (root / '_info.json').rename(root / 'info.json')
    assert json.loads((root / 'info.json').read_text())['splits']['train']['num_samples'] == 9
    assert [len(dataset) for dataset in open_with('--dataset', 'wds/', root)] == [9, 5]


def test_samples_without_a_label_are_left_out_of_shards(folders, tmp_path):
    """timm marks them by -1, which would be taken for a filler."""
    info = pack_shards(folders / 'val', tmp_path, 'val', 9, 'label')
    with tarfile.open(tmp_path / info['filenames'][0], 'a') as tar:
        add(tar, 'unknown.json', b'{"label": -1}')
        add(tar, 'unknown.jpg', images_of(folders / 'val')[0][0].read_bytes())
    write_info(tmp_path, validation=info)
    _, validation = open_datasets(parse_args(['--dataset', 'wds/', str(tmp_path), '--train-split', 'validation']))
    assert len(validation) == 5


def test_tar_that_was_cut_while_in_use_is_named(argv_of, tmp_path):
    root = tmp_path / 'tars'
    shutil.copytree(argv_of('classes')[0], root)
    train, _ = open_with(root)
    path = root / 'train' / 'dog.tar'
    path.write_bytes(path.read_bytes()[:700])
    assert Samples(train, PILToTensor(), 3)[0, 0].unreadable == (f'{path}/0.jpg', f'{path} is cut short')
