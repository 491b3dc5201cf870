"""The benchmark times what it says, models in turns; what does not fit is left out and said."""
import numpy as np
import pytest
import timm
import torch

from timm_coded.analysis.stopwatch import WARM_UP
from timm_coded.speed import benchmark, measure, memory
from timm_coded.speed.benchmark import default_names, make_cases, run_benchmark, speed_rows
from timm_coded.speed.contestant import Case, Setting, compile_forwards, prepare_call
from timm_coded.speed.measure import Comparison, Measured, compare
from timm_coded.train import replicas
from timm_coded.train.errors import UserError

pytestmark = pytest.mark.usefixtures('one_thread')

STOCK, CODED = 'resnext11_10x11d', 'coded_resnext11_10x11d'
SMALL = Setting(num_classes=10)
TRAINING, INFERENCE = Case('training', 2, 12), Case('inference', 2, 12)


@pytest.fixture
def calls(monkeypatch):
    """Models of which nothing runs but a note of their name; those named 'large' find too little memory."""
    noted = []

    def prepare(name, case, setting, replica):
        def call():
            noted.append(name)
            if name == 'frail' and noted.count('frail') > 2:
                raise ValueError('a dimension changed')
            if name == 'late' and noted.count('late') > 2:
                raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate')
        if name == 'large':
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        if name == 'broken':
            raise ValueError('Expected more than 1 value per channel')
        return call

    monkeypatch.setattr(measure, 'prepare_call', prepare)
    monkeypatch.setattr(measure, 'cpu_peak', lambda name, case, setting: 5.)
    return noted


def test_models_take_turns_in_an_order_that_alternates(calls):
    found = compare(['a', 'b', 'c'], TRAINING, SMALL, replicas.create('cpu'), 4)
    assert ''.join(calls)[-12:] == 'abccbaabccba'
    assert [(model.name, model.peak, model.times.shape) for model in found.models] == [(n, 5., (4,)) for n in 'abc']
    assert found.recompilations == 0


def test_model_without_enough_memory_is_left_out_and_the_others_go_on(calls, caplog):
    found = compare(['large', 'a', 'late', 'b'], TRAINING, SMALL, replicas.create('cpu'), 2)
    assert [model.times is None for model in found.models] == [True, False, True, False]
    assert ''.join(calls)[-4:] == 'abba'
    assert 'large (training, batch 2, 12 pixels): out of memory' in caplog.text and 'late: out of memory' in caplog.text
    rows = speed_rows(found, SMALL)
    assert [row['images/s'] is None for row in rows] == [True, False, True, False]
    assert [row['ratio'] for row in rows] == [None] * 4  # there is no first model to compare with
    said = benchmark.notes([found], SMALL, replicas.create('cpu'))
    assert said[-1] == 'training, batch 2, 12 pixels: out of memory: large, late'


def test_model_that_fails_beside_the_others_is_named_with_the_reason(calls):
    with pytest.raises(UserError, match='cannot run frail .training, batch 2, 12 pixels. beside .*a dimension changed'):
        compare(['a', 'frail'], TRAINING, SMALL, replicas.create('cpu'), 2)


def test_nothing_fits(calls):
    found = compare(['large'], TRAINING, SMALL, replicas.create('cpu'), 2)
    assert found.models[0].times is None and speed_rows(found, SMALL)[0]['repeats'] == 0
    benchmark.plot_rates([found])


def test_model_that_cannot_run_ends_the_comparison_in_one_line(calls):
    with pytest.raises(UserError, match='cannot run broken .training, batch 2, 12 pixels.: ValueError: Expected more'):
        compare(['a', 'broken'], TRAINING, SMALL, replicas.create('cpu'), 2)


def test_medians_spreads_and_ratios_are_those_of_the_pairs():
    models = [Measured('a', 1.0, times=np.array([10., 20., 40., 80., 100.])),
              Measured('b', 0.5, times=np.array([5., 10., 10., 40., 90.]), peak=7.)]
    first, second = speed_rows(Comparison(Case('training', 16, 12), models, 0), SMALL)
    assert (first['median [ms]'], first['IQR [ms]'], first['ratio'], first['ratio, IQR']) == (40., 60., 1., 0.)
    assert (second['median [ms]'], second['IQR [ms]']) == (10., 30.)
    assert (second['ratio'], second['ratio, IQR']) == (2., 0.)  # 2, 2, 4, 2, 1.1
    assert (first['images/s'], second['images/s']) == (400., 1600.)
    assert first['first call - median [s]'] == pytest.approx(0.96)
    assert (second['peak [MiB]'], second['repeats']) == (7., 5)


def test_graphs_compiled_while_times_were_taken_are_counted_apart_from_the_first_ones(calls):
    class Replica:
        device = torch.device('cpu')

        def compiles(self):  # each model compiles in its first two calls, and `b` in every call
            return sum(min(calls.count(name), 2) for name in 'ab') + max(0, calls.count('b') - 3), 0.

    found = compare(['a', 'b'], TRAINING, SMALL, Replica(), 4)
    assert [model.graphs for model in found.models] == [2, 2]
    assert found.recompilations == WARM_UP + 4


def test_graphs_compiled_while_times_were_taken_are_told():
    class Replica:
        device, count = torch.device('cpu'), 0

        def compiles(self):
            self.count += 3
            return self.count, 0.

        def fallbacks(self):
            return ['aten::_local_scalar_dense', 'aten::nonzero']

    model = Measured('a', times=np.ones(2))
    assert 'graphs' in speed_rows(Comparison(TRAINING, [model], 3), Setting('xla'))[0]
    said = '\n'.join(benchmark.notes([Comparison(TRAINING, [model], 3)], Setting('xla'), Replica()))
    assert 'WARNING: training, batch 2, 12 pixels: XLA compiled 3 graphs while' in said
    assert 'WARNING: XLA ran on the host, as it has no such operators: aten::nonzero' in said
    assert 'WARNING' not in '\n'.join(benchmark.notes([Comparison(TRAINING, [model], 0)], SMALL,
                                                      replicas.create('cpu')))


def test_cases_are_all_combinations_and_sizes_the_recipes():
    assert make_cases(['training', 'inference'], [8, 32], None) == [
        Case('training', 8, 160), Case('training', 32, 160), Case('inference', 8, 224), Case('inference', 32, 224)]
    assert make_cases(['training'], [8], [64, 96]) == [Case('training', 8, 64), Case('training', 8, 96)]


def test_default_models_have_a_packed_coded_one_on_xla_only():
    assert default_names('cpu') == ['resnext50_32x4d', 'resnext50_32x4d:packed', 'coded_resnext50_32x4d',
                                    'coded_resnext50_32x4d:paper']
    assert set(default_names('xla')) - set(default_names('cpu')) == {'coded_resnext50_32x4d:packed'}


def test_training_trains_and_inference_does_not(monkeypatch):
    made = {}

    def create(name, num_classes):
        made[name] = timm.create_model(name, num_classes=num_classes)
        return made[name]

    monkeypatch.setattr('timm_coded.speed.contestant.create_form', create)
    replica = replicas.create('cpu')
    for name in (STOCK, CODED):
        for case in (TRAINING, INFERENCE):
            call = prepare_call(name, case, Setting(num_classes=10, channels_last=True), replica)
            before = {key: value.clone() for key, value in made[name].state_dict().items()}
            call()
            after = made[name].state_dict()
            moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
            assert made[name].training == (case is TRAINING)
            trained = {'conv1.weight', 'layer3.0.conv3.weight', 'fc.bias', 'bn1.running_mean'}
            assert trained <= moved if case is TRAINING else not moved
            assert made[name].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_mixed_precision_reaches_the_model(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.nn.Linear, 'forward', lambda self, x: seen.append(torch.is_autocast_enabled('cpu')) or x)
    for dtype in (None, torch.bfloat16):
        prepare_call(STOCK, INFERENCE, Setting(num_classes=10, amp_dtype=dtype), replicas.create('cpu'))()
    assert seen == [False, True]


def test_compiled_models_run_what_torch_compile_gave_in_training_and_inference(monkeypatch):
    ran = []

    def compile_forward(forward):
        return lambda *args: ran.append(forward.__name__) or forward(*args)

    monkeypatch.setattr(torch, 'compile', compile_forward)
    replica = replicas.create('cpu')
    setting = Setting(num_classes=10, compiled=True)
    for name, case, forward in ((CODED, TRAINING, 'forward_energies'), (CODED, INFERENCE, 'forward'),
                                (STOCK, TRAINING, 'forward'), (STOCK, INFERENCE, 'forward')):
        ran.clear()
        prepare_call(name, case, setting, replica)()
        assert ran == [forward]
    model = timm.create_model('resnet10t')
    compile_forwards(model)
    assert not hasattr(model, 'forward_energies')


def test_peak_memory_is_the_models_own_and_grows_with_the_batch():
    torch.ones(2 ** 26).sum()  # what this process had at its highest is not the other's
    weights = sum(weight.numel() * 4 for weight in timm.create_model(STOCK, num_classes=10).parameters()) / 2 ** 20
    small = memory.cpu_peak(STOCK, INFERENCE, SMALL)
    large = memory.cpu_peak(STOCK, Case('inference', 64, 32), SMALL)
    # one activation of layer1: 64 images, 256 channels, 32 x 32 pixels, float32
    assert weights < small < 200 and large - small > 64 * 256 * 32 * 32 * 4 / 2 ** 20


def test_out_of_memory_is_told_by_every_ones_words():
    for error in (MemoryError(), torch.OutOfMemoryError('CUDA out of memory'),
                  RuntimeError('RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm'),
                  RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")):
        assert memory.is_out_of_memory(error)
    assert not memory.is_out_of_memory(RuntimeError('mat1 and mat2 shapes cannot be multiplied'))


def test_cuda_peak_is_what_the_steps_add_to_what_was_there(monkeypatch):
    allocated = iter([100 * 2 ** 20])
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: next(allocated))
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: 350 * 2 ** 20)
    reset = []
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', reset.append)
    peak = memory.CudaPeak(torch.device('cuda', 0))
    peak.restart()
    assert reset == [torch.device('cuda', 0)] and peak.read() == 250.


def test_findings_have_a_row_for_each_model_and_case(monkeypatch):
    monkeypatch.setattr(measure, 'cpu_peak', lambda name, case, setting: 5.)
    names = [STOCK, CODED, f'{CODED}:paper']
    found = run_benchmark(names, [TRAINING, INFERENCE], SMALL, 2)
    speed, sizes = found.tables
    assert [(row['model'], row['mode'], row['repeats']) for row in speed.rows] == [
        (name, mode, 2) for mode in ('training', 'inference') for name in names]
    assert all(row['median [ms]'] > 0 and row['peak [MiB]'] == 5. for row in speed.rows)
    assert 'Measured' in speed.title and '1 threads' in speed.title and f'those of {STOCK}, pair by pair' in speed.title
    assert [row['model'] for row in sizes.rows] == names
    axes = found.pictures[0].figure.axes
    assert [one.get_title() for one in axes] == ['training', 'inference']
    heights = [bar.get_height() for bar in axes[0].patches]
    assert heights == pytest.approx([row['images/s'] for row in speed.rows[:3]])
