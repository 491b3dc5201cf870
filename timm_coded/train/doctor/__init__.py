"""What a run can expect of this machine, before it is started."""
from .check import doctor

__all__ = ['doctor']
