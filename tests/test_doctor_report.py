"""What the doctor concludes from given numbers."""
from dataclasses import replace

import pytest

from timm_coded.train.doctor.report import Report, describe_loader, describe_machine, describe_outlook, describe_step
from timm_coded.train.doctor.speed import Speed, StepSpeed

STEP = StepSpeed(800.0, 790.0, 810.0, 20, 90.0, 1, 85.0, 0, [])
LOADER = Speed(1000.0, 900.0, 1100.0, 20, 4.0)
TPU = Report(
    versions={'torch': '2.9.0', 'libtpu': '0.0.21'}, mismatches=[], device='XLA:TPU', device_count=8, replicas=8,
    local_replicas=8, cores=96, memory=300.0, shared_memory=150.0, model='coded_resnext50_32x4d',
    parameters=25_028_904, img_size=160, batch_size=192, micro_batches=1, amp_dtype='bfloat16', lanes=128, step=STEP,
    loader=LOADER, workers=8, train_images=1_281_167, epochs=250,
)


def test_healthy_machine_is_told_what_to_expect_and_nothing_else():
    assert (TPU.bound, TPU.problems, TPU.advice) == ('device', [], [])
    assert TPU.epoch_seconds == pytest.approx(1_281_167 / (8 * 800))
    assert describe_outlook(TPU) == [
        'the run will be bound by the device: the loader will wait 20% of the time',
        'to expect: 3:20 for an epoch of 1,281,167 images, 13:54:06 for 250, evaluation not counted',
        'healthy',
    ]


def test_whole_report_is_short():
    sick = replace(
        TPU, mismatches=['a', 'b'], amp_dtype=None, lanes=0, shared_memory=0.06, workers=64,
        step=replace(STEP, recompilations=3, fallbacks=['aten::nonzero']), loader=replace(LOADER, rate=10.0))
    lines = describe_machine(sick) + describe_step(sick) + describe_loader(sick) + describe_outlook(sick)
    assert len(lines) <= 25 and 'healthy' not in lines
    assert [line.split(':')[0] for line in lines].count('PROBLEM') == len(sick.problems) == 5


@pytest.mark.parametrize('changes, expected', [
    # 8 replicas of 800 images/s; 8 workers of one load 1000
    ({}, 'input: 125.0 images/s of a core; the devices of this host need 6400.0 = 51.2 cores, it has 96'),
    ({'cores': 32}, 'input: 250.0 images/s of a core; the devices of this host need 6400.0 = 25.6 cores, it has 32'),
    ({'workers': 0, 'local_replicas': 4},
     'input: 1000.0 images/s of a core; the devices of this host need 3200.0 = 3.2 cores, it has 96'),
])
def test_input_is_told_in_cores(changes, expected):
    assert describe_loader(replace(TPU, **changes))[1] == expected


def test_slow_loader_makes_the_epoch_long():
    slow = replace(TPU, loader=replace(LOADER, rate=200.0))
    assert slow.bound == 'input' and slow.epoch_seconds == pytest.approx(1_281_167 / (8 * 200))
    assert describe_outlook(slow)[0] == 'the run will be bound by the input: the device will wait 75% of the time'


@pytest.mark.parametrize('loader_rate, workers, expected', [
    (600.0, 8, '--workers 11 should keep the device busy'),  # 75 images/s of a worker, 800 wanted
    (400.0, 8, '--workers 12: all cores there are; 16 would keep the device busy'),  # 96 cores for 8 replicas
    (400.0, 12, 'all of its 12 cores load too few images for a replica: a machine with about 24'),
    (100.0, 0, '--workers 8 should keep the device busy'),
])
def test_device_that_waits_gets_as_many_workers_as_it_needs_and_there_are_cores(loader_rate, workers, expected):
    line, = replace(TPU, loader=replace(LOADER, rate=loader_rate), workers=workers).advice
    assert line.startswith(expected)


@pytest.mark.parametrize('changes, expected', [
    ({'amp_dtype': None}, '--amp'),
    ({'lanes': 0}, 'leave out --pack-lanes 0'),
    ({'device': 'XLA:CPU', 'amp_dtype': None}, 'libtpu is installed, but this is no TPU'),
    ({'device': 'cuda', 'lanes': 0, 'amp_dtype': None}, '--amp'),
    ({'workers': 13}, '--workers 12: there is no core for each of the 13'),
])
def test_advice_names_what_to_change(changes, expected):
    line, = replace(TPU, **changes).advice
    assert line.startswith(expected)


@pytest.mark.parametrize('changes, expected', [
    ({'mismatches': ['torch_xla 2.8 is not']}, 'torch_xla 2.8 is not'),
    ({'step': replace(STEP, recompilations=2)}, '2 graphs compiled after the first steps'),
    ({'step': replace(STEP, fallbacks=['aten::nonzero'])}, 'aten::nonzero ran on the host'),
    # 8 replicas of 8 workers with 3 batches of 192 x 3 x 160 x 160 bytes each: 2.64 GiB
    ({'shared_memory': 2.63}, '/dev/shm has 2.63 GiB, the loader fills up to 2.64'),
])
def test_what_is_wrong_is_a_problem(changes, expected):
    line, = replace(TPU, **changes).problems
    assert line.startswith(expected)


@pytest.mark.parametrize('changes', [
    {'shared_memory': 2.65},
    {'shared_memory': None},
    {'shared_memory': 0.0, 'workers': 0},
])
def test_enough_shared_memory_is_no_problem(changes):
    assert replace(TPU, **changes).problems == []


def test_without_a_data_set_there_is_no_outlook():
    alone = replace(TPU, loader=None, workers=0, train_images=0)
    assert (alone.bound, alone.epoch_seconds, alone.advice) == (None, None, [])
    assert describe_loader(alone)[0].startswith('loading: not measured') and describe_outlook(alone) == ['healthy']
