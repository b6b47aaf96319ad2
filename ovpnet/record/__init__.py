"""The record of runs: the store, checkpoints, uploads, and the rule by which stored runs are tuned."""
