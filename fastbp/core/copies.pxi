# Copies of arguments that a plan owns.

# A block of memory that grows when a copy needs more.
cdef struct Room:
    void *at
    size_t bytes


cdef void *room_for(Room *room, size_t bytes, str name) except NULL:
    if bytes > room.bytes or room.at == NULL:
        free(room.at)
        room.bytes = 0
        room.at = malloc(bytes + 1)
        if room.at == NULL:
            raise MemoryError(f"no memory for a copy of {name}")
        room.bytes = bytes
    return room.at


cdef const int64_t *copied_positions(Room *room, str name, const Py_buffer *view) except NULL:
    """Integers that C will use as positions, in memory that no other thread can change once they have been checked."""
    cdef size_t N = elements(view), i
    cdef int64_t *positions = <int64_t *>room_for(room, N * sizeof(int64_t), name)
    if view.itemsize == sizeof(int64_t):
        memcpy(positions, view.buf, N * sizeof(int64_t))
    else:
        for i in range(N):
            positions[i] = (<const int32_t *>view.buf)[i]
    return positions


cdef const int64_t *checked_positions(Room *room, str name, const Py_buffer *view, uint64_t end) except NULL:
    positions = copied_positions(room, name, view)
    within(name, positions, elements(view), end)
    return positions


cdef const void *converted(Room *room, str name, const Py_buffer *view, Py_ssize_t item) except NULL:
    """Reals of size `item`: the memory of the view itself, or a copy, in which values that are too large are infinite."""
    cdef size_t N = elements(view), i
    cdef void *copy
    if view.itemsize == item:
        return view.buf
    copy = room_for(room, N * item, name)
    if item == sizeof(float):
        for i in range(N):
            (<float *>copy)[i] = <float>(<const double *>view.buf)[i]
    else:
        for i in range(N):
            (<double *>copy)[i] = (<const float *>view.buf)[i]
    return copy
