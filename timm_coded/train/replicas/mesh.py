"""The replicas that one trains with on TPUs."""
from types import ModuleType

import torch
from torch import Tensor, nn


class XlaMesh:
    """The cores of a TPU or of a slice of a pod, by XLA's own collectives.

    Each replica's program must be the same, or some wait for ever for the others. What is not the gradients' is reduced
    in graphs of its own, as float32: a TPU's compiler finds no maximum of 64-bit integers.
    """
    in_graph = True

    def __init__(self, xla: ModuleType, xm: ModuleType, runtime: ModuleType, device: torch.device):
        self.xla, self.xm, self.device = xla, xm, device
        self.rank, self.world = runtime.global_ordinal(), runtime.world_size()

    def average(self, tensors: list[Tensor]) -> None:
        if tensors:
            self.xm.all_reduce(self.xm.REDUCE_SUM, tensors, scale=1 / self.world)

    def gather(self, tensor: Tensor) -> Tensor:
        rows = self.xm.all_gather(tensor.detach().float()[None].to(self.device))
        self.xla.sync()  # else the next reduction would hang on to this one, and the next step would be compiled anew
        return rows.cpu().to(tensor.dtype)

    def vote(self, code: int) -> int | Tensor:
        own = torch.tensor([float(code)]).to(self.device)  # without [] it would be a constant of the graph
        highest = self.xm.all_reduce(self.xm.REDUCE_MAX, own)
        self.xla.sync()  # a graph of its own: in the next step's it would make that a second one
        return highest

    def share(self, model: nn.Module) -> None:
        self.xm.broadcast_master_param(model)
