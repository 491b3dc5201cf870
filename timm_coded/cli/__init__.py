"""The console script `timm-coded`: each command is a module of this package."""
from .main import main

__all__ = ['main']
