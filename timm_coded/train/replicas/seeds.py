"""One seed of several numbers."""
import numpy as np


def mix(*entropy: int) -> int:
    """One 32-bit seed of several numbers, the last of them not 0; other numbers give an unrelated one."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
