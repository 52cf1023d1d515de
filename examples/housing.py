"""Between which prices do 80% of houses lie? python examples/housing.py FOLDER (the one with housing.csv.gz)."""

import csv
import gzip
import sys
import time
from pathlib import Path

import numpy as np

import fastbp as fb

if len(sys.argv) != 2:
    sys.exit("usage: python examples/housing.py FOLDER")
with gzip.open(Path(sys.argv[1]) / "housing.csv.gz", "rt", newline="") as file:
    rows = list(csv.DictReader(file))
price = np.array([float(row.pop("median_house_value")) for row in rows])
place = np.array([row.pop("ocean_proximity") for row in rows])
numbers = np.array([[float(value or "nan") for value in row.values()] for row in rows])

# A fifth of the houses is held out: what fills, centres and scales comes from the others alone.
seed = 0
order = np.random.default_rng(seed).permutation(len(rows))
test, train = np.split(order, [len(rows) // 5])
numbers[:, 2:] = np.log(numbers[:, 2:])  # age, counts and income: what matters is ratios
numbers = np.where(np.isnan(numbers), np.nanmedian(numbers[train], axis=0), numbers)
numbers = (numbers - numbers[train].mean(axis=0)) / numbers[train].std(axis=0)
X = np.hstack([numbers, place[:, None] == np.unique(place)])
y = np.log(price)  # a quantile of the logarithm is the logarithm of the quantile
centre, scale = y[train].mean(), y[train].std()
y = (y - centre) / scale

levels = [0.1, 0.5, 0.9]
epochs, batch_size = 40, 128
layers = [fb.Dense(128, "relu"), fb.Dropout(0.1), fb.Dense(128, "relu"), fb.Dropout(0.05), fb.Dense(len(levels))]
net = fb.Network(X.shape[1], layers, seed=seed)
schedule = fb.schedules.OneCycle(epochs * -(-len(train) // batch_size))
trainer = fb.Trainer(net, fb.Pinball(levels), fb.AdamW(3e-3), seed=seed, schedule=schedule)
start = time.perf_counter()
trainer.fit(X[train], y[train], epochs=epochs, batch_size=batch_size)  # one target for the three levels
print(f"{epochs} epochs in {time.perf_counter() - start:.2f} s")

quantiles = net.predict(X[test])
loss = trainer.evaluate(X[test], y[test])
constant = np.tile(np.quantile(y[train], levels), (len(test), 1))
constant_loss, _ = fb.ops.pinball(constant, np.repeat(y[test, None], len(levels), axis=1), levels)
print(f"pinball loss {loss:.4f}; of the three quantiles of all prices {constant_loss:.4f}")
for level, quantile in zip(levels, quantiles.T, strict=True):
    print(f"below the {level} quantile: {(y[test] < quantile).mean():.1%} of the held-out houses")
low, middle, high = quantiles.T
print(f"between the outer two: {((low <= y[test]) & (y[test] <= high)).mean():.1%}")
for i, (low, middle, high) in zip(test[:3], np.exp(centre + scale * quantiles[:3]), strict=True):
    print(f"  {place[i].lower()}: {low:,.0f} to {high:,.0f} dollars, median {middle:,.0f}; it was {price[i]:,.0f}")
