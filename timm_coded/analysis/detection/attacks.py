"""Adversarial images for a trained model, made by captum: FGSM (arXiv:1412.6572) and PGD (arXiv:1706.06083)."""
import warnings
from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -1  # the target of a filler


@dataclass(frozen=True)
class Attack:
    """What is done to the images, in units of pixels from 0 to 1, in the maximum norm.

    Attributes:
        name: 'fgsm', one step of epsilon, or 'pgd', steps from a random start (seeded).
        epsilon: no pixel changes by more.
        steps: of PGD.
        step_size: of PGD; None for 2.5 epsilon / steps, which reaches all of the ball.
    """
    name: str
    epsilon: float
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.name not in ('fgsm', 'pgd'):
            raise ValueError(f"there is no attack {self.name!r}: expected 'fgsm' or 'pgd'")
        if not 0 < self.epsilon <= 1:
            raise ValueError(f'epsilon is {self.epsilon}: pixels go from 0 to 1, expected more than 0 and at most 1')
        if self.steps < 1 or (self.step_size is not None and not 0 < self.step_size <= 1):
            raise ValueError(f'{self.steps} steps of {self.step_size}: expected at least one step, of more than 0 and '
                             'at most 1')

    def __str__(self) -> str:
        steps = f', {self.steps} steps of {self.step:.4g}' if self.name == 'pgd' else ''
        return f'{self.name.upper()}, epsilon {self.epsilon:.4g}{steps}'

    @property
    def step(self) -> float:
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size


class Attacked:
    """Batches whose images are those of `batches` after an attack on the cross-entropy of the model's logits.

    Targets stay, and mark fillers (-1) as before. The attack knows the model, but not what would detect it.

    Args:
        model: in evaluation mode.
        batches: normalised images [B, 3, H, W] on the model's device, targets [B] on the CPU: the classes to get away
            from.
        mean, std: of each channel, or one for all: what the images were normalised by.
    """

    def __init__(
            self,
            model: nn.Module,
            batches: Iterable[tuple[Tensor, Tensor]],
            attack: Attack,
            mean: Sequence[float],
            std: Sequence[float],
    ):
        self.model, self.batches, self.attack = model, batches, attack
        self.mean, self.std = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index, (images, target) in enumerate(self.batches):
            yield self.perturb(images, target, index), target

    def perturb(self, images: Tensor, target: Tensor, seed: int = 0) -> Tensor:
        """Attacked images, normalised as they came."""
        from captum.robust import FGSM, PGD
        mean, std = self.mean.to(images), self.std.to(images)
        target = target.to(images.device)

        def forward(pixels: Tensor) -> Tensor:
            return self.model((pixels - mean) / std)

        pixels = (images * std + mean).clamp(0, 1).requires_grad_()
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.filterwarnings('ignore', message='.*did not already require gradients')  # PGD's, of its own steps
            torch.manual_seed(seed)
            if self.attack.name == 'fgsm':
                fgsm = FGSM(forward, attack_loss, 0., 1.)
                fgsm.zero_thresh = 0.  # captum's 1e-6 would spare the images that the model is surest of
                moved = fgsm.perturb(pixels, self.attack.epsilon, target)
            else:
                pgd = PGD(forward, attack_loss, 0., 1.)
                pgd.fgsm.zero_thresh = 0.
                moved = pgd.perturb(
                    pixels, self.attack.epsilon, self.attack.step, self.attack.steps, target, random_start=True)
        return (moved.detach() - mean) / std


def attack_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each image [B], as captum takes it."""
    return F.cross_entropy(logits, target, ignore_index=IGNORED, reduction='none')
