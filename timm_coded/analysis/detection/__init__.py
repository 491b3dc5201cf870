"""Samples that a coded model should not trust, told by its energies and early decoders."""
