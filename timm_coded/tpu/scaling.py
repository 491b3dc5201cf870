"""From one device to hundreds, on paper: step, efficiency, epoch and cost, and what gives way first.

A step of n devices takes as long as the slowest of three that work side by side:

    device    accumulation * estimated step + 2 (n - 1) / n * bytes / link          the all-reduce as one ring over one
                                                                                    link, one way, nothing overlapped
    host      accumulation * host time * devices of a process
    input     images of a host / (cores * images/s of a core)

The estimated step is the TPU compiler's; bytes are those of the all-reduce in the compiled program; links, hosts and
prices are the vendor's (slices.py); host time and images/s of a core are measured by others of our commands.
"""
from dataclasses import dataclass

from ..train.errors import UserError
from .chips import CHIPS
from .estimate import Estimate
from .slices import Slice

TRAIN_IMAGES = 1_281_167  # ImageNet-1k
MOMENTUM = 2  # a checkpoint has each parameter and its momentum


@dataclass(frozen=True)
class Recipe:
    """What is to be trained.

    Attributes:
        micro_batch: images of a device that BatchNorm sees together.
        global_batch: images of a step of all devices.
        epochs: of `TRAIN_IMAGES` each.
    """
    micro_batch: int = 192
    global_batch: int = 1536
    epochs: int = 250


@dataclass(frozen=True)
class Speeds:
    """What is measured elsewhere, or assumed.

    Attributes:
        input_rate: training images a second that a core can prepare, by `timm-coded input`.
        host_seconds: of a process for one micro-batch, by `timm-coded host`.
        store_rate: bytes a second of the storage that checkpoints go to.
    """
    input_rate: float
    host_seconds: float
    store_rate: float


@dataclass(frozen=True)
class Plan:
    """How a recipe's step is spread over a slice. `kept` says whether the micro-batch and global batch are its own."""
    micro_batch: int
    accumulation: int
    global_batch: int
    kept: bool


def plans(recipe: Recipe, devices: int) -> list[Plan]:
    """Ways to spread a recipe over so many devices: with its global batch, and if that cuts its micro-batch, with its
    micro-batch.

    Raises:
        UserError: the global batch cannot be spread evenly.
    """
    if recipe.global_batch > TRAIN_IMAGES:
        raise UserError(f'--global-batch-size {recipe.global_batch} is more than the {TRAIN_IMAGES} images of an epoch')
    share, rest = divmod(recipe.global_batch, devices)
    if rest or not share:
        raise UserError(f'--global-batch-size {recipe.global_batch} cannot be spread evenly over {devices} devices')
    if share < recipe.micro_batch:
        return [Plan(share, 1, recipe.global_batch, False),
                Plan(recipe.micro_batch, 1, recipe.micro_batch * devices, False)]
    if share % recipe.micro_batch:
        raise UserError(f'{share} images of each of {devices} devices are no multiple of --batch-size '
                        f'{recipe.micro_batch}')
    return [Plan(recipe.micro_batch, share // recipe.micro_batch, recipe.global_batch, True)]


@dataclass(frozen=True)
class Prediction:
    """A plan's step on a slice; all times in seconds.

    Attributes:
        device: the estimated work of a device on a step, without the all-reduce.
        all_reduce: an upper bound: one ring over one link.
        all_reduce_best: were all links of a chip in use.
        alone: the estimated time of one device, alone, for the images of a device.
    """
    slice: Slice
    plan: Plan
    recipe: Recipe
    device: float
    all_reduce_bytes: int
    all_reduce: float
    all_reduce_best: float
    host: float
    input: float
    alone: float
    checkpoint_bytes: int
    checkpoint: float
    input_cores: float
    needed_cores: float

    @property
    def step(self) -> float:
        return max(self.device + self.all_reduce, self.host, self.input)

    @property
    def images_per_second(self) -> float:
        return self.plan.global_batch / self.step

    @property
    def efficiency(self) -> float:
        """Of devices that each work as one alone does with the recipe's micro-batch."""
        return self.alone / self.step

    @property
    def epoch(self) -> float:
        """Training of one epoch and its checkpoint; without evaluation, compiles and restarts."""
        return TRAIN_IMAGES // self.plan.global_batch * self.step + self.checkpoint

    @property
    def cost(self) -> float:
        """Dollars, of all epochs."""
        return self.recipe.epochs * self.epoch / 3600 * self.slice.chips * self.slice.fabric.price

    def breaks_first(self) -> str:
        """What gives way first, or is the nearest to it."""
        busy = self.device + self.all_reduce
        if self.input > max(busy, self.host):
            return f'input: needs {self.needed_cores:.0f} cores a host, has {self.input_cores:.0f}'
        if self.host > busy:
            return f'host: {1e3 * self.host:.0f} ms for the {1e3 * busy:.0f} ms of the device'
        if self.plan.micro_batch < self.recipe.micro_batch:
            return f'recipe: BatchNorm over {self.plan.micro_batch} images, not {self.recipe.micro_batch}'
        if self.plan.global_batch > self.recipe.global_batch:
            return f'recipe: a global batch of {self.plan.global_batch}, not {self.recipe.global_batch}'
        if self.all_reduce > 0.1 * busy:
            return f'all-reduce: {self.all_reduce / busy:.0%} of the step'
        nearest, share = max((('input', self.input), ('host', self.host)), key=lambda item: item[1])
        return f'nothing; nearest is {nearest}, at {share / busy:.0%} of the step'


def predict(
        where: Slice,
        plan: Plan,
        recipe: Recipe,
        speeds: Speeds,
        replicated: Estimate,
        alone: Estimate,
) -> Prediction:
    """Predicts a plan's step.

    Args:
        replicated: the estimate of a step with the plan's micro-batch and the all-reduce of all devices.
        alone: the estimate of the recipe's micro-batch on one device.

    Raises:
        UserError: one of the two does not fit into the memory.
    """
    for one in (replicated, alone):
        if not one.fits:
            raise UserError(f'{one.step.model}: {one.step.batch_size} images do not fit into a device of {one.chip}; '
                            'give a smaller --batch-size')
    fabric = where.fabric
    chips = min(where.chips, fabric.host_chips)  # of one host
    devices = CHIPS[where.chip].devices  # of a process: the two cores of a v2 or v3 chip are its threads
    images = plan.micro_batch * plan.accumulation
    crossed = 2 * (where.devices - 1) / where.devices * replicated.all_reduce_bytes
    vcpus = fabric.host_vcpus * chips / fabric.host_chips
    cores = max(vcpus / 2 - chips, 1)  # a core for each process that trains
    device = plan.accumulation * replicated.seconds
    host_images = images * devices * chips
    checkpoint = MOMENTUM * 4 * replicated.parameters
    return Prediction(
        where, plan, recipe,
        device=device,
        all_reduce_bytes=replicated.all_reduce_bytes,
        all_reduce=crossed / fabric.link,
        all_reduce_best=crossed / (fabric.link * fabric.links),
        host=plan.accumulation * speeds.host_seconds * devices,
        input=host_images / (cores * speeds.input_rate),
        alone=alone.seconds * images / alone.step.batch_size,
        checkpoint_bytes=checkpoint,
        checkpoint=checkpoint / speeds.store_rate,
        input_cores=cores,
        needed_cores=host_images / (device + crossed / fabric.link) / speeds.input_rate)
