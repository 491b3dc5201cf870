"""Coding schemes: which subNNs each class works through. NumPy only."""
from .bounds import DistanceBound, distance_bound, johnson_bound
from .scheme import CodingScheme
from .scheme_file import load_scheme
from .sources import SOURCES, coding_scheme

__all__ = [
    'SOURCES', 'CodingScheme', 'DistanceBound', 'coding_scheme', 'distance_bound', 'johnson_bound', 'load_scheme',
]
