"""What one process does: train packs, make their rows, measure the machine, and stop when it is asked to."""
