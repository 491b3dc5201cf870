"""Coded ResNeXt for timm: importing it registers the models."""
from .analysis.extraction import extract_classes, load_extracted, save_extracted
from .codes import CodingScheme, coding_scheme
from .loss import CodingLoss
from .models import WithEnergies, pack_grouped_convs, unpack_grouped_convs
from .task import CodedClassificationTask

__all__ = [
    'CodedClassificationTask', 'CodingLoss', 'CodingScheme', 'WithEnergies', 'coding_scheme', 'extract_classes',
    'load_extracted', 'pack_grouped_convs', 'save_extracted', 'unpack_grouped_convs',
]

__version__ = '0.1.0'
