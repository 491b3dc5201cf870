"""The step that is measured is the loop's: it learns, and moves the model as PyTorch's own step does."""
import copy

import timm
import torch

from timm_coded.loss import CodingLoss
from timm_coded.speed.step import TrainingStep, random_batch
from timm_coded.train.replicas import create


def test_step_moves_the_model_as_a_plain_pytorch_step_does():
    torch.manual_seed(0)
    model = timm.create_model('coded_resnext11_10x11d', drop_subnn=0.)
    plain = copy.deepcopy(model).train()
    replica = create('cpu')
    images, target = random_batch(4, 12, 10, replica.device)
    step = TrainingStep(model, replica, None)

    decayed = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in plain.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.SGD([{'params': decayed}, {'params': others, 'weight_decay': 0.}],
                                lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    criterion = CodingLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1), plain)
    for _ in range(2):
        step(images, target)
        optimizer.zero_grad()
        criterion(plain.forward_energies(images), target).backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
