"""Comparisons of speed by the stopwatch: models, input and host, side by side in one run."""
