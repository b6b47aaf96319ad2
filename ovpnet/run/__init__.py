"""The work of one process: train packs, make their rows, measure the machine, and stop when it is asked to."""
