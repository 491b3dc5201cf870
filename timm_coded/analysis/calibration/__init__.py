"""Probabilities that are right as often as they say: Appendix C of the paper."""
from .calibrator import Calibrator, load_calibrator

__all__ = ['Calibrator', 'load_calibrator']
