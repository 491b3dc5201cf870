import itertools

import pytest

from timm_coded.train.data.sampler import EvaluationSampler, TrainingSampler, accumulation_steps
from timm_coded.train.errors import UserError

LENGTH, BATCH = 103, 4
SHAPES = list(itertools.product([1, 2, 3], [1, 2, 3, 4]))  # world, accumulation


def steps_of(world, accumulation, epoch=0, first_step=0, batch_size=BATCH, seed=5, length=LENGTH):
    """Indices of each step of each replica: [world][steps][accumulation * batch_size]."""
    passes = []
    for rank in range(world):
        sampler = TrainingSampler(length, batch_size, accumulation, rank, world, seed)
        sampler.epoch, sampler.first_step = epoch, first_step
        keys = list(sampler)
        assert len(keys) == len(sampler) and {key[0] for key in keys} <= {epoch}
        indices, step = [key[1] for key in keys], accumulation * batch_size
        passes.append([indices[start:start + step] for start in range(0, len(indices), step)])
    return passes


@pytest.mark.parametrize('world, accumulation', SHAPES)
def test_every_image_is_trained_on_at_most_once_in_an_epoch(world, accumulation):
    seen = [index for steps in steps_of(world, accumulation) for step in steps for index in step]
    step = world * accumulation * BATCH
    assert len(seen) == len(set(seen)) == LENGTH // step * step
    assert set(seen) <= set(range(LENGTH))


@pytest.mark.parametrize('world, accumulation', SHAPES)
def test_replicas_and_micro_batches_share_the_step_of_one_replica(world, accumulation):
    whole, = steps_of(1, 1, epoch=3, batch_size=world * accumulation * BATCH)
    parts = steps_of(world, accumulation, epoch=3)
    assert [sorted(sum(step, [])) for step in zip(*parts)] == [sorted(step) for step in whole]


@pytest.mark.parametrize('world, accumulation', SHAPES)
def test_micro_batches_are_the_same_for_any_number_of_replicas(world, accumulation):
    """So 8 replicas and 1 that accumulates 8 times average BatchNorm over the same images."""
    def micro_batches(world, accumulation):
        return [sorted(tuple(step[start:start + BATCH]) for step in parts for start in range(0, len(step), BATCH))
                for parts in zip(*steps_of(world, accumulation))]

    assert micro_batches(world, accumulation) == micro_batches(1, world * accumulation)


@pytest.mark.parametrize('world, accumulation', SHAPES)
def test_first_step_leaves_out_the_steps_before_it_and_changes_no_other(world, accumulation):
    whole = steps_of(world, accumulation, epoch=1)
    for first_step in range(len(whole[0]) + 1):
        assert steps_of(world, accumulation, epoch=1, first_step=first_step) == [steps[first_step:] for steps in whole]


def test_epochs_and_seeds_are_shuffled_apart_and_the_same_again():
    first = steps_of(1, 1)
    assert first == steps_of(1, 1)
    assert first != steps_of(1, 1, epoch=1) and first != steps_of(1, 1, seed=6)
    assert sum(first[0], []) != sorted(sum(first[0], []))


@pytest.mark.parametrize('world', [1, 2, 3, 7])
@pytest.mark.parametrize('length', [0, 1, 6, 7, 20])
def test_evaluation_shares_out_every_image_exactly_once(world, length):
    shares = [EvaluationSampler(length, rank, world) for rank in range(world)]
    keys = [list(share) for share in shares]
    assert sorted(itertools.chain(*keys)) == [(0, index) for index in range(length)]
    assert [len(share) for share in shares] == list(map(len, keys))
    assert max(map(len, keys)) - min(map(len, keys)) <= 1


@pytest.mark.parametrize('arguments, steps', [
    ((None, 192, 3), 1), ((1536, 192, 8), 1), ((1536, 192, 1), 8), ((1536, 64, 4), 6),
])
def test_accumulation_makes_up_the_global_batch(arguments, steps):
    assert accumulation_steps(*arguments) == steps


@pytest.mark.parametrize('arguments, expected', [
    ((20, 3, 2), '--batch-size may be 1, 2, 5, 10$'),
    ((20, 2, 3), '20 is no multiple of 3 x --batch-size 2 .*with this --batch-size the replicas may be 1, 2, 5, 10$'),
    ((20, 3, 3), 'no number of replicas fits this --batch-size$'),
    ((20, 40, 1), '--batch-size may be 1, 2, 4, 5, 10, 20$'),
])
def test_global_batch_that_does_not_divide_says_what_would(arguments, expected):
    with pytest.raises(UserError, match=expected):
        accumulation_steps(*arguments)
