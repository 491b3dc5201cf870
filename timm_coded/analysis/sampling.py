"""What analyses that run the model under masks ask of their samples and numbers, and the spread of their draws."""
import numpy as np
from torch import Tensor


def check_target_range(targets: np.ndarray | Tensor, num_classes: int) -> None:
    """Raises ValueError: a target is none of the model's classes."""
    if len(targets) and targets.max() >= num_classes:
        raise ValueError(f'a target is {int(targets.max())}, the model has {num_classes} classes: give the data set '
                         'that it was trained for')


def check_count(name: str, value: int) -> None:
    """Raises ValueError: it is no number of things."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f'{name} is {value!r}, expected a whole number from 1 on')


def spread(values: np.ndarray) -> float | None:
    """Standard deviation of a sample, without the noise of rounding where all are equal; None of one value."""
    return (values - values[0]).std(ddof=1) if len(values) > 1 else None
