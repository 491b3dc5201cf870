"""What a TPU would make of a step: estimates of its compiler, without a TPU."""
