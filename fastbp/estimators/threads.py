"""How many threads an estimator may take."""

from joblib.parallel import get_active_backend


def allowed(n_threads):
    """n_threads, or where it is None: 1 within a worker of joblib's, be it a process or a thread; else no limit (None).

    The workers are as many as the user wants threads (n_jobs), so that each takes one.
    """
    if n_threads is None and (get_active_backend()[0].nesting_level or 0) > 0:
        return 1
    return n_threads
