"""Names in a graph: which layer an operation belongs to, in the forward and in the backward pass."""
import contextlib
from typing import Any, Iterator

import torch
from torch import Tensor, nn

from ..train.replicas import XlaReplica

BACKWARD = '_backward'


class LayerNames:
    """Names the operations of modules in the graph that a replica traces; the operations stay what they are.

    An operation has the name of the innermost module that was called. The gradients' operations have it too, followed
    by `BACKWARD`: autograd's nodes are told apart by which module was at work when they came to be, and each enters its
    name while it runs, in whatever thread. Only forward hooks are put on, and hooks of autograd's nodes: full backward
    hooks of modules would not stand activations in place.
    """

    def __init__(self, replica: XlaReplica):
        self.replica = replica
        self.open: list[tuple[str, contextlib.ExitStack]] = []
        self.seen: dict[Any, contextlib.ExitStack] = {}  # autograd's nodes; kept, else Python forgets who they were
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    @contextlib.contextmanager
    def __call__(self, *roots: tuple[str, nn.Module], optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
        """While entered, names all modules below each root (name, module), and the optimizer's step."""
        for root, module in roots:
            for name, child in module.named_modules(prefix=root):
                self.name_module(name, child)
        if optimizer is not None:
            stack = contextlib.ExitStack()
            self.handles += [
                optimizer.register_step_pre_hook(
                    lambda *_: stack.enter_context(self.replica.named('optimizer')) and None),
                optimizer.register_step_post_hook(lambda *_: stack.close()),
            ]
        try:
            yield
        finally:
            for handle in self.handles:
                handle.remove()
            self.handles.clear()
            self.seen.clear()

    def name_module(self, name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.claim([args, kwargs])  # what the caller did since its last call of a module is the caller's
            stack = contextlib.ExitStack()
            stack.enter_context(self.replica.named(name))
            self.open.append((name, stack))

        def leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self.claim([output, args, kwargs])
            self.open.pop()[1].close()

        self.handles += [
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave, with_kwargs=True),
        ]

    def claim(self, values: Any) -> None:
        """Gives the autograd nodes behind the tensors that nobody has claimed the name of the module at work."""
        if not self.open:
            return
        name = self.open[-1][0] + BACKWARD
        waiting = [tensor.grad_fn for tensor in tensors_in(values)]
        while waiting:
            node = waiting.pop()
            if node is None or node in self.seen:
                continue
            self.seen[node] = stack = contextlib.ExitStack()
            self.name_node(node, name, stack)
            waiting += [following for following, _ in node.next_functions]

    def name_node(self, node: Any, name: str, stack: contextlib.ExitStack) -> None:
        def enter(gradients: Any) -> None:
            stack.enter_context(self.replica.named(name))

        def leave(inputs: Any, outputs: Any) -> None:
            stack.close()

        node.register_prehook(enter)
        node.register_hook(leave)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, (list, tuple)) else []
