"""Training: the engine, the three ways to make an epoch, and what surrounds the epochs of one call of `fit`."""
