import math

import pytest
import torch

from timm_coded.train.args import parse_args
from timm_coded.train.build import Schedule, create_criteria, create_model, create_optimizer


def build(*argv):
    args = parse_args([
        '--model', 'coded_resnext11_10x11d', '--num-classes', '10', '--model-kwargs', 'channels=(16, 32, 64)', *argv])
    model = create_model(args)
    return args, model, create_optimizer(args, model)


def test_learning_rate_warms_up_falls_as_a_cosine_and_cools_down():
    args, _, optimizer = build('--lr', '0.6', '--epochs', '10', '--warmup-epochs', '2', '--warmup-lr', '0.1',
                               '--min-lr', '0.01', '--cooldown-epochs', '3')
    schedule = Schedule(args, optimizer)
    expected = [0.1, 0.35]
    expected += [0.01 + 0.59 * (1 + math.cos(math.pi * epoch / 10)) / 2 for epoch in range(2, 10)] + [0.01] * 3
    assert schedule.epochs == 13
    assert [schedule.set_epoch(epoch) for epoch in range(13)] == pytest.approx(expected)
    assert schedule.set_epoch(7) == pytest.approx(expected[7]), 'depends on the epoch alone'


@pytest.mark.parametrize('rate', [0.0, 1.0, 0.5])
def test_no_learning_rate_equals_another_number_of_the_graph(rate):
    args, _, optimizer = build('--lr', str(rate), '--sched', 'constant', '--warmup-epochs', '0')
    assert Schedule(args, optimizer).set_epoch(3) == rate
    for group in optimizer.param_groups:
        assert group['lr'] != rate and group['lr'] == pytest.approx(rate, rel=1e-6, abs=1e-11)


def test_primed_momentum_takes_the_steps_of_pytorchs_own():
    _, model, optimizer = build('--lr', '0.1', '--weight-decay', '1e-3')
    torch.manual_seed(0)
    values = [torch.randn_like(parameter) for parameter in model.parameters()]
    twins = [torch.nn.Parameter(parameter.detach().clone()) for parameter in model.parameters()]
    plain = torch.optim.SGD([
        {'params': [twin for twin in twins if twin.ndim > 1], 'weight_decay': 1e-3},
        {'params': [twin for twin in twins if twin.ndim <= 1]},
    ], 0.1, momentum=0.9, nesterov=True)
    for scale in (1.0, -0.5, 2.0):
        for parameter, twin, value in zip(model.parameters(), twins, values):
            parameter.grad, twin.grad = scale * value, scale * value
        optimizer.step()
        plain.step()
    for parameter, twin in zip(model.parameters(), twins):
        assert torch.equal(parameter, twin)


def test_smoothing_is_for_training_and_mu_for_both():
    args, model, _ = build('--smoothing', '0.2', '--mu', '3')
    criterion, eval_criterion = create_criteria(args, model)
    logits, target = torch.randn(6, 10), torch.arange(6)
    energies = [torch.rand(6, 10) for _ in model.coded_blocks]
    log_p = logits.log_softmax(1)
    nll, uniform = -log_p[range(6), target].mean(), -log_p.mean()
    for loss, classes in ((criterion, 0.8 * nll + 0.2 * uniform), (eval_criterion, nll)):
        total = loss((logits, energies), target)
        coding = sum(value for name, value in loss.parts.items() if name != 'class')
        assert torch.allclose(loss.parts['class'], classes) and torch.allclose(total, classes + 3 * coding)


def test_flags_of_coded_models_reach_the_model():
    _, model, _ = build('--drop-subnn', '0.25', '--num-active', '10', '5', '5')
    assert model.drop_subnn == 0.25
    assert {int(model.codewords(block)[0].sum()) for block in model.coded_blocks} == {5}
