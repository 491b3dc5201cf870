"""Early decoders, and leaving the network early by them: Section 4.4 of the paper."""
from .early_exit import Agreement, EarlyExit, Exits, Margin

__all__ = ['Agreement', 'EarlyExit', 'Exits', 'Margin']
