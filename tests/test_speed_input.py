"""What `timm-coded input` compares is what it says, and an overlapped device finds its batches ready."""
import threading

import numpy as np
import pytest
import torch
from image_folder import make_image_folder
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from timm_coded.speed.input import WAYS, Sizes, create, measure_rates, open_images, run_device, time_pass
from timm_coded.speed.input_findings import rate_rows
from timm_coded.speed.input_parts import measure_parts
from timm_coded.speed.jpegs import SIZES, make_jpegs
from timm_coded.train.data.prefetch import DEPTH, prefetch
from timm_coded.train.errors import UserError

# timm's own data set leaves its files open
pytestmark = pytest.mark.filterwarnings('ignore::ResourceWarning', 'ignore::pytest.PytestUnraisableExceptionWarning')

SMALL = Sizes(batch=2, train=32, eval=48)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'), {'cat': 8, 'dog': 9}, (80, 64))


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('training, side', [(True, 32), (False, 48)])
def test_every_way_loads_each_image_once_the_papers_as_floats_ours_as_bytes(folder, training, side, workers):
    dataset = open_images(folder, SMALL.images(workers))
    targets = sorted(target for _, target in dataset.reader.samples)
    for way in WAYS:
        batches = list(create(way, training, dataset, workers, SMALL))
        assert {tuple(batch[0].shape) for batch in batches} == {(2, 3, side, side)}
        assert {batch[0].dtype for batch in batches} == {torch.float32 if way == 'paper' else torch.uint8}
        assert sorted(torch.cat([batch[1] for batch in batches]).tolist()) == targets


def test_papers_way_and_ours_evaluate_on_the_same_pixels(folder):
    dataset = open_images(folder, 12)
    floats, own, fast = (torch.cat([batch[0] for batch in create(way, False, dataset, 0, SMALL)]) for way in WAYS)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(floats, (own / 255 - mean) / std, atol=1e-5, rtol=0)
    assert (fast.int() - own.int()).abs().float().mean() < 1


def test_papers_way_erases_on_the_host_and_ours_draws_the_boxes(folder):
    dataset = open_images(folder, 12)
    steps = [type(step).__name__ for step in create('paper', True, dataset, 0, SMALL).dataset.transform.transforms]
    assert steps[-2:] == ['Normalize', 'RandomErasing'] and 'RandAugment' in steps
    for way in ('ours', 'fast'):
        images, _, boxes = next(iter(create(way, True, dataset, 0, SMALL)))
        assert boxes.shape == (2, 3, 4)


def test_images_are_taken_evenly_out_of_the_folder(folder):
    classes = [target for _, target in open_images(folder, 4).reader.samples]
    assert classes == [0, 0, 1, 1]


def test_folder_without_enough_images_is_an_error(folder, tmp_path):
    with pytest.raises(UserError, match='has 17 images, and a pass takes 18'):
        open_images(folder, 18)
    with pytest.raises(UserError, match='there is no folder'):
        open_images(tmp_path / 'none', 1)
    with pytest.raises(UserError, match='Found 0 images'):
        open_images(tmp_path, 1)


def test_all_ways_have_their_turn_in_a_round_and_the_first_is_not_measured(folder, monkeypatch):
    turns = []

    def pass_of(loader, epoch):
        turns.append((epoch, id(loader)))
        return 100.0 + epoch

    monkeypatch.setattr('timm_coded.speed.input.time_pass', pass_of)
    rates = measure_rates(open_images(folder, 12), 0, 2, SMALL)
    assert rates == {(way, training): [101.0, 102.0] for way in WAYS for training in (True, False)}
    assert [epoch for epoch, _ in turns] == 6 * [0] + 6 * [1] + 6 * [2]
    assert turns[:6] == [(0, loader) for _, loader in turns[6:12]] and len(set(turns[:6])) == 6


class Loader(list):
    """Batches of so many loader processes."""

    def __init__(self, workers):
        super().__init__([[torch.zeros(2)], [torch.zeros(6)]])
        self.num_workers = workers


@pytest.mark.parametrize('workers, expected', [(0, 4.0), (1, 2.0)])
def test_rate_counts_the_images_of_a_pass_in_cpu_time_where_this_process_loads_alone(monkeypatch, workers, expected):
    wall, own = iter([10.0, 14.0]), iter([5.0, 7.0])
    monkeypatch.setattr('timm_coded.speed.input.time.perf_counter', lambda: next(wall))
    monkeypatch.setattr('timm_coded.speed.input.time.process_time', lambda: next(own))
    assert time_pass(Loader(workers), 0) == expected


def test_ratios_are_taken_pair_by_pair_and_cores_from_the_rate_of_one():
    rates = {('paper', True): [10.0, 100.0, 20.0], ('ours', True): [20.0, 150.0, 60.0]}
    paper, ours = rate_rows(rates, 2, 300.0)
    assert (paper['times_paper'], paper['images_s'], paper['n']) == (1, 20, 3)
    assert (ours['times_paper'], ours['images_s'], ours['images_s_a_core']) == (2, 60, 30)  # of 2, 1.5, 3
    assert ours['cores_needed'] == 10 and ours['iqr'] == pytest.approx(105 - 40)
    assert 'cores_needed' not in rate_rows(rates, 0, None)[0] and rate_rows(rates, 0, None)[1]['images_s_a_core'] == 60


def test_parts_are_those_of_each_way(folder):
    rows = measure_parts(open_images(folder, 4), 1, SMALL)
    found = {way: {(row['images'], row['part']) for row in rows if row[f'{way}_ms'] is not None} for way in WAYS}
    assert all(row[f'{way}_ms'] is None or row[f'{way}_ms'] > 0 for row in rows for way in WAYS)
    assert ('training', 'erase') in found['paper'] and ('training', 'draw boxes to erase') in found['ours']
    assert ('training', 'decode, crop and resize') in found['fast'] - found['ours']
    assert all(('training', 'augment') in parts and ('evaluation', 'make a batch') in parts for parts in found.values())


def test_jpegs_have_imagenets_sizes_and_are_the_same_again(tmp_path):
    for name, copies in (('first', 2), ('again', 1)):
        make_jpegs(tmp_path / name, 20, copies)
    files = sorted((tmp_path / 'again').rglob('*.jpg'))
    assert len(files) == 20 and len(list((tmp_path / 'first').rglob('*.jpg'))) == 40
    assert len({file.read_bytes() for file in (tmp_path / 'first').rglob('*.jpg')}) == 20
    for file in files:
        assert (tmp_path / 'first' / file.relative_to(tmp_path / 'again')).read_bytes() == file.read_bytes()
    sizes, forms = [], []
    for file in files:
        with Image.open(file) as image:
            sizes.append(image.size)
            assert (image.format, image.mode) == ('JPEG', 'RGB')
            forms.append(get_sampling(image))
    assert sorted(forms) == 18 * [0] + 2 * [2]  # 4:4:4 and 4:2:0
    assert sorted(sizes) == sorted(SIZES) and 95e3 < np.mean([file.stat().st_size for file in files]) < 125e3


class SlowStart:
    """Batches that are loaded only when the device may be seen to work: the loader says what it has begun."""

    def __init__(self, count):
        self.loaded = [threading.Event() for _ in range(count)]

    def __iter__(self):
        for number, event in enumerate(self.loaded):
            event.set()
            yield number


def test_next_batches_are_loaded_while_the_device_works():
    batches = SlowStart(12)
    for number in prefetch(batches, lambda batch: batch):
        ahead = batches.loaded[number + 1:number + 1 + DEPTH]
        assert all(event.wait(30) for event in ahead), 'the device is at work on this batch, those are loaded meanwhile'


def test_device_that_finds_every_batch_ready_takes_its_own_time_alone(monkeypatch):
    clock = iter([0.0, 5.0, 6.0, 6.0, 7.0, 9.0, 10.0])  # waits of 5, 0 and 2 s, steps of 1 s
    monkeypatch.setattr('timm_coded.speed.input.time.perf_counter', lambda: next(clock))
    monkeypatch.setattr('timm_coded.speed.input.time.sleep', lambda seconds: None)
    monkeypatch.setattr('timm_coded.speed.input.prefetch', lambda batches, send: batches)
    assert run_device(range(3), 1.0) == ([0.0, 2.0], 4.0)
