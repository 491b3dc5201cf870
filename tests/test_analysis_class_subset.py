"""A subset has so many of each class, drawn from all, in batches of one shape."""
import numpy as np
import torch
from random_network import batches_of

from timm_coded.analysis.classifiers.class_subset import ClassSubset, few_of_each

TARGETS = torch.tensor([0, 1, 0, 2, 2, 2, 1, 0, 0, 2, 0])
IMAGES = torch.arange(11.).view(11, 1, 1, 1).expand(11, 3, 2, 2)


def taken(size, limit, seed=0):
    """Numbers of the samples taken, and the shapes of the batches."""
    batches = list(ClassSubset(batches_of(IMAGES, TARGETS, size), limit, seed))
    images, targets = (torch.cat(parts) for parts in zip(*batches))
    numbers = images[targets >= 0, 0, 0, 0].long()
    assert targets[targets >= 0].equal(TARGETS[numbers])
    return numbers.tolist(), [(len(image), len(target)) for image, target in batches]


def test_limit_holds_for_each_class_and_all_batches_are_of_one_shape():
    for size in (2, 4, 5, 11):
        for seed in range(10):
            numbers, shapes = taken(size, 3, seed)
            assert sorted(TARGETS[numbers].tolist()) == [0, 0, 0, 1, 1, 2, 2, 2] and len(set(numbers)) == 8
            assert shapes == [(size, size)] * -(-8 // size), 'no batch more than it takes'
            assert numbers == taken(11, 3, seed)[0], 'whatever the batches'
    assert taken(4, 100)[0] == list(range(11))


def test_it_can_be_passed_over_again():
    subset = ClassSubset(batches_of(IMAGES, TARGETS, 4), 1)
    assert [target.tolist() for _, target in subset] == [target.tolist() for _, target in subset]


def test_every_sample_of_a_class_is_as_likely():
    targets = np.array([5] * 10 + [2] * 4)
    often = sum(few_of_each(targets, 2, seed) for seed in range(3000)) / 3000
    assert np.allclose(often[:10], .2, atol=.03) and np.allclose(often[10:], .5, atol=.04)
