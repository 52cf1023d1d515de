"""Gradient descent on one number, with four step sizes: python examples/step_size.py [--plot step_size.png]

The model is y = x w, with one example, x = 1 and y = 100; w begins at 0, and L = (x w - y)^2 / 2. Each step multiplies
the distance from 100 by 1 - step size: it shrinks between 0 and 2, stays at 2, and grows beyond.
"""

import argparse

import numpy as np

import fastbp as fb

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--plot", metavar="FILE", help="draw w against the steps (needs fastbp[plot])")
options = parser.parse_args()


def descent(step_size):
    """A trainer for w, from 0."""
    net = fb.Network(1, [fb.Dense(1, bias=False, weight_init="zeros")], dtype="float64")
    return fb.Trainer(net, "mean_squared_error", fb.SGD(step_size / 2))  # a loss without the factor 1/2


x, y = np.array([[1.0]]), np.array([[100.0]])
paths = {}
for step_size in (0.5, 1.5, 2.0, 2.5):
    trainer = descent(step_size)
    path = paths[step_size] = [0.0]
    for _ in range(6):
        trainer.step(x, y)
        path.append(trainer.net.parameters[0])
    print(f"step size {step_size}: w =", ", ".join(f"{w:.10g}" for w in path[1:]))
    try:
        history = descent(step_size).fit(x, y, epochs=3000, tolerance=1e-9)  # stops when w stays where it is
        epochs, end = len(history["loss"]), history["loss"][-1]
        print(
            f"  {'still moving' if epochs == 3000 else 'at rest'} after {epochs} steps, at a squared error of {end:.3g}"
        )
    except fb.DivergenceError as error:
        print(f"  diverged: step {error.epoch + 1} was refused, after a squared error of {error.last_loss:.3g}")

if options.plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(y[0, 0], color="black", linewidth=0.8)
    for step_size, path in paths.items():
        axes.plot(path, marker="o", label=f"step size {step_size}")
    axes.set(xlabel="step", ylabel="w", ylim=(-450, 900), title="The same problem, four step sizes")
    axes.legend()
    figure.savefig(options.plot, dpi=120)
