# The instruction set and the number of threads: chosen from the environment at import, changed by `use_isa`.

cdef int current_isa
cdef const fbp_kernels *kernels_f32
cdef const fbp_kernels *kernels_f64
cdef int default_threads
cdef bint threads_are_set  # by the environment; else they follow the cores this process may use


cdef inline const fbp_kernels *kernels_for(Py_ssize_t item) noexcept:
    return kernels_f32 if item == 4 else kernels_f64


def isa():
    """The name of the instruction set in use."""
    return fbp_isa_name(current_isa).decode()


def isas_available():
    """The names of the instruction sets that this build and this machine offer, from the plainest to the best."""
    return tuple([fbp_isa_name(i).decode() for i in range(FBP_ISAS) if fbp_isa_available(i)])


cdef int set_isa(int number) except -1:
    global current_isa, kernels_f32, kernels_f64
    kernels_f32 = fbp_kernels_of(number, 4)
    kernels_f64 = fbp_kernels_of(number, 8)
    current_isa = number
    return 0


cdef int isa_number(object name) except -2:
    cdef int i
    for i in range(FBP_ISAS):
        if fbp_isa_available(i) and fbp_isa_name(i).decode() == name:
            return i
    return -1


def use_isa(name):
    """Use an instruction set for what is called or made from now on.

    Raises
    ------
    ValueError
        It is not available here.
    """
    cdef int number = isa_number(name)
    if number < 0:
        raise ValueError(
            f"name must be an instruction set available here ({', '.join(isas_available())}), got {name!r}")
    set_isa(number)


def compiler():
    """The compiler that built the core, with its version."""
    return fbp_compiler().decode()


def cores():
    """The number of cores this process may use."""
    return fbp_cores()


def threads():
    """The number of threads used where nothing else is asked for: FASTBP_NUM_THREADS, else the cores."""
    return default_threads


cdef int choose_from_environment() except -1:
    global default_threads, threads_are_set
    name = os.environ.get("FASTBP_ISA", "").strip()
    cdef int number = isa_number(name) if name else fbp_isa_best()
    if number < 0:
        raise ValueError(
            f"the environment variable FASTBP_ISA must be one of {', '.join(isas_available())} on this machine, "
            f"got {name!r}")
    set_isa(number)
    count = os.environ.get("FASTBP_NUM_THREADS", "").strip()
    threads_are_set = bool(count)
    if not count:
        default_threads = fbp_cores()
    elif count.isdecimal() and 1 <= int(count) <= 256:
        default_threads = int(count)
    else:
        raise ValueError(f"the environment variable FASTBP_NUM_THREADS must be an integer in 1 .. 256, got {count!r}")
    return 0


choose_from_environment()
