"""97.5% on MNIST in at most 10 epochs: python examples/mnist.py FOLDER (its four IDX files, gzipped or not)."""

import sys

import fastbp as fb

if len(sys.argv) != 2:
    sys.exit("usage: python examples/mnist.py FOLDER")
X, y, X_test, y_test = fb.load_mnist(sys.argv[1])
net = fb.Network(784, [fb.Dense(128, "relu"), fb.Dense(10)])
trainer = fb.Trainer(net, loss="softmax_cross_entropy", optimizer=fb.Adam(1e-3))
seconds = 0.0
for epoch in range(10):
    history = trainer.fit(X, y, batch_size=64)
    seconds += history["seconds"][0]
    accuracy = (net.predict(X_test).argmax(axis=1) == y_test).mean()
    print(
        f"epoch {epoch + 1:2}  loss {history['loss'][0]:.4f}  test accuracy {accuracy:.2%}  {seconds:.2f} s", flush=True
    )
    if accuracy >= 0.975:
        break
