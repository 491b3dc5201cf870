"""The coding loss is Eq. (5) and (6), on hard and soft targets, around any criterion."""
import copy

import pytest
import timm
import torch
import torch.nn as nn
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from timm_coded import CodingLoss, extract_classes


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model('coded_resnext11_10x11d')


def output(batch=4, num_classes=10):
    """Logits and made-up energies of two blocks, each sample's summing to N."""
    torch.manual_seed(1)
    energies = [torch.rand(batch, 10) for _ in range(2)]
    return torch.randn(batch, num_classes), [10 * energy / energy.sum(1, keepdim=True) for energy in energies]


def equation_5(energies, codewords, target, num_active, exponent=4, threshold=0):
    """Eq. (5) sample by sample and digit by digit, and its generalisation in the paper's public code."""
    total = 0.
    for sample, k in enumerate(target.tolist()):
        for n in range(10):
            distance = abs(num_active / 10 * energies[sample, n].item() - codewords[k, n].item())
            total += max(distance - threshold, 0) ** exponent / 10
    return total / len(target)


def test_loss_is_equations_5_and_6(model):
    logits, energies = output()
    target = torch.tensor([3, 0, 9, 3])
    loss = CodingLoss(nn.CrossEntropyLoss(), model, mu=6.0)
    total = loss((logits, energies), target)
    parts = {'class': nn.functional.cross_entropy(logits, target).item(),
             'layer2.0': equation_5(energies[0], model.codewords('layer2.0'), target, 5),
             'layer3.0': equation_5(energies[1], model.codewords('layer3.0'), target, 3)}
    assert {name: part.item() for name, part in loss.parts.items()} == pytest.approx(parts, rel=1e-5)
    assert total.item() == pytest.approx(parts['class'] + 6 * (parts['layer2.0'] + parts['layer3.0']), rel=1e-5)
    assert not any(part.requires_grad for part in loss.parts.values())


def test_energies_of_the_codeword_itself_cost_nothing(model):
    target = torch.arange(10)
    energies = [model.codewords(block).float() * 10 / active for block, active in (('layer2.0', 5), ('layer3.0', 3))]
    loss = CodingLoss(nn.CrossEntropyLoss(), model)
    loss((torch.zeros(10, 10), energies), target)
    assert loss.parts['layer2.0'].item() == pytest.approx(0, abs=1e-20)
    assert loss.parts['layer3.0'].item() == pytest.approx(0, abs=1e-20)


def test_gradients_reach_every_parameter_of_the_model(model):
    model.train()
    x = torch.randn(4, 3, 8, 8)
    CodingLoss(nn.CrossEntropyLoss(), model)(model.forward_energies(x), torch.arange(4)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.layer3[0].conv3.weight.grad.abs().sum() > 0


def test_one_hot_soft_targets_equal_hard_ones(model):
    target = torch.tensor([3, 0, 9, 3])
    hard, soft = CodingLoss(nn.CrossEntropyLoss(), model), CodingLoss(SoftTargetCrossEntropy(), model)
    one_hot = nn.functional.one_hot(target, 10).float()
    torch.testing.assert_close(soft(output(), one_hot), hard(output(), target))


def test_soft_targets_mix_the_codewords(model):
    logits, energies = output(batch=1)
    loss = CodingLoss(SoftTargetCrossEntropy(), model)
    y = torch.zeros(1, 10)
    y[0, 2], y[0, 5] = 0.7, 0.3
    loss((logits, energies), y)
    word = 0.7 * model.codewords('layer3.0')[2].float() + 0.3 * model.codewords('layer3.0')[5].float()
    assert loss.parts['layer3.0'].item() == pytest.approx(((0.3 * energies[1][0] - word) ** 4).mean().item(), rel=1e-5)


@pytest.mark.parametrize('criterion', [
    nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), LabelSmoothingCrossEntropy(0.1),
    nn.CrossEntropyLoss(weight=torch.arange(1., 11.)), BinaryCrossEntropy(smoothing=0.1),
], ids=repr)
def test_targets_of_minus_1_are_ignored_by_every_term(model, criterion):
    logits, energies = output(batch=6)
    target = torch.tensor([3, -1, 9, 1, -1, -1])
    valid = target >= 0
    padded, plain = CodingLoss(criterion, model), CodingLoss(criterion, model)
    logits.requires_grad_()
    total = padded((logits, energies), target)
    expected = plain((logits[valid], [energy[valid] for energy in energies]), target[valid])
    torch.testing.assert_close(total, expected)
    for name in plain.parts:
        torch.testing.assert_close(padded.parts[name], plain.parts[name])
    gradient, = torch.autograd.grad(total, logits)
    assert torch.equal(gradient[~valid], torch.zeros(3, 10))
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@pytest.mark.parametrize('criterion', [nn.CrossEntropyLoss(), LabelSmoothingCrossEntropy(0.1)], ids=repr)
def test_nothing_but_ignored_targets_costs_nothing(model, criterion):
    loss = CodingLoss(criterion, model)
    assert loss(output(), torch.full((4,), -1)).item() == 0
    assert {part.item() for part in loss.parts.values()} == {0}


def test_targets_of_any_integer_type_are_classes(model):
    loss = CodingLoss(nn.CrossEntropyLoss(), model)
    target = torch.tensor([3, 1, 9, 3])
    assert torch.equal(loss(output(), target.to(torch.uint8)), loss(output(), target))
    assert torch.equal(loss(output(), target.int()), loss(output(), target))


def test_a_wrapped_model_is_looked_through(model):
    wrapped = CodingLoss(nn.CrossEntropyLoss(), nn.DataParallel(model))
    target = torch.arange(4)
    assert torch.equal(wrapped(output(), target), CodingLoss(nn.CrossEntropyLoss(), model)(output(), target))
    with pytest.raises(ValueError, match='2 coded blocks'):
        wrapped(output()[0], target)


def test_autocast_leaves_the_coding_loss_of_soft_targets_in_float32(model):
    loss = CodingLoss(SoftTargetCrossEntropy(), model)
    soft = torch.rand(4, 10).softmax(1)
    loss(output(), soft)
    expected = loss.parts['layer3.0']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss(output(), soft)
    assert torch.equal(loss.parts['layer3.0'], expected)


def test_on_a_stock_model_it_is_the_plain_criterion():
    stock = timm.create_model('resnet18', num_classes=10)
    logits, target = torch.randn(4, 10), torch.arange(4)
    loss = CodingLoss(nn.CrossEntropyLoss(), stock)
    assert torch.equal(loss(logits, target), nn.functional.cross_entropy(logits, target))
    assert set(loss.parts) == {'class'}
    twin = timm.create_model('resnext11_10x11d')
    assert torch.equal(CodingLoss(nn.CrossEntropyLoss(), twin)((logits, []), target), loss(logits, target))


def test_codewords_follow_the_model(model):
    loss = CodingLoss(nn.CrossEntropyLoss(), model)
    model.reset_classifier(20)
    logits, energies = output(num_classes=20)
    loss((logits, energies), torch.tensor([19, 18, 17, 16]))
    expected = equation_5(energies[1], model.codewords('layer3.0'), torch.tensor([19, 18, 17, 16]), 3)
    assert loss.parts['layer3.0'].item() == pytest.approx(expected, rel=1e-5)


def test_it_owns_nothing_of_the_model(model):
    loss = CodingLoss(nn.CrossEntropyLoss(), model)
    assert list(loss.parameters()) == [] and loss.state_dict() == {}
    assert copy.deepcopy(model).state_dict().keys() == model.state_dict().keys()


def test_energies_in_bf16_logits_are_summed_in_float32(model):
    logits, energies = output()
    total = CodingLoss(nn.CrossEntropyLoss(), model)((logits.bfloat16(), energies), torch.arange(4))
    assert total.dtype == torch.float32


def test_logits_alone_of_a_coded_model_are_an_error(model):
    with pytest.raises(ValueError, match='2 coded blocks: call the loss with model.forward_energies'):
        CodingLoss(nn.CrossEntropyLoss(), model)(torch.randn(4, 10), torch.arange(4))


GENERAL = [(2, 0), (1, 0), (3, 0), (1.5, 0), (4, 0.2), (1, 0.2), (2.5, 0.1)]


@pytest.mark.parametrize('exponent, threshold', GENERAL)
def test_exponent_and_threshold_are_those_of_the_public_code(model, exponent, threshold):
    logits, energies = output()
    target = torch.tensor([3, 0, -1, 3])
    valid = target >= 0
    loss = CodingLoss(nn.CrossEntropyLoss(), model, exponent=exponent, threshold=threshold)
    loss((logits, energies), target)
    for block, energy, active in zip(('layer2.0', 'layer3.0'), energies, (5, 3)):
        expected = equation_5(energy[valid], model.codewords(block), target[valid], active, exponent, threshold)
        assert loss.parts[block].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('exponent, threshold', GENERAL)
def test_exponent_and_threshold_of_soft_targets(model, exponent, threshold):
    target = torch.tensor([3, 0, 9, 3])
    hard, soft = (CodingLoss(criterion, model, exponent=exponent, threshold=threshold)
                  for criterion in (nn.CrossEntropyLoss(), SoftTargetCrossEntropy()))
    one_hot = nn.functional.one_hot(target, 10).float()
    torch.testing.assert_close(soft(output(), one_hot), hard(output(), target))


@pytest.mark.parametrize('exponent, threshold', [(4, 0), *GENERAL])
def test_gradients_are_those_of_the_formula_and_finite_at_its_corners(model, exponent, threshold):
    target = torch.arange(10)
    exact = model.codewords('layer2.0').double() * 2  # energies of the codewords: distance 0
    steps = torch.tensor([0., 0.15, -0.15, 0.6, -0.6, 0., 0.3, -0.3, 2., 0.]).double()
    for energies in (exact, exact + steps / 0.5):
        energies.requires_grad_()
        loss = CodingLoss(nn.CrossEntropyLoss(), model, exponent=exponent, threshold=threshold)
        total = loss((torch.zeros(10, 10), [energies, exact.detach()]), target)
        gradient, = torch.autograd.grad(total, energies)
        distance = energies.detach() * 0.5 - model.codewords('layer2.0')
        beyond = (distance.abs() - threshold).clamp(min=0)
        slope = torch.where(beyond > 0, exponent * beyond.pow(exponent - 1) * distance.sign(), 0.)
        torch.testing.assert_close(gradient, loss.mu * 0.5 * slope / 100)


def test_exponent_4_and_threshold_0_are_the_default_bit_for_bit(model):
    target = torch.tensor([3, 0, 9, 3])
    logits, energies = output()
    default = CodingLoss(nn.CrossEntropyLoss(), model)
    assert torch.equal(default((logits, energies), target),
                       CodingLoss(nn.CrossEntropyLoss(), model, exponent=4, threshold=0)((logits, energies), target))
    words = model.codewords('layer3.0')[target].float()
    fourth_power = (words[0].mean() * energies[1] - words).pow(4).mean(1).sum() / 4
    assert torch.equal(default.parts['layer3.0'], fourth_power)


@pytest.mark.parametrize('kwargs, message', [
    (dict(exponent=0.5), 'exponent is 0.5, expected at least 1'),
    (dict(exponent=float('nan')), 'exponent is nan'),
    (dict(exponent=float('inf')), 'exponent is inf'),
    (dict(threshold=-0.1), 'threshold is -0.1'),
    (dict(threshold=float('nan')), 'threshold is nan'),
])
def test_exponents_below_1_and_negative_thresholds_are_errors(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        CodingLoss(nn.CrossEntropyLoss(), model, **kwargs)


@pytest.mark.parametrize('mu', [-1.0, float('nan')])
def test_mu_must_not_be_negative(model, mu):
    with pytest.raises(ValueError, match='mu is'):
        CodingLoss(nn.CrossEntropyLoss(), model, mu)


def test_model_and_criterion_that_changed_places_are_an_error(model):
    with pytest.raises(ValueError, match='in this order'):
        CodingLoss(model, nn.CrossEntropyLoss())


def test_a_criterion_without_a_mean_is_an_error(model):
    with pytest.raises(ValueError, match=r'the shape \[4\], expected a scalar'):
        CodingLoss(nn.CrossEntropyLoss(reduction='none'), model)(output(), torch.tensor([0, 1, 2, 3]))


def test_logits_of_other_classes_than_the_codewords_are_an_error(model):
    with pytest.raises(ValueError, match='logits are of 20 classes, the codewords of 10'):
        CodingLoss(nn.CrossEntropyLoss(), model)(output(num_classes=20), torch.tensor([0, 1, 2, 3]))


def test_loss_of_a_network_cut_out_of_another_is_that_of_the_others_removed():
    torch.manual_seed(0)
    full = timm.create_model('coded_resnext11_10x11d').double().eval()
    cut = extract_classes(full, [2, 7])
    images, target = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    keep = {block: full.codewords(block)[[2, 7]].amax(0) for block in full.coded_blocks}
    logits, energies = full.forward_energies(images, keep)
    expected = CodingLoss(nn.CrossEntropyLoss(), full)
    expected((logits, energies), torch.tensor([2, 7])[target])
    loss = CodingLoss(nn.CrossEntropyLoss(), cut)
    loss(cut.forward_energies(images), target)
    for block in full.coded_blocks:
        assert cut.codewords(block).shape[1] < 10
        torch.testing.assert_close(loss.parts[block], expected.parts[block], rtol=1e-10, atol=0)
