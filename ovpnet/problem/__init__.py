"""The problem to be learned: concepts, inputs, noise, samples, OPT, and the streams that all of it is drawn from."""
