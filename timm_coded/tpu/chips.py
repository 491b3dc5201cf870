"""The TPUs that the compiler knows: how it wants them named, and what the vendor says of them."""
from dataclasses import dataclass
from typing import Any

from ..train.errors import UserError

GIB = 2 ** 30
PAPERS = 'https://doi.org/10.1109/MM.2021.3058217'  # Norrie et al. 2021, on v2 and v3
DOCS = 'https://cloud.google.com/tpu/docs/'


@dataclass(frozen=True)
class Chip:
    """A kind of TPU.

    Attributes:
        name: as users know it.
        clock: of the cores, cycles a second.
        hbm: memory of a device, bytes.
        devices: what torch_xla counts as devices on a chip; on v2 and v3 each of its two cores is one.
        slices: layouts of chips by their number of devices, smallest first.
        source: where clock and memory are from.
        options: of the compiler's description of the chip.
    """
    name: str
    clock: float
    hbm: int
    devices: int
    slices: dict[int, str]
    source: str
    options: tuple[tuple[str, Any], ...] = ()

    def smallest_slice(self, replicas: int) -> tuple[int, str]:
        """Devices and layout of the smallest slice that has so many.

        Raises:
            UserError: none has.
        """
        for devices, layout in self.slices.items():
            if devices >= replicas:
                return devices, layout
        raise UserError(f'--replicas {replicas}: the largest slice of {self.name} that is known here has '
                        f'{max(self.slices)} devices')


TORUS_2D = {1: '1x1x1', 4: '2x2x1', 8: '2x4x1', 16: '4x4x1', 32: '4x8x1', 64: '8x8x1', 128: '8x16x1', 256: '16x16x1'}
TORUS_3D = {1: '1x1x1', 4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4', 64: '4x4x4', 128: '4x4x8', 256: '4x8x8'}
TWO_CORES = {2: '1x1x1', 8: '2x2x1', 32: '4x4x1', 128: '8x8x1', 512: '16x16x1'}

CHIPS = {chip.name: chip for chip in (
    Chip('v2', 0.70e9, 8 * GIB, 2, TWO_CORES, PAPERS),
    Chip('v3', 0.94e9, 16 * GIB, 2, TWO_CORES, PAPERS),
    Chip('v4', 1.05e9, 32 * GIB, 1, TORUS_3D, DOCS + 'v4', (('chip_config_name', 'megacore'),)),
    Chip('v5e', 1.50e9, 16 * GIB, 1, TORUS_2D, DOCS + 'v5e'),
    Chip('v5p', 1.75e9, 95 * GIB, 1, TORUS_3D, DOCS + 'v5p'),
    Chip('v6e', 1.75e9, 32 * GIB, 1, TORUS_2D, DOCS + 'v6e'),
)}


def find_chip(name: str) -> Chip:
    """The chip of this name.

    Raises:
        UserError: there is none.
    """
    if name not in CHIPS:
        raise UserError(f'there is no TPU {name!r} here: give one of {", ".join(CHIPS)}')
    return CHIPS[name]
