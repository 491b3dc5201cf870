"""How many subNNs work for a class, block by block."""
from typing import List, Sequence, Tuple, Union

NumActive = Sequence[Union[int, Sequence[int]]]


def check_num_active(num_active: NumActive, layers: Tuple[int, ...], num_subnns: int) -> List[List[int]]:
    """num_active of every block of every stage.

    Raises:
        ValueError: it has not one entry for each stage (and block), or one outside 1..num_subnns.
    """
    if not isinstance(num_active, (tuple, list)) or len(num_active) != len(layers):
        raise ValueError(f'num_active is {num_active}, expected one entry for each of the {len(layers)} stages')
    active = []
    for stage, (entry, num_blocks) in enumerate(zip(num_active, layers), start=1):
        blocks = list(entry) if isinstance(entry, (tuple, list)) else [entry] * num_blocks
        if len(blocks) != num_blocks:
            raise ValueError(f'num_active of stage {stage} is {entry}, expected one number or one for each of its '
                             f'{num_blocks} blocks')
        for value in blocks:
            if type(value) is not int or not 1 <= value <= num_subnns:
                raise ValueError(f'num_active of stage {stage} holds {value!r}, expected whole numbers from 1 to '
                                 f'{num_subnns}, the number of subNNs')
        active.append(blocks)
    return active
