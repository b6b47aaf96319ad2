"""From the run store to a verdict: load -> tune -> sample complexity -> scaling law -> verdict -> figures -> report.

Reads the store and nothing else; never imports torch, so that a report opens quickly on a laptop.
"""
