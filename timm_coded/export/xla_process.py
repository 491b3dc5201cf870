"""`python -m timm_coded.export.xla_process SCRATCH FOLDER`: writes a program as StableHLO and runs what it wrote.

The one module beside train/replicas/ that imports torch_xla: it is never imported, it is a process, so that who calls
`export_stablehlo` does not open XLA's runtime. Reads program.pt2 and images.pt in SCRATCH, writes outputs.pt there.
"""
import sys
from pathlib import Path

import torch
from torch_xla.stablehlo import StableHLOGraphModule, save_as_stablehlo


def main(scratch: Path, folder: Path) -> None:
    program = torch.export.load(scratch / 'program.pt2')
    images = torch.load(scratch / 'images.pt', weights_only=True)
    save_as_stablehlo(program, folder)
    outputs = StableHLOGraphModule.load(folder)(images)
    outputs = {name: value.cpu() for name, value in outputs.items()} if isinstance(outputs, dict) else outputs.cpu()
    torch.save(outputs, scratch / 'outputs.pt')


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
