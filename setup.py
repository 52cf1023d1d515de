"""Builds the extension fastbp._core: fastbp/_core.pyx, which includes fastbp/core, over the C sources in src_c.

The environment variable FASTBP_BUILD chooses how: `release` (the default), `debug` (-O0 -g), `sanitize` (the address
and undefined-behaviour sanitizers) or `sanitize-threads` (the thread sanitizer). CONTRIBUTING.md shows how the others
are used.
"""

import gzip
import os
import platform
import sys
import sysconfig
import tarfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.modified import newer_group

# Kernels are compiled once per instruction set and real type, each file with its own flags. Which of them run is
# decided when the package is imported, so nothing here depends on the processor of the machine that builds.
ISA_FLAGS = {
    "portable": ["-O2"],
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

# Multiplications and additions are fused only where the source says so, and no sum is re-ordered: the same bits on
# every instruction set depend on it. The two -fno flags give up errno and exception flags, not accuracy.
C_FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
CYTHON_FLAGS = ["-O2"]  # -O3 takes longer to compile and has nothing to unroll here

# Flags added last, so that they win over the ones above. With FBP_SMALL the kernels compile in a tenth of the time.
SANITIZERS = {
    # Python's own -fwrapv would define what a signed integer that overflows is.
    "sanitize": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-wrapv"],
    "sanitize-threads": ["-fsanitize=thread"],
}
# Of ELF files: symbols are resolved when the extension is loaded, and the table of addresses is read-only afterwards.
LINK_FLAGS = [] if sys.platform in ("darwin", "win32") else ["-Wl,-z,relro,-z,now"]
BUILDS = {
    "release": ["-g0"],
    "debug": ["-O0", "-g"],
    **{name: ["-O1", "-g1", "-fno-omit-frame-pointer", "-DFBP_SMALL", *flags] for name, flags in SANITIZERS.items()},
}


def chosen_build():
    """The name of the build that FASTBP_BUILD asks for."""
    name = os.environ.get("FASTBP_BUILD") or "release"
    if name not in BUILDS:
        sys.exit(f"the environment variable FASTBP_BUILD must be one of {', '.join(BUILDS)}, got {name!r}")
    return name


def machine():
    """The architecture the extension is for: x86_64, aarch64, ..."""
    name = sysconfig.get_platform().split("-")[-1].lower()
    return name if name in ISAS_OF_MACHINE else platform.machine().lower()


class BuildExtension(build_ext):
    """build_ext that compiles the files of an extension side by side, kernels with the flags of their instruction set,
    and leaves a copy of the result in the source tree."""

    def initialize_options(self):
        super().initialize_options()
        if sys.platform == "win32":
            self.compiler = "mingw32"  # gcc, or what $CC names: the sources have vector types, which Microsoft's lacks

    def finalize_options(self):
        super().finalize_options()
        if BUILD != "release":
            self.build_temp += f"-{BUILD}"  # object files of different builds stay apart

    def build_extensions(self):
        # A Python outside the system's folders lets the linker record its own folder of libraries. The extension needs
        # none of them, and the folder of one machine does not belong in a wheel.
        linker = getattr(self.compiler, "linker_so", [])
        linker[:] = [argument for argument in linker if not argument.startswith("-Wl,-rpath")]
        super().build_extensions()

    def build_extension(self, ext):
        core, *c_files = ext.sources  # the file that Cython wrote comes first
        headers = [name for name in ext.depends if name.endswith(".h")]

        def object_of(source):
            flags = CYTHON_FLAGS if source == core else ISA_FLAGS.get(os.path.basename(source).split("_")[0], [])
            [name] = self.compiler.object_filenames([source], output_dir=self.build_temp)
            if self.force or newer_group([source, *headers, "setup.py"], name, "newer"):
                self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    macros=ext.define_macros,
                    include_dirs=ext.include_dirs,
                    extra_postargs=[*C_FLAGS, *flags, *ext.extra_compile_args],
                )
            return name

        with ThreadPoolExecutor(os.cpu_count()) as workers:
            objects = list(workers.map(object_of, [*c_files, core]))
        # setuptools links these, whatever the build before linked, and has nothing left to compile.
        force, self.force = self.force, True
        ext.sources, ext.extra_objects = [], objects
        super().build_extension(ext)
        self.force, ext.sources, ext.extra_objects = force, [core, *c_files], []

    def run(self):
        super().run()
        # From the root of a checkout `python -m fastbp` and pytest import ./fastbp rather than what was installed: they
        # are to find the core that was just built.
        if not self.inplace:
            self.copy_extensions_to_source()


class SourceDistribution(sdist):
    """sdist whose archive holds no time, owner or umask of the machine that packs it, if SOURCE_DATE_EPOCH is set."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)

        def anonymous(member):
            member.mtime, member.uid, member.gid, member.uname, member.gname = int(epoch), 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        name = os.path.abspath(base_name) + ".tar.gz"
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with (
            open(name, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=int(epoch)) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=anonymous)  # in the order of the names
        return name


if sys.platform == "darwin":
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

BUILD = chosen_build()
ISAS = ISAS_OF_MACHINE.get(machine(), ["portable"])

# One wheel for CPython 3.11 and all later ones. Builds without the GIL have no stable ABI.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

core = Extension(
    "fastbp._core",
    sources=[
        "fastbp/_core.pyx",
        *(f"src_c/isa/{isa}_{real}.c" for isa in reversed(ISAS) for real in ("f32", "f64")),
        *sorted(glob("src_c/*.c")),
    ],
    depends=[*glob("fastbp/core/*.px[di]"), *glob("src_c/*.h"), *glob("src_c/kernels/*.h"), *glob("src_c/vec/*.h")],
    include_dirs=["src_c"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
    extra_compile_args=["-fvisibility=hidden", "-pthread", *BUILDS[BUILD]],
    extra_link_args=["-pthread", *LINK_FLAGS, *SANITIZERS.get(BUILD, [])],
    py_limited_api=LIMITED,
)

setup(
    ext_modules=cythonize([core], build_dir="build"),
    cmdclass={"build_ext": BuildExtension, "sdist": SourceDistribution},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
