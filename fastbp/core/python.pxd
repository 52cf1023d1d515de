# The part of Python.h that the core uses.

cdef extern from "Python.h":
    ctypedef struct PyObject
    ctypedef struct Py_buffer:
        void *buf
        PyObject *obj
        Py_ssize_t len
        Py_ssize_t itemsize
        char *format
        int ndim
        Py_ssize_t *shape
        Py_ssize_t *strides
    enum:
        PyBUF_ND
        PyBUF_STRIDES
        PyBUF_FORMAT
        PyBUF_WRITABLE
    # Declared without `except`: a failure is a flaw of the argument, see `look_at`.
    int PyObject_GetBuffer(object exporter, Py_buffer *view, int flags)
    void PyBuffer_Release(Py_buffer *view)
    void PyErr_Clear()
    PyObject *PyErr_Occurred()
    # Declared without `except`: callers look for the error themselves.
    double PyFloat_AsDouble(object value)
    unsigned long long PyLong_AsUnsignedLongLong(object value)
    # Variadic in C. Declared for two arguments; a call as Cython writes it would create a tuple of them.
    object PyObject_CallFunctionObjArgs(object function, PyObject *argument1, PyObject *argument2, void *end)

    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) nogil
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible) nogil
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
    int PyErr_CheckSignals() except -1
