"""A stem on the CPU pools in channels_last; values, hooks and the layout of all that follows stay as they are."""
import copy

import pytest
import timm
import torch
from torch import nn


def build(**options):
    torch.manual_seed(0)
    return timm.create_model('coded_resnext50_32x4d', num_classes=10, **options).double()


def images(**options):
    return torch.randn(3, 3, 33, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1), **options)


def layouts_of_pooled(model):
    """A list that gets whether what max-pooling takes is in channels_last."""
    seen = []
    model.maxpool.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    return seen


@pytest.mark.parametrize('training', [False, True])
def test_output_gradients_and_running_statistics_are_those_of_the_modules_in_the_default_layout(training):
    ours = build().train(training)
    theirs = copy.deepcopy(ours)
    results = []
    for model, stem in ((ours, ours.forward_stem),
                        (theirs, nn.Sequential(theirs.conv1, theirs.bn1, theirs.act1, theirs.maxpool))):
        x = images().requires_grad_()
        y = stem(x)
        (y * torch.arange(y.numel()).reshape(y.shape).sin()).sum().backward()
        bn = model.bn1
        results.append([y, x.grad, model.conv1.weight.grad, bn.weight.grad, bn.bias.grad, bn.running_mean,
                        bn.running_var, bn.num_batches_tracked])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_a_network_in_the_default_layout_pools_in_channels_last_and_goes_on_in_its_own():
    model = build().eval()
    seen = layouts_of_pooled(model)
    y = model.forward_stem(images())
    assert seen == [True]
    assert y.is_contiguous()


def test_a_network_in_channels_last_stays_in_it():
    model = build().eval().to(memory_format=torch.channels_last)
    for x in (images(), images().contiguous(memory_format=torch.channels_last)):
        assert model.forward_stem(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('options', [{'stem_type': 'deep'}, {'stem_type': 'conv3x3'}, {'replace_stem_pool': True}])
def test_stems_of_other_layers_stay_as_they_are(options):
    model = build(**options).eval()
    y = model.forward_stem(images())
    torch.testing.assert_close(y, model.maxpool(model.act1(model.bn1(model.conv1(images())))), rtol=0, atol=0)


def test_graphs_leave_the_layout_to_their_compiler():
    model = build().eval()
    exported = torch.export.export(model, (images(),))
    calls = [str(node.target) for node in exported.graph.nodes if node.op == 'call_function']
    stem = calls[:next(index for index, call in enumerate(calls) if 'max_pool' in call)]
    assert [call.split('.')[1] for call in stem if 'add_' not in call] == ['conv2d', 'batch_norm', 'relu_'], stem
    torch.testing.assert_close(exported.module()(images()), model(images()))
    traced = torch.jit.trace(model, images())
    assert 'aten::permute' not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(images()), model(images()))


def test_images_of_one_channel_stay_in_the_layout_of_their_network():
    x = images()[:, :1]
    for layout in (torch.contiguous_format, torch.channels_last):
        model = build(in_chans=1).eval().to(memory_format=layout)
        modules = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
        y = model.forward_stem(x.contiguous(memory_format=layout))
        assert y.stride() == modules(x.contiguous(memory_format=layout)).stride()


def test_gradients_of_each_sample_are_those_of_samples_alone():
    model = build().eval()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(parameters, image):
        return torch.func.functional_call(model, (parameters, buffers), (image[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, images())['conv1.weight']
    for image, actual in zip(images(), each, strict=True):
        model.zero_grad()
        model(image[None]).square().sum().backward()
        torch.testing.assert_close(actual, model.conv1.weight.grad)
