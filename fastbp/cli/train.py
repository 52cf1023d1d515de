"""``fastbp train``: from a table, arrays or images to a file that predicts."""

import importlib.util

import numpy as np

from .. import _core, callbacks, datasets
from .._support import storage
from ..tabular import columns as table
from ..tabular.reading import counted
from . import data, messages, settings

OUTPUT = "model.npz"
MOST_VALIDATION = 10_000  # rows to validate, unless a share was asked for
LEAST_ROWS = 5
ENDINGS = {
    "--output": (".npz", ".safetensors"),
    "--checkpoint": (".npz", ".safetensors"),
    "--log": (".csv", ".jsonl"),
    "--plot": (".png", ".svg", ".pdf", ".jpg"),
}
TWIN_EPOCHS = 3  # of the NumPy twin, to compare with


def run(options, progress):
    """Train, say how well, and write the model."""
    output = options.output or OUTPUT
    _check_files(options, output)
    callbacks_ = list(_callbacks(options))
    progress.interrupted = "interrupted; no model was saved"
    if options.task is None and (options.loss or options.log_target or options.quantiles):
        options.task = "regression"  # all three are of numbers
    rows, test, name = data.of_training(options)
    train, validation, test = _split(rows, test, options)
    encoding = _encoding(rows, train, name, options)
    net = settings.network(encoding, options)
    training = _encoded(rows.take(train), encoding, net, options)
    trainer = settings.trainer(net, encoding, len(train), options)
    fit = settings.of_fit(encoding, len(train), options)
    if len(validation):
        fit["validation"] = _encoded(rows.take(validation), encoding, net, options)
    messages.say_data(options.data, rows, encoding)
    messages.say_target(encoding.target, rows.target, data.kind(options.data) in ("table", "arrays"))
    counts = [
        ("to train on", len(train)),
        ("to validate", len(validation)),
        ("to test", 0 if test is None else len(test)),
    ]
    counts = ", ".join(f"{count:,} {use}" for use, count in counts if count)
    print(f"rows: {counts}; net {messages.shape(net)}, {counted(len(net.parameters), 'parameter')}", flush=True)

    stopping, ended = None, _Ended()
    if len(validation) and options.patience:
        stopping = callbacks.EarlyStopping(patience=options.patience)
        callbacks_.append(stopping)
    if options.checkpoint is not None:
        callbacks_.append(_SameData(options.checkpoint, encoding))
    try:
        history = trainer.fit(*training, **fit, callbacks=[*callbacks_, ended])
    except KeyboardInterrupt:
        if options.output is not None:
            table.save(output, net, encoding)
            progress.interrupted = f"interrupted in epoch {ended.epochs + 1}; {output} holds the last parameters"
        raise
    table.save(output, net, encoding)
    progress.interrupted = f"interrupted; the model is in {output}"
    if options.plot is not None:
        history.plot(options.plot)

    best = f"; epoch {stopping.best_epoch} was the best, and is kept" if stopping is not None else ""
    print(f"trained {counted(history.epochs, 'epoch')} in {sum(history['seconds']):.2f} s on {_core.isa()}{best}")
    if test is not None:
        _score("left alone until now", net, encoding, encoding.inputs.encode(test.inputs, net.dtype), test)
    elif len(validation):
        chosen = ", by which the best epoch was chosen" if stopping is not None else ""
        _score(f"held out{chosen}", net, encoding, fit["validation"][0], rows.take(validation))
    else:
        _score("trained on, as none was held out", net, encoding, training[0], rows)
    print(f"model: {output}", flush=True)
    if options.compare or options.compare is None and data.kind(options.data) == "digits":
        _compare(trainer, training, fit, history)


class _Ended(callbacks.Callback):
    """Remembers how many epochs were done."""

    epochs = 0

    def epoch_end(self, run):
        self.epochs = run.epoch


class _SameData(callbacks.Callback):
    """Refuses the checkpoint of a run that learnt other columns, other scales or another target."""

    def __init__(self, path, encoding):
        self._path, self._record = path, encoding.to_dict()

    def state(self):
        return {"encoding": self._record}, {}

    def set_state(self, record, vectors):
        if record["encoding"] != self._record:
            raise ValueError(
                f"{self._path}: it was written for another target or other data: give another --checkpoint"
            )


def _check_files(options, output):
    """Refuse, before the work, what cannot be written after it."""
    files = {"--output": output, "--checkpoint": options.checkpoint, "--log": options.log, "--plot": options.plot}
    data.refuse_same({"DATA": options.data, **files})
    for option, path in files.items():
        if path is None:
            continue
        if not path.endswith(ENDINGS[option]):
            raise ValueError(f"{option} must end in {' or '.join(ENDINGS[option])}, got {path}")
        storage.check_destination(option, path)
        if path.endswith(".safetensors"):
            storage.safetensors_package()
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install 'fastbp[plot]'")


def _callbacks(options):
    if options.checkpoint is not None:
        yield callbacks.Checkpoint(options.checkpoint)
    if options.log is not None:
        yield callbacks.Log(options.log)
    if not options.verbose and importlib.util.find_spec("tqdm") is not None:
        yield callbacks.ProgressBar()


def _split(rows, test, options):
    """The numbers of the rows to train on and to validate, and the rows to test with or None: by the seed."""
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"{options.data} has {counted(len(rows), 'row')}; it takes {LEAST_ROWS} at least")
    train = np.arange(len(rows))
    share = options.test
    if share is None:
        share = 0.2 if data.kind(options.data) == "digits" else 0.0
    elif test is not None:
        raise ValueError("--test does not go with data in MNIST's format, which has images to test with")
    if share:
        train, _, tested, _ = datasets.train_test_split(train, train, share, options.seed)
        test = rows.take(np.sort(tested))
    share = options.validation
    if share is None:
        share = min(0.2, MOST_VALIDATION / len(train))
    validation = train[:0]
    if share:
        train, _, validation, _ = datasets.train_test_split(train, train, share, options.seed)
    return np.sort(train), np.sort(validation), test


def _encoding(rows, train, name, options):
    """What the rows to train on tell of inputs and target."""
    scale = "counts" if options.loss == "poisson" else "log" if options.log_target else "standard"
    target = table.learn_target(name, rows.target, train, options.task, scale, options.quantiles)
    if isinstance(rows.inputs, table.Cells):
        for option, names in (("--drop", options.drop), ("--text", options.text)):
            for each in names:
                if each not in rows.inputs.names:
                    raise ValueError(f"{option}: {options.data} has no column {each!r}")
                if each == name:
                    raise ValueError(f"{option}: {each!r} is the target: --task says what it is taken for")
        names = [each for each in rows.inputs.names if each != name and each not in options.drop]
        if not names:
            raise ValueError(f"{options.data} has no column to predict {name!r} from")
        inputs = table.learn_inputs(rows.inputs, names, train, options.text)
    elif options.drop or options.text:
        raise ValueError("--drop and --text go with the columns of a CSV file")
    elif data.kind(options.data) == "arrays" and rows.inputs.dtype != np.uint8:
        inputs = table.ArrayInputs.learn(rows.inputs[train])
    else:
        inputs = table.ArrayInputs(rows.inputs.shape[1])
    return table.Encoding(inputs, target)


def _encoded(rows, encoding, net, options):
    """X and y as the trainer takes them."""
    X = encoding.inputs.encode(rows.inputs, net.dtype)
    target = encoding.target
    if isinstance(target, table.Classes):
        return X, target.encode(rows.target)
    y = target.encode(rows.target.astype(np.float64).reshape(len(rows), -1))
    return X, (np.exp(y) if options.loss == "poisson" else y).astype(net.dtype)


def _score(which, net, encoding, X, rows):
    outputs = net.predict(X)
    print(f"on {counted(len(rows), 'row')} {which}:")
    for line in messages.scores(encoding.target, outputs, rows.target):
        print(f"  {line}")


def _compare(trainer, training, fit, history):
    """The NumPy twin, for a few epochs: how long it takes, and whether it comes to the same."""
    from .. import reference

    epochs = min(TWIN_EPOCHS, history.epochs)
    net = trainer.net
    twin = reference.Trainer(
        reference.Network(net.inputs, net.layers, net.dtype.name, net.seed),
        trainer.loss,
        trainer.optimizer,
        trainer.seed,
        schedule=trainer.schedule,
        clip_norm=trainer.clip_norm,
    )
    twins = twin.fit(*training, **{**fit, "epochs": epochs, "verbose": False})
    seconds, ours = sum(twins["seconds"]), sum(history["seconds"][:epochs])
    print(f"NumPy twin: {counted(epochs, 'epoch')} in {seconds:.2f} s, {seconds / ours:.1f} times as long")
    loss, mine = twins["loss"][-1], history["loss"][epochs - 1]
    verdict = "agrees with" if abs(loss - mine) <= 0.01 * abs(mine) else "DIFFERS from"
    print(f"  its training loss in epoch {epochs}, {loss:.6f}, {verdict} {mine:.6f}", flush=True)
