/* cache.c: how large the caches are, and the memory in which a thread's products pack their operands, sized by them.
 *
 * A block of A is read from the second-level cache once for each panel of B, beside the panel itself and a part of C, so it
 * takes half of that cache. A group of panels of B is read from the third level once for each block of A; the third level is
 * shared with other cores.
 * Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID leaf 4; AMD64 Architecture Programmer's
 * Manual, volume 3, function 8000_001Dh; Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM
 * TOMS 34(3), 2008.
 */
#include "fbp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define X86_64 1
#include <cpuid.h>
#endif

enum {
    LINE = 64,
    DEFAULT_SECOND = 256 * 1024,
    DEFAULT_THIRD = 4 * 1024 * 1024, /* of a processor that does not say */
    MOST_A = 256 * 1024,
    MOST_B = 512 * 1024, /* larger blocks bring nothing more */
    THIRD_SHARE = 16,
};

static _Atomic size_t second_level, third_level; /* bytes; 0: not asked yet */

#ifdef X86_64
/* Bytes of the data or unified cache of a level, or 0. */
static size_t size_by_cpuid(unsigned leaf, unsigned level) {
    unsigned eax, ebx, ecx, edx;
    for (unsigned i = 0; i < 16 && __get_cpuid_count(leaf, i, &eax, &ebx, &ecx, &edx); i++) {
        const unsigned kind = eax & 31; /* 0: no more; 1 data, 2 instructions, 3 both */
        if (kind == 0) break;
        if (kind == 2 || (eax >> 5 & 7) != level) continue;
        const size_t ways = (ebx >> 22) + 1, partitions = (ebx >> 12 & 0x3ff) + 1, line = (ebx & 0xfff) + 1;
        return ways * partitions * line * ((size_t)ecx + 1);
    }
    return 0;
}
#endif

/* Bytes of the cache of level 2 or 3, or 0 when the processor and the system do not say. */
static size_t size_of_level(int level) {
    size_t size = 0;
    (void)level; /* of no use where neither the processor nor the system is asked */
#ifdef X86_64
    size = size_by_cpuid(4, (unsigned)level);
    if (!size) size = size_by_cpuid(0x8000001d, (unsigned)level);
#endif
#ifdef _SC_LEVEL2_CACHE_SIZE
    if (!size) {
        const long known = sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
        if (known > 0) size = (size_t)known;
    }
#endif
#ifdef __APPLE__
    if (!size) {
        int64_t known = 0;
        size_t bytes = sizeof known;
        const char *name = level == 2 ? "hw.l2cachesize" : "hw.l3cachesize";
        if (sysctlbyname(name, &known, &bytes, NULL, 0) == 0 && known > 0) size = (size_t)known;
    }
#endif
    return size;
}

void fbp_set_cache_sizes(size_t second, size_t third) {
    if (!second) second = size_of_level(2);
    if (!third) third = size_of_level(3);
    atomic_store(&second_level, second ? second : DEFAULT_SECOND);
    atomic_store(&third_level, third ? third : DEFAULT_THIRD);
}

void fbp_cache_sizes(size_t *second, size_t *third) {
    if (!atomic_load(&third_level)) fbp_set_cache_sizes(0, 0); /* the same numbers, whichever thread comes first */
    *second = atomic_load(&second_level), *third = atomic_load(&third_level);
}

static size_t within(size_t bytes, size_t most) {
    bytes = bytes / LINE * LINE;
    return bytes < FBP_ROOM_LEAST ? FBP_ROOM_LEAST : bytes > most ? most : bytes;
}

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its value is the memory of the thread, freed when the thread ends */
static int key_made;
static _Thread_local struct fbp_room room;

static void make_key(void) { key_made = pthread_key_create(&key, free) == 0; }

const struct fbp_room *fbp_thread_room(void) {
    if (!room.a) {
        pthread_once(&key_once, make_key);
        unsigned char *memory = key_made ? malloc(MOST_A + MOST_B + LINE) : NULL;
        if (!memory) return NULL;
        if (pthread_setspecific(key, memory)) {
            free(memory);
            return NULL;
        }
        room.a = memory + (LINE - (uintptr_t)memory % LINE);
        room.b = (unsigned char *)room.a + MOST_A;
    }
    size_t second, third;
    fbp_cache_sizes(&second, &third);
    room.a_bytes = within(second / 2, MOST_A);
    room.b_bytes = within(third / THIRD_SHARE, MOST_B);
    return &room;
}
