# The instruction set and the number of threads: chosen from the environment at import, changed by `use_isa`.

cdef enum:
    MOST_THREADS = 256  # of a job of the pool

cdef int current_isa
cdef const fbp_kernels *kernels_f32
cdef const fbp_kernels *kernels_f64


cdef inline const fbp_kernels *kernels_for(Py_ssize_t item) noexcept:
    return kernels_f32 if item == 4 else kernels_f64


def isa():
    """The name of the instruction set in use."""
    return fbp_isa_name(current_isa).decode()


def isas_available():
    """The names of the instruction sets that this build and this machine support, from the slowest to the fastest."""
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
    """Set the instruction set of the functions called and the plans created from now on.

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


def cache_sizes():
    """Bytes of the second- and third-level cache, by which products are cut into blocks."""
    cdef size_t second, third
    fbp_cache_sizes(&second, &third)
    return second, third


def set_cache_sizes(size_t second=0, size_t third=0):
    """Cut products as for caches of these sizes from now on; 0 for a cache's own size."""
    fbp_set_cache_sizes(second, third)


def set_core_quota(int cores):
    """Set the number of cores that the quota of this process's container is worth; 0: there is no quota."""
    fbp_set_core_quota(cores)


def threads():
    """The upper bound on the number of threads of a call that sets none."""
    return fbp_default_threads()


cdef int most_threads_of_openmp() except -1:
    """The first number of OMP_NUM_THREADS, which may be a list; 0 where there is none."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isdecimal() and first.isascii() else 0


cdef int choose_from_environment() except -1:
    name = os.environ.get("FASTBP_ISA", "").strip()
    cdef int number = isa_number(name) if name else fbp_isa_best()
    if number < 0:
        raise ValueError(
            f"the environment variable FASTBP_ISA must be one of {', '.join(isas_available())} on this machine, "
            f"got {name!r}")
    set_isa(number)
    count = os.environ.get("FASTBP_NUM_THREADS", "").strip()
    if not count:
        fbp_set_default_threads(0, most_threads_of_openmp())
    elif count.isdecimal() and 1 <= int(count) <= MOST_THREADS:
        fbp_set_default_threads(int(count), 0)
    else:
        raise ValueError(
            f"the environment variable FASTBP_NUM_THREADS must be an integer in 1 .. {MOST_THREADS}, got {count!r}")
    return 0


choose_from_environment()
