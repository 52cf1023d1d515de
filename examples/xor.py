"""XOR: what no linear model can learn, a net with one hidden layer can: python examples/xor.py"""

import numpy as np

import fastbp as fb

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
y = np.array([[0], [1], [1], [0]], dtype=np.float64)

linear = fb.Network(2, [fb.Dense(1)], dtype="float64")
trainer = fb.Trainer(linear, loss="mean_squared_error", optimizer=fb.SGD(0.5))
trainer.fit(X, y, epochs=2000, batch_size=4, tolerance=1e-12)
(W, b), *_ = linear.weights
print(f"linear: w = ({W[0, 0]:z.3f}, {W[1, 0]:z.3f}), b = {b[0]:.3f}, mean squared error {trainer.evaluate(X, y):.3f}")

net = fb.Network(2, [fb.Dense(8, "tanh"), fb.Dense(1)], dtype="float64")
trainer = fb.Trainer(net, loss="mean_squared_error", optimizer=fb.Adam(0.05))
history = trainer.fit(X, y, epochs=1000, batch_size=4)
print(f"one hidden layer: mean squared error {history['loss'][0]:.3f} before, {history['loss'][-1]:.2e} after")
for inputs, output in zip(X, net.predict(X), strict=True):
    print(f"  {inputs[0]:.0f} xor {inputs[1]:.0f} = {output[0]:z.3f}")
