# The vectors that updates write and users see: who has made one read-only does not want it to be trained.

cdef class PublicVectors:
    cdef dict by_name

    def __cinit__(self, vectors):
        seen = {"parameters": vectors.parameters, "average": vectors.average, "statistics": vectors.statistics}
        self.by_name = {name: vector for name, vector in seen.items() if vector is not None and len(vector)}

    def __reduce__(self):
        raise TypeError("PublicVectors cannot be pickled: they belong to a plan")

    cdef bint can_be_written(self) noexcept:
        """Whether all are writeable still."""
        cdef Py_buffer view
        for vector in self.by_name.values():
            if PyObject_GetBuffer(vector, &view, PyBUF_WRITABLE) != 0:
                PyErr_Clear()
                return False
            PyBuffer_Release(&view)
        return True

    cdef int refuse_read_only(self) except -1:
        if not self.can_be_written():
            names = [name for name, vector in self.by_name.items() if not vector.flags.writeable]
            raise ValueError(f"{' and '.join(names)} must be writeable to be trained: it was made read-only")
        return 0
