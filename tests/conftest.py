import os

# Before torch_xla is imported anywhere: its runtime reads this once.
os.environ.setdefault('PJRT_DEVICE', 'CPU')
