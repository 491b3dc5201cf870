"""The training loop's parts. `train_xla.py` parses `args` and calls `run`; only `replicas` knows of torch_xla."""
