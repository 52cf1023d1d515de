/* cpu.c: which instruction sets this processor and operating system offer, and their kernel tables.
 *
 * An instruction set is usable when three parties agree: it was built in, the processor has it (cpuid), and the operating
 * system saves its registers when it switches threads (xgetbv).
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, sections 14.3 and 15.2 to 15.4.
 */
#include "fbp.h"

#if defined(__x86_64__) || defined(_M_X64)
#define X86_64 1
#include <cpuid.h>
#elif defined(__aarch64__)
#define AARCH64 1
#endif

static const char *const names[FBP_ISAS] = {"portable", "avx2", "avx512", "neon"};

const char *fbp_isa_name(int isa) { return isa >= 0 && isa < FBP_ISAS ? names[isa] : NULL; }

#ifdef X86_64
static int bits_set(uint64_t word, uint64_t wanted) { return (word & wanted) == wanted; }

static uint64_t registers_saved_by_the_system(void) {
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (uint64_t)edx << 32 | eax;
}

static int x86_has(int isa) {
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28 };                          /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512BW = 1 << 30 }; /* leaf 7, ebx */
    const unsigned AVX512VL = 1u << 31;
    enum { YMM = 0x6, ZMM = 0xe6 }; /* xcr0: sse and avx; and the masks and both halves of the zmm state as well */
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !bits_set(ecx, FMA | OSXSAVE | AVX)) return 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !bits_set(ebx, AVX2)) return 0;
    uint64_t saved = registers_saved_by_the_system();
    if (isa == FBP_AVX2) return bits_set(saved, YMM);
    return bits_set(ebx, (unsigned)AVX512F | AVX512DQ | AVX512BW | AVX512VL) && bits_set(saved, ZMM);
}
#endif

int fbp_isa_available(int isa) {
    switch (isa) {
    case FBP_PORTABLE: return 1;
#ifdef X86_64
    case FBP_AVX2:
    case FBP_AVX512: return x86_has(isa);
#endif
#ifdef AARCH64
    case FBP_NEON: return 1; /* part of the architecture */
#endif
    default: return 0;
    }
}

const char *fbp_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown compiler";
#endif
}

int fbp_isa_best(void) {
    for (int isa = FBP_ISAS - 1; isa > FBP_PORTABLE; isa--)
        if (fbp_isa_available(isa)) return isa;
    return FBP_PORTABLE;
}

const struct fbp_kernels *fbp_kernels_of(int isa, size_t item) {
    if (!fbp_isa_available(isa) || (item != 4 && item != 8)) return NULL;
    switch (isa) {
#ifdef X86_64
    case FBP_AVX2: return item == 4 ? &fbp_kernels_f32_avx2 : &fbp_kernels_f64_avx2;
    case FBP_AVX512: return item == 4 ? &fbp_kernels_f32_avx512 : &fbp_kernels_f64_avx512;
#endif
#ifdef AARCH64
    case FBP_NEON: return item == 4 ? &fbp_kernels_f32_neon : &fbp_kernels_f64_neon;
#endif
    default: return item == 4 ? &fbp_kernels_f32_portable : &fbp_kernels_f64_portable;
    }
}
