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
from timm_coded.train.graphs import NEEDED, GraphRecorder
from timm_coded.train.session import create_training

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


def test_plain_pytorch_has_no_graphs_to_record():
    assert replicas.create('cpu').recorder() is None


@pytest.mark.parametrize('argv, expected', [([], True), (['--no-replay'], False)])
def test_flag_turns_it_off(argv, expected):
    args = parse_args(['data', '--model', 'coded_resnext11_10x11d', '--epochs', '1', *argv])
    model = torch.nn.Linear(2, 2)
    parts = SimpleNamespace(model=model, replica=replicas.create('cpu'), criterion=None, augment=None, accumulation=1,
                            amp_dtype=None)
    assert create_training(args, parts)[0].replay is expected
