"""Work in a process of its own: torch_xla and jax each take a process for good, and a compiler may die of its input."""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, TypeVar

from ..train.errors import UserError

Result = TypeVar('Result')


def in_own_process(work: Callable[..., Result], *args: object) -> Result:
    """What `work(*args)` gives, done by a new process; its exceptions are raised here.

    Raises:
        UserError: the process died.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool as error:
            raise UserError('the process of the compiler died; a training step of a large model takes 4 to 8 GiB: is '
                            'there as much memory free?') from error
