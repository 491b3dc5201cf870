import builtins

import numpy as np
import pytest
from image_folder import make_image_folder

from timm_coded.train.args import parse_args
from timm_coded.train.data import class_names, open_datasets
from timm_coded.train.digits import Digits
from timm_coded.train.errors import UserError


def open_with(*argv: str):
    return open_datasets(parse_args([str(word) for word in argv]))


def test_digits_are_all_of_scikit_learns_images_split_once():
    datasets = pytest.importorskip('sklearn.datasets')
    train, validation = open_with('--dataset', 'digits')
    assert (len(train), len(validation)) == (1408, 389)
    pixels = np.concatenate([train.pixels, validation.pixels]).reshape(-1, 64)
    source = datasets.load_digits()
    ours = sorted(zip(map(bytes, pixels), train.targets + validation.targets))
    theirs = sorted(zip(map(bytes, np.rint(source.data * 255 / 16).astype(np.uint8)), source.target.tolist()))
    assert ours == theirs
    assert np.bincount(validation.targets).min() >= 30, 'every digit is validated'
    assert validation.targets[:12] == [0, 9, 3, 8, 6, 2, 5, 3, 3, 7, 2, 1], 'the same split on every machine'


def test_digit_is_an_rgb_image():
    pytest.importorskip('sklearn')
    image, target = Digits('train')[0]
    assert (image.mode, image.size, target) == ('RGB', (8, 8), Digits('train').targets[0])
    assert class_names(Digits('train')) == list(range(10))


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    real_import = builtins.__import__

    def without_sklearn(name, *args, **kwargs):
        if name.startswith('sklearn'):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_sklearn)
    with pytest.raises(UserError, match=r"pip install 'timm_coded\[demo\]'"):
        open_with('--dataset', 'digits')


def test_class_folders_open_as_two_splits(tmp_path):
    make_image_folder(tmp_path / 'train', {'cat': 3, 'dog': 2})
    make_image_folder(tmp_path / 'val', {'cat': 1, 'dog': 1})
    train, validation = open_with(tmp_path)
    assert (len(train), len(validation)) == (5, 2)
    assert class_names(train) == ['cat', 'dog']


@pytest.mark.parametrize('argv, expected', [
    ([], 'DATA_DIR'),
    (['/no/such/folder'], '/no/such/folder does not exist'),
    (['--dataset', 'wds/imagenet', '/tmp'], 'streamed'),
    (['--dataset', 'torch/nothing', '/tmp'], 'torch/nothing'),
    (['--dataset', 'cifar10', '/tmp'], "--dataset cifar10: expected 'digits', torch/NAME"),
    (['--dataset', 'torch/cifar10', '/tmp'], 'torch/cifar10 in /tmp'),
    (['--dataset', 'digits', '/tmp'], 'leave out the data folder /tmp'),
    (['--dataset', 'digits', '--val-split', 'test'], "'test'"),
])
def test_data_that_cannot_be_opened_is_named(argv, expected):
    with pytest.raises(UserError, match=expected):
        open_with(*argv)


def test_folder_without_images_is_an_error(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'validation').mkdir()
    with pytest.raises(UserError, match='Found 0 images'):
        open_with(tmp_path)


@pytest.mark.parametrize('made', ['', 'train'])
def test_folder_without_a_validation_split_is_not_validated_on_its_training_images(tmp_path, made):
    make_image_folder(tmp_path / made, {'cat': 2, 'dog': 2})
    with pytest.raises(UserError, match='validation'):
        open_with(tmp_path)


def test_class_without_validation_images_is_named(tmp_path):
    make_image_folder(tmp_path / 'train', {'cat': 1, 'dog': 1, 'eel': 1})
    make_image_folder(tmp_path / 'validation', {'cat': 1, 'eel': 1})
    with pytest.raises(UserError, match='different classes.* dog'):
        open_with(tmp_path)


def test_evaluation_alone_needs_no_training_images(tmp_path):
    make_image_folder(tmp_path / 'val', {'cat': 1, 'dog': 1})
    train, validation = open_with(tmp_path, '--eval-only')
    assert train is None and len(validation) == 2
