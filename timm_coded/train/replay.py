"""Training steps that XLA's host thread does not trace anew each time."""
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch import Tensor

from .finite import FiniteWatch
from .graphs import Graph
from .sums import Sums

if TYPE_CHECKING:
    from .engine import Training

MOST_RECORDINGS = 6  # without a step that was run by one, before it is given up


class Replay:
    """Runs steps, by their recorded graph once two in a row had the same.

    What differs between two steps must be a tensor that is given to them, the random seed, or one of the settings.
    Two recordings that are the same show that it is so far: another learning rate would be another constant of the
    graph. What a model's own code on the host does otherwise from a later step on is not seen. On
    devices without graphs, and for optimizers other than SGD, which has no count of steps on the host, each step is
    done as it is.

    Args:
        training: whose steps they are; model, optimizer and moving average must keep their tensors.
        sums, finite: what a micro-batch is added to.
    """

    def __init__(self, training: 'Training', sums: Sums, finite: FiniteWatch):
        self.training = training
        self.totals = (sums, finite)
        self.graphs: dict[bool, tuple[Any, Graph]] = {}  # by whether it ends with an update: settings, graph
        self.confirmed: dict[bool, bool] = {}
        self.recordings = 0  # since the last step that was run by one
        suits = training.replay and type(training.optimizer) is torch.optim.SGD
        self.recorder = training.replica.recorder() if suits else None
        self.held = self.find_held() if self.recorder else []
        if self.recorder:
            training.replica.end_step()  # what is left to the device from before is none of the first step's graph

    def find_held(self) -> list[Tensor]:
        """What stays from step to step and is changed in place: weights, buffers, gradients if they stay, momentum."""
        training = self.training
        tensors = [tensor for model in training.models() for tensor in (*model.parameters(), *model.buffers())]
        tensors += [tensor.grad for tensor in tensors if tensor.grad is not None]
        return tensors + [value for state in training.optimizer.state.values() for value in state.values()
                          if isinstance(value, Tensor)]

    def run(self, work: Callable[[], None], batch: list[Tensor], updates: bool, decay: float | None = None) -> None:
        """Does `work`, or what it would do.

        Args:
            work: adds a micro-batch's gradients, and with `updates` moves the model by them.
            decay: of the moving average in this step.
        """
        if self.recorder is None:
            work()
            return
        settings = self.settings(batch, decay)
        known, graph = self.graphs.get(updates, (None, None))
        if known != settings:
            graph = None
        if graph is not None and self.confirmed[updates]:
            self.recordings = 0
            for place, value in zip(graph.results, graph.run(self.inputs(batch))):
                if place < len(self.held):
                    self.held[place].data = value
                else:
                    self.totals[place - len(self.held)].follow(value)
            return
        self.record(work, batch, updates, settings, graph)

    def record(
            self,
            work: Callable[[], None],
            batch: list[Tensor],
            updates: bool,
            settings: Any,
            last: Graph | None,
    ) -> None:
        """Traces `work`; `last` is the graph of the last time with the same settings."""

        def step() -> list[Tensor]:
            work()
            self.training.criterion.parts = {}  # else they would be wanted of the graph
            return self.inputs([])

        assert self.recorder is not None
        graph = self.recorder.record(self.inputs(batch), step)
        self.confirmed[updates] = graph is not None and last is not None and graph.is_same(last)
        self.recordings += 1
        if graph is None or self.recordings > MOST_RECORDINGS:
            self.recorder = None
        else:
            self.graphs[updates] = settings, graph

    def inputs(self, batch: list[Tensor]) -> list[Tensor]:
        return [*self.held, *(total.vector for total in self.totals), *batch]

    def settings(self, batch: list[Tensor], decay: float | None) -> Any:
        """What a step depends on beside tensors' values."""
        groups = [[value for name, value in group.items() if name != 'params']
                  for group in self.training.optimizer.param_groups]
        return groups, decay, [(tensor.shape, tensor.dtype) for tensor in batch]
