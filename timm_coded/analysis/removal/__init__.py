"""SubNNs removed from a block: Section 4.2 of the paper."""
