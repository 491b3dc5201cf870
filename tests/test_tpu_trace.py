"""The traced graph is the loop's own step, and every instruction of it knows its layer."""
import math
import re
import signal
from collections import Counter

import pytest
import timm

from timm_coded.tpu.estimate import trace_apart
from timm_coded.tpu.own_process import in_own_process
from timm_coded.tpu.trace import Step
from timm_coded.train.errors import UserError

CODED = Step('coded_resnext11_10x11d:packed', 4, 16, num_classes=10)


def trace_without_names(step):
    """`trace`, by a tracer that names nothing."""
    import contextlib

    from timm_coded.tpu import trace as module
    module.LayerNames = lambda replica: lambda *roots, **others: contextlib.nullcontext()
    return module.trace(step)


@pytest.fixture(scope='module')
def graph():
    return trace_apart(CODED)


def parameter_shapes(hlo):
    """Of the entry computation, by number."""
    entry = hlo[hlo.index('\nENTRY'):]
    found = re.findall(r'= (\w+)\[([\d,]*)\]\S* parameter\((\d+)\)', entry)
    return {int(number): (kind, tuple(map(int, filter(None, sizes.split(','))))) for kind, sizes, number in found}


def test_donated_are_exactly_weights_momenta_and_statistics(graph):
    model = timm.create_model('coded_resnext11_10x11d', num_classes=10)
    moved = [*model.parameters(), *model.parameters()]  # and as many momenta
    moved += [buffer for name, buffer in model.named_buffers() if 'codewords' not in name and buffer.ndim]
    shapes = parameter_shapes(graph.hlo)
    donated = Counter(shapes[index] for index in graph.donated if shapes[index][1])
    assert donated == Counter(('f32', tuple(tensor.shape)) for tensor in moved)
    assert len(set(graph.donated)) == len(graph.donated)


def test_results_are_all_that_a_step_changes_and_what_is_logged_of_it(graph):
    model = timm.create_model('coded_resnext11_10x11d', num_classes=10)
    statistics = [name for name, _ in model.named_buffers() if 'codewords' not in name]
    results = graph.hlo.split('\n', 1)[0].split('->')[1]
    logged = ['sums of metrics', 'steps that were not finite', 'class loss', *model.coded_blocks]
    expected = 2 * len([*model.parameters()]) + len(statistics) + len(logged)
    assert len(re.findall(r'\w+\[[\d,]*\]', results)) == expected


def test_parameters_are_counted(graph):
    assert graph.parameters == 1_802_788  # README


def test_names_do_not_change_the_graph(graph):
    plain = in_own_process(trace_without_names, CODED)
    without = [re.sub(r', metadata=\{[^}]*\}', '', one.hlo) for one in (graph, plain)]
    assert without[0] == without[1]
    assert graph.donated == plain.donated


def test_convolutions_of_both_passes_are_named_after_their_modules(graph):
    names = [name.split('/') for name in re.findall(r' convolution\(.*op_name="([^"]*)"', graph.hlo)]
    scopes = Counter(re.sub(r'\.\d+$', '', scope[-2]) for scope in names)
    model = timm.create_model('coded_resnext11_10x11d', num_classes=10)
    for name, module in model.named_modules():
        if type(module).__name__ == 'Conv2d' or name.endswith('conv2'):
            assert scopes[name] == 1, name
            assert scopes[f'{name}_backward'] == 2, name  # gradients of its weights and of its input


def test_every_kind_of_work_is_named(graph):
    names = ' '.join(re.findall(r'op_name="([^"]*)"', graph.hlo))
    for part in ('optimizer.', 'loss.', 'loss_backward.', 'bn1_backward.', 'fc_backward.'):
        assert part in names, part


def test_one_all_reduce_has_every_gradient():
    graph = trace_apart(Step('test_resnet', 2, 32, num_classes=10, replicas=8))
    reduction, = re.findall(r'= \((.*)\) all-reduce\(', graph.hlo)
    sizes = re.findall(r'f32\[([\d,]+)\]', reduction)
    assert sum(math.prod(map(int, one.split(','))) for one in sizes) == graph.parameters
    assert 'constant(0.125)' in graph.hlo  # the mean of eight


def test_one_replica_reduces_nothing(graph):
    assert 'all-reduce' not in graph.hlo


def test_inference_gives_logits_and_overwrites_nothing():
    graph = trace_apart(Step('test_resnet', 3, 32, inference=True, num_classes=7, precision='float32'))
    assert graph.donated == ()
    assert re.search(r'->\(?f32\[3,7\]', graph.hlo.split('\n', 1)[0])
    assert 'bf16' not in graph.hlo
    assert 'batch-norm-training' not in graph.hlo


def test_mixed_precision_convolves_in_bfloat16(graph):
    assert set(re.findall(r'= (\w+)\[[\d,]*\]\S* convolution\(', graph.hlo)) == {'bf16'}


def test_a_wrong_model_is_told_across_the_process():
    with pytest.raises(UserError, match='resnext5'):
        trace_apart(Step('resnext5_32x4d', 2, 32))


def test_a_process_that_dies_is_told():
    with pytest.raises(UserError, match='memory'):
        in_own_process(signal.raise_signal, signal.SIGKILL)
