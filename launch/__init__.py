"""Sweeps onto machines: plan runs into packs, and run the packs."""
