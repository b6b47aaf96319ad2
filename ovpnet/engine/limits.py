"""Bounds of how much of training is done at a time; the predicted bytes and seconds count by them."""

# Steps between two looks at an ensemble, at most: bounds the memory of the minibatch table.
CHUNK_STEPS = 512
# Hidden activations of a block of an evaluation, at most (entries): about the size of a core's cache on a CPU.
EVALUATED_ACTIVATIONS = 1 << 20
# Samples of such a block and member, at least.
FEWEST_EVALUATED = 64
# Inputs of a neuron that the compiled loops of two-layer nets have room for.
MOST_INPUTS = 256
# What the compiled code has, of one output; it knows each by its place here. It covers nothing that it does not name.
LOSSES = ("l2", "huber", "logistic")
PENALTIES = ("none", "frobenius", "row_24")
