"""Training by traced and by replayed steps, in a process of its own: it opens XLA's runtime. Prints what became of it.

python replay_work.py CASE ...
"""
import io
import json
import os
import sys
from typing import Any

import timm
import torch
from torch import nn

import timm_coded
from timm_coded.train import replicas
from timm_coded.train.build import MovingAverage
from timm_coded.train.device_augment import DeviceAugment
from timm_coded.train.engine import Training, train_epoch
from timm_coded.train.finite import FiniteWatch
from timm_coded.train.graphs import Graph
from timm_coded.train.progress import Progress
from timm_coded.train.sums import Sums

STEPS, EPOCHS = 6, 2


class FixedBatches(list):
    num_workers = 0


class Net(nn.Sequential):
    """Small, with weights, running statistics and random numbers of its own."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 10))


class Fickle(Net):
    """One whose steps are not all the same, by what the host counts."""
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 + 0.25 * self.calls)


def make_coded() -> nn.Module:
    model = timm.create_model('coded_resnext11_10x11d', num_classes=10, channels=(16, 32, 64))
    return timm_coded.pack_grouped_convs(model)


CASES = {
    'coded': dict(make=make_coded),
    'plain': dict(),
    'accumulated': dict(accumulation=2),
    'averaged': dict(ema={'decay': 0.9}),
    'warming-average': dict(ema={'decay': 0.9, 'use_warmup': True}),
    'clipped': dict(clip=0.1),
    'adamw': dict(opt='adamw'),
    'fickle': dict(make=Fickle),
    'shapes': dict(sizes=[8, 8, 8, 8, 4, 8]),
    'mesh': dict(mesh=True),
    'processes': dict(processes=True),
}


def train(
        replay: bool,
        make=Net,
        accumulation: int = 1,
        ema: dict | None = None,
        clip: float | None = None,
        opt: str = 'sgd',
        sizes: list[int] = [8] * STEPS,
        mesh: bool = False,
        processes: bool = False,
) -> dict[str, Any]:
    replica = replicas.create('xla')
    os.environ['XLA_ALWAYS_ALLREDUCE'] = str(int(mesh))  # in the graph of the only replica, too
    if mesh:
        replica.peers = replicas.XlaMesh(replica.xla, replica.xm, replica.runtime, replica.device)
    if processes:
        replica.peers.in_graph = False
    torch.manual_seed(0)
    model = make()
    average = MovingAverage(model, foreach=False, **ema) if ema else None
    for module in [model] if average is None else [model, average.module]:
        replica.place(module)
    optimizer = timm.optim.create_optimizer_v2(model, opt, lr=0.05, weight_decay=1e-3, momentum=0.9)
    for parameter in model.parameters() if opt == 'sgd' else ():
        optimizer.state[parameter]['momentum_buffer'] = torch.zeros(parameter.shape).to(replica.device)
    criterion = timm_coded.CodingLoss(nn.CrossEntropyLoss(label_smoothing=0.1), model)
    augment = DeviceAugment((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 'pixel', replica.device)
    replica.end_step()
    training = Training(model, criterion, optimizer, augment, replica, accumulation, ema=average, clip_grad=clip,
                        seed=3, replay=replay)
    rng = torch.Generator().manual_seed(1)
    replayed, alive, metrics = [], [], []
    run, first = Graph.run, replica.compiles()[0]

    def counted(graph, inputs):
        parameter = next(model.parameters())
        before = (parameter if accumulation == 1 else parameter.grad).data  # what changes in each micro-batch
        replica.xm.wait_device_ops()
        assert is_alive(before)
        results = run(graph, inputs)
        replica.xm.wait_device_ops()
        replayed.append(graph.key)
        alive.append(is_alive(before))
        return results

    Graph.run = counted
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group['lr'] = 0.05 / (epoch + 1.3)
        batches = FixedBatches([
            [torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8, generator=rng),
             torch.randint(0, 10, (size,), generator=rng),
             torch.randint(0, 5, (size, 2, 4), dtype=torch.int32, generator=rng)]
            for size in sizes for _ in range(accumulation)])
        sums, finite = Sums(training.metrics(), replica), FiniteWatch(training.terms(), replica.device)
        progress = Progress(replica, EPOCHS, STEPS, 8, 100, io.StringIO())
        train_epoch(training, batches, progress, sums, finite, epoch)
        metrics.append([sums.means(), sums.means_before(), finite.vector.tolist()])
    Graph.run = run
    state = [value for module in training.models() for value in module.state_dict().values()]
    state += [value for values in optimizer.state.values() for value in values.values()]
    return {
        'state': [torch.as_tensor(value).detach().cpu() for value in state], 'metrics': metrics,
        'replayed': len(replayed), 'alive': any(alive), 'compiled': replica.compiles()[0] - first,
    }


def is_alive(tensor: torch.Tensor) -> bool:
    """Whether its memory is still its own, once the device is idle."""
    try:
        tensor.cpu()
    except RuntimeError as error:
        assert 'HasValue' in str(error)
        return False
    return True


def compare(case: str) -> dict[str, Any]:
    """Traced and replayed training of a case, side by side."""
    replayed, traced = train(True, **CASES[case]), train(False, **CASES[case])
    assert traced['replayed'] == 0
    same = [torch.equal(ours, theirs) for ours, theirs in zip(replayed['state'], traced['state'], strict=True)]
    return {
        'same_state': all(same), 'same_metrics': replayed['metrics'] == traced['metrics'],
        'replayed': replayed['replayed'], 'alive': replayed['alive'], 'compiled': replayed['compiled'],
    }


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(json.dumps({case: compare(case) for case in sys.argv[1:]}))
