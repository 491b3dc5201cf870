"""What a trained coded model gives: Sections 4.2 to 4.4 and Appendices C and F of the paper, and what goes beyond."""
