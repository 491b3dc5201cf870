"""What a training step costs the host on XLA, the device's own work left out."""
import time
from dataclasses import dataclass, field
from typing import Callable, Sequence

import torch

from timm_coded.analysis.findings import Findings, Row, Table

from ..train import replicas
from ..train.engine import add_metrics, forward, move, update
from ..train.replay import Replay
from ..train.replicas import XlaReplica
from .forms import create_form
from .host_clock import HostClock, Laps
from .host_findings import draw, pair_rows, phase_rows
from .step import TrainingStep, random_batch


@dataclass
class Variant:
    """A model that is trained, and what its steps took.

    Attributes:
        steps: by path ('traced', 'replayed'), in the order of measuring.
        firsts: rows of the table of first steps.
    """
    name: str
    step: TrainingStep
    batch: list[torch.Tensor]
    replay: Replay
    steps: dict[str, list[Laps]] = field(default_factory=dict)
    firsts: list[Row] = field(default_factory=list)
    count: int = 0

    def paths(self) -> dict[str, Callable[[], Laps]]:
        return {'traced': self.traced} | ({'replayed': self.replayed} if self.replay.recorder else {})

    def traced(self) -> Laps:
        """A step of `train_epoch`, phase by phase."""
        training, sums, finite = self.step.training, self.step.sums, self.step.finite
        clock = self.begin()
        loss = forward(training, self.batch)
        clock.lap('forward')
        loss.backward()
        del loss
        clock.lap('backward')
        add_metrics(training, self.batch, sums, finite)
        clock.lap('metrics')
        update(training, self.count)
        training.criterion.parts = {}
        clock.lap('optimizer')
        training.replica.end_step()
        clock.lap('hash, look-up, dispatch', threads=False)
        return clock.laps

    def replayed(self) -> Laps:
        """The same step by its recorded graph, or as much of a recording as it still takes."""
        training, sums, finite = self.step.training, self.step.sums, self.step.finite
        clock = self.begin()
        self.replay.run(lambda: move(training, self.batch, sums, finite, self.count), self.batch, updates=True)
        training.replica.end_step()
        clock.lap('replay, dispatch', threads=False)
        return clock.laps

    def begin(self) -> HostClock:
        """A step's seed, once the device is idle."""
        training = self.step.training
        assert isinstance(training.replica, XlaReplica)
        training.replica.xm.wait_device_ops()
        self.count += 1
        clock = HostClock()
        training.replica.seed(training.seed, 1, self.count, 0)
        clock.lap('seed', threads=False)
        return clock


def host_times(
        names: Sequence[str],
        num_classes: int = 1000,
        image_size: int = 32,
        batch_size: int = 2,
        amp_dtype: torch.dtype | None = torch.bfloat16,
        repeats: int = 20,
) -> Findings:
    """Times the host in the training steps of models, which take turns.

    The host does the same for images of any size and number: few and small ones leave the device little to do.

    Args:
        names: of models, and their forms, as `create_form` takes them.
        repeats: measured steps of each model and path, after those that compile.

    Raises:
        UserError: there is no such model, or no torch_xla.
    """
    models = [create_form(name, num_classes) for name in names]
    replica = replicas.create('xla')
    assert isinstance(replica, XlaReplica)
    variants = []
    for name, model in zip(names, models):
        step = TrainingStep(model, replica, amp_dtype)
        batch = list(random_batch(batch_size, image_size, num_classes, replica.device))
        variants.append(Variant(name, step, batch, Replay(step.training, step.sums, step.finite)))
    for variant in variants:
        warm_up(variant, replica)
    for _ in range(repeats):
        for variant in variants:
            for path, take in variant.paths().items():
                variant.steps.setdefault(path, []).append(take())
    measured = {variant.name: variant.steps for variant in variants}
    precision = 'float32' if amp_dtype is None else 'bfloat16 autocast'
    return Findings(
        'host',
        "What a training step costs the host on XLA, measured, without the device's work",
        [
            Table('host', 'CPU milliseconds of the host, a training step, measured', phase_rows(measured)),
            Table('host-pairs', 'A replayed step against the traced one beside it, host time, measured',
                  pair_rows(measured)),
            Table('host-first', f'First steps, measured; graphs compiled by {replica.name}',
                  [row for variant in variants for row in variant.firsts]),
        ],
        [draw(measured)],
        [
            f'{replica.name}, batches of {batch_size} images of {image_size} px, {precision}, {repeats} steps of each '
            'model and path, which take turns; the device is idle when a step begins',
            'CPU time, all threads while tracing, the calling thread from the dispatch on. What a thread of torch_xla '
            'does meanwhile to start the graph is not in it, and runs beside the next step',
            'traced: each step traced anew. replayed: run by the recorded graph of the steps before it (--replay)',
        ] + [f'{variant.name}: no replay, this torch_xla cannot' for variant in variants if not variant.replay.recorder]
    )


def warm_up(variant: Variant, replica: XlaReplica) -> None:
    """Does the steps that compile or record; notes what they took."""
    for path, step in variant.paths().items():
        count, compiling = replica.compiles()
        begun = time.perf_counter()
        step()
        replica.xm.wait_device_ops()
        first = time.perf_counter() - begun
        after, total = replica.compiles()
        step()  # the second recording, for which it is the same graph
        calls = operator_calls(replica)
        step()
        variant.firsts.append({
            'model': variant.name, 'path': path, 'first_step_s': first, 'of_it_compiling_s': total - compiling,
            'graphs': after - count, 'graph_nodes': int(replica.metrics.metric_data('TensorsGraphSize')[2][-1][1]),
            'operator_calls_of_third_step': operator_calls(replica) - calls,
        })


def operator_calls(replica: XlaReplica) -> int:
    """How many of PyTorch's operators torch_xla has traced so far."""
    names = [name for name in replica.metrics.counter_names() if name.startswith('xla::')]
    return sum(replica.metrics.counter_value(name) for name in names)
