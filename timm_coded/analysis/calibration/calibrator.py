"""A calibration that was found, kept in a file: calibrated probabilities for new images, Eq. (11) of the paper."""
import json
import weakref
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from timm_coded.models import CodedResNet, early_decode

from ..exits.decoding import agreements, check_evaluation
from ..outputs import Outputs, check_coded, fingerprint
from .temperature import CalibrationSamples, Temperature, augmented_temperature

VERSION = 1


@dataclass
class Calibrator:
    """Eq. (11) for one model; predictions stay as they are.

    The file is JSON with these attributes by name and `version`.

    Attributes:
        temperature: T.
        taus: tau_i by coded block, in order.
        fingerprint: of the model, as `outputs.fingerprint` gives it.
        num_classes: K.
        samples: how many it was fitted to.
        about: where they come from, for the reader; 'at_bound': whether the fit had no maximum (see `Temperature`).
    """
    temperature: float
    taus: dict[str, float]
    fingerprint: str
    num_classes: int
    samples: int
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taus = np.array(list(self.taus.values()), dtype=np.float64)
        lowest = self.temperature * (1 + np.minimum(taus, 0).sum())
        if not (np.isfinite(taus).all() and np.isfinite(self.temperature) and lowest > 0):
            raise ValueError(f'temperature {self.temperature} with taus {self.taus}: expected numbers whose '
                             'temperatures T (1 + sum of taus) are positive for all agreements of the early decoders')
        self._known_model: Callable[[], CodedResNet | None] = lambda: None

    def temperatures(self, predictions: ArrayLike, decoded: Mapping[str, ArrayLike]) -> np.ndarray:
        """T_aug of samples, [B], from the predicted classes [B] and those of the early decoders, [B] by coded block.

        Raises:
            ValueError: an early decoder is missing.
        """
        missing = [block for block in self.taus if block not in decoded]
        if missing:
            raise ValueError(f'the classes of the early decoder of {missing[0]} are missing: the calibrator needs '
                             f'those of {", ".join(self.taus)}')
        agree = agreements({block: np.asarray(decoded[block]) for block in self.taus}, np.asarray(predictions))
        return augmented_temperature(self.temperature, np.array(list(self.taus.values())), agree)

    def probabilities(self, logits: ArrayLike, decoded: Mapping[str, ArrayLike]) -> Tensor:
        """Calibrated probabilities.

        Args:
            logits: [B, K].
            decoded: classes that the early decoders name, [B] by coded block, as `Outputs.decoded` gives them.

        Returns:
            [B, K] float64 on the CPU.

        Raises:
            ValueError: an early decoder is missing, or the logits are not finite or of another number of classes.
        """
        logits = torch.as_tensor(logits).cpu().double()
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(f'logits are {tuple(logits.shape)}, expected [B, {self.num_classes}]')
        if not torch.isfinite(logits).all():
            raise ValueError('there are logits that are not finite numbers: expected the outputs of a model that works')
        temperature = torch.from_numpy(self.temperatures(logits.argmax(1).numpy(), decoded))
        below = logits - logits.amax(1, keepdim=True)  # before the division, which could overflow
        return (below / temperature[:, None]).softmax(1)

    @torch.no_grad()
    def predict(self, model: CodedResNet, images: Tensor) -> Tensor:
        """Calibrated probabilities [B, K] float64 on the CPU, of images as the model takes them.

        Raises:
            ValueError: it is another model than that of the calibrator, or in training mode.
        """
        self.check(model)
        check_evaluation(model)
        logits, energies = model.forward_energies(images)
        decoded = {block: early_decode(energy, model.codewords(block)).cpu().numpy()
                   for block, energy in zip(model.coded_blocks, energies)}
        return self.probabilities(logits, decoded)

    def check(self, model: CodedResNet) -> None:
        """Raises ValueError: it is another model. A model is hashed once: its weights must not change afterwards."""
        if self._known_model() is model:
            return
        check_coded(model)
        found = fingerprint(model)
        if found != self.fingerprint:
            raise ValueError(f'the calibrator is of another model: of fingerprint {self.fingerprint}, this one has '
                             f'{found}; fit one by `timm-coded calibrate`')
        if list(self.taus) != list(model.coded_blocks) or self.num_classes != model.num_classes:
            raise ValueError(f'the calibrator is of {self.num_classes} classes and the blocks {", ".join(self.taus)}: '
                             'the file is broken; fit one by `timm-coded calibrate`')
        self._known_model = weakref.ref(model)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps({'version': VERSION, **asdict(self)}, indent=1, allow_nan=False) + '\n')


def fit_calibrator(outputs: Outputs, samples: CalibrationSamples) -> tuple[Calibrator, Temperature]:
    """Eq. (11) fitted to all samples of the outputs; also how it was found."""
    found = samples.fit(np.arange(len(samples)), augmented=True)
    taus = dict(zip(outputs.blocks, found.taus.tolist()))
    calibrator = Calibrator(
        float(found.value), taus, outputs.fingerprint, outputs.logits.shape[1], len(samples),
        {**outputs.about, 'at_bound': found.at_bound})
    return calibrator, found


def load_calibrator(path: str | Path) -> Calibrator:
    """Reads what `Calibrator.save` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of ours, or broken.
    """
    try:
        content = json.loads(Path(path).read_text())
        if content.pop('version') != VERSION:
            raise ValueError(f'it is of another version, this package reads {VERSION}')
        return Calibrator(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no calibrator ({error or type(error).__name__}): make one by '
                         '`timm-coded calibrate`') from error
