"""Training: the engine, the three ways to make an epoch, and what happens around the epochs of one call of `fit`.

Each module imports those above it in this list alone:

    loss_function   losses that are Python functions
    settings    the arguments of a trainer after their checks; how far training has come
    data        the data of a fit
    batches     iterables of batches
    history     the result of a fit
    engine      all that training changes, and the calls into the core that change it
    checkpoint  files
    run         one call of `fit`: history, validation, callbacks
    way         the interface of the ways to make an epoch
    in_core, python_loss, full_batch    the three ways
    ways        the choice among them
    fit         the data and settings of one call of `fit` after all checks
"""
