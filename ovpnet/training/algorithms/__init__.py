"""The algorithms, a module each: every class here is a choice of `algorithm=`. Engines take their steps."""
