"""--fast-decode gives the same crops of the same images, with nearly the same pixels."""
import io
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder import make_image_folder, truncate
from image_formats import pack_classes, pack_shards, write_info
from PIL import Image
from torchvision.transforms import InterpolationMode

from timm_coded.speed.jpegs import draw
from timm_coded.train import replicas
from timm_coded.train.args import parse_args
from timm_coded.train.data import fast_decode, open_datasets
from timm_coded.train.data.images import create_evaluation_batches, create_training_batches
from timm_coded.train.errors import UserError
from timm_coded.train.trained import Trained

simplejpeg = pytest.importorskip('simplejpeg')

PLAIN = ['--hflip', '0', '--color-jitter', '0']  # a crop, and nothing after it that makes a small difference large
RECIPE = ['--aa', 'rand-m7-mstd0.5-inc1', '--reprob', '0.4', '--recount', '3']


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """JPEG files of ImageNet's sizes, large ones too, made as `timm-coded input` makes them."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for number, size in enumerate([(500, 375), (375, 500), (333, 500), (1200, 900), (901, 1203), (2001, 1501)] * 2):
        for split in ('train', 'val'):
            folder = root / split / 'ab'[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            draw(*size, rng).save(folder / f'{number:02d}.jpg', quality=94, subsampling='4:2:0')
    return root


def batches_of(root, *argv, training=True, size=160, crop_mode='center', interpolation='bicubic'):
    argv = [str(root), '-b', '4', '-j', '0', '--num-classes', '3', *map(str, argv)]
    args = parse_args(argv)
    config = dict(input_size=(3, size, size), interpolation=interpolation, crop_pct=0.875, crop_mode=crop_mode,
                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    train, validation = open_datasets(args)
    create, dataset = (create_training_batches, train) if training else (create_evaluation_batches, validation)
    return create(args, dataset, config, replicas.create('cpu'))


def images_of(batches, epoch=0):
    batches.set_epoch(epoch)
    return torch.cat([batch[0] for batch in batches]).int()


def differences(*argv, **kwargs):
    """Of the pixels [images, 3, H, W] with the flag and without it."""
    return (images_of(batches_of(*argv, '--fast-decode', **kwargs)) - images_of(batches_of(*argv, **kwargs))).abs()


def samples_of(*argv, **kwargs):
    return batches_of(*argv, **kwargs).loader.dataset


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic', 'random'])
def test_crops_of_full_scale_differ_by_rounding_alone(photos, monkeypatch, interpolation):
    monkeypatch.setattr(fast_decode, 'FACTORS', ())
    found = differences(photos, *PLAIN, '--train-interpolation', interpolation).float()
    assert found.mean() < 0.1 and found.max() <= 8
    found = differences(photos, training=False).float()
    assert found.mean() < 0.1 and found.max() <= 8


@pytest.mark.parametrize('training, size', [(True, 160), (True, 32), (False, 224), (False, 64)])
def test_pixels_are_nearly_the_same_at_every_scale(photos, training, size):
    """Another crop, or the next pixel's, would be far from it: the last lines show how far."""
    found = differences(photos, *PLAIN, training=training, size=size).float()
    each = found.mean((1, 2, 3))
    assert each.mean() < 1.5 and each.max() < 3.5
    assert found.flatten().kthvalue(int(0.999 * found.numel())).values <= 20
    exact = images_of(batches_of(photos, *PLAIN, training=training, size=size))
    shifted = (exact[:, :, :, 1:] - exact[:, :, :, :-1]).abs().float().mean((1, 2, 3))
    assert (each < 0.75 * shifted).all()


def test_crops_are_decoded_at_the_lowest_scale_that_is_large_enough(photos, monkeypatch):
    decoded = []

    def decode(content, **sizes):
        pixels = original(content, **sizes)
        with Image.open(io.BytesIO(content)) as image:
            decoded.append(image.width / pixels.shape[1])
        return pixels

    original = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, 'decode_jpeg', decode)
    samples = samples_of(photos, '--fast-decode', training=False, size=128)  # a shorter side of 146
    sizes = []
    for file, _ in samples.dataset.reader.samples:
        with Image.open(file) as image:
            sizes.append(image.size)
    for index in range(len(samples)):
        samples[0, index]
    expected = [max(factor for factor in (1, 4, 8) if min(size) >= 146 * factor) for size in sizes]
    assert decoded == pytest.approx(expected, rel=0.01) and set(expected) == {1, 4, 8}


@pytest.mark.parametrize('box, factor', [
    ((0, 0, 640, 700), 4), ((0, 0, 700, 640), 4), ((0, 0, 639, 700), 1), ((0, 0, 700, 639), 1),
    ((7, 9, 640, 650), 4), ((0, 0, 320, 320), 1), ((0, 0, 1280, 1280), 8), ((3, 5, 100, 1200), 1),
])
def test_scale_is_chosen_by_the_shorter_side_of_the_crop(photos, monkeypatch, box, factor):
    chosen = []
    monkeypatch.setattr(fast_decode, 'decode_part', lambda *args: chosen.append(args[-1]))
    with open(photos / 'val' / 'b' / '05.jpg', 'rb') as file:  # 2001 x 1501
        fast_decode.decode_box(fast_decode.Encoded.read(file), box, (160, 160), InterpolationMode.BICUBIC)
    assert chosen == [factor]


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:2', '4:2:0'])
def test_decoded_pixels_are_pillows(subsampling, progressive):
    for size in ((500, 375), (333, 500), (37, 51)):
        file = io.BytesIO()
        draw(*size, np.random.default_rng(0)).save(
            file, 'JPEG', quality=90, subsampling=subsampling, progressive=progressive)
        with Image.open(file) as image:
            assert np.array_equal(simplejpeg.decode_jpeg(file.getvalue()), np.asarray(image))


def test_resized_pixels_are_where_pillow_wants_them():
    """In another order they are copied twice, which takes as long as the resize."""
    orders = []
    pixels = np.array(draw(64, 48, np.random.default_rng(0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_decode.Image, 'fromarray', lambda array: orders.append(array.flags.c_contiguous))
        for box in ((0, 0, 48, 64), (5, 3, 40, 50)):
            fast_decode.resize(pixels, box, (32, 24), InterpolationMode.BICUBIC)
    assert orders == [True, True]


@pytest.mark.parametrize('size, bounds', [(160, (0.05, 2, 8)), (64, (1.5, 25, 50))])
def test_pixels_of_photographs_differ_as_the_documentation_says(tmp_path, size, bounds):
    """Photographs have sharp edges, which the made images lack: scaled decoding differs more there."""
    datasets = pytest.importorskip('sklearn.datasets')
    files = datasets.load_sample_images().filenames
    for split in ('train', 'val'):
        for number in range(30):
            (tmp_path / split / 'a').mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(datasets.__file__).parent / 'images' / Path(files[number % 2]).name,
                        tmp_path / split / 'a' / f'{number:02d}.jpg')
    found = differences(tmp_path, *PLAIN, size=size).float().flatten()
    mean, high, largest = bounds
    assert found.mean() < mean and found.kthvalue(int(0.999 * len(found))).values <= high and found.max() <= largest


@pytest.mark.parametrize('size', [160, 32])
def test_random_numbers_after_the_crop_are_the_same(photos, size):
    def next_numbers(*argv):
        samples = samples_of(photos, *argv, size=size)
        samples.transform.transforms[-1] = lambda image: torch.tensor([random.random(), np.random.rand()])
        return torch.stack([samples[epoch, index].image for epoch in (0, 1) for index in range(len(samples))])

    assert torch.equal(next_numbers(*RECIPE[:2], '--fast-decode'), next_numbers(*RECIPE[:2]))


def test_boxes_of_erasing_and_targets_are_the_same(photos):
    fast, exact = batches_of(photos, *RECIPE, '--fast-decode'), batches_of(photos, *RECIPE)
    for ours, theirs in zip(fast, exact, strict=True):
        assert torch.equal(ours[1], theirs[1]) and torch.equal(ours[2], theirs[2]) and ours[0].dtype == torch.uint8


@pytest.mark.parametrize('training', [True, False])
def test_worker_processes_decode_the_same(photos, training):
    alone, shared = (batches_of(photos, *RECIPE, '--fast-decode', '-j', workers, training=training)
                     for workers in (0, 2))
    assert torch.equal(images_of(alone, 3), images_of(shared, 3))


@pytest.mark.parametrize('mode, ending', [
    ('RGB', 'png'), ('L', 'png'), ('P', 'png'), ('RGBA', 'png'), ('I;16', 'png'), ('L', 'jpg'), ('CMYK', 'jpg'),
    ('RGB', 'webp'),
])
def test_other_files_than_rgb_jpegs_give_the_very_same_pixels(tmp_path, mode, ending):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        (tmp_path / split / 'a').mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 65536, (90, 120), np.uint16) if mode == 'I;16' else None
            image = draw(120, 90, rng).convert(mode) if pixels is None else Image.fromarray(pixels)
            name = f'{number}.{"png" if ending == "webp" else ending}'  # timm looks for few endings, Pillow at none
            image.save(tmp_path / split / 'a' / name, {'jpg': 'JPEG'}.get(ending, ending))
    for training in (True, False):
        assert differences(tmp_path, *RECIPE, training=training, size=32).max() == 0


@pytest.fixture(scope='module')
def folders(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp('folders')
    for split in ('train', 'val'):
        for number, file in enumerate(sorted((photos / split).rglob('*.jpg'))[:4]):
            (root / split / 'ab'[number % 2]).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / split / 'ab'[number % 2] / f'{number}.jpg')
    return root


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')  # of the libraries themselves
@pytest.mark.parametrize('form', ['folders', 'tars', 'wds', 'hfds'])
def test_every_form_of_encoded_images_is_decoded_fast(folders, tmp_path, monkeypatch, form):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    argv = [folders]
    if form == 'tars':
        argv = [tmp_path]
        for split in ('train', 'val'):
            pack_classes(folders / split, tmp_path / split)
    elif form == 'wds':
        argv = [tmp_path, '--dataset', 'wds/']
        write_info(tmp_path, train=pack_shards(folders / 'train', tmp_path, 'train'),
                   validation=pack_shards(folders / 'val', tmp_path, 'val'))
    elif form == 'hfds':
        pytest.importorskip('datasets')
        argv = [tmp_path, '--dataset', f'hfds/{folders}']
    for training in (True, False):
        found = differences(*argv, *PLAIN, training=training).float()
        assert 0 < found.mean() < 1.5


def broken_photos(photos, tmp_path):
    """One image cut so that a crop at full scale misses its end, one large one cut, and one that is none."""
    root = shutil.copytree(photos, tmp_path / 'broken')
    paths = sorted((root / 'val').rglob('*.jpg'))
    for path in (paths[0], paths[2]):  # 500 x 375 and 901 x 1203
        truncate(path)
    paths[1].write_text('not an image')
    paths[3].write_bytes(b'')
    return root


@pytest.mark.parametrize('size', [224, 64])
def test_broken_files_are_named_with_the_same_words_and_replaced_by_the_same_filler(photos, tmp_path, size):
    root = broken_photos(photos, tmp_path)
    fast, exact = (samples_of(root, *argv, training=False, size=size) for argv in (['--fast-decode'], []))
    for index in range(4):
        ours, theirs = fast[0, index], exact[0, index]
        assert theirs.unreadable and ours.unreadable[0] == theirs.unreadable[0]
        words = [sample.unreadable[1].split(' (')[0] for sample in (ours, theirs)]  # without how many bytes are left
        assert words[0] == words[1]
        assert ours.target == -1 and torch.equal(ours.image, theirs.image)
    assert fast[0, 5].unreadable is None


def test_broken_file_ends_the_pass_or_is_left_out(photos, tmp_path):
    root = broken_photos(photos, tmp_path)
    with pytest.raises(UserError, match='cannot read the image .*00.jpg: image file is truncated'):
        list(batches_of(root, '--fast-decode', training=False))
    targets = torch.cat([batch[1] for batch in batches_of(root, '--fast-decode', '--skip-corrupt', 4, training=False)])
    assert (targets >= 0).sum() == 8


def test_jpeg_that_the_fast_decoder_refuses_is_decoded_exactly(photos, monkeypatch):
    def refuse(content, **sizes):
        raise ValueError('unsupported')

    monkeypatch.setattr(simplejpeg, 'decode_jpeg', refuse)
    assert differences(photos, *RECIPE).max() == 0


@pytest.mark.parametrize('argv, kwargs, message', [
    (['--train-pad', '4'], {}, 'begins with RandomCrop'),
    (['--train-crop-mode', 'rkrc'], {}, 'begins with ResizeKeepRatio'),
    (['--train-interpolation', 'lanczos'], {}, 'not lanczos'),
    ([], dict(training=False, crop_mode='border'), 'begins with ResizeKeepRatio'),
    ([], dict(training=False, interpolation='box'), 'not box'),
])
def test_what_it_cannot_do_is_an_error_before_anything_is_read(photos, argv, kwargs, message):
    with pytest.raises(UserError, match=message):
        batches_of(photos, '--fast-decode', *argv, **kwargs)


@pytest.mark.parametrize('argv, name', [
    (['--dataset', 'digits'], '--dataset digits'),
    (['--synthetic'], '--synthetic'),
])
def test_images_that_are_decoded_already_are_an_error(argv, name):
    if 'digits' in argv:
        pytest.importorskip('sklearn')
    args = parse_args([*argv, '-b', '4', '-j', '0', '--num-classes', '10', '--fast-decode'])
    config = dict(input_size=(3, 8, 8), interpolation='bicubic', crop_pct=1, crop_mode='center',
                  mean=(0.5,) * 3, std=(0.5,) * 3)
    train, validation = open_datasets(args)
    for create, dataset in ((create_training_batches, train), (create_evaluation_batches, validation)):
        with pytest.raises(UserError, match=f'{name} gives images that are decoded already'):
            create(args, dataset, config, replicas.create('cpu'))


def test_missing_decoder_is_an_error_that_says_what_to_install(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)
    with pytest.raises(UserError, match=r"needs simplejpeg: pip install 'timm_coded\[fast\]'"):
        batches_of(photos, '--fast-decode')
    assert images_of(batches_of(photos)).shape == (12, 3, 160, 160)


@pytest.mark.parametrize('crop_mode', ['center', 'squash'])
def test_evaluation_without_augmentation_in_training_has_the_same_pixels_too(photos, crop_mode):
    assert differences(photos, training=False, crop_mode=crop_mode).float().mean() < 1.5
    assert differences(photos, '--no-aug').float().mean() < 1.5


def test_small_images_are_enlarged_as_without_it(tmp_path):
    for split in ('train', 'val'):
        make_image_folder(tmp_path / split, {'cat': 4}, (40, 32))
    for training in (True, False):
        assert differences(tmp_path, *PLAIN, training=training, size=64).float().mean() < 0.5


@pytest.mark.parametrize('fast', [True, False])
def test_analyses_decode_as_the_evaluation_did_and_take_decoded_images_all_the_same(photos, fast):
    flags = ['--fast-decode'] if fast else []
    args = parse_args([str(photos), *flags, '-b', '4', '-j', '0', '--num-classes', '2', '--mean', '0', '--std', '1'])
    config = dict(input_size=(3, 160, 160), interpolation='bicubic', crop_pct=0.875, crop_mode='center',
                  mean=(0.0,), std=(1.0,))
    trained = Trained(Path('checkpoint'), None, args, config, replicas.create('cpu'))
    images = torch.cat([images for images, _ in trained.images()])
    expected = images_of(batches_of(photos, *flags, training=False)) / 255
    torch.testing.assert_close(images, expected)
    pytest.importorskip('sklearn')
    assert trained.images(dataset='digits', data_dir='', foreign=True).image(0)[0].shape == (1, 3, 160, 160)
