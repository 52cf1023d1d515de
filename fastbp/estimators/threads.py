"""The number of threads of an estimator."""

from joblib.parallel import get_active_backend


def allowed(n_threads: int | None) -> int | None:
    """The upper bound on the number of threads: n_threads; where it is None, 1 within a worker of joblib (a process
    or a thread), else None, the number of cores.

    With joblib the number of workers (n_jobs) is the number of threads that the user wants: each worker uses one.
    """
    if n_threads is None and (get_active_backend()[0].nesting_level or 0) > 0:
        return 1
    return n_threads
