"""Measures the models of one case: each alone for its start and its memory, then all in turns for their speed."""
import gc
import logging
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np
import torch

from timm_coded.analysis.stopwatch import interleaved_times, time_call

from ..train.build import describe_error
from ..train.errors import UserError
from ..train.replicas import Replica
from .contestant import Case, Setting, prepare_call
from .memory import CudaPeak, cpu_peak, is_out_of_memory

_logger = logging.getLogger(__name__)


@dataclass
class Measured:
    """What was measured of one model.

    Attributes:
        name: of the model and its form.
        first: seconds of the first call.
        graphs: that XLA compiled until the speed was measured.
        peak: MiB, None where it is not measured.
        times: ms of the repeats, [repeats]; None for a model that had not enough memory.
    """
    name: str
    first: float = 0.
    graphs: int = 0
    peak: float | None = None
    times: np.ndarray | None = None


@dataclass
class Comparison:
    """The models of a case, and how many graphs XLA compiled while their speed was measured, where 0 is right."""
    case: Case
    models: list[Measured]
    recompilations: int


def compare(names: Sequence[str], case: Case, setting: Setting, replica: Replica, repeats: int) -> Comparison:
    """Measures models side by side: all stay on the device, and take turns.

    A model that has not enough memory is left out, and the others go on.

    Raises:
        UserError: a model cannot run.
    """
    models, calls = [Measured(name) for name in names], []
    for model in models:
        try:
            calls.append(start(model, case, setting, replica))
        except UserError:
            raise
        except Exception as error:  # whatever a layer or a compiler stumbles over
            if not is_out_of_memory(error):
                raise UserError(f'cannot run {model.name} ({case}): {describe_error(error)}') from error
            _logger.warning('%s (%s): out of memory', model.name, case)
            calls.append(None)
        release_memory(setting)
    rehearse(models, calls, case, setting)
    fit = [index for index, call in enumerate(calls) if call is not None]
    before = replica.compiles()[0]
    times = interleaved_times([calls[index] for index in fit], replica.device, repeats)
    for index, row in zip(fit, times):
        models[index].times = row
    return Comparison(case, models, replica.compiles()[0] - before)


def start(model: Measured, case: Case, setting: Setting, replica: Replica) -> Callable[[], None]:
    """Makes the model's call and notes its first time, graphs and memory."""
    compiled = replica.compiles()[0]
    if setting.device == 'cpu' and not setting.compiled:  # a process that compiles has the compiler's memory too
        model.peak = cpu_peak(model.name, case, setting)
    peak = CudaPeak(replica.device) if setting.device == 'cuda' else None
    call = prepare_call(model.name, case, setting, replica)
    model.first = time_call(call, replica.device) / 1000
    call()
    if peak:
        peak.restart()
        call()
        model.peak = peak.read()
    model.graphs = replica.compiles()[0] - compiled
    return call


def rehearse(models: list[Measured], calls: list[Callable[[], None] | None], case: Case, setting: Setting) -> None:
    """Calls each once more with all of them loaded, and drops those that no longer find enough memory.

    Raises:
        UserError: one fails for another reason.
    """
    for index, call in enumerate(calls):
        try:
            if call is not None:
                call()
        except Exception as error:
            if not is_out_of_memory(error):
                raise UserError(f'cannot run {models[index].name} ({case}) beside the other models: '
                                f'{describe_error(error)}') from error
            _logger.warning('%s: out of memory beside the other models', models[index].name)
            calls[index] = None
        release_memory(setting)


def release_memory(setting: Setting) -> None:
    """Gives what a failed step or a finished first one left to the next model."""
    gc.collect()
    if setting.device == 'cuda':
        torch.cuda.empty_cache()
