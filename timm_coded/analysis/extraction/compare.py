"""What extraction saves and what it costs, Section 4.3 of the paper: sizes, measured time, accuracy."""
from typing import Iterable, Sequence

from torch import Tensor

from timm_coded.models import CodedResNet

from ..findings import Findings
from .latency import latency_table
from .restricted import restricted_accuracy
from .sizes import size_table


def evaluate_extraction(
        model: CodedResNet,
        network: CodedResNet,
        classes: Sequence[int],
        image_size: int,
        class_names: Sequence[str] = (),
        latency_repeats: int = 0,
        batches: Iterable[tuple[Tensor, Tensor]] | None = None,
) -> Findings:
    """Compares a network with the full model that it was extracted from.

    Args:
        model: The full model, in evaluation mode.
        network: `extract_classes(model, classes)`, on the same device.
        classes: k class indices.
        image_size: Height and width of the images, in pixels.
        class_names: Names of the k classes, or none.
        latency_repeats: How often the time of a forward pass is measured; 0 for never.
        batches: Images and classes, as in `restricted_accuracy`, to compare accuracies on; or none.

    Raises:
        ValueError: as `latency_table` and `restricted_accuracy`.
    """
    tables = [size_table(model, network, image_size)]
    if batches is not None:
        tables.append(restricted_accuracy(model, network, classes, batches))
    if latency_repeats:
        tables.append(latency_table(model, network, image_size, latency_repeats))
    kept = ', '.join(f'{len(kept)} of {model.num_subnns} in blocks with {num_active} active'
                     for num_active, kept in network.kept_subnns.items())
    named = ', '.join(map(str, class_names or classes)) if len(classes) <= 10 else f'{len(classes)} classes'
    notes = [f'classes: {named}; subNNs kept: {kept}',
             "The paper's way of counting scales the convolutions of the shortcuts too: an estimate, no such network "
             'computes the same.']
    return Findings('extract', 'An extracted network beside the full one (Section 4.3)', tables, notes=notes)
