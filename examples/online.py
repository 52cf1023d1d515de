"""Learning from a stream that changes: python examples/online.py [--rows 60000]

Each row is predicted first and learnt from afterwards, in one pass: the share of right predictions is the prequential
accuracy. The four fields whose colour is to be told turn by a right angle over the stream, so that at its end each has
changed its colour. A net that stops learning after the first fifth falls from nearly always right to nearly never.
"""

import argparse
import time
from copy import copy

import numpy as np

import fastbp as fb

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--rows", type=int, default=60_000, help="length of the stream (default 60000)")
ROWS, SIZE = parser.parse_args().rows, 10


def stream(rng):
    """Minibatches (x, y) of points in a disc of radius 1 and the colours, 0 or 1, of the fields they lie in."""
    for start in range(0, ROWS, SIZE):
        radius, angle = np.sqrt(rng.uniform(0, 1, SIZE)), rng.uniform(0, 2 * np.pi, SIZE)
        field = (angle + np.pi / 2 * start / ROWS) // (np.pi / 2)
        x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        yield x.astype(np.float32), (field % 2).astype(np.int64)


net = fb.Network(2, [fb.Dense(32, "relu"), fb.Dense(32, "relu"), fb.Dense(2)])
trainer = fb.Trainer(net, "softmax_cross_entropy", fb.Adam(0.01))
early = None  # a copy of the net, made after the first fifth, that learns no more
right, right_early, seconds = [], [], 0.0
for number, (x, y) in enumerate(stream(np.random.default_rng(0))):
    if early is None and number * SIZE >= ROWS // 5:
        early = copy(net)
    start = time.perf_counter()
    guess = net.predict(x).argmax(axis=1)
    trainer.step(x, y)
    seconds += time.perf_counter() - start
    right += (guess == y).tolist()
    right_early += ((guess if early is None else early.predict(x).argmax(axis=1)) == y).tolist()

print("part of the stream   learning all the time   stopped after a fifth")
for part in range(10):
    rows = slice(part * ROWS // 10, (part + 1) * ROWS // 10)
    print(f"{part * 10:3}% to {part * 10 + 10:3}% {np.mean(right[rows]):19.1%} {np.mean(right_early[rows]):23.1%}")
print(f"prequential accuracy {np.mean(right):.1%}, of the net that stopped {np.mean(right_early):.1%}")
print(f"{seconds / len(right) * SIZE * 1e6:.0f} microseconds to predict {SIZE} rows and to learn from them")
