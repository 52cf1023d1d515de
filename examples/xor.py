"""XOR: what no linear model can learn, a net with one hidden layer can: python examples/xor.py [--plot xor.png]"""

import argparse

import numpy as np

import fastbp as fb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--plot", metavar="FILE", help="draw what both give all over the square (needs fastbp[plot])")
options = parser.parse_args()

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

if options.plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    line = np.linspace(-0.25, 1.25, 121)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    levels = np.arange(-0.25, 1.3, 0.1)
    for title, axes, model in zip(("linear", "one hidden layer"), figure.subplots(1, 2), (linear, net)):
        height = model.predict(grid).reshape(121, 121)
        shades = axes.contourf(line, line, height, levels, cmap="RdBu_r", extend="both")
        axes.scatter(*X.T, s=120, c=y[:, 0], cmap="RdBu_r", vmin=-0.25, vmax=1.25, edgecolors="black", zorder=3)
        axes.set(title=title, xlabel="first input", ylabel="second input", aspect="equal")
    figure.colorbar(shades, ax=figure.axes, label="output (white: 0.5)")
    figure.savefig(options.plot, dpi=120)
