"""The network of some classes, cut out of a coded model: Section 4.3 of the paper."""
from .extract import extract_classes
from .extracted_file import Extracted, load_extracted, save_extracted

__all__ = ['Extracted', 'extract_classes', 'load_extracted', 'save_extracted']
