"""Graphs of XLA, recorded once and run again without tracing: what PyTorch/XLA's own bridge to Dynamo does.

Tracing a step takes the host one Python call and several of C++ for each of its thousands of operations, to arrive at
the graph of the step before. `GraphRecorder` keeps the graph's key in torch_xla's cache of compiled graphs and which
tensor is which of its inputs, and `Graph.run` hands the compiled graph the tensors of today.
"""
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, ContextManager, Sequence

import torch
from torch import Tensor

SEED, CONSTANT = -1, -2  # inputs of a graph that are none of the step's
MOST_NUMBERS = 4096  # of a constant: larger ones are something that was forgotten
NEEDED = (
    '_check_tensor_need_materialization', '_clear_pending_irs', '_get_base_seed_as_tensor', '_get_graph_hash',
    '_get_seed_info_id', '_get_tensors_xla_device_data_node', '_run_cached_graph', '_set_buffer_donation',
    '_xla_get_enable_alias_with_buffer_donor_config', '_xla_get_tensor_id',
    '_xla_set_enable_alias_with_buffer_donor_config', '_xla_warm_up_cache',
)


@dataclass
class Graph:
    """A compiled graph.

    Attributes:
        key: in torch_xla's cache.
        sources: for each input of the graph, which of the step's tensors it is, or SEED or CONSTANT.
        constants: for each input of the graph, its value if it is a CONSTANT: the learning rate, say.
        results: for each output of the graph, which of the step's outputs it is.
        numbers: the constants as the host sees them.
    """
    backend: ModuleType
    device: str
    key: bytes
    sources: list[int]
    constants: list[Tensor | None]
    results: list[int]
    numbers: list[list[float]]

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The graph's outputs. Of the inputs, those that it was recorded to change are no more."""
        seed = self.backend._get_base_seed_as_tensor(self.device) if SEED in self.sources else None
        return self.backend._run_cached_graph(self.key, [
            inputs[source] if source >= 0 else seed if source == SEED else constant
            for source, constant in zip(self.sources, self.constants)])

    def is_same(self, other: 'Graph') -> bool:
        """Whether the other one computes the same of the step's tensors."""
        return (self.key, self.sources, self.results, self.numbers) == (
            other.key, other.sources, other.results, other.numbers)


class GraphRecorder:
    """Records graphs on one XLA device.

    Args:
        backend: torch_xla's module of functions written in C++.
        device: where the tensors are.
        lock: while a graph is compiled, a setting of the whole process is another.
    """

    def __init__(self, backend: ModuleType, device: torch.device, lock: ContextManager[Any]):
        self.backend, self.device, self.lock = backend, str(device), lock

    def is_able(self) -> bool:
        """Whether this release of torch_xla has all that is needed, none of which it promises to keep."""
        return all(hasattr(self.backend, name) for name in NEEDED)

    def record(self, inputs: Sequence[Tensor], work: Callable[[], Sequence[Tensor]]) -> Graph | None:
        """Traces `work`, compiles and runs its graph. Nothing else may be left to the device when it is called.

        Args:
            inputs: the tensors that it reads and that are others, or have changed, when it is done again.
            work: gives the tensors that it makes or changes; those that are inputs, too, are changed in place: the
                graph writes over their memory. What else it makes is lost.

        Returns:
            The graph; None if it cannot be run again: then `work` is traced, and left to the device as ever.
        """
        backend = self.backend
        places = {backend._xla_get_tensor_id(tensor): place for place, tensor in enumerate(inputs)}
        outputs = work()
        pending = backend._check_tensor_need_materialization(outputs)
        results = [place for place, changed in enumerate(pending) if changed]
        roots = [outputs[place] for place in results]
        ids, values = backend._get_tensors_xla_device_data_node(roots)
        seed = backend._get_seed_info_id()
        sources = [SEED if id == seed else places.get(id, CONSTANT) for id in ids]
        constants = [value if source == CONSTANT else None for source, value in zip(sources, values)]
        if len(places) < len(inputs) or any(
                constant is not None and constant.numel() > MOST_NUMBERS for constant in constants):
            return None
        numbers = [constant.cpu().flatten().tolist() for constant in constants if constant is not None]
        changed = {id(root) for root in roots}
        for source, value in zip(sources, values):
            if source >= 0 and id(inputs[source]) in changed:
                backend._set_buffer_donation(value, True)
        key = self.compile(roots)
        backend._clear_pending_irs(self.device)
        for root, value in zip(roots, backend._run_cached_graph(key, values)):
            root.data = value
        return Graph(backend, self.device, key, sources, constants, results, numbers)

    def compile(self, roots: Sequence[Tensor]) -> bytes:
        """Compiles the roots' graph, unless it is in the cache; gives its key there."""
        backend = self.backend
        with self.lock:
            before = backend._xla_get_enable_alias_with_buffer_donor_config()
            backend._xla_set_enable_alias_with_buffer_donor_config(True)
            try:
                key = backend._get_graph_hash(roots)
                backend._xla_warm_up_cache(roots, [])
            finally:
                backend._xla_set_enable_alias_with_buffer_donor_config(before)
        return key
