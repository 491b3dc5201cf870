"""The coding loss as a training task of timm, for loops that are built on `timm.task`, timm's train.py among them."""
from typing import Any, Callable

import torch
import torch.nn as nn
from timm.loss import JsdCrossEntropy
from timm.task import ClassificationTask
from timm.utils import unwrap_model
from torch import Tensor

from .loss import CodingLoss
from .models import WithEnergies


class CodedClassificationTask(ClassificationTask):
    """timm's classification task with the coding loss, Eq. (6) of the paper.

    To the loop it is timm's ClassificationTask: the model that is evaluated, averaged and saved is the plain one, with
    its own parameter names. Only what is trained, and so compiled and distributed, puts out energies too. A model
    without coded blocks is trained as by ClassificationTask.
    """

    criterion: CodingLoss
    trainable_module: Any  # modules, for which torch.compile has no type
    eval_model: Any

    def __init__(
            self,
            model: nn.Module,
            criterion: nn.Module | Callable[[Tensor, Tensor], Tensor] | None = None,
            criterion_kwargs: dict[str, Any] | None = None,
            mu: float = 2.0,
            exponent: float = 4.0,
            threshold: float = 0.0,
            device: torch.device | None = None,
            dtype: torch.dtype | None = None,
            verbose: bool = True,
    ) -> None:
        """
        Args:
            model: The model to train.
            criterion: The classification loss, a mean over samples, of logits [B, K] and classes [B] or soft targets
                [B, K] that sum to 1. Made of `criterion_kwargs` when None.
            criterion_kwargs: Arguments of timm's `create_classification_loss`.
            mu: Weight of the coding loss: 2 for ImageNet, 6 for CIFAR (Table 2).
            exponent: P of `CodingLoss`.
            threshold: T of `CodingLoss`.
            device: Device of the criterion's tensors.
            dtype: Type of the task's tensors.
            verbose: Log the criterion's name.

        Raises:
            ValueError: The criterion is a CodingLoss already, or timm's JsdCrossEntropy; both it and `criterion_kwargs`
                are given; the model is scripted; or a number is out of the range of `CodingLoss`.
        """
        if isinstance(model, torch.jit.ScriptModule):
            raise ValueError('the model is scripted, and a scripted model gives no energies: leave out --torchscript')
        if isinstance(criterion, CodingLoss):
            raise ValueError('criterion is a CodingLoss: give the classification loss in it, and mu to the task')
        super().__init__(WithEnergies(model), criterion, criterion_kwargs, device, dtype, verbose)
        if isinstance(self.criterion, JsdCrossEntropy):
            raise ValueError('the criterion is a JsdCrossEntropy, which is of several splits of a batch, not a mean '
                             'over samples: take another than --loss jsd')
        self.criterion = CodingLoss(self.criterion, model, mu, exponent, threshold)

    def compile(
            self,
            backend: str = 'inductor',
            mode: str | None = None,
            **compile_kwargs: Any,
    ) -> nn.Module:
        """timm's, for before `prepare_distributed`: compiles what is trained, and apart from it what is evaluated."""
        self.eval_model = torch.compile(self.get_eval_model(), backend=backend, mode=mode, **compile_kwargs)
        self.trainable_module = torch.compile(self.trainable_module, backend=backend, mode=mode, **compile_kwargs)
        return self.eval_model

    def get_eval_model(self, module: nn.Module | None = None, ema: bool = False) -> nn.Module | None:
        """timm's: the plain model, or what `compile` made of it; with `ema` its moving average, if there is one."""
        compiled = getattr(self, 'eval_model_ema' if ema else 'eval_model', None)
        if module is None and compiled is not None:
            return compiled
        module = super().get_eval_model(module, ema)
        return None if module is None else unwrap_model(module)

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            input: [B, C, H, W].
            target: Classes [B] of any integer type, of which -1 is ignored, or soft targets [B, K].

        Returns:
            'loss' to be minimised, Eq. (6); 'output', the logits [B, K]; and, to be logged, 'task_loss', the class
            loss, and 'coding_loss', the sum of Eq. (5) over the coded blocks before mu.
        """
        logits, energies = self.trainable_module(input)
        loss = self.criterion((logits, energies), target)
        parts = dict(self.criterion.parts)
        task_loss = parts.pop('class')
        coding_loss = sum(parts.values(), start=torch.zeros_like(task_loss))
        return {'loss': loss, 'output': logits, 'task_loss': task_loss, 'coding_loss': coding_loss}
