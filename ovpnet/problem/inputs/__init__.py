"""Distributions of the input x in R^d, a module for each kind: every class here is a choice of `inputs=`."""
