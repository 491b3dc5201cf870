"""Which releases are installed, and whether they belong together."""
import re
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGES = ('torch', 'torch_xla', 'torchvision', 'timm', 'libtpu')
OLDEST_TIMM = (1, 0, 31)
VISION_OFFSET = 15  # torchvision 0.24 is built for torch 2.9, 0.25 for 2.10, and so on
ANY_VISION = (14, 29)  # from torch 2.14 on any torchvision from 0.29 on suits


def installed_versions() -> dict[str, str | None]:
    """The release of each of `PACKAGES`, None where it is not installed."""
    return {name: version_of(name) for name in PACKAGES}


def version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def mismatches(versions: dict[str, str | None], libtpu: str | None = None) -> list[str]:
    """What does not belong together: a line each, with what to install.

    Args:
        versions: as `installed_versions` gives them.
        libtpu: the release that torch_xla names as its own, if any; `libtpu_of_xla` reads it.
    """
    own = {name: numbers(release) for name, release in versions.items() if release is not None}
    major, minor = own['torch'][:2]
    found = []
    if 'torch_xla' in own and own['torch_xla'][:2] != (major, minor):
        xla = '.'.join(map(str, own['torch_xla'][:2]))
        found.append(f'torch_xla {versions["torch_xla"]} is built for torch {xla}, not for {versions["torch"]}: '
                     f"pip install 'torch=={xla}.*' 'torch_xla=={xla}.*'")
    if 'torchvision' in own and not fits(minor, own['torchvision'][1]):
        found.append(f'torchvision {versions["torchvision"]} is not built for torch {versions["torch"]}: '
                     f"pip install 'torchvision==0.{minor + VISION_OFFSET}.*'")
    if own['timm'] < OLDEST_TIMM:
        oldest = '.'.join(map(str, OLDEST_TIMM))
        found.append(f"timm {versions['timm']} is older than {oldest}: pip install 'timm>={oldest}'")
    if libtpu and versions['libtpu'] not in (None, libtpu):
        found.append(f'libtpu {versions["libtpu"]} is not the one of torch_xla {versions["torch_xla"]}: '
                     f"pip install 'libtpu=={libtpu}'")
    return found


def fits(torch_minor: int, vision_minor: int) -> bool:
    """Whether torchvision 0.VISION_MINOR is for torch 2.TORCH_MINOR."""
    if torch_minor >= ANY_VISION[0] and vision_minor >= ANY_VISION[1]:
        return True
    return vision_minor == torch_minor + VISION_OFFSET


def libtpu_of_xla() -> str | None:
    """The release of libtpu that the installed torch_xla asks for; None without one."""
    wanted = ' '.join(requires('torch_xla') or ()) if version_of('torch_xla') else ''
    found = re.search(r'\blibtpu\s*\(?==\s*([\w.]+)', wanted)
    return found and found[1]


def numbers(release: str) -> tuple[int, ...]:
    """(2, 9, 0) of '2.9.0+cu128'."""
    found = re.match(r'\d+(?:\.\d+)*', release)
    assert found, release
    return tuple(map(int, found[0].split('.')))
