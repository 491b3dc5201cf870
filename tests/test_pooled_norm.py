"""Pooling before the stem's batch norm is the same function, of weights of either sign, in training and evaluation."""
import copy

import pytest
import timm
import torch
from timm.layers import BlurPool2d
from torch import nn

from timm_coded import pack_grouped_convs, unpack_grouped_convs
from timm_coded.models import round_batch_norms


def build():
    torch.manual_seed(0)
    model = timm.create_model('coded_resnext50_32x4d', num_classes=10)
    nn.init.normal_(model.bn1.weight)  # about half of them negative
    nn.init.normal_(model.bn1.bias)
    model.bn1.weight.data[0], model.bn1.bias.data[0] = 0., 0.5
    nn.init.normal_(model.bn1.running_mean)
    nn.init.uniform_(model.bn1.running_var, 0.5, 2.)
    return model.double()


@pytest.mark.parametrize('training', [False, True])
def test_output_gradients_and_running_statistics_are_those_of_the_modules(training):
    one_by_one = build().train(training)
    pooled = pack_grouped_convs(copy.deepcopy(one_by_one))
    assert pooled.can_pool_first(torch.empty(0)) and not one_by_one.can_pool_first(torch.empty(0))
    results = []
    for model in (one_by_one, pooled):
        x = torch.randn(3, 3, 31, 34, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = model.forward_stem(x)
        (y * torch.arange(y.numel()).reshape(y.shape).sin()).sum().backward()
        bn = model.bn1
        assert bn.weight.grad[0] != 0, 'which pixel of equal ones it is of may differ, but it learns'
        results.append([y, x.grad, model.conv1.weight.grad, bn.weight.grad[1:], bn.bias.grad[1:], bn.running_mean,
                        bn.running_var, bn.num_batches_tracked])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_rounded_to_bfloat16_the_values_are_the_modules_own():
    model = round_batch_norms(build().float().eval())
    x = torch.randn(2, 3, 32, 32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        expected = model.forward_stem(x)
        assert pack_grouped_convs(model).can_pool_first(x)
        actual = model.forward_stem(x)
    assert actual.dtype == expected.dtype == torch.bfloat16
    # scale and shift are made in another order than in the batch norm: at most one step of bfloat16
    torch.testing.assert_close(actual, expected, rtol=2 ** -7, atol=2 ** -9)
    assert (actual == expected).float().mean() > 0.95


def test_statistics_of_bfloat16_pixels_are_summed_in_float32():
    one_by_one = build().float().train()
    one_by_one.bn1.momentum = 1.  # the running statistics are those of the last batch
    pooled = pack_grouped_convs(copy.deepcopy(one_by_one))
    x = torch.randn(4, 3, 32, 32) + 2
    with torch.autocast('cpu', dtype=torch.bfloat16):
        for model in (one_by_one, pooled):
            model.forward_stem(x)
    torch.testing.assert_close(pooled.bn1.state_dict(), one_by_one.bn1.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('options', [{'stem_type': 'deep'}, {'stem_type': 'conv3x3'}, {'aa_layer': BlurPool2d},
                                     {'replace_stem_pool': True}, {'act_layer': 'gelu'}])
def test_stems_of_other_layers_stay_as_they_are(options):
    model = pack_grouped_convs(timm.create_model('coded_resnext11_10x11d', **{'stem_type': '', **options}).eval())
    x = torch.randn(2, 3, 32, 32)
    assert not model.can_pool_first(x)
    packed = model(x)
    torch.testing.assert_close(packed, unpack_grouped_convs(model)(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('change, pools_first', [
    (lambda model: setattr(model.conv1, 'padding_mode', 'circular'), False),
    (lambda model: model.conv1.register_parameter('bias', nn.Parameter(torch.randn(64).double())), False),
    (lambda model: setattr(model, 'bn1', nn.BatchNorm2d(64, affine=False).double()), False),
    (lambda model: setattr(model, 'bn1', nn.BatchNorm2d(64, track_running_stats=False).double()), False),
    (lambda model: setattr(model.bn1, 'momentum', None), False),
    (lambda model: setattr(model, 'conv1', nn.Conv2d(3, 64, 3, dilation=2, bias=False).double()), True),
    (lambda model: setattr(model.bn1, 'eps', 0.5), True),
], ids=['circular', 'bias', 'no weights', 'no statistics', 'mean of all batches', 'dilation', 'epsilon'])
@pytest.mark.parametrize('training', [False, True])
def test_stems_that_differ_in_a_detail_give_what_their_layers_give(change, pools_first, training):
    one_by_one = build()
    change(one_by_one)
    pooled = pack_grouped_convs(copy.deepcopy(one_by_one))
    x = torch.randn(2, 3, 31, 34, dtype=torch.float64)
    assert pooled.can_pool_first(x) == pools_first
    for model in (one_by_one, pooled):
        model.train(training)
    torch.testing.assert_close(pooled.forward_stem(x), one_by_one.forward_stem(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pooled.bn1.state_dict(), one_by_one.bn1.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings('ignore:.*one value per channel')
def test_statistics_of_equal_pixels_have_no_negative_variance():
    model = pack_grouped_convs(build().float()).train()
    x = torch.full((2, 3, 32, 32), 1e3)  # the mean of squares less the square of the mean is rounded to either sign
    model.conv1.padding = 0, 0
    assert model.can_pool_first(x) and torch.isfinite(model.forward_stem(x)).all()
    assert (model.bn1.running_var >= 0).all()


def test_layers_that_are_replaced_after_packing_are_called():
    model = pack_grouped_convs(build().float().train())
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(model.bn1) is nn.SyncBatchNorm and not model.can_pool_first(torch.empty(0))
