"""The regularizers: every class here is a choice of `regularizer=`. `nets.regularization` computes them."""
