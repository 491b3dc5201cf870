"""Predictions as tables, with where every number is from."""
from typing import Sequence

from ..analysis.findings import Findings, Row, Table
from .chips import CHIPS
from .scaling import Prediction, Speeds
from .slices import PRICES, Slice

NOTES = [
    'Predicted, nothing of it measured on a TPU: est. is the TPU compiler\'s estimate of the step; all-reduce is '
    '2 (n - 1) / n bytes / link, one ring over one link of the chip in one direction, and overlaps nothing: an upper '
    'bound (best: all links). Bytes are read from the compiled program.',
    'step = max(est. + all-reduce, host, input); host and input go on beside the device. efficiency is against as many '
    'devices that each work alone with the recipe\'s micro-batch. epoch is training and one checkpoint: no evaluation, '
    'compile or restart.',
    "Links and hosts of v5e and links of v6e are from the vendor's pages (second table); the others, and all prices on "
    f'demand, are from memory, of 2025: look there before money depends on them, {PRICES}',
]


def findings(model: str, predictions: Sequence[Prediction], speeds: Speeds) -> Findings:
    notes = [*NOTES, f'Host: {1e3 * speeds.host_seconds:g} ms of a process for a micro-batch; input: '
                     f'{speeds.input_rate:g} images/s of a core; checkpoints: {speeds.store_rate / 1e6:g} MB/s.']
    slices = list({one.slice.name: one.slice for one in predictions}.values())
    return Findings('scaling', f'{model} from {min(one.devices for one in slices)} to '
                    f'{max(one.devices for one in slices)} devices, on paper', [
        Table('scaling', 'Predicted step, efficiency, epoch and cost', [row(one) for one in predictions]),
        Table('scaling-vendor', "Figures of the slices, published or from memory", [vendor_row(one) for one in slices]),
    ], notes=notes)


def row(one: Prediction) -> Row:
    return {
        'slice': one.slice.name,
        'devices': one.slice.devices,
        'micro-batch': one.plan.micro_batch,
        'accumulation': one.plan.accumulation,
        'global batch': one.plan.global_batch,
        'est. ms': round(1e3 * one.device, 2),
        'all-reduce MB': round(one.all_reduce_bytes / 1e6, 1),
        'all-reduce ms (best)': f'{1e3 * one.all_reduce:.2f} ({1e3 * one.all_reduce_best:.2f})',
        'host ms': round(1e3 * one.host, 1),
        'input ms': round(1e3 * one.input, 1),
        'input cores (has)': f'{one.needed_cores:.0f} ({one.input_cores:.0f})',
        'step ms': round(1e3 * one.step, 2),
        'images/s': round(one.images_per_second),
        'efficiency %': round(100 * one.efficiency, 1),
        'epoch min': round(one.epoch / 60, 2),
        'checkpoint MB': round(one.checkpoint_bytes / 1e6),
        f'{one.recipe.epochs} epochs h': round(one.recipe.epochs * one.epoch / 3600, 1),
        'cost $': round(one.cost),
        'breaks first': one.breaks_first(),
    }


def vendor_row(one: Slice) -> Row:
    fabric = one.fabric
    return {
        'slice': one.name,
        'chips': one.chips,
        'devices of a chip': CHIPS[one.chip].devices,
        'link GB/s, one way': round(fabric.link / 1e9, 1),
        'links of a chip': fabric.links,
        'links from': fabric.link_source,
        'vCPUs of a host': fabric.host_vcpus,
        'chips of a host': fabric.host_chips,
        'hosts from': fabric.host_source,
        '$ of a chip and hour': fabric.price,
        'prices from': PRICES,
    }
