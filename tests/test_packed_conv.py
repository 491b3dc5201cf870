"""Packing is the same function of the same parameters, on any timm model."""
import copy

import pytest
import timm
import torch
import torch.nn as nn

from timm_coded import pack_grouped_convs, unpack_grouped_convs
from timm_coded.models import PackedConv2d
from timm_coded.models.packed_conv import groups_per_pack

MODELS = ['resnext50_32x4d', 'seresnext50_32x4d', 'regnety_008', 'mobilenetv3_small_100', 'convnext_atto',
          'coded_resnext50_32x4d']


def packed_convs(model):
    return [module for module in model.modules() if isinstance(module, PackedConv2d)]


@pytest.mark.parametrize('name', MODELS)
def test_packing_keeps_outputs_gradients_and_state_dict_and_can_be_undone(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    original = copy.deepcopy(model)
    x = torch.randn(2, 3, 64, 64)

    assert pack_grouped_convs(model) is model
    assert len(packed_convs(model)) > 0
    expected, actual = original(x), model(x)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    actual.square().sum().backward()
    for (key, p), q in zip(model.named_parameters(), original.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3 * q.grad.abs().max().item() + 1e-9, msg=key)

    assert model.state_dict().keys() == original.state_dict().keys()
    for key, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)

    unpack_grouped_convs(model)
    assert packed_convs(model) == []
    assert repr(model) == repr(original)
    assert torch.equal(model(x), original(x))


@pytest.mark.parametrize('groups, in_width, out_width, stride, padding, dilation, bias, lanes', [
    (32, 4, 4, 2, 1, 1, False, 128),
    (10, 11, 11, 1, 1, 1, True, 128),
    (20, 6, 12, 2, 0, 1, True, 64),
    (12, 1, 2, 1, 2, 2, False, 128),
    (6, 40, 40, 1, 'same', 1, True, 128),
])
def test_packed_convolution_equals_the_grouped_one(
        groups, in_width, out_width, stride, padding, dilation, bias, lanes):
    torch.manual_seed(0)
    conv = nn.Conv2d(
        groups * in_width, groups * out_width, 3, stride, padding, dilation, groups=groups, bias=bias).double()
    x = torch.randn(2, groups * in_width, 9, 9, dtype=torch.float64)
    expected = conv(x)
    pack_grouped_convs(conv, lanes)
    assert type(conv) is PackedConv2d
    assert conv.pack * max(in_width, out_width) <= 2 * lanes
    torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('groups, width, expected', [(32, 16, 8), (32, 32, 4), (20, 24, 5), (10, 44, 2), (7, 40, 1),
                                                     (4, 200, 1)])
def test_as_many_groups_are_merged_as_fit_into_128_lanes(groups, width, expected):
    assert groups_per_pack(groups, width, width, 128) == expected


@pytest.mark.parametrize('groups, in_width, out_width, expected', [
    (32, 4, 4, 32), (32, 8, 8, 32), (10, 11, 11, 10), (10, 22, 22, 10), (7, 30, 30, 7), (2, 128, 128, 2),
    (32, 8, 9, 8), (2, 64, 129, 1),
])
def test_groups_of_up_to_256_channels_in_all_become_one(groups, in_width, out_width, expected):
    assert groups_per_pack(groups, in_width, out_width, 128) == expected


def test_an_optimiser_made_before_packing_goes_on():
    model = timm.create_model('resnext50_32x4d', num_classes=3)
    parameters = list(model.parameters())
    pack_grouped_convs(model)
    assert all(p is q for p, q in zip(model.parameters(), parameters))


def test_convolutions_with_a_forward_of_their_own_are_left_alone():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    model = nn.Sequential(Own(8, 8, 3, groups=4), nn.Conv2d(8, 8, 3, groups=4, padding=1, padding_mode='circular'))
    x = torch.randn(1, 8, 7, 7)
    expected = model(x)
    pack_grouped_convs(model)
    assert packed_convs(model) == []
    assert torch.equal(model(x), expected)


def test_packing_twice_is_packing_once_with_the_last_width():
    model = timm.create_model('coded_resnext29_10x11d')
    pack_grouped_convs(model, 128)
    pack_grouped_convs(model, 44)
    assert {conv.pack for conv in packed_convs(model)} == {2}  # 22 channels: 2 x 22; 11: 2 x 11 as 4 does not divide 10
    assert {block.energy_pack for block in model.layer3} == {1}


def test_lanes_must_be_positive():
    with pytest.raises(ValueError, match='lanes is 0'):
        pack_grouped_convs(nn.Conv2d(4, 4, 1, groups=2), 0)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('name', ['resnext29_10x11d', 'coded_resnext11_10x11d'])
@pytest.mark.parametrize('record', [torch.jit.script, torch.fx.symbolic_trace, 'trace'])
def test_packed_models_become_graphs_too(name, record, tmp_path):
    torch.manual_seed(0)
    kwargs = {'stem_type': ''} if name.startswith('coded') else {}
    model = pack_grouped_convs(timm.create_model(name, **kwargs).eval().requires_grad_(False))
    x = torch.randn(2, 3, 32, 32)
    graph = torch.jit.trace(model, x) if record == 'trace' else record(model)
    torch.testing.assert_close(graph(x), model(x), rtol=1e-5, atol=1e-5)
    if record != torch.fx.symbolic_trace:
        graph.save(tmp_path / 'graph.pt')
        torch.testing.assert_close(torch.jit.load(tmp_path / 'graph.pt')(x), graph(x))
