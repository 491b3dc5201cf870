"""The graph of a step, as torch_xla hands it to its compiler; traced on XLA:CPU, neither compiled nor run."""
import os
from dataclasses import dataclass

import torch

from ..speed.forms import create_form
from ..speed.step import PRECISIONS, TrainingStep, random_batch
from ..train.build import describe_error
from ..train.errors import UserError
from ..train.replicas import XlaReplica
from .layers import LayerNames


@dataclass(frozen=True)
class Step:
    """What is to be estimated.

    Attributes:
        model: name of a form of a model, as `create_form` takes it.
        batch_size: images of a replica.
        image_size: pixels, of both sides.
        precision: 'bf16', which is mixed precision as in training, or 'float32'.
        inference: a forward pass in evaluation mode in the place of a training step.
        replicas: with more than one a training step averages its gradients over them.
        num_classes: K.
    """
    model: str
    batch_size: int
    image_size: int
    precision: str = 'bf16'
    inference: bool = False
    replicas: int = 1
    num_classes: int = 1000


@dataclass(frozen=True)
class Graph:
    """HLO as text; `donated` are the parameters that the results may overwrite. `parameters` are the model's."""
    hlo: str
    donated: tuple[int, ...]
    parameters: int


def trace(step: Step) -> Graph:
    """Traces a step in this process, which must not have opened another device of torch_xla's.

    Raises:
        UserError: there is no such model or form, or it does not work on such a batch.
    """
    os.environ.update(PJRT_DEVICE='CPU', XLA_HLO_DEBUG='1')
    torch.manual_seed(0)
    model = create_form(step.model, step.num_classes)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    replica = XlaReplica()
    if step.replicas > 1:
        replica.join(step.replicas)
    record = trace_inference if step.inference else trace_training
    try:
        hlo, donated = record(step, model, replica)
    except Exception as error:  # whatever a model stumbles over at this size
        raise UserError(f'cannot trace a step of {step.model} on {step.batch_size} images of {step.image_size} pixels: '
                        f'{describe_error(error)}') from error
    return Graph(hlo, tuple(donated), parameters)


def trace_training(step: Step, model: torch.nn.Module, replica: XlaReplica) -> tuple[str, list[int]]:
    train = TrainingStep(model, replica, PRECISIONS[step.precision])
    images, target = random_batch(step.batch_size, step.image_size, step.num_classes, replica.device)
    training = train.training
    names = LayerNames(replica)
    with names(('', model), ('loss', training.criterion), optimizer=training.optimizer):
        train(images, target)
    momentum = [tensor for state in training.optimizer.state.values() for tensor in state.values()
                if isinstance(tensor, torch.Tensor)]
    results = [*model.parameters(), *model.buffers(), *momentum, train.sums.vector, train.finite.vector,
               *training.criterion.parts.values()]
    return replica.pending_graph(results)


@torch.no_grad()
def trace_inference(step: Step, model: torch.nn.Module, replica: XlaReplica) -> tuple[str, list[int]]:
    replica.place(model)
    model.eval()
    images, _ = random_batch(step.batch_size, step.image_size, step.num_classes, replica.device)
    with LayerNames(replica)(('', model)), replica.autocast(PRECISIONS[step.precision]):
        logits = model(images)
    return replica.pending_graph([logits])
