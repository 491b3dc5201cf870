"""Scores of the classifiers are those of the masked network in the paper's form, and of a stock network with zeros."""
import copy

import pytest
import timm
import torch
from materialised import materialised_network
from random_network import batches_of, random_network

from timm_coded import pack_grouped_convs
from timm_coded.analysis import staged
from timm_coded.analysis.classifiers.class_scores import collect_scores
from timm_coded.analysis.classifiers.stock_subnns import StockNetwork

pytestmark = pytest.mark.usefixtures('one_thread')
IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([3, 0, 3, 9, 1, 1, 4])


def words_of(model):
    return {block: model.codewords(block) for block in model.coded_blocks}


@pytest.mark.parametrize('num_active', [(10, 5, 3), (5, 10, 3), (10, 10, 3)])
def test_scores_are_the_masked_networks_logits(num_active):
    model = random_network(num_active=num_active)
    classes = [0, 3, 7]
    found = collect_scores({'': model}, words_of(model), classes, batches_of(IMAGES, TARGETS, 4))
    assert found.targets.tolist() == TARGETS.tolist() and found.classes.tolist() == classes
    assert found.positives.tolist() == [1, 2, 0]
    double = copy.deepcopy(model).double()
    full = materialised_network(double, IMAGES.double())[0]
    assert found.by_method['full network'] == pytest.approx(full[:, classes].numpy(), abs=1e-4)
    for column, index in enumerate(classes):
        keep = {block: words[index].double() for block, words in words_of(model).items()}
        masked = materialised_network(double, IMAGES.double(), keep)[0][:, index]
        assert found.by_method['extracted'][:, column] == pytest.approx(masked.numpy(), abs=1e-4)
        assert not torch.allclose(masked, full[:, index], atol=1e-2)


def test_scores_do_not_depend_on_batches_stacking_or_packing(monkeypatch):
    model = random_network()

    def scores(size):
        return collect_scores({'': model}, words_of(model), range(10), batches_of(IMAGES, TARGETS, size)).by_method

    expected = scores(7)
    monkeypatch.setattr(staged, 'STACKED', 9)  # three classes at a time, and one at last
    found = scores(3)
    pack_grouped_convs(model)
    packed = scores(7)
    for method in ('extracted', 'full network'):
        assert found[method].dtype == 'float32' and found[method].shape == (7, 10)
        assert found[method] == pytest.approx(expected[method], abs=1e-4)
        assert packed[method] == pytest.approx(expected[method], abs=1e-4)


def test_blocks_before_the_first_coded_one_run_once_for_a_batch():
    model = random_network()
    calls = {'layer1.0': 0, 'layer2.0': 0, 'layer3.0': 0}
    for name in calls:
        model.get_submodule(name).register_forward_hook(
            lambda block, inputs, out: calls.update({block.block_name: calls[block.block_name] + len(out)}))
    collect_scores({'': model}, words_of(model), range(10), batches_of(IMAGES, TARGETS, 7))
    assert calls == {'layer1.0': 7, 'layer2.0': 7 * 11, 'layer3.0': 7 * 11}


@pytest.mark.parametrize('coded, stock, size', [
    ('coded_resnext11_10x11d', 'resnext11_10x11d', 8), ('coded_resnext50_32x4d', 'resnext50_32x4d', 32)])
def test_stock_scores_are_those_of_a_network_with_zeros_in_conv3(coded, stock, size):
    model, other = random_network(coded), random_network(stock, seed=5)
    images = torch.randn(3, 3, size, size)
    words, classes = words_of(model), [2, 8]
    found = collect_scores(
        {'stock, ': StockNetwork(other, model)}, words, classes, batches_of(images, torch.tensor([1, 2, 8]), 3))
    full = other(images)[:, classes]
    assert found.by_method['stock, full network'] == pytest.approx(full.numpy(), abs=1e-4)
    for column, index in enumerate(classes):
        cut = copy.deepcopy(other)
        for block, codewords in words.items():
            conv = cut.get_submodule(block).conv3
            width = conv.in_channels // codewords.shape[1]
            for n in range(codewords.shape[1]):
                if not codewords[index, n]:
                    conv.weight[:, n * width:(n + 1) * width] = 0
        alone = cut(images)[:, index]
        assert found.by_method['stock, extracted'][:, column] == pytest.approx(alone.numpy(), abs=1e-4)
        assert not torch.allclose(alone, full[:, column], atol=1e-2)
    assert other(images)[:, classes].equal(full), 'the stock network is as it was'


@pytest.mark.parametrize('stock, expected', [
    (dict(name='coded_resnext11_10x11d'), 'coded blocks'),
    (dict(name='resnext11_10x11d', num_classes=7), '7 classes, the coded one 10'),
    (dict(name='resnext29_10x11d'), r'layer1.0 to layer3.2 \(9\)'),
    (dict(name='resnext29_20x6d', num_classes=10), '20 groups'),
    (dict(name='resnet18', num_classes=10), 'is a ResNet, expected a ResNeXt'),
    (dict(name='vit_tiny_patch16_224', num_classes=10), 'expected a ResNeXt'),
])
def test_a_stock_network_that_is_no_twin_is_refused(stock, expected):
    with pytest.raises(ValueError, match=expected):
        StockNetwork(timm.create_model(stock.pop('name'), **stock), random_network())


def test_no_samples_are_an_error():
    model = random_network()
    for batches in ([], [(IMAGES, torch.full((7,), -1))]):
        with pytest.raises(ValueError, match='no samples'):
            collect_scores({'': model}, words_of(model), [0], batches)
