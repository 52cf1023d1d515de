"""Builds the extension fastbp._core: fastbp/_core.pyx, which includes fastbp/core, over the C sources in src_c."""

import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Kernels are compiled once per instruction set and real type, each file with its own flags. Which of them run is
# decided when the package is imported, so nothing here depends on the processor of the machine that builds.
ISA_FLAGS = {
    "portable": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
    "neon": [],
}
ISAS_OF_MACHINE = {
    "x86_64": ["portable", "avx2", "avx512"],
    "amd64": ["portable", "avx2", "avx512"],
    "aarch64": ["portable", "neon"],
    "arm64": ["portable", "neon"],
}

# Multiplications and additions are fused where the source says so and nowhere else, and no sum is re-ordered: the same
# bits on every instruction set depend on it. The two -fno flags give up errno and exception flags, not accuracy.
C_FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]


def machine():
    """The architecture the extension is for: x86_64, aarch64, ..."""
    name = sysconfig.get_platform().split("-")[-1].lower()
    return name if name in ISAS_OF_MACHINE else platform.machine().lower()


class BuildExtension(build_ext):
    """build_ext with flags by file, files compiled side by side, and the result in the source tree as well."""

    def build_extensions(self):
        compiler = self.compiler
        compile_file, compile_files = compiler._compile, compiler.compile
        jobs = []

        def begin_file(obj, src, ext, cc_args, extra_postargs, pp_opts):
            flags = extra_postargs + ISA_FLAGS.get(os.path.basename(src).split("_")[0], [])
            jobs.append(workers.submit(compile_file, obj, src, ext, cc_args, flags, pp_opts))

        def begin_and_await_files(*args, **kwargs):
            objects = compile_files(*args, **kwargs)
            for job in jobs:
                job.result()
            return objects

        compiler._compile, compiler.compile = begin_file, begin_and_await_files
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            super().build_extensions()

    def run(self):
        super().run()
        # From the root of a checkout `python -m fastbp` and pytest import ./fastbp rather than what was installed: they
        # are to find the core that was just built.
        if not self.inplace:
            self.copy_extensions_to_source()


if sys.platform == "darwin":
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

ISAS = ISAS_OF_MACHINE.get(machine(), ["portable"])

# One wheel for CPython 3.11 and all later ones. Builds without the GIL have no stable ABI.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

core = Extension(
    "fastbp._core",
    sources=[
        "fastbp/_core.pyx",
        *(f"src_c/{name}.c" for name in ("plan", "pass", "loss", "update", "epoch", "calls", "pool", "cpu", "rng")),
        *(f"src_c/isa/{isa}_{real}.c" for isa in reversed(ISAS) for real in ("f32", "f64")),
    ],
    depends=[*glob("fastbp/core/*.px[di]"), *glob("src_c/*.h"), *glob("src_c/kernels/*.h"), *glob("src_c/vec/*.h")],
    include_dirs=["src_c"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
    extra_compile_args=[*C_FLAGS, "-g0", "-fvisibility=hidden", "-pthread"],
    extra_link_args=["-pthread"],
    py_limited_api=LIMITED,
)

setup(
    ext_modules=cythonize([core], build_dir="build"),
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
