"""The step whose speed is measured or estimated: that of the training loop, on random images."""
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from timm_coded.loss import CodingLoss

from ..train.build import start_momentum
from ..train.engine import Training, backward, update
from ..train.finite import FiniteWatch
from ..train.replicas import Replica
from ..train.sums import Sums

PRECISIONS = {'bf16': torch.bfloat16, 'float32': None}  # mixed precision by autocast, or none


class TrainingStep:
    """A step of `train_epoch` on one batch that is on the device: forward, losses, backward, update.

    The recipe's optimizer (SGD with Nesterov momentum, no weight decay of BatchNorm and biases) and loss (label
    smoothing 0.1), without augmentation: images [B, 3, H, W] are normalised float32.

    Args:
        model: is moved to the replica's device and trained there.
        replica: that trains.
        amp_dtype: of mixed precision, None for float32.
    """

    def __init__(self, model: nn.Module, replica: Replica, amp_dtype: torch.dtype | None):
        replica.place(model)
        model.train()
        criterion = CodingLoss(nn.CrossEntropyLoss(label_smoothing=0.1), model)
        optimizer = create_optimizer_v2(model, 'sgd', lr=0.1, weight_decay=1e-4, momentum=0.9)
        assert isinstance(optimizer, torch.optim.SGD)
        start_momentum(optimizer)
        self.training = Training(model, criterion, optimizer, nn.Identity(), replica, amp_dtype=amp_dtype)
        self.sums = Sums(self.training.metrics(), replica)
        self.finite = FiniteWatch(self.training.terms(), replica.device)
        replica.end_step()

    def __call__(self, images: Tensor, target: Tensor) -> None:
        """Leaves the step to the device; on XLA until `replica.end_step()`."""
        backward(self.training, [images, target], self.sums, self.finite)
        update(self.training, 1)


def random_batch(batch_size: int, image_size: int, num_classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] of standard normal pixels and classes [B] int64, the same at each call, on the device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, image_size, image_size, generator=generator)
    return images.to(device), torch.randint(num_classes, (batch_size,), generator=generator).to(device)
