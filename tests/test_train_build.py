import math

import pytest
import torch

from timm_coded.train.args import parse_args
from timm_coded.train.build import Schedule, check_model, create_criteria, create_model, create_optimizer
from timm_coded.train.errors import UserError


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


@pytest.mark.parametrize('argv, message', [
    (['--model-kwargs', 'in_chans=1'], 'takes images of 1 channels'),
    (['--model-kwargs', 'features_only=True'], r'gives list for 2 images, not logits \[2, 10\]'),
    (['--model-kwargs', "global_pool=''"], r"global_pool': ''\} fails on images of 32 pixels"),
    (['--model', 'vit_tiny_patch16_224', '--model-kwargs', 'depth=1'], 'fails on images of 32 pixels'),
    (['--model-kwargs', 'act_layer=foo'], "cannot make coded_resnext11_10x11d: .*'foo'"),
])
def test_model_that_cannot_be_trained_on_these_images_is_an_error_before_anything_is_made(argv, message):
    args = parse_args(['--model', 'coded_resnext11_10x11d', '--num-classes', '10', *argv])
    with pytest.raises(UserError, match=message):
        model = create_model(args)
        channels = 1 if 'in_chans=1' in argv else 3
        check_model(args, model, {'input_size': (channels, 32, 32)})


def test_model_check_draws_nothing_and_moves_no_statistics():
    args, model, _ = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_model(args, model, {'input_size': (3, 32, 32)})
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('text', ['no checkpoint', ''])
def test_file_that_is_no_checkpoint_is_named(tmp_path, text):
    (tmp_path / 'x.pth').write_text(text)
    with pytest.raises(UserError, match=f'with --initial-checkpoint {tmp_path / "x.pth"}'):
        create_model(parse_args(['--model', 'resnext11_10x11d', '--num-classes', '10']), str(tmp_path / 'x.pth'))


def test_second_order_optimizer_is_refused():
    with pytest.raises(UserError, match='--opt adahessian needs second derivatives'):
        build('--opt', 'adahessian')
