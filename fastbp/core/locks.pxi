# Locks: of the vectors of a net, and of the updates of a trainer.
#
# A child process that another thread forks finds both as they were after a whole update: before a fork the locks of all
# nets are acquired, so that no call of the core is under way, and the child gets new locks.

cdef object all_locks = weakref.WeakSet()
cdef list held_for_fork = []  # locks, by the thread that forks


cdef PyThread_type_lock new_lock() except NULL:
    cdef PyThread_type_lock lock = PyThread_allocate_lock()
    if lock == NULL:
        raise MemoryError("no memory for a lock")
    return lock


cdef class Lock:
    """A lock that threads get in turn: ``with lock: ...``. The thread that holds it may acquire it again.

    Attributes
    ----------
    changes : int
        The number of times that what the lock protects was changed, by `assign` or by the update of a plan.

    Notes
    -----
    A thread that releases a lock and acquires it again at once would mostly get it before another one that waits: the
    one that waits has to wake up first. So a thread queues, for `turn`, wherever others wait.
    """

    cdef PyThread_type_lock held, turn
    cdef unsigned long owner  # while depth is not 0
    cdef int depth
    cdef int waiting          # threads
    cdef public uint64_t changes
    cdef object __weakref__

    def __cinit__(self, *arguments):
        self.held = new_lock()
        self.turn = new_lock()
        all_locks.add(self)

    def __dealloc__(self):
        if self.held != NULL:
            PyThread_free_lock(self.held)
        if self.turn != NULL:
            PyThread_free_lock(self.turn)

    def __reduce__(self):
        raise TypeError(f"{type(self).__name__} cannot be pickled: it is a lock")

    cdef bint begin(self) noexcept:
        """Acquire the lock unless it is held, by this thread or another; return whether it was acquired."""
        if self.waiting or not PyThread_acquire_lock(self.held, 0):
            return False
        self.owner = PyThread_get_thread_ident()
        self.depth = 1
        return True

    cdef void end(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            PyThread_release_lock(self.held)

    cdef int acquire(self, bint hears_signals=False) except -1:
        cdef unsigned long here = PyThread_get_thread_ident()
        if self.depth and self.owner == here:
            self.depth += 1
            return 0
        if self.begin():
            return 0
        fbp_add_waiting(&self.waiting, 1)
        try:
            wait_for(self.turn, hears_signals)
            try:
                wait_for(self.held, hears_signals)
            finally:
                PyThread_release_lock(self.turn)
        finally:
            fbp_add_waiting(&self.waiting, -1)
        self.owner, self.depth = here, 1
        return 0

    cdef int let_others(self) except -1:
        """Let the threads that wait have the lock. It is held."""
        cdef int depth = self.depth
        if self.waiting:
            self.depth = 0
            PyThread_release_lock(self.held)
            self.acquire()
            self.depth = depth
        return 0

    cdef int renew(self) except -1:
        """In a child process: the lock is free unless the thread that forked holds it."""
        self.held, self.turn, self.waiting = new_lock(), new_lock(), 0  # others may have held the former ones
        if self.depth and self.owner == PyThread_get_thread_ident():
            PyThread_acquire_lock(self.held, 0)
        else:
            self.depth = 0
        return 0

    def __enter__(self):
        self.acquire(True)
        return self

    def __exit__(self, *exception):
        if not self.depth or self.owner != PyThread_get_thread_ident():
            raise RuntimeError("the lock is not held by this thread")
        self.end()

    def copies(self, *arrays):
        """Copies of arrays, all of one moment."""
        self.acquire()
        try:
            return tuple([array.copy() for array in arrays])
        finally:
            self.end()

    def assign(self, *pairs):
        """For each pair of arrays, which must have the same shape, set the first to the values of the second."""
        self.acquire()
        try:
            for to, values in pairs:
                to[...] = values
        finally:
            self.changes += 1
            self.end()


cdef int wait_for(PyThread_type_lock lock, bint hears_signals) except -1:
    cdef int got = PyThread_acquire_lock(lock, 0)
    while got != 1:
        with nogil:  # until the lock is free or, perhaps, a signal arrives
            got = PyThread_acquire_lock_timed(lock, -1, hears_signals)
        if got != 1:
            PyErr_CheckSignals()
    return 0


cdef class Updates(Lock):
    """The number of a trainer's updates, and the lock that is held while updates are made: ``with updates: ...``.

    `Plan.try_step` acquires it and counts its update without calling Python, which saves half a microsecond.

    Parameters
    ----------
    done : int
        Updates made already.

    Attributes
    ----------
    done : int
    last_loss : float or None
        The loss of the last update.
    running : Plan or None
        The plan that Python code may interrupt in the midst of an update or an epoch.
    """

    cdef public uint64_t done
    cdef public object last_loss, running
    cdef double moment_bounds[3]  # see struct fbp_epoch

    def __cinit__(self, uint64_t done):
        self.done = done

    cdef void lend(self, fbp_epoch *epoch) noexcept:
        """Let C count: to `take` when it has."""
        epoch.t = self.done
        memcpy(epoch.moment_bounds, self.moment_bounds, sizeof(self.moment_bounds))

    cdef void take(self, const fbp_epoch *epoch) noexcept:
        self.done = epoch.t
        memcpy(self.moment_bounds, epoch.moment_bounds, sizeof(self.moment_bounds))

    def moments_have_changed(self):
        """Has to be called when the moments have been written to, other than by updates."""
        cdef int i
        for i in range(3):
            self.moment_bounds[i] = INFINITY

    cdef int renew(self) except -1:
        Lock.renew(self)
        if self.depth == 0:
            self.running = None
        return 0


# --------------------------------------------------------------------------------------------------------- forks

cdef PyThread_type_lock forking = new_lock()


def _before_fork():
    wait_for(forking, False)  # two threads that fork would wait for each other's locks
    missing = True
    while missing:  # a lock may be new: others run while this thread waits
        missing = [lock for lock in all_locks if type(lock) is Lock and lock not in held_for_fork]
        for lock in missing:
            (<Lock>lock).acquire()
            held_for_fork.append(lock)


def _after_fork_in_parent():
    while held_for_fork:
        (<Lock>held_for_fork.pop()).end()
    PyThread_release_lock(forking)


def _after_fork_in_child():
    global forking
    while held_for_fork:
        (<Lock>held_for_fork.pop()).depth -= 1
    for lock in list(all_locks):
        (<Lock>lock).renew()
    forking = new_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
