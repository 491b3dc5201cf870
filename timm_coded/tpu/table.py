"""Estimates as tables."""
from typing import Any, Sequence

from ..analysis.findings import Findings, Row, Table
from ..speed.forms import split_name
from .chips import CHIPS, Chip
from .estimate import Estimate
from .schedule import Instruction

MIB = 2 ** 20
Largest = tuple[str, Chip, Estimate | None, int | None]  # model, chip, and what `largest_batch` gives
NOTES = [
    "Estimated by the TPU's compiler (libtpu), not measured: time is the sum of the cycles that it expects of the "
    'instructions, one after the other. It leaves out the reductions over replicas, the host, the input, and the '
    'instructions for which the compiler gives no estimate (last column but one).',
    'FLOPs, bytes and peak memory are exact statements about the compiled program, of one device: a chip, on v2 and v3 '
    'one of its two cores.',
    'Against measurements: of ResNet-50 in float32, batch 128, 224 pixels, v4 is estimated at 1826 images/s, and '
    '1775 to 1778 are reported (pytorch/xla pull request 6053); v3 at about 704, and about 552 are reported (4474).',
]


def findings(estimates: list[Estimate], largest: Sequence[Largest] = (), costliest: int = 10) -> Findings:
    """The estimates, compared with the first model's on the same chip with the same batch, and what costs most.

    Args:
        largest: what `largest_batch` found.
        costliest: how many instructions of each estimate.
    """
    names = [estimate.step.model for estimate in estimates]
    notes = list(NOTES)
    if any(name.startswith('coded_') and not split_name(name)[1] for name in names):
        notes.append("train_xla.py packs grouped convolutions on a TPU: what it runs is NAME:packed.")
    rows = [row(estimate, reference(estimate, estimates)) for estimate in estimates]
    tops = [instruction_row(estimate, one) for estimate in estimates for one in estimate.instructions[:costliest]]
    tables = [
        Table('estimate', "Estimated by the TPU's compiler, one device", rows),
        Table('estimate-costliest', f'The {costliest} instructions that cost most, estimated', tops),
    ]
    refused = [{'model': one.step.model, 'chip': one.chip, 'batch size': one.step.batch_size,
                "the compiler's words": short(one.refusal)} for one in estimates if not one.fits]
    if refused:
        tables.append(Table('estimate-out-of-memory', 'What does not fit', refused))
    if largest:
        tables.append(Table('estimate-largest-batch', 'The largest batch of a device that fits, of multiples of 8',
                            [largest_row(*one) for one in largest]))
    return Findings('estimate', "What a TPU would make of a step, by its compiler's estimates", tables, notes=notes)


def all_instructions(estimates: list[Estimate], share: float = 0.001) -> Findings:
    """Every instruction with at least this share of its step's estimated time."""
    rows = [instruction_row(estimate, one) for estimate in estimates for one in estimate.instructions
            if one.total >= share * sum(other.total for other in estimate.instructions)]
    title = f'Instructions above {100 * share:g} % of the estimated time'
    return Findings('estimate-instructions', title, [Table('estimate-instructions', title, rows)])


def reference(estimate: Estimate, estimates: list[Estimate]) -> Estimate | None:
    """The first model's estimate in the same circumstances."""
    def circumstances(one: Estimate) -> tuple[Any, ...]:
        return one.chip, one.step.batch_size, one.step.image_size, one.step.precision, one.step.inference
    return next((one for one in estimates
                 if one.step.model == estimates[0].step.model and circumstances(one) == circumstances(estimate)), None)


def row(estimate: Estimate, first: Estimate | None) -> Row:
    step, fits = estimate.step, estimate.fits
    ratio = estimate.seconds / first.seconds if fits and first and first.seconds else None
    memory = CHIPS[estimate.chip].hbm / MIB
    left_out = ', '.join(f'{count} {opcode}' for opcode, count in list(estimate.uncounted.items())[:4])
    loops = f', turns of {estimate.open_loops} loops' if estimate.open_loops else ''
    return {
        'model': step.model,
        'step': 'inference' if step.inference else 'training',
        'chip': estimate.chip,
        'replicas': step.replicas,
        'batch size': step.batch_size,
        'pixels': step.image_size,
        'precision': step.precision,
        'est. ms': round(1e3 * estimate.seconds, 3) if fits else None,
        'est. images/s': round(estimate.images_per_second, 1) if fits else None,
        'est. time / first': round(ratio, 4) if ratio else None,
        'GFLOPs': round(estimate.flops / 1e9, 1) if fits else None,
        'GB accessed': round(estimate.bytes_accessed / 1e9, 2) if fits else None,
        'peak HBM MiB': round(estimate.peak / MIB) if fits else None,
        'of MiB': round(memory),
        'fits': 'yes' if fits else 'no',
        'all-reduce MB': round(estimate.all_reduce_bytes / 1e6, 2),
        'parameters': estimate.parameters,
        'no estimate for': left_out + loops,
        'compile s': round(estimate.compile_seconds, 1),
    }


def instruction_row(estimate: Estimate, one: Instruction) -> Row:
    return {
        'model': estimate.step.model,
        'chip': estimate.chip,
        'batch size': estimate.step.batch_size,
        'layer': one.layer or '(none)',
        'pass': 'backward' if one.backward else 'forward' if one.layer not in ('', 'optimizer') else '',
        'instruction': one.name,
        'kind': one.opcode,
        'operation': one.operation.removeprefix('aten__').removesuffix('_overrideable'),
        'est. ms': round(1e3 * one.total / CHIPS[estimate.chip].clock, 4),
        '% of step': round(100 * one.total / CHIPS[estimate.chip].clock / estimate.seconds, 2),
        'result': one.shape if len(one.shape) < 60 else one.shape[:57] + '...',
    }


def largest_row(model: str, chip: Chip, best: Estimate | None, refused: int | None) -> Row:
    return {
        'model': model,
        'chip': chip.name,
        'largest batch': best.step.batch_size if best else 0,
        'peak HBM MiB': round(best.peak / MIB) if best else None,
        'of MiB': round(chip.hbm / MIB),
        'est. images/s': round(best.images_per_second, 1) if best else None,
        'does not fit': refused if refused else 'more was not tried',
    }


def short(refusal: str) -> str:
    """The sentence of the compiler's report that says how much is missing."""
    return next((line.strip() for line in refusal.splitlines() if 'Ran out of memory' in line), refusal[:300])[:300]
