"""The training of an ensemble: steps, schedules, algorithms, risks and diagnostics."""
