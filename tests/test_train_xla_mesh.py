"""The replicas of a TPU, as far as they can be seen without one."""
import argparse
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from chip_work import end

from timm_coded.train import replicas
from timm_coded.train.launch import launch
from timm_coded.train.replicas import XlaMesh
from timm_coded.train.resume import check_agreement
from timm_coded.train.stop_or_save import GO_ON, STOP, VOTE_STEPS, StopOrSave

CPU = torch.device('cpu')


class FakeChips:
    """torch_xla, its xla_model and its runtime for threads of the host; a reduction waits for all of them.

    It refuses what a TPU would: 64-bit numbers, and programs that differ between the replicas.
    """
    REDUCE_SUM, REDUCE_MAX = 'sum', 'max'

    def __init__(self, world: int):
        self.world = world
        self.barrier = threading.Barrier(world, timeout=20)
        self.slots = [None] * world
        self.own = threading.local()
        self.syncs = 0

    def world_size(self) -> int:
        return self.world

    def global_ordinal(self) -> int:
        return self.own.rank

    def sync(self) -> None:
        self.syncs += 1

    def all_reduce(self, kind, inputs, scale=1.0):
        tensors = [inputs] if isinstance(inputs, torch.Tensor) else inputs
        self.slots[self.own.rank] = kind, scale, [tensor.clone() for tensor in tensors]
        self.barrier.wait()
        kinds, scales, everyones = zip(*self.slots)
        self.barrier.wait()
        assert len(set(kinds)) == len(set(scales)) == 1
        results = []
        for columns in zip(*everyones, strict=True):
            assert len({(column.shape, column.dtype) for column in columns}) == 1
            assert columns[0].dtype == torch.float32 and columns[0].ndim, 'single numbers are constants of the graph'
            stacked = torch.stack(columns)
            results.append((stacked.sum(0) if kind == 'sum' else stacked.amax(0)) * scale)
        if isinstance(inputs, torch.Tensor):
            return results[0]
        for tensor, result in zip(inputs, results):
            tensor.copy_(result)
        return inputs

    def all_gather(self, value):
        padded = torch.zeros(self.world, *value.shape[1:], dtype=value.dtype)
        padded[self.own.rank] = value[0]
        return self.all_reduce('sum', padded)

    def run(self, work):
        """What `work(mesh)` gives on each replica."""
        results = [None] * self.world

        def thread(rank: int) -> None:
            self.own.rank = rank
            try:
                results[rank] = work(XlaMesh(self, self, self, CPU))
            except BaseException as error:
                results[rank] = error
                self.barrier.abort()

        threads = [threading.Thread(target=thread, args=(rank,)) for rank in range(self.world)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results


def test_mesh_averages_gathers_and_votes_over_all_its_threads():
    def work(mesh):
        tensors = [torch.full((2, 3), float(mesh.rank)), torch.full((4,), 10. * mesh.rank)]
        mesh.average(tensors)
        mesh.average([])
        numbers = mesh.gather(torch.tensor([mesh.rank, 7]))
        rows = mesh.gather(torch.tensor([mesh.rank + 0.5]))
        votes = [int(mesh.vote(code)) for code in (0, mesh.rank, 2 * (mesh.rank == 1))]
        return tensors, numbers, rows, votes

    for tensors, numbers, rows, votes in FakeChips(4).run(work):
        assert torch.equal(tensors[0], torch.full((2, 3), 1.5)) and torch.equal(tensors[1], torch.full((4,), 15.))
        assert numbers.dtype == torch.int64 and numbers.tolist() == [[rank, 7] for rank in range(4)]
        assert rows.tolist() == [[rank + 0.5] for rank in range(4)]
        assert votes == [0, 3, 2]


def test_threads_agree_to_stop_at_the_same_step_and_where_to_go_on():
    def work(mesh):
        replica = SimpleNamespace(rank=mesh.rank, world=mesh.world, peers=mesh, compiles=lambda: (0, 0.0))
        check_agreement(replica, {'epoch': 3, 'step': 40})
        asked = []
        control = StopOrSave(replica, lambda: 'SIGTERM' if mesh.rank == 1 and len(asked) >= 3 else '')
        while not asked or asked[-1] == GO_ON:
            asked.append(control.after_step(len(asked) + 1))
        return asked

    answers = FakeChips(2).run(work)
    assert answers == [[GO_ON] * (2 * VOTE_STEPS - 1) + [STOP]] * 2


REAL = '''
import torch
from timm_coded.train import replicas
replica = replicas.create('xla')
mesh = replicas.XlaMesh(replica.xla, replica.xm, replica.runtime, replica.device)
weights = torch.ones(3, 4).to(replica.device)
replica.end_step()

def compiled(work):
    before = replica.compiles()[0]
    work()
    return replica.compiles()[0] - before

def step():
    grads = [2 * weights, weights + 1]
    mesh.average(grads)
    weights.add_(sum(grads), alpha=0.1)
    replica.end_step()

print([compiled(step) for _ in range(3)])
print([compiled(lambda: int(mesh.vote(code))) for code in (0, 1, 2)])
print([compiled(lambda: mesh.gather(torch.tensor(pair))) for pair in ([5, 0], [1, 2])])
print(compiled(step))
print(mesh.gather(torch.tensor([5, 7])).tolist(), int(mesh.vote(2)))
'''


def test_reductions_of_torch_xla_itself_have_one_graph_each_and_leave_the_training_steps_alone():
    pytest.importorskip('torch_xla')
    result = subprocess.run(
        [sys.executable, '-c', REAL], capture_output=True, text=True,
        env={**os.environ, 'XLA_ALWAYS_ALLREDUCE': '1', 'OMP_NUM_THREADS': '1'})  # else one replica reduces nothing
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-5:] == ['[1, 0, 0]', '[1, 0, 0]', '[1, 0]', '0', '[[5, 7]] 2']


@pytest.mark.parametrize('kind, status, expected', [
    ('none', 0, ''),
    ('UserError', 2, 'error: give --better\n'),
    ('Stopped', 75, 'stopped after epoch 0\n'),
    ('crash', 1, 'RuntimeError: a bug\n'),
    ('death', 1, 'BrokenProcessPool'),
])
def test_launch_on_chips_ends_with_the_works_status_and_cause(kind, status, expected, monkeypatch, capfd):
    pytest.importorskip('torch_xla')
    monkeypatch.setattr(replicas, 'has_tpu', lambda: True)
    monkeypatch.setattr(signal, 'signal', lambda *_: None)  # pytest's own process keeps its handlers
    assert launch(argparse.Namespace(device='xla', replicas=None, end=kind), end) == status
    said = capfd.readouterr().err
    assert said == (f'train_xla.py: {expected}' if kind in ('UserError', 'Stopped') else said)
    assert expected in said and said.count('train_xla.py: ') == bool(expected)
