"""Which images, how they are read, and how they become batches."""
from .splits import class_names, open_datasets

__all__ = ['class_names', 'open_datasets']
