import builtins
import errno
import os
import sys

import numpy as np
import pytest
from image_folder import make_image_folder
from image_formats import pack_classes, pack_folder

from timm_coded.train.args import parse_args
from timm_coded.train.data import class_names, open_datasets
from timm_coded.train.data.digits import Digits
from timm_coded.train.data.letters import FONTS, Letters
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


def test_letters_of_validation_are_of_other_fonts_and_no_two_images_are_equal():
    pytest.importorskip('matplotlib')
    train, validation = open_with('--dataset', 'letters')
    assert (len(train), len(validation)) == (37 * 16 * 4, 37 * 5 * 4)
    assert not set(FONTS['train']) & set(FONTS['validation'])
    assert class_names(train) == class_names(validation) == list('ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt')
    pixels = {image.tobytes() for image in train.images + validation.images}
    assert len(pixels) == len(train) + len(validation)
    assert set(np.bincount(train.targets)) == {64} and set(np.bincount(validation.targets)) == {20}
    again = Letters('validation')
    assert again.targets == validation.targets
    assert all(one.tobytes() == other.tobytes() for one, other in zip(again.images, validation.images))


def test_letter_lies_whole_inside_its_image_and_is_told_by_its_shape():
    pytest.importorskip('matplotlib')
    letters = Letters('train')
    pixels = np.stack([np.asarray(image.convert('L'), float) for image, _ in letters])
    assert pixels.shape == (2368, 16, 16) and letters[0][0].mode == 'RGB'
    inside = np.zeros((16, 16), bool)
    inside[1:-1, 1:-1] = True
    assert np.median(pixels[:, ~inside].max(1)) < 64, 'most letters leave a margin'
    assert (pixels.max((1, 2)) > 120).all(), 'none is empty'
    targets = np.array(letters.targets)
    means = np.stack([pixels[targets == target].mean(0) for target in range(37)]).reshape(37, -1)
    nearest = ((pixels.reshape(-1, 1, 256) - means) ** 2).sum(2).argmin(1)
    assert (nearest == targets).mean() > 0.5, 'even the mean images tell more than half of them apart'


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    real_import = builtins.__import__

    def without_sklearn(name, *args, **kwargs):
        if name.startswith('sklearn'):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_sklearn)
    with pytest.raises(UserError, match=r"pip install 'timm_coded\[demo\]'"):
        open_with('--dataset', 'digits')


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(UserError, match=r"pip install 'timm_coded\[analysis\]'"):
        open_with('--dataset', 'letters')


def test_class_folders_open_as_two_splits(tmp_path):
    make_image_folder(tmp_path / 'train', {'cat': 3, 'dog': 2})
    make_image_folder(tmp_path / 'val', {'cat': 1, 'dog': 1})
    train, validation = open_with(tmp_path)
    assert (len(train), len(validation)) == (5, 2)
    assert class_names(train) == ['cat', 'dog']


@pytest.mark.parametrize('argv, expected', [
    ([], 'DATA_DIR'),
    (['/no/such/folder'], '/no/such/folder does not exist'),
    (['--dataset', 'hfids/imagenet', '/tmp'], 'hfids/imagenet: a stream can be neither resumed .* use hfds/'),
    (['--dataset', 'wds/', '/tmp'], "/tmp has no split 'train'"),
    (['--dataset', 'wds/', '/tmp', '--class-map', 'x.txt'], 'leave out --class-map'),
    (['--dataset', 'tfds/x', '/tmp', '--dataset-download'], 'leave out --dataset-download'),
    (['--synthetic', '/tmp'], 'leave out /tmp'),
    (['--synthetic', '--dataset', 'digits'], 'leave out --dataset digits'),
    (['--dataset', 'torch/nothing', '/tmp'], 'torch/nothing'),
    (['--dataset', 'cifar10', '/tmp'], "--dataset cifar10: expected 'digits', 'letters', torch/NAME"),
    (['--dataset', 'torch/cifar10', '/tmp'], 'torch/cifar10 in /tmp.*--dataset-download fetches'),
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


@pytest.mark.parametrize('split', ['train', 'val'])
def test_empty_class_folder_is_named(tmp_path, split):
    """timm passes it over, and numbers the classes after it one lower."""
    for name in ('train', 'val'):
        make_image_folder(tmp_path / name, {'cat': 1, 'eel': 1})
    (tmp_path / split / 'dog').mkdir()
    (tmp_path / split / 'dog' / 'notes.txt').write_text('no image')
    with pytest.raises(UserError, match=f'the class folder {tmp_path}/{split}/dog has no images'):
        open_with(tmp_path)


def test_empty_class_tar_and_folder_in_a_tar_are_named(tmp_path):
    folder = make_image_folder(tmp_path / 'folders', {'cat': 1, 'eel': 1})
    (folder / 'dog').mkdir()
    for split in ('train', 'val'):
        pack_folder(folder, tmp_path / f'{split}.tar')
        pack_classes(folder, tmp_path / 'classes' / split)
    for root, tar in ((tmp_path, 'train.tar'), (tmp_path / 'classes', 'train')):
        with pytest.raises(UserError, match=f'{root}/{tar}: the class dog has no images'):
            open_with(root)


def test_image_outside_the_class_folders_is_named(tmp_path):
    """It would be a class of its own, numbered before all others."""
    for name in ('train', 'val'):
        make_image_folder(tmp_path / name, {'cat': 1, 'eel': 1})
    stray = tmp_path / 'train' / 'stray.jpg'
    stray.write_bytes((tmp_path / 'train' / 'cat' / '0.jpg').read_bytes())
    with pytest.raises(UserError, match=f'{stray} is in no class folder'):
        open_with(tmp_path)


def test_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    """`os.walk` passes it over in silence; its own error is raised here, since root may read every folder."""
    for name in ('train', 'val'):
        make_image_folder(tmp_path / name, {'cat': 1, 'eel': 1})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('train/eel'):
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(UserError, match=f'cannot read the folder {tmp_path}/train/eel: Permission denied'):
        open_with(tmp_path)


def test_hidden_folders_and_a_class_map_leave_empty_folders_alone(tmp_path):
    for name in ('train', 'val'):
        make_image_folder(tmp_path / name, {'cat': 1, 'eel': 1})
        (tmp_path / name / '.ipynb_checkpoints').mkdir()
    assert class_names(open_with(tmp_path)[0]) == ['cat', 'eel']
    (tmp_path / 'train' / 'dog').mkdir()
    (tmp_path / 'classes.txt').write_text('eel\ncat\n')
    assert class_names(open_with(tmp_path, '--class-map', tmp_path / 'classes.txt')[0]) == ['eel', 'cat']


def test_folder_with_class_folders_and_tars_is_refused(tmp_path):
    """An unpacking that was interrupted leaves such a one: it has fewer classes than it should."""
    make_image_folder(tmp_path / 'val', {'cat': 1, 'eel': 1})
    pack_classes(tmp_path / 'val', tmp_path / 'train')
    make_image_folder(tmp_path / 'train', {'cat': 1})
    with pytest.raises(UserError, match=f'{tmp_path}/train has both folders and tar files, such as .*cat.tar'):
        open_with(tmp_path)


def test_one_tar_for_both_splits_is_refused(tmp_path):
    tar = pack_folder(make_image_folder(tmp_path / 'images', {'cat': 1, 'eel': 1}), tmp_path / 'images.tar')
    with pytest.raises(UserError, match='has no folder for each split'):
        open_with(tar)
    assert len(open_with(tar, '--eval-only')[1]) == 2


@pytest.mark.parametrize('argv, world, lengths', [
    (['-b', '4'], 1, (400, 40)),
    (['-b', '4', '-vb', '8'], 2, (800, 160)),
    (['-b', '4', '--global-batch-size', '32'], 2, (3200, 80)),
])
def test_synthetic_images_last_100_steps_and_10_to_validate(argv, world, lengths):
    train, validation = open_datasets(parse_args(['--synthetic', *argv]), world)
    assert (len(train), len(validation)) == lengths
    assert len(class_names(train)) == 1000
    train, validation = open_datasets(parse_args(['--synthetic', '--num-classes', '7', '--eval-only']), world)
    assert train is None and len(class_names(validation)) == 7
