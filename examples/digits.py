"""Handwritten digits, which come with fastbp: python examples/digits.py [--epochs 60]

Trains on 1,438 images of 8 x 8 pixels, and shows how well the net reads 359 others.
"""

import argparse

import numpy as np

import fastbp as fb
from fastbp.datasets import train_test_split

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--epochs", type=int, default=60, help="most epochs to train (default 60)")
epochs = parser.parse_args().epochs

X, y = fb.load_digits()
X, y, X_test, y_test = train_test_split(X, y, test_fraction=0.2, seed=0)
net = fb.Network(64, [fb.Dense(128, "relu"), fb.Dropout(0.2), fb.Dense(10)])
trainer = fb.Trainer(net, "softmax_cross_entropy", fb.AdamW(2e-3))
history = trainer.fit(X, y, epochs=epochs, batch_size=32)
print(f"{len(history['loss'])} epochs in {sum(history['seconds']):.2f} s, loss {history['loss'][-1]:.4f}")

logits = net.predict(X_test)
guess = logits.argmax(axis=1)
print(f"test accuracy {(guess == y_test).mean():.1%}, {(guess != y_test).sum()} of {len(y_test)} wrong")
print("rows: the digit; columns: what the net takes it for")
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (y_test, guess), 1)
print(confusion)

# The mistake it was surest of, as a person sees it.
sure = fb.ops.softmax_forward(logits).max(axis=1)
worst = np.where(guess != y_test, sure, 0).argmax()
print(f"taken for a {guess[worst]} with probability {sure[worst]:.2f}, and labelled {y_test[worst]}:")
for row in X_test[worst].reshape(8, 8):
    print("   ", "".join(" .:-=+*#@"[round(8 * pixel)] * 2 for pixel in row))
