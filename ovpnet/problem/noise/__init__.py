"""Label noise, a module for each kind: every class here is a choice of `noise=`."""
