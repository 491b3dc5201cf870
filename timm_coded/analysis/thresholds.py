"""Thresholds of the binary classifiers in a file: `timm-coded classify` writes it, `timm-coded extract` reads it."""
import json
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Thresholds:
    """From which logit on the extracted classifier of a class names an image one of the class.

    Attributes:
        fingerprint: of the whole model, as `fingerprint` gives it.
        thresholds: by class index.
        class_names: of all classes, or none.
    """
    fingerprint: str
    thresholds: dict[int, float]
    class_names: list[str]

    def save(self, path: str | Path) -> None:
        """JSON with the attributes; class indices are keys and so text.

        Thresholds that the file has already, of other classes of the same model, stay.
        """
        merged = {**saved_thresholds(path, self.fingerprint), **self.thresholds}
        content = {**vars(self), 'thresholds': dict(sorted(merged.items()))}
        Path(path).write_text(json.dumps(content, indent=1) + '\n')


def saved_thresholds(path: str | Path, fingerprint: str) -> dict[int, float]:
    """Those in the file by class index; none where there is no file, or where it is of another model, or broken."""
    try:
        content = json.loads(Path(path).read_text())
        return {int(index): float(value) for index, value in content['thresholds'].items()
                if content['fingerprint'] == fingerprint}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def read_threshold(path: str | Path, fingerprint: str, index: int) -> float:
    """The threshold of the network of one class.

    Args:
        path: JSON with 'fingerprint', of the full model, and 'thresholds', a number for each class index as text.
        fingerprint: of the full model at hand.
        index: of the class.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of thresholds, or of another model, or has no finite number for the class.
    """
    try:
        content = json.loads(Path(path).read_text())
        owner, thresholds = content['fingerprint'], dict(content['thresholds'])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no file of thresholds: give the classifiers.json that `timm-coded classify` writes'
                         ) from error
    if owner != fingerprint:
        raise ValueError(f'{path} has the thresholds of another model ({owner}, this is {fingerprint}): run '
                         '`timm-coded classify` on this one')
    threshold = thresholds.get(str(index))
    if threshold is None:
        raise ValueError(f'{path} has no threshold for class {index}: run `timm-coded classify` on it')
    if not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise ValueError(f'{path} has the threshold {threshold} for class {index}, expected a finite number')
    return float(threshold)
