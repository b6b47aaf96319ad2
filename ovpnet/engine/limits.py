"""How much of training is done at a time: training keeps to these bounds, and the predicted bytes and seconds count
by them."""

# Steps between two looks at an ensemble, at most: bounds the memory of the minibatch table.
CHUNK_STEPS = 512
# Hidden activations of a block of an evaluation, at most (entries): about the size of a core's cache on a CPU.
EVALUATED_ACTIVATIONS = 1 << 20
# Samples of such a block and member, at least.
FEWEST_EVALUATED = 64
