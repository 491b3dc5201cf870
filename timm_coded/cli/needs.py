"""The packages that commands need beyond a plain installation: told before they run, as their help needs none."""
import importlib

from timm_coded.train.errors import UserError

PICTURES = ('matplotlib',)
EXTRAS = {'simplejpeg': 'fast'}  # of what is not in the extra `analysis`
NEEDS = {
    **dict.fromkeys(('paths', 'evaluate', 'classify', 'ablate', 'decode', 'activations', 'explain'), PICTURES),
    **dict.fromkeys(('benchmark', 'host'), PICTURES),
    'input': (*PICTURES, 'simplejpeg'),
    'calibrate': (*PICTURES, 'scipy', 'sklearn', 'threadpoolctl'),
    'detect': (*PICTURES, 'sklearn'),
    'report': (*PICTURES, 'captum', 'scipy', 'sklearn', 'threadpoolctl'),
}


def check_packages(*packages: str) -> None:
    """Raises UserError: one of these is not installed, or not all that it needs itself."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(package, 'analysis')
            raise UserError(f"needs {error.name}: pip install 'timm_coded[{extra}]'") from error
