cdef class Updates:
    """The number of a trainer's updates, and the lock that is held while updates are made: ``with updates: ...``.

    The lock is reentrant, as threading.RLock is. `Plan.try_step` acquires it and counts its update without calling
    Python, which saves half a microsecond.

    Parameters
    ----------
    done : int
        Updates made already.

    Attributes
    ----------
    done : int
    last_loss : float or None
        The loss of the last update.
    """

    cdef PyThread_type_lock lock
    cdef unsigned long owner  # while depth is not 0
    cdef int depth
    cdef public uint64_t done
    cdef public object last_loss

    def __cinit__(self, uint64_t done):
        self.done = done
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for a lock")

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __reduce__(self):
        raise TypeError("Updates cannot be pickled: save the trainer")

    cdef bint begin(self) noexcept:
        """Acquire the lock unless it is held, by this thread or another; return whether it was acquired."""
        if not PyThread_acquire_lock(self.lock, 0):
            return False
        self.owner = PyThread_get_thread_ident()
        self.depth = 1
        return True

    cdef void end(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            PyThread_release_lock(self.lock)

    def __enter__(self):
        cdef unsigned long here = PyThread_get_thread_ident()
        cdef int got
        if self.depth and self.owner == here:
            self.depth += 1
            return self
        got = PyThread_acquire_lock(self.lock, 0)
        while got != 1:
            with nogil:  # until the lock is free or a signal arrives
                got = PyThread_acquire_lock_timed(self.lock, -1, 1)
            if got != 1:
                PyErr_CheckSignals()
        self.owner, self.depth = here, 1
        return self

    def __exit__(self, *exception):
        if not self.depth or self.owner != PyThread_get_thread_ident():
            raise RuntimeError("the lock is not held by this thread")
        self.end()
