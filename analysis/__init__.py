"""From the run store to a verdict: load -> tune -> sample complexity -> scaling law -> verdict -> exhibits -> media.

It reads the store and nothing else, and never imports torch, so that a report opens quickly on a laptop.
"""
