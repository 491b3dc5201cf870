"""What TensorBoard and Weights & Biases have of a run, read back from the files that they write."""
import argparse
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

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


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()['scalars']}


def test_tensorboard_has_each_epoch_once_also_of_a_run_that_went_back(tmp_path):
    pytest.importorskip('tensorboard')
    args = make_args(log_tensorboard=True)
    log(args, tmp_path, None, {0: 4.0, 1: 3.0, 2: 2.5, 3: 2.25})
    assert read_tensorboard(tmp_path) == {
        'train_loss': [(0, 4.0), (1, 3.0), (2, 2.5), (3, 2.25)],
        'eval_top1': [(0, 0.0), (1, 10.0), (2, 20.0), (3, 30.0)],
    }
    log(args, tmp_path, 1, {})  # killed before its first epoch ends: 2 and 3 are void all the same
    assert read_tensorboard(tmp_path)['train_loss'] == [(0, 4.0), (1, 3.0)]
    log(args, tmp_path, 1, {2: 1.5})
    assert read_tensorboard(tmp_path)['train_loss'] == [(0, 4.0), (1, 3.0), (2, 1.5)]


def test_tensorboard_keeps_the_epochs_of_a_run_that_is_killed(tmp_path):
    pytest.importorskip('tensorboard')
    tracker, = create_trackers(make_args(log_tensorboard=True), tmp_path)
    for epoch in range(3):
        tracker.log(epoch, {'train_loss': 4.0})
        assert read_tensorboard(tmp_path) == {'train_loss': [(before, 4.0) for before in range(epoch + 1)]}
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


@pytest.fixture
def offline(monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')


def test_wandb_run_has_our_name_and_arguments_and_goes_on_under_its_id(offline, tmp_path):
    args = make_args(log_wandb=True)
    log(args, tmp_path, None, {0: 4.0, 1: 3.0})
    log(args, tmp_path, 1, {2: 2.0})
    first, second = read_wandb(tmp_path)
    assert (first['project'], first['name'], first['config']['lr']) == ('timm_coded', 'run-1', 0.5)
    assert first['history'] == {0: 4.0, 1: 3.0} and second['history'] == {2: 2.0}
    assert first['id'] == second['id']


def test_wandb_run_that_went_back_does_not_send_an_epoch_twice_under_one_id(offline, tmp_path):
    args = make_args(log_wandb=True)
    log(args, tmp_path, None, {0: 4.0, 1: 3.0})
    log(args, tmp_path, 0, {})  # killed before its first epoch ends
    log(args, tmp_path, 0, {1: 3.5})
    log(args, tmp_path, 1, {2: 2.0})
    first, *back = read_wandb(tmp_path)
    assert {run['id'] for run in back}.isdisjoint({first['id']}) and len({run['id'] for run in back}) == 1
    assert [run['history'] for run in back] == [{}, {1: 3.5}, {2: 2.0}] and back[0]['name'] == 'run-1'


def test_two_new_runs_are_two_for_wandb_though_their_names_are_equal(offline, tmp_path):
    for folder in (tmp_path / 'a', tmp_path / 'b'):
        folder.mkdir()
        log(make_args(log_wandb=True), folder, None, {0: 4.0})
    assert read_wandb(tmp_path / 'a')[0]['id'] != read_wandb(tmp_path / 'b')[0]['id']


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
