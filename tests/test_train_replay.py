"""Steps that are run by a recorded graph leave what traced ones leave, to the bit, and take no more memory."""
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from replay_work import EPOCHS, STEPS

from timm_coded.train import replicas
from timm_coded.train.args import parse_args
from timm_coded.train.engine import Training
from timm_coded.train.errors import UserError
from timm_coded.train.finite import FiniteWatch
from timm_coded.train.graphs import NEEDED, Graph, GraphRecorder
from timm_coded.train.replay import Replay
from timm_coded.train.session import create_training
from timm_coded.train.sums import Sums

ALWAYS_TRACED = ('warming-average', 'adamw', 'fickle', 'processes')
REPLAYED = {  # the first two of a kind in an epoch are traced, and those after another kind
    'coded': EPOCHS * (STEPS - 2),
    'plain': EPOCHS * (STEPS - 2),
    'accumulated': EPOCHS * 2 * (STEPS - 2),
    'averaged': EPOCHS * (STEPS - 2) - 1,  # the average's first step of all is one of its own
    'clipped': EPOCHS * (STEPS - 2),
    'shapes': EPOCHS * 2,
    'mesh': EPOCHS * (STEPS - 2),
}


@pytest.fixture(scope='module')
def found():
    script = Path(__file__).with_name('replay_work.py')
    cases = [*REPLAYED, *ALWAYS_TRACED]
    done = subprocess.run(
        [sys.executable, str(script), *cases], capture_output=True, text=True, timeout=560,
        env=os.environ | {'PJRT_DEVICE': 'CPU'})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('case', [*REPLAYED, *ALWAYS_TRACED])
def test_weights_statistics_momentum_and_metrics_are_those_of_traced_steps_to_the_bit(found, case):
    assert found[case]['same_state'] and found[case]['same_metrics']


@pytest.mark.parametrize('case, count', REPLAYED.items())
def test_all_steps_but_the_first_two_of_an_epoch_are_replayed(found, case, count):
    assert found[case]['replayed'] == count


@pytest.mark.parametrize('case', ALWAYS_TRACED)
def test_steps_that_depend_on_more_than_tensors_are_traced_each_time(found, case):
    assert found[case]['replayed'] == 0


@pytest.mark.parametrize('case', REPLAYED)
def test_replayed_steps_write_over_the_old_weights_memory(found, case):
    assert not found[case]['alive']


@pytest.mark.parametrize('case, graphs', [('coded', 1), ('plain', 1), ('accumulated', 2), ('clipped', 1)])
def test_one_graph_is_compiled_whatever_the_learning_rate(found, case, graphs):
    assert found[case]['compiled'] == graphs


def test_torch_xla_without_the_functions_is_not_able_to():
    functions = {name: None for name in NEEDED}
    assert GraphRecorder(SimpleNamespace(**functions), torch.device('cpu'), threading.Lock()).is_able()
    for name in NEEDED:
        rest = SimpleNamespace(**{other: None for other in functions if other != name})
        assert not GraphRecorder(rest, torch.device('cpu'), threading.Lock()).is_able()


class FakeRecorder:
    """Records steps as graphs with the keys given, in turn."""

    def __init__(self, keys):
        self.keys, self.recorded = iter(keys), 0

    def record(self, inputs, work):
        self.recorded += 1
        work()
        return Graph(self, 'xla:0', next(self.keys), [], [], [], [])

    def _run_cached_graph(self, key, inputs):
        return []


def make_replay(recorder, optimizer=torch.optim.SGD, **options) -> Replay:
    model = torch.nn.Linear(2, 2)
    replica = SimpleNamespace(recorder=lambda: recorder, device=torch.device('cpu'), end_step=lambda: None)
    criterion = SimpleNamespace(parts={'class': 1})
    training = Training(model, criterion, optimizer(model.parameters(), 0.1), None, replica, **options)
    return Replay(training, Sums(['loss'], replica), FiniteWatch(['class'], replica.device))


def count_works(replay: Replay, steps: int) -> int:
    works = []
    for step in range(steps):
        replay.run(lambda: works.append(step), [torch.zeros(2)], updates=True)
    return len(works)


def test_a_step_is_replayed_once_two_in_a_row_had_the_same_graph():
    recorder = FakeRecorder('abcc')
    assert count_works(make_replay(recorder), 20) == recorder.recorded == 4


def test_steps_that_never_are_the_same_are_soon_only_traced():
    recorder = FakeRecorder(map(str, range(100)))
    assert count_works(make_replay(recorder), 50) == 50 and recorder.recorded < 10


def test_steps_that_are_replayed_in_between_are_recorded_anew_as_often_as_it_takes():
    recorder = FakeRecorder(iter(lambda: 'a', None))
    replay = make_replay(recorder)
    works = 0
    for epoch in range(20):
        replay.training.optimizer.param_groups[0]['lr'] = 1 / (1 + epoch)
        works += count_works(replay, 5)
    assert works == recorder.recorded == 20 * 2


def test_a_step_of_another_decay_or_batch_is_recorded_anew():
    recorder = FakeRecorder(iter(lambda: 'a', None))
    replay, works = make_replay(recorder), []
    for decay, batch in (
            (0.9, torch.zeros(2)), (0.8, torch.zeros(2)), (0.8, torch.zeros(3)), (0.8, torch.zeros(3).int())):
        for _ in range(5):
            replay.run(lambda: works.append(decay), [batch], updates=True, decay=decay)
    assert len(works) == recorder.recorded == 4 * 2


def test_a_step_that_cannot_be_recorded_is_traced_from_then_on():
    recorder = FakeRecorder('')
    recorder.record = lambda inputs, work: work() and None
    replay = make_replay(recorder)
    assert count_works(replay, 1) == 1 and replay.recorder is None
    assert count_works(replay, 9) == 9


def test_an_optimizer_that_may_count_on_the_host_is_traced():
    recorder = FakeRecorder('aaaa')
    assert count_works(make_replay(recorder, torch.optim.AdamW), 9) == 9 and recorder.recorded == 0


def test_what_is_not_wanted_is_not_done():
    recorder = FakeRecorder('aaaa')
    assert count_works(make_replay(recorder, replay=False), 9) == 9 and recorder.recorded == 0


def test_the_terms_of_the_loss_are_dropped_so_that_they_are_no_outputs_of_the_graph():
    replay = make_replay(FakeRecorder('aa'))
    count_works(replay, 1)
    assert replay.training.criterion.parts == {}


def test_gradients_that_go_through_the_host_are_not_of_a_graph():
    assert [peers.in_graph for peers in (replicas.Alone, replicas.XlaMesh, replicas.Processes)] == [True, True, False]


def test_plain_pytorch_has_no_graphs_to_record():
    assert replicas.create('cpu').recorder() is None


@pytest.mark.parametrize('argv, device, expected', [
    ([], 'cpu', True), ([], 'XLA:CPU', True), ([], 'XLA:TPU', False), (['--no-replay'], 'XLA:CPU', False),
    (['--replay'], 'XLA:TPU', True),
])
def test_flag_turns_it_on_and_off_and_on_a_tpu_it_has_to_be_asked_for(argv, device, expected):
    args = parse_args(['data', '--model', 'coded_resnext11_10x11d', '--epochs', '1', *argv])
    replica = replicas.create('cpu')
    replica.name = device
    replica.recorder = lambda: FakeRecorder('')
    parts = SimpleNamespace(model=torch.nn.Linear(2, 2), replica=replica, criterion=None, augment=None, accumulation=1,
                            amp_dtype=None)
    assert create_training(args, parts)[0].replay is expected


@pytest.mark.parametrize('argv', [['--replay'], ['--replay', '--opt', 'adamw']])
def test_asked_for_where_there_are_no_graphs_it_is_refused(argv):
    args = parse_args(['data', '--model', 'coded_resnext11_10x11d', '--epochs', '1', *argv])
    parts = SimpleNamespace(model=torch.nn.Linear(2, 2), replica=replicas.create('cpu'), criterion=None, augment=None,
                            accumulation=1, amp_dtype=None)
    with pytest.raises(UserError, match='--replay is for SGD on XLA'):
        create_training(args, parts)
