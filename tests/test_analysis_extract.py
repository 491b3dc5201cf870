"""An extracted network computes what the full model does without the other subNNs, with fewer and smaller layers."""
import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from cutting import random_model, union_masks
from materialised import assert_equal_to_1e_10, materialised_network

from timm_coded import WithEnergies, extract_classes, pack_grouped_convs
from timm_coded.models import cut_subnns, early_decode

pytestmark = pytest.mark.usefixtures('one_thread')


def assert_equal_to_masked(model, network, classes, x):
    """Logits and energies are the paper's form's with the other subNNs' t_n zeroed, in float64."""
    masks = union_masks(model, classes)
    logits, energies = network.forward_energies(x)
    expected_logits, expected_energies = materialised_network(
        model, x, masks, energy_norm=model.layer2[0].energy_norm)
    assert_equal_to_1e_10(logits, expected_logits[:, classes])
    assert_equal_to_1e_10(network(x), expected_logits[:, classes])
    assert len(energies) == len(model.coded_blocks) > 0
    for block, energy, expected in zip(model.coded_blocks, energies, expected_energies):
        kept = masks[block] > 0
        assert energy.shape[1] == kept.sum() == network.codewords(block).shape[1]
        assert_equal_to_1e_10(energy, expected[:, kept])
        assert torch.equal(network.codewords(block), model.codewords(block)[classes][:, kept])


@pytest.mark.parametrize('kwargs, classes', [
    ({}, [3]),
    ({}, [6, 2]),
    ({}, [5, 0, 4, 1]),
    ({'energy_norm': False}, [6, 2]),
    ({'num_active': (10, 3, 3)}, [6, 2]),
    ({'num_active': (4, 3, 1), 'num_classes': 7}, [5]),
    ({'layers': (1, 2, 2), 'num_active': (10, (5, 10), (3, 5))}, [9, 2]),
    ({'block_reduce_first': 2, 'base_width': 12}, [6, 2]),
], ids=str)
def test_network_equals_the_masked_model(kwargs, classes):
    model = random_model(dtype=torch.float64, **kwargs)
    x = torch.randn(3, 3, 9, 9, dtype=torch.float64)
    assert_equal_to_masked(model, extract_classes(model, classes), classes, x)


def test_network_of_all_classes_is_the_full_model():
    model = random_model(dtype=torch.float64)
    network = extract_classes(model, range(10))
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(network(x), model(x))
    assert network.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize('training', [False, True])
def test_mode_type_and_frozen_parameters_are_kept(training):
    model = random_model(dtype=torch.float64, drop_subnn=0.).train(training)
    model.layer3.requires_grad_(False)
    network = extract_classes(model, [1, 8])
    assert network.training is training
    assert {name: p.requires_grad for name, p in network.named_parameters()} == {
        name: p.requires_grad for name, p in model.named_parameters()}
    assert_equal_to_masked(model, network, [1, 8], torch.randn(3, 3, 8, 8, dtype=torch.float64))


def test_model_stays_as_it_was_and_shares_nothing():
    model = random_model()
    before, described = copy.deepcopy(model.state_dict()), str(model)
    network = extract_classes(model, [4])
    with torch.no_grad():
        for value in network.state_dict().values():
            value.zero_()
    assert str(model) == described and model.num_classes == 10
    assert model.kept_subnns == {5: [*range(10)], 3: [*range(10)]}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_packed_model_gives_the_network_of_the_plain_one_and_it_can_be_packed():
    model = random_model(dtype=torch.float64)
    packed = pack_grouped_convs(copy.deepcopy(model))
    network = extract_classes(packed, [4, 9])
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert_equal_to_masked(model, network, [4, 9], x)
    assert type(packed.layer1[0].conv2).__name__ == 'PackedConv2d'
    assert_equal_to_masked(model, pack_grouped_convs(network), [4, 9], x)


def test_a_wrapper_is_looked_through():
    model = random_model()
    cut, plain = extract_classes(WithEnergies(model), [3]), extract_classes(model, [3])
    assert type(cut) is type(model)
    assert all(torch.equal(*pair) for pair in zip(cut.state_dict().values(), plain.state_dict().values()))


def test_network_can_be_extracted_from_again():
    model = random_model(dtype=torch.float64)
    network = extract_classes(extract_classes(model, [8, 3, 5]), [2, 1])  # of the three the last, then the second
    assert network.kept_subnns == extract_classes(model, [5, 3]).kept_subnns
    assert_equal_to_masked(model, network, [5, 3], torch.randn(2, 3, 8, 8, dtype=torch.float64))


def test_early_decoders_are_those_of_the_masked_model_among_the_classes():
    model, classes = random_model(dtype=torch.float64), [7, 0, 2]
    network = extract_classes(model, classes)
    x = torch.randn(40, 3, 8, 8, dtype=torch.float64)
    masked = model.forward_energies(x, union_masks(model, classes))[1]
    decoded = []
    for block, energy, full in zip(model.coded_blocks, network.forward_energies(x)[1], masked):
        scores = torch.stack([(full * model.codewords(block)[index]).sum(1) for index in classes], 1)
        decoded.append(early_decode(energy, network.codewords(block)))
        assert torch.equal(decoded[-1], scores.argmax(1))
    assert len(torch.cat(decoded).unique()) > 1


def test_masks_of_a_network_are_for_its_own_subnns():
    model = random_model(dtype=torch.float64)
    network, x = extract_classes(model, [3, 6]), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    full = union_masks(model, [3])
    keep = {block: full[block][union_masks(model, [3, 6])[block] > 0] for block in model.coded_blocks}
    assert_equal_to_1e_10(network.forward_energies(x, keep)[0], model.forward_energies(x, full)[0][:, [3, 6]])
    width = len(keep['layer2.0'])
    assert width < 10
    with pytest.raises(ValueError, match=rf'expected \({width},\) or \(2, {width}\)'):
        network.forward_energies(x, full)


@pytest.mark.parametrize('script', [False, True])
def test_network_trains_with_drop_subnn(script):
    network = extract_classes(random_model(drop_subnn=0.5), [3]).train()
    x = torch.randn(4, 3, 8, 8)
    run = torch.jit.script(network) if script else network
    outputs = [run(x).detach() for _ in range(4)]
    assert not all(torch.equal(outputs[0], output) for output in outputs)
    run(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize('copied', [
    copy.deepcopy,
    lambda network: pickle.loads(pickle.dumps(network)),
    torch.jit.script,
    lambda network: torch.export.export(network, (torch.zeros(2, 3, 8, 8),)).module(),
], ids=['deepcopy', 'pickle', 'script', 'export'])
def test_network_can_be_copied_and_converted(copied):
    network, x = extract_classes(random_model(), [3, 5]), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(copied(network)(x), network(x))


@pytest.mark.parametrize('indices', [(7, 2), np.array([7, 2]), torch.tensor([7, 2]), [np.int64(7), 2]], ids=repr)
def test_classes_are_whole_numbers_of_any_kind(indices):
    model, x = random_model(), torch.randn(2, 3, 8, 8)
    assert torch.equal(extract_classes(model, indices)(x), extract_classes(model, [7, 2])(x))


@pytest.mark.parametrize('classes, message', [
    ([], 'classes is empty'),
    ([3, 10], 'there is no class 10: the model has 10 classes, 0 to 9'),
    ([-1], 'there is no class -1'),
    ([3, 5, 3], 'class 3 is named more than once'),
    ([3.0], 'expected class indices'),
    (['3'], 'expected class indices'),
    ('3', 'expected class indices'),
    (3, 'expected class indices'),
    (None, 'expected class indices'),
    ([True, False], 'not a mask'),
    (torch.tensor([True, False]), 'not a mask'),
    (np.array([True, False]), 'expected class indices'),
])
def test_classes_that_are_none_are_an_error(classes, message):
    with pytest.raises(ValueError, match=message):
        extract_classes(random_model(), classes)


def test_models_that_cannot_be_cut_are_an_error():
    with pytest.raises(ValueError, match='ResNet has no coded blocks: this is for coded models'):
        extract_classes(timm.create_model('resnet10t'), [0])
    with pytest.raises(ValueError, match='has no coded blocks'):
        extract_classes(timm.create_model('resnext11_10x11d'), [0])
    with pytest.raises(ValueError, match='no classifier'):
        extract_classes(random_model(num_classes=0), [0])
    grouped = random_model()
    grouped.layer2[0].bn1 = torch.nn.GroupNorm(1, 220)
    with pytest.raises(ValueError, match='layer2.0.bn1 is GroupNorm'):
        extract_classes(grouped, [0])
    blurred = random_model(aa_layer=timm.layers.BlurPool2d)
    with pytest.raises(ValueError, match='layer2.0.aa is BlurPool2d'):
        extract_classes(blurred, [0])


@pytest.mark.parametrize('kept, message', [
    ({5: [0]}, r'kept is for schemes of \[5\] active subNNs, the model has \[5, 3\]'),
    ({5: [0], 3: []}, r'kept\[3\] is \[\]'),
    ({5: [0], 3: [0, 10]}, 'some of 0 to 9, in order'),
    ({5: [-1, 0], 3: [0]}, 'some of 0 to 9, in order'),
    ({5: [1, 0], 3: [0]}, 'some of 0 to 9, in order'),
    ({5: [0, 0], 3: [0]}, 'some of 0 to 9, in order'),
])
def test_subnns_that_are_not_there_are_an_error_and_nothing_is_cut(kept, message):
    model = random_model()
    described = str(model)
    with pytest.raises(ValueError, match=message):
        cut_subnns(model, kept)
    assert str(model) == described


def test_other_classes_cannot_be_asked_of_a_network():
    network = extract_classes(random_model(), [3])
    with pytest.raises(ValueError, match='cut out of another'):
        network.reset_classifier(10)
    assert network.fc.out_features == 1
    network.reset_classifier(0)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 1024)


def assert_all_close_to_masked(classes):
    """In float32, on the ImageNet architecture, an image for each class: to 1e-5 of the largest logit."""
    model = random_model('coded_resnext50_32x4d')
    for chunk in torch.tensor(classes).split(50):
        x = torch.randn(len(chunk), 3, 64, 64)
        with torch.no_grad():
            logits, energies = model.forward_energies(x, model.class_masks(chunk))
            for row, index in enumerate(chunk.tolist()):
                network = extract_classes(model, [index])
                assert sum(p.numel() for p in network.parameters()) == 10_416_449  # 41.6 % of 25,028,904
                own, own_energies = network.forward_energies(x[row:row + 1])
                assert (own[0, 0] - logits[row, index]).abs() <= 1e-5 * logits[row].abs().max()
                for energy, expected in zip(own_energies, energies):
                    torch.testing.assert_close(energy[0], expected[row][expected[row] > 0], rtol=1e-5, atol=1e-5)


def test_three_of_the_1000_classes_of_imagenet_equal_the_masked_model():
    assert_all_close_to_masked([0, 499, 999])


@pytest.mark.slow
def test_each_of_the_1000_classes_of_imagenet_equals_the_masked_model():
    assert_all_close_to_masked(list(range(1000)))
