"""fastbp's MLPClassifier against scikit-learn's, same settings, same run. ``python -m benches.estimator [FOLDER]``

On MNIST (FOLDER holds its four IDX files; default: FASTBP_DATA/mnist) and on the bundled digits: time of `fit`,
accuracy on held-out rows, ratio. The two take turns. Then GridSearchCV with 24 candidates on the digits, over joblib's
processes and threads; the scores must equal those of one job.

The exit status is 1 when MNIST's accuracy is below 98.0%, when fastbp takes more than a third of scikit-learn's time on
it, or when scores differ.
"""

import os
import sys
import warnings
from time import perf_counter

import numpy as np

import fastbp as fb
from fastbp.datasets import train_test_split

from .commands import Parser, finish

PROGRAM = "python -m benches.estimator"
ACCURACY, RATIO = 0.98, 3.0
MNIST = {
    "hidden_layer_sizes": (256,),
    "solver": "sgd",
    "learning_rate_init": 0.05,
    "batch_size": 64,
    "max_iter": 10,
    "random_state": 0,
}
DIGITS = {"max_iter": 100, "random_state": 0}
GRID = {
    "alpha": [1e-4, 1e-2, 1.0],
    "learning_rate_init": [1e-3, 1e-2],
    "hidden_layer_sizes": [(100,), (64, 64)],
    "activation": ["relu", "tanh"],
}


def homes():
    """The two modules that have an MLPClassifier."""
    from sklearn import neural_network

    return {"scikit-learn": neural_network, "fastbp": fb}


def compare(name, data, settings, rounds):
    """Fit both, `rounds` times in turn. Returns (fastbp's accuracy, ratio of the best times)."""
    X, y, X_test, y_test = data
    best, accuracy = {}, {}
    for _ in range(rounds):
        for home, module in homes().items():
            model = module.MLPClassifier(**settings)
            started = perf_counter()
            model.fit(X, y)
            best[home] = min(best.get(home, np.inf), perf_counter() - started)
            accuracy[home] = model.score(X_test, y_test)
    ratio = best["scikit-learn"] / best["fastbp"]
    print(f"{name}, {X.shape[0]:,} x {X.shape[1]} {X.dtype}, {model.n_iter_} epochs")
    for home in best:
        print(f"  {home:<13}{best[home]:8.2f} s   test accuracy {accuracy[home]:.2%}")
    print(f"  ratio{ratio:16.2f}", flush=True)
    return accuracy["fastbp"], ratio


def search(X, y, jobs, backend):
    """GridSearchCV over `GRID`: (seconds, scores)."""
    import joblib
    from sklearn.model_selection import GridSearchCV

    model = GridSearchCV(fb.MLPClassifier(max_iter=60, random_state=0), GRID, cv=3, n_jobs=jobs, refit=False)
    with joblib.parallel_config(backend):
        started = perf_counter()
        results = model.fit(X, y).cv_results_
    return perf_counter() - started, np.array([results[f"split{i}_test_score"] for i in range(3)])


def searches(X, y):
    """Whether all ways to run the search give the same scores."""
    alone, expected = search(X, y, 1, "threading")
    print(f"GridSearchCV, {len(expected.T)} candidates, 3 folds\n  1 job, threads of fastbp's own{alone:8.2f} s")
    same = True
    for backend in ("loky", "threading"):
        search(X, y, 2, backend)  # the workers of loky have to start once
        seconds, scores = search(X, y, 2, backend)
        same &= np.array_equal(scores, expected)
        print(f"  2 jobs, {backend:<22}{seconds:8.2f} s   scores {'the same' if same else 'DIFFER'}", flush=True)
    return same


def run(options):
    warnings.simplefilter("ignore")
    folder = options.folder or os.path.join(os.environ.get("FASTBP_DATA", "data"), "mnist")
    digits = train_test_split(*fb.load_digits())
    compare("digits", digits, DIGITS, max(options.rounds, 3))
    same = searches(*digits[:2])
    accuracy, ratio = compare("MNIST", fb.load_mnist(folder), MNIST, options.rounds)
    return 0 if same and accuracy >= ACCURACY and ratio >= RATIO else 1


def main(arguments=None):
    parser = Parser(prog=PROGRAM, description="fastbp's MLPClassifier against scikit-learn's.")
    parser.add_argument("folder", nargs="?", help="that of MNIST's four files (default: FASTBP_DATA/mnist)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each fits, in turn (default: 1)")
    return finish(PROGRAM, run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
