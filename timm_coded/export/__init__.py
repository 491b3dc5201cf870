"""Networks as files that run without this package: ONNX, torch.export, StableHLO."""
from .files import check_onnx, export_onnx, export_program
from .stablehlo import check_stablehlo, export_stablehlo

__all__ = ['check_onnx', 'check_stablehlo', 'export_onnx', 'export_program', 'export_stablehlo']
