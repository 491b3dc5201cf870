"""What TensorBoard and Weights & Biases have of a run, read back from the files that they write.

Where they are not installed, stand-ins take what they would be given, and what they document of themselves holds.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from timm_coded.train.errors import UserError
from timm_coded.train.trackers import check_trackers, create_trackers


def make_args(**given) -> argparse.Namespace:
    values = {'experiment': 'run-1', 'log_tensorboard': False, 'log_wandb': False, 'lr': 0.5}
    return argparse.Namespace(**values | given)


def log(args: argparse.Namespace, folder: Path, resumed_epoch: int | None, losses: dict[int, float]) -> None:
    for tracker in create_trackers(args, folder, resumed_epoch):
        for epoch, loss in losses.items():
            tracker.log(epoch, {'train_loss': loss, 'eval_top1': 10.0 * epoch})
        tracker.close()


def test_nothing_asked_for_is_nothing_written(tmp_path):
    assert create_trackers(make_args(), tmp_path) == []
    assert not os.listdir(tmp_path)


class TensorBoardStandIn(ModuleType):
    """`torch.utils.tensorboard`: what was flushed is there, but from `purge_step` of a later writer on."""

    def __init__(self):
        super().__init__('torch.utils.tensorboard')
        self.there, self.closed = {}, []

    def SummaryWriter(self, log_dir, purge_step):
        there, waiting = self.there.setdefault(log_dir, []), []
        there[:] = [(name, value, step) for name, value, step in there if step < purge_step]

        def flush():
            there.extend(waiting)
            waiting.clear()

        return SimpleNamespace(
            add_scalar=lambda *event: waiting.append(event), flush=flush, close=lambda: self.closed.append(log_dir))

    def read(self, folder: Path) -> dict[str, list[tuple[int, float]]]:
        found = {}
        for name, value, step in self.there[str(folder)]:
            found.setdefault(name, []).append((step, value))
        return found


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()['scalars']}


@pytest.fixture(params=['package', 'stand-in'])
def tensorboard(request, monkeypatch):
    """Reads what TensorBoard has of a folder: the steps and values of each name."""
    if request.param == 'package':
        pytest.importorskip('tensorboard')
        return read_tensorboard
    stand_in = TensorBoardStandIn()
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', stand_in)
    monkeypatch.setattr(torch.utils, 'tensorboard', stand_in, raising=False)
    return stand_in.read


def test_tensorboard_has_each_epoch_once_also_of_a_run_that_went_back(tensorboard, tmp_path):
    args = make_args(log_tensorboard=True)
    log(args, tmp_path, None, {0: 4.0, 1: 3.0, 2: 2.5, 3: 2.25})
    assert tensorboard(tmp_path) == {
        'train_loss': [(0, 4.0), (1, 3.0), (2, 2.5), (3, 2.25)],
        'eval_top1': [(0, 0.0), (1, 10.0), (2, 20.0), (3, 30.0)],
    }
    log(args, tmp_path, 1, {})  # killed before its first epoch ends: 2 and 3 are void all the same
    assert tensorboard(tmp_path)['train_loss'] == [(0, 4.0), (1, 3.0)]
    log(args, tmp_path, 1, {2: 1.5})
    assert tensorboard(tmp_path)['train_loss'] == [(0, 4.0), (1, 3.0), (2, 1.5)]


def test_tensorboard_is_closed_once_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', stand_in := TensorBoardStandIn())
    log(make_args(log_tensorboard=True), tmp_path, None, {0: 4.0})
    assert stand_in.closed == [str(tmp_path)]


def test_tensorboard_keeps_the_epochs_of_a_run_that_is_killed(tensorboard, tmp_path):
    tracker, = create_trackers(make_args(log_tensorboard=True), tmp_path)
    for epoch in range(3):
        tracker.log(epoch, {'train_loss': 4.0})
        assert tensorboard(tmp_path) == {'train_loss': [(before, 4.0) for before in range(epoch + 1)]}
    tracker.close()


def read_wandb(folder: Path) -> list[dict]:
    """The runs that were written offline, in order: their names and what was logged at which step."""
    from wandb.proto.wandb_internal_pb2 import Record
    runs = []
    for path in sorted(folder.glob('wandb/offline-run-*/*.wandb'), key=os.path.getmtime):
        runs.append({'history': {}})
        for data in records(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof('record_type') == 'run':
                run = record.run
                config = {item.key: json.loads(item.value_json) for item in run.config.update}
                runs[-1] |= {'id': run.run_id, 'project': run.project, 'name': run.display_name, 'config': config}
            elif record.WhichOneof('record_type') == 'history':
                values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                runs[-1]['history'][record.history.step.num] = values['train_loss']
    return runs


def records(data: bytes):
    """The records of a log in LevelDB's format: blocks of 32 KiB, chunks with a header of checksum, length and kind."""
    position, record = 7, b''  # after the file's own header
    while position + 7 <= len(data):
        left = -position % 32768
        if 0 < left < 7:  # too little for a header
            position += left
            continue
        _, length, kind = struct.unpack_from('<IHB', data, position)
        record += data[position + 7:position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b''


class WandbStandIn(ModuleType):
    """`wandb`: of a run it has what was logged by the time that it is finished."""

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__('wandb')
        self.runs = []

    def init(self, project, name, id, resume, dir, config):
        assert resume == 'allow'  # wandb's word for: go on, or begin
        run = {'id': id, 'project': project, 'name': name, 'config': config, 'history': {}, 'dir': dir}
        self.runs.append(run)
        logged = {}
        return SimpleNamespace(
            log=lambda metrics, step: logged.update({step: metrics['train_loss']}),
            finish=lambda: run['history'].update(logged))

    def read(self, folder: Path) -> list[dict]:
        return [run for run in self.runs if run['dir'] == str(folder)]


@pytest.fixture(params=['package', 'stand-in'])
def wandb(request, monkeypatch):
    """Reads the runs that W&B has of a folder, in order: their names and what was logged at which step."""
    if request.param == 'stand-in':
        stand_in = WandbStandIn()
        monkeypatch.setitem(sys.modules, 'wandb', stand_in)
        return stand_in.read
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    return read_wandb


def log_to_wandb(folder: Path, resumed_epoch: int | None, losses: dict[int, float]) -> None:
    log(make_args(log_wandb=True), folder, resumed_epoch, losses)
    ended = int(time.time())
    while not isinstance(sys.modules['wandb'], WandbStandIn) and int(time.time()) == ended:
        time.sleep(0.05)  # a run's folder is named for the second it began in, and written over by one of the same id


def test_wandb_run_has_our_name_and_arguments_and_goes_on_under_its_id(wandb, tmp_path):
    log_to_wandb(tmp_path, None, {0: 4.0, 1: 3.0})
    log_to_wandb(tmp_path, 1, {2: 2.0})
    first, second = wandb(tmp_path)
    assert (first['project'], first['name'], first['config']['lr']) == ('timm_coded', 'run-1', 0.5)
    assert first['history'] == {0: 4.0, 1: 3.0} and second['history'] == {2: 2.0}
    assert first['id'] == second['id']


def test_wandb_run_that_went_back_does_not_send_an_epoch_twice_under_one_id(wandb, tmp_path):
    log_to_wandb(tmp_path, None, {0: 4.0, 1: 3.0})
    log_to_wandb(tmp_path, 0, {})  # killed before its first epoch ends
    log_to_wandb(tmp_path, 0, {1: 3.5})
    log_to_wandb(tmp_path, 1, {2: 2.0})
    first, *back = wandb(tmp_path)
    assert {run['id'] for run in back}.isdisjoint({first['id']}) and len({run['id'] for run in back}) == 1
    assert [run['history'] for run in back] == [{}, {1: 3.5}, {2: 2.0}] and back[0]['name'] == 'run-1'


def test_epoch_that_may_have_been_sent_counts_as_sent(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'wandb', stand_in := WandbStandIn())
    tracker, = create_trackers(make_args(log_wandb=True), tmp_path)

    def killed(metrics, step):
        raise KeyboardInterrupt

    tracker.run.log = killed
    with pytest.raises(KeyboardInterrupt):
        tracker.log(0, {'train_loss': 4.0})
    log_to_wandb(tmp_path, None, {0: 3.5})
    first, second = stand_in.runs
    assert first['id'] != second['id'] and second['history'] == {0: 3.5}


def test_two_new_runs_are_two_for_wandb_though_their_names_are_equal(wandb, tmp_path):
    for folder in (tmp_path / 'a', tmp_path / 'b'):
        folder.mkdir()
        log_to_wandb(folder, None, {0: 4.0})
    assert wandb(tmp_path / 'a')[0]['id'] != wandb(tmp_path / 'b')[0]['id']


def test_what_wandb_refuses_is_one_line_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'wandb', stand_in := WandbStandIn())

    def refuse(**options):
        raise stand_in.Error('no API key\n  configured')

    stand_in.init = refuse
    with pytest.raises(UserError, match=r'^--log-wandb: no API key configured \(set WANDB_MODE=offline'):
        create_trackers(make_args(log_wandb=True), tmp_path)


def test_wandb_without_a_key_is_an_error_of_the_users(tmp_path):
    pytest.importorskip('wandb')
    code = (
        'import argparse, pathlib\n'
        'from timm_coded.train.trackers import create_trackers\n'
        "args = argparse.Namespace(experiment='run', log_tensorboard=False, log_wandb=True)\n"
        f'create_trackers(args, pathlib.Path({str(tmp_path)!r}))\n')
    environment = {name: value for name, value in os.environ.items() if not name.startswith('WANDB_')}
    environment |= {'HOME': str(tmp_path), 'NETRC': str(tmp_path / 'netrc')}
    environment |= {'PYTHONPATH': str(Path(__file__).parents[1])}
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment,
                            stdin=subprocess.DEVNULL, timeout=60)
    assert 'errors.UserError: --log-wandb: ' in result.stderr and 'WANDB_MODE=offline' in result.stderr


@pytest.mark.parametrize('flag, missing', [
    ('log_tensorboard', {'torch.utils.tensorboard': None}),
    ('log_wandb', {'wandb': None}),
    ('log_wandb', {'wandb': type(os)('wandb')}),  # a folder of that name
])
def test_package_that_is_missing_is_named_with_how_to_get_it(monkeypatch, flag, missing):
    for name, module in missing.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UserError, match=rf"--{flag.replace('_', '-')} needs .*pip install 'timm_coded\[log\]'"):
        check_trackers(make_args(**{flag: True}))
