"""The networks that are trained, their kernels, losses and regularizers."""
