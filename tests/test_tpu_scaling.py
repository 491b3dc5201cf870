"""Predictions for slices are the stated formula, and say what gives way first."""
import dataclasses

import pytest

from timm_coded.tpu.estimate import Estimate
from timm_coded.tpu.scaling import TRAIN_IMAGES, Plan, Recipe, Speeds, plans, predict
from timm_coded.tpu.slices import SLICES
from timm_coded.tpu.trace import Step
from timm_coded.train.errors import UserError

RECIPE = Recipe()
FAST = Speeds(input_rate=1e6, host_seconds=1e-6, store_rate=1e12)  # neither input, host nor storage matter
BYTES = 100_000_000


def estimated(chip, batch, seconds, all_reduce_bytes=0):
    return Estimate(Step('m', batch, 160), chip, True, seconds=seconds, parameters=25_000_000,
                    all_reduce_bytes=all_reduce_bytes)


def prediction(name='v5e-8', plan=None, speeds=FAST, seconds=0.075, alone=0.075):
    where = SLICES[name]
    plan = plan or plans(RECIPE, where.devices)[0]
    return predict(where, plan, RECIPE, speeds, estimated(where.chip, plan.micro_batch, seconds, BYTES),
                   estimated(where.chip, 192, alone))


def test_step_is_work_and_a_ring_over_one_link():
    one = prediction()
    assert one.all_reduce == pytest.approx(2 * 7 / 8 * 100e6 / 50e9)  # 3.5 ms at 50 GB/s
    assert one.all_reduce_best == pytest.approx(one.all_reduce / 4)
    assert one.step == pytest.approx(0.075 + 0.0035)
    assert one.efficiency == pytest.approx(0.075 / 0.0785)
    assert one.breaks_first().startswith('nothing')


def test_epoch_and_cost():
    one = prediction(speeds=dataclasses.replace(FAST, store_rate=100e6))
    assert one.checkpoint == pytest.approx(2.0)  # 25 million parameters and momenta in float32 at 100 MB/s
    assert one.epoch == pytest.approx(834 * 0.0785 + 2.0)  # 834 steps of 1536, as the recipe has them
    assert one.cost == pytest.approx(250 * one.epoch / 3600 * 8 * 1.20)
    assert TRAIN_IMAGES // 1536 == 834


def test_one_device_accumulates_and_reduces_nothing():
    one, = plans(RECIPE, 1)
    assert one == Plan(192, 8, 1536, True)
    alone = dataclasses.replace(prediction('v5e-1', one), all_reduce_bytes=0)
    assert alone.device == pytest.approx(8 * 0.075)
    assert alone.all_reduce == 0
    assert alone.efficiency == pytest.approx(1)


def test_many_devices_keep_either_the_global_batch_or_the_micro_batch():
    assert plans(RECIPE, 256) == [Plan(6, 1, 1536, False), Plan(192, 1, 49152, False)]
    cut, large = plans(RECIPE, 64)
    assert 'BatchNorm over 24 images' in prediction('v5e-64', cut, seconds=0.012).breaks_first()
    assert 'a global batch of 12288' in prediction('v5e-64', large).breaks_first()


def test_input_that_is_too_slow_is_what_the_step_waits_for():
    one = prediction(speeds=dataclasses.replace(FAST, input_rate=100))
    assert one.input_cores == 224 / 2 - 8
    assert one.input == pytest.approx(8 * 192 / (104 * 100))
    assert one.step == one.input
    assert one.needed_cores == pytest.approx(8 * 192 / 0.0785 / 100)
    assert one.breaks_first() == 'input: needs 196 cores a host, has 104'


def test_threads_of_one_process_share_the_host():
    slow = dataclasses.replace(FAST, host_seconds=0.1)
    assert prediction('v2-8', speeds=slow).host == pytest.approx(0.2)  # two cores of a chip are two threads
    assert prediction('v5e-8', speeds=slow).host == pytest.approx(0.1)
    assert prediction(speeds=slow, seconds=0.0765).breaks_first() == 'host: 100 ms for the 80 ms of the device'


def test_an_all_reduce_that_is_long_is_named():
    assert prediction(seconds=0.02).breaks_first() == 'all-reduce: 15% of the step'


@pytest.mark.parametrize('devices', [7, 5000])
def test_a_global_batch_that_cannot_be_spread_is_refused(devices):
    with pytest.raises(UserError, match='cannot be spread evenly'):
        plans(RECIPE, devices)


def test_shares_that_are_no_multiple_of_the_micro_batch_are_refused():
    with pytest.raises(UserError, match='no multiple of --batch-size 100'):
        plans(Recipe(micro_batch=100), 8)


def test_what_does_not_fit_is_refused():
    where = SLICES['v2-8']
    refused = Estimate(Step('m', 192, 160), 'v2', False, 'Ran out of memory')
    with pytest.raises(UserError, match='192 images do not fit'):
        predict(where, plans(RECIPE, 8)[0], RECIPE, FAST, refused, refused)
