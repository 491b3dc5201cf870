"""Slices of TPUs that can be rented, and what their vendor says of links, hosts and prices.

None of it was measured here. Looked up in the vendor's pages were links and hosts of v5e and links of v6e. From memory,
of 2025, and not looked up are links and hosts of v2 and v3, hosts of v6e, and all prices (US dollars, on demand): the
pages that are named say whether they still hold; look there before money depends on them.
"""
from dataclasses import dataclass

from ..train.errors import UserError

DOCS = 'https://cloud.google.com/tpu/docs/'
PRICES = 'https://cloud.google.com/tpu/pricing'
PAPER = 'https://doi.org/10.1145/3360307'  # Jouppi et al. 2020, on v2 and v3


@dataclass(frozen=True)
class Fabric:
    """What a kind of TPU is built into.

    Attributes:
        link: bytes a second that one link between chips carries in one direction.
        links: of a chip.
        link_source: where the two are from.
        host_chips: chips of a host.
        host_vcpus: virtual processors of a host, two to a core.
        host_source: where the two are from.
        price: of a chip for an hour.
    """
    link: float
    links: int
    link_source: str
    host_chips: int
    host_vcpus: int
    host_source: str
    price: float


GBIT = 1e9 / 8
FABRICS = {
    'v2': Fabric(496 * GBIT, 4, PAPER, 4, 96, DOCS + 'v2', 1.125),
    'v3': Fabric(656 * GBIT, 4, PAPER, 4, 96, DOCS + 'v3', 2.00),
    # 400 GB/s a chip, both directions of its four links
    'v5e': Fabric(400e9 / 8, 4, DOCS + 'v5e', 8, 224, DOCS + 'v5e', 1.20),
    'v6e': Fabric(800e9 / 8, 4, DOCS + 'v6e', 8, 180, DOCS + 'v6e', 2.70),
}


@dataclass(frozen=True)
class Slice:
    """`devices` of a kind of TPU; `name` is the vendor's."""
    name: str
    chip: str
    devices: int
    chips: int

    @property
    def fabric(self) -> Fabric:
        return FABRICS[self.chip]


SLICES = {one.name: one for one in (
    Slice('v2-8', 'v2', 8, 4),
    Slice('v3-8', 'v3', 8, 4),
    *(Slice(f'v5e-{chips}', 'v5e', chips, chips) for chips in (1, 4, 8, 16, 32, 64, 128, 256)),
    *(Slice(f'v6e-{chips}', 'v6e', chips, chips) for chips in (1, 4, 8, 16, 32, 64, 128, 256)),
)}


def find_slice(name: str) -> Slice:
    """The slice of this name.

    Raises:
        UserError: there is none.
    """
    if name not in SLICES:
        raise UserError(f'there is no slice {name!r} here: give one of {", ".join(SLICES)}')
    return SLICES[name]
