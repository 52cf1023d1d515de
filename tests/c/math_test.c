/* math_test.c: checks a vec header and vec/math.h on the machine it runs on. Compile once for each header and real:
 *
 *   cc -O2 -std=c11 -ffp-contract=off -fno-math-errno -fno-trapping-math -mavx2 -mfma -DFBP_REAL=32
 *      -DVEC_HEADER='"../../src_c/vec/avx2.h"' math_test.c -lm
 *
 * 1. Every function of the vocabulary, lane by lane, against scalar C: nan, inf, signed zeros, loads and stores of
 *    every length that end at a page without access, transposes.
 * 2. The functions of math.h at the edges. accuracy.c measures their errors.
 * 3. "bits <hash>": a hash of all outputs for one fixed set of inputs. Headers with fused multiply-add must agree on it.
 *
 * Prints "ok" and returns 0 when all is well. */
#define _DEFAULT_SOURCE

#include VEC_HEADER
#include "../../src_c/vec/math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reals.h"

#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if FBP_REAL == 32
#define FRACTION 23
#define REAL_MAX 0x1.fffffep127f
#define REAL_MIN 0x1p-126f
#else
#define FRACTION 52
#define REAL_MAX 0x1.fffffffffffffp1023
#define REAL_MIN 0x1p-1022
#endif

static int failures;

static int fail(const char *what, long where) {
    if (++failures <= 20) printf("FAIL %s at %ld\n", what, where);
    return 0;
}

static uint_real bits_of(real x) {
    uint_real u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* The same bits, or nan both: processors differ in which nan they make. */
static int same(real a, real b) { return a != a ? b != b : bits_of(a) == bits_of(b); }

/* ------------------------------------------------------------------------------------------- 1. vocabulary */

static real s_add(real a, real b) { return a + b; }
static real s_sub(real a, real b) { return a - b; }
static real s_mul(real a, real b) { return a * b; }
static real s_div(real a, real b) { return a / b; }
static real s_max(real a, real b) { return a > b ? a : b; }
static real s_min(real a, real b) { return a < b ? a : b; }
static real s_sqrt(real a) { return (real)sqrt((double)a); } /* exact for floats too: a double has bits to spare */
static real s_abs(real a) { return real_of(bits_of(a) & ~((uint_real)1 << (FBP_REAL - 1))); }
static real s_neg(real a) { return real_of(bits_of(a) ^ ((uint_real)1 << (FBP_REAL - 1))); }
static int s_lt(real a, real b) { return a < b; }
static int s_le(real a, real b) { return a <= b; }
static int s_gt(real a, real b) { return a > b; }
static int s_ge(real a, real b) { return a >= b; }
static int s_eq(real a, real b) { return a == b; }
static int s_ne(real a, real b) { return a != b; }
static uint_real i_add(uint_real a, uint_real b) { return a + b; }
static uint_real i_sub(uint_real a, uint_real b) { return a - b; }
static uint_real i_and(uint_real a, uint_real b) { return a & b; }
static uint_real i_or(uint_real a, uint_real b) { return a | b; }
static uint_real i_xor(uint_real a, uint_real b) { return a ^ b; }

static real s_fma(real a, real b, real c) {
    const char *isa = TEXT_OF(FBP_ISA);
    if (strcmp(isa, "portable") == 0) {
        volatile real product = a * b;
        return product + c;
    }
#if FBP_REAL == 32
    return fmaf(a, b, c);
#else
    return fma(a, b, c);
#endif
}

static const struct {
    const char *name;
    vreal (*vector)(vreal);
    real (*scalar)(real);
} unary[] = {{"v_sqrt", v_sqrt, s_sqrt}, {"v_abs", v_abs, s_abs}, {"v_neg", v_neg, s_neg}};
static const struct {
    const char *name;
    vreal (*vector)(vreal, vreal);
    real (*scalar)(real, real);
} binary[] = {{"v_add", v_add, s_add}, {"v_sub", v_sub, s_sub}, {"v_mul", v_mul, s_mul},
              {"v_div", v_div, s_div}, {"v_max", v_max, s_max}, {"v_min", v_min, s_min}};
static const struct {
    const char *name;
    vmask (*vector)(vreal, vreal);
    int (*scalar)(real, real);
} compare[] = {{"v_lt", v_lt, s_lt}, {"v_le", v_le, s_le}, {"v_gt", v_gt, s_gt},
               {"v_ge", v_ge, s_ge}, {"v_eq", v_eq, s_eq}, {"v_ne", v_ne, s_ne}};
static const struct {
    const char *name;
    vint (*vector)(vint, vint);
    uint_real (*scalar)(uint_real, uint_real);
} integer[] = {{"vi_add", vi_add, i_add},
               {"vi_sub", vi_sub, i_sub},
               {"vi_and", vi_and, i_and},
               {"vi_or", vi_or, i_or},
               {"vi_xor", vi_xor, i_xor}};

static unsigned mask_bits(vmask m) {
    real lane[LANES];
    unsigned bits = 0;
    v_store(lane, v_select(m, v_set(1), v_zero()));
    for (int i = 0; i < LANES; i++) bits |= (unsigned)(lane[i] == 1) << i;
    return bits;
}

static void check_lanes(void) {
    static const double edges[] = {0.0, -0.0, 1, -1, 0.5, -2.75, 3, INFINITY, -INFINITY, NAN};
    enum { VALUES = 40 };
    real value[VALUES], x[LANES], y[LANES], z[LANES], got[LANES];
    size_t n = 0;
    for (; n < COUNT(edges); n++) value[n] = (real)edges[n];
    value[n++] = REAL_MAX;
    value[n++] = -REAL_MAX;
    value[n++] = REAL_MIN;
    value[n++] = real_of(1);
    value[n++] = real_of(12345);
    for (; n < VALUES; n++) value[n] = n % 2 ? (real)(random_unit() * 20 - 10) : real_of((uint_real)random_word());

    for (long trial = 0; trial < 4000; trial++) {
        for (int i = 0; i < LANES; i++) {
            x[i] = value[trial < VALUES * VALUES / LANES ? (trial * LANES + i) / VALUES : (long)(random_word() % VALUES)];
            y[i] = value[trial < VALUES * VALUES / LANES ? (trial * LANES + i) % VALUES : (long)(random_word() % VALUES)];
            z[i] = value[random_word() % VALUES];
        }
        vreal a = v_load(x), b = v_load(y), c = v_load(z);
        for (size_t f = 0; f < COUNT(unary); f++) {
            v_store(got, unary[f].vector(a));
            for (int i = 0; i < LANES; i++)
                if (!same(got[i], unary[f].scalar(x[i]))) fail(unary[f].name, trial);
        }
        for (size_t f = 0; f < COUNT(binary); f++) {
            v_store(got, binary[f].vector(a, b));
            for (int i = 0; i < LANES; i++)
                if (!same(got[i], binary[f].scalar(x[i], y[i]))) fail(binary[f].name, trial);
        }
        for (size_t f = 0; f < COUNT(integer); f++) {
            v_store(got, v_from_bits(integer[f].vector(v_bits(a), v_bits(b))));
            for (int i = 0; i < LANES; i++)
                if (bits_of(got[i]) != integer[f].scalar(bits_of(x[i]), bits_of(y[i]))) fail(integer[f].name, trial);
        }
        unsigned masks[COUNT(compare)];
        for (size_t f = 0; f < COUNT(compare); f++) {
            unsigned expected = 0;
            for (int i = 0; i < LANES; i++) expected |= (unsigned)compare[f].scalar(x[i], y[i]) << i;
            masks[f] = mask_bits(compare[f].vector(a, b));
            if (masks[f] != expected) fail(compare[f].name, trial);
        }
        unsigned all = mask_bits(m_first(LANES)), lt = masks[0];
        if (m_any(v_lt(a, b)) != (lt != 0) || m_all(v_lt(a, b)) != (lt == all)) fail("m_any or m_all", trial);
        v_store(got, v_select(v_lt(a, b), c, b));
        for (int i = 0; i < LANES; i++)
            if (bits_of(got[i]) != bits_of(x[i] < y[i] ? z[i] : y[i])) fail("v_select", trial);
        v_store(got, v_fma(a, b, c));
        for (int i = 0; i < LANES; i++)
            if (!same(got[i], s_fma(x[i], y[i], z[i]))) fail("v_fma", trial);
        v_store(got, v_fnma(a, b, c));
        for (int i = 0; i < LANES; i++)
            if (!same(got[i], s_fma(s_neg(x[i]), y[i], z[i]))) fail("v_fnma", trial);
        v_store(got, v_from_bits(vi_shl(v_bits(a), FRACTION)));
        for (int i = 0; i < LANES; i++)
            if (bits_of(got[i]) != (uint_real)(bits_of(x[i]) << FRACTION)) fail("vi_shl", trial);
        v_store(got, v_from_bits(vi_shr(v_bits(a), 1)));
        for (int i = 0; i < LANES; i++)
            if (bits_of(got[i]) != bits_of(x[i]) >> 1) fail("vi_shr", trial);
        v_store(got, v_set(x[0]));
        for (int i = 0; i < LANES; i++)
            if (bits_of(got[i]) != bits_of(x[0])) fail("v_set", trial);
        v_store(got, v_from_bits(vi_set((int_real)bits_of(x[0]))));
        for (int i = 0; i < LANES; i++)
            if (bits_of(got[i]) != bits_of(x[0])) fail("vi_set", trial);

        real sum[LANES], greatest[LANES];
        memcpy(sum, x, sizeof x);
        memcpy(greatest, x, sizeof x);
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) {
                sum[i] = sum[i] + sum[i + half];
                greatest[i] = s_max(greatest[i], greatest[i + half]);
            }
        if (!same(v_sum(a), sum[0])) fail("v_sum", trial);
        if (!same(v_greatest(a), greatest[0])) fail("v_greatest", trial);
        const vreal of_four[4] = {a, b, c, v_add(a, b)}, sums = v_sums(a, b, c, of_four[3]);
        for (int q = 0; q < 4; q++) {
            v_store(got, v_spread(sums, q));
            for (int i = 0; i < LANES; i++)
                if (!same(got[i], v_sum(of_four[q]))) fail("v_sums or v_spread", trial);
            v_store(got, sums);
            for (int i = q * QUARTER; i < (q + 1) * QUARTER; i++)
                if (!same(got[i], v_sum(of_four[q]))) fail("v_sums", trial);
        }
    }
    v_store(got, v_zero());
    for (int i = 0; i < LANES; i++)
        if (bits_of(got[i]) != 0) fail("v_zero", i);
    for (int i = 0; i <= LANES; i++) {
        if (mask_bits(m_first((size_t)i)) != (1u << i) - 1) fail("m_first", i);
        if (m_any(m_first((size_t)i)) != (i > 0) || m_all(m_first((size_t)i)) != (i == LANES)) fail("m_any or m_all of m_first", i);
    }
    if (mask_bits(m_first(SIZE_MAX)) != (1u << LANES) - 1) fail("m_first", -1);
}

static void store_words(uint32_t *to, vword v) {
    uint32_t at[17] = {0};
    w_store(at + 1, v); /* at no multiple of anything */
    memcpy(to, at + 1, 16 * sizeof *to);
    if (at[0]) fail("w_store", 0);
}

static void check_words(void) {
    uint32_t a[16], b[16], got[16];
    store_words(got, w_index());
    for (uint32_t i = 0; i < 16; i++)
        if (got[i] != i) fail("w_index", i);
    for (int trial = 0; trial < 2000; trial++) {
        /* A word is what a sum or a product left, with whatever else its lane holds then. */
        const uint32_t start = (uint32_t)random_word(), factor = (uint32_t)random_word(), limit = (uint32_t)random_word();
        vword high, v = w_add(w_product(w_set(factor), w_index(), &high), w_set(start));
        const vword w = w_xor(v, w_set(limit));
        for (uint32_t i = 0; i < 16; i++) a[i] = factor * i + start, b[i] = a[i] ^ limit;
        store_words(got, v);
        if (memcmp(got, a, sizeof a)) fail("w_set, w_add or the lower words of w_product", trial);
        store_words(got, w);
        if (memcmp(got, b, sizeof b)) fail("w_xor", trial);
        store_words(got, w_raised(w));
        for (int i = 0; i < 16; i++)
            if (got[i] != b[i] << 16) fail("w_raised", trial);
        v = w_product(v, w, &high);
        store_words(got, v);
        for (int i = 0; i < 16; i++)
            if (got[i] != a[i] * b[i]) fail("w_product", trial);
        store_words(got, high);
        for (int i = 0; i < 16; i++)
            if (got[i] != (uint32_t)((uint64_t)a[i] * b[i] >> 32)) fail("the upper words of w_product", trial);
        store_words(got, w_add(high, high));
        for (int i = 0; i < 16; i++)
            if (got[i] != (uint32_t)((uint64_t)a[i] * b[i] >> 32) * 2) fail("w_add of upper words", trial);
        a[trial % 16] = limit; /* not below itself */
        for (int at = 0; at <= 16 - LANES; at++) {
            unsigned expected = 0;
            for (int i = 0; i < LANES; i++) expected |= (unsigned)(a[at + i] < limit) << i;
            if (mask_bits(m_below(a + at, limit)) != expected) fail("m_below", trial);
        }
    }
}

/* Memory with no access on both sides of it. */
static void check_memory(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), items = page / sizeof(real);
    char *map = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) || mprotect(map + 2 * page, page, PROT_NONE)) {
        fail("mmap", 0);
        return;
    }
    real *first = (real *)(void *)(map + page), got[LANES], v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = (real)(100 + i);
    for (int end = 0; end < 2; end++) {
        for (size_t n = 0; n <= LANES; n++) {
            real *p = end ? first + items - n : first;
            for (size_t i = 0; i < items; i++) first[i] = (real)(i + 1);
            v_store(got, v_load_n(p, n));
            for (size_t i = 0; i < LANES; i++)
                if (!same(got[i], i < n ? p[i] : 0)) fail("v_load_n", (long)n);
            v_store_n(p, v_load(v), n);
            for (size_t i = 0; i < items; i++) {
                int written = first + i >= p && first + i < p + n;
                if (first[i] != (written ? v[first + i - p] : (real)(i + 1))) fail("v_store_n", (long)n);
            }
        }
    }
    static const size_t beyond[] = {LANES + 1, 2 * LANES, SIZE_MAX};
    for (size_t k = 0; k < COUNT(beyond); k++) {
        real *p = first + items - LANES;
        for (size_t i = 0; i < items; i++) first[i] = (real)(i + 1);
        v_store(got, v_load_n(p, beyond[k]));
        if (memcmp(got, p, sizeof got)) fail("v_load_n of too many", (long)k);
        v_store_n(p, v_load(v), beyond[k]);
        if (memcmp(v, p, sizeof v) || p[-1] != (real)(items - LANES)) fail("v_store_n of too many", (long)k);
    }
    munmap(map, 3 * page);
}

static void check_transpose(void) {
    enum { WIDEST = LANES + 9 };
    static real src[LANES * WIDEST + 3], dst[LANES * WIDEST + 3];
    for (size_t src_row = LANES; src_row <= WIDEST; src_row += 3) {
        for (size_t dst_row = LANES; dst_row <= WIDEST; dst_row++) {
            size_t shift = dst_row % 3;
            for (size_t i = 0; i < COUNT(src); i++) {
                src[i] = (real)i;
                dst[i] = -1;
            }
            v_transpose(src + shift, src_row, dst + shift, dst_row);
            for (size_t k = 0; k < COUNT(dst); k++) {
                size_t j = (k - shift) / dst_row, i = (k - shift) % dst_row;
                int inside = k >= shift && j < LANES && i < LANES;
                if (dst[k] != (inside ? src[shift + i * src_row + j] : -1)) fail("v_transpose", (long)dst_row);
            }
        }
    }
}

/* Rows that end at a page without access, or begin at one: both ways, and back into a second matrix. */
static void check_columns(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), items = page / sizeof(real);
    char *map = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) || mprotect(map + 2 * page, page, PROT_NONE)) {
        fail("mmap", 0);
        return;
    }
    real *first = (real *)(void *)(map + page);
    for (size_t n = 1; n <= QUARTER; n++) {
        for (size_t row = n; row <= n + LANES; row++) {
            for (int end = 0; end < 2; end++) {
                const size_t length = (LANES - 1) * row + n;
                real *p = end ? first + items - length : first, got[LANES];
                vreal c[QUARTER];
                for (size_t i = 0; i < items; i++) first[i] = (real)(i + 1);
                v_load_columns(p, row, n, c);
                for (size_t j = 0; j < QUARTER; j++) {
                    v_store(got, c[j]);
                    for (size_t i = 0; i < LANES; i++)
                        if (!same(got[i], j < n ? p[i * row + j] : 0)) fail("v_load_columns", (long)(n * 100 + row));
                    c[j] = v_add(c[j], v_set(10000));
                }
                v_store_columns(c, p, row, n);
                for (size_t k = 0; k < items; k++) {
                    size_t at = (size_t)(first + k - p);
                    int written = first + k >= p && at < length && at % row < n;
                    if (first[k] != (real)(k + 1) + (written ? 10000 : 0)) fail("v_store_columns", (long)(n * 100 + row));
                }
            }
        }
    }
    munmap(map, 3 * page);
}

/* -------------------------------------------------------------------------------------------- 2. functions */

/* v_exp_below: the bits of v_exp up to 0, those whose results are subnormal or 0 among them. */
static void check_exp_below(void) {
    const double lowest = FBP_REAL == 32 ? -110 : -760;
    real x[LANES], one_way[LANES], other_way[LANES];
    random_state = 3;
    for (long trial = 0; trial < 20000; trial++) {
        for (int i = 0; i < LANES; i++) {
            double u = random_unit(), small = ldexp(-u, -(int)(random_word() % 160));
            double border = lowest * (0.75 + u / 4);
            x[i] = (real)(trial % 3 == 0 ? lowest * u : trial % 3 == 1 ? small : border);
        }
        if (trial == 0) x[0] = 0, x[1] = (real)-INFINITY, x[2] = -real_of(1), x[3] = -REAL_MAX, x[4] = (real)NAN;
        v_store(one_way, v_exp(v_load(x)));
        v_store(other_way, v_exp_below(v_load(x)));
        for (int i = 0; i < LANES; i++)
            if (!same(one_way[i], other_way[i])) fail("v_exp_below", trial);
    }
}

/* By hand: where the exact result is a value everyone knows. */
static void check_literals(void) {
    const real infinite = (real)INFINITY, least = real_of(1);
    const struct {
        vreal (*vector)(vreal);
        real x, y;
    } known[] = {{v_exp, 0, 1},
                 {v_exp, (real)-0.0, 1},
                 {v_exp, -infinite, 0},
                 {v_exp, infinite, infinite},
                 {v_exp, REAL_MAX, infinite},
                 {v_exp, -REAL_MAX, 0},
                 {v_exp, (real)NAN, (real)NAN},
                 {v_exp, least, 1},
                 {v_expm1, 0, 0},
                 {v_expm1, (real)-0.0, (real)-0.0},
                 {v_expm1, -infinite, -1},
                 {v_expm1, infinite, infinite},
                 {v_expm1, least, least},
                 {v_expm1, -least, -least},
                 {v_expm1, (real)NAN, (real)NAN},
                 {v_expm1, -REAL_MAX, -1},
                 {v_log, 1, 0},
                 {v_log, 0, -infinite},
                 {v_log, (real)-0.0, -infinite},
                 {v_log, infinite, infinite},
                 {v_log, -1, (real)NAN},
                 {v_log, -infinite, (real)NAN},
                 {v_log, -least, (real)NAN},
                 {v_log, (real)NAN, (real)NAN},
                 {v_log1p_unit, 0, 0},
                 {v_log1p_unit, 1, (real)0x1.62e42fefa39efp-1},
                 {v_log1p_unit, least, least},
                 {v_log1p_unit, (real)NAN, (real)NAN},
                 {v_tanh, 0, 0},
                 {v_tanh, (real)-0.0, (real)-0.0},
                 {v_tanh, infinite, 1},
                 {v_tanh, -infinite, -1},
                 {v_tanh, least, least},
                 {v_tanh, -least, -least},
                 {v_tanh, (real)NAN, (real)NAN},
                 {v_tanh, 100, 1},
                 {v_sigmoid, 0, (real)0.5},
                 {v_sigmoid, infinite, 1},
                 {v_sigmoid, -infinite, 0},
                 {v_sigmoid, -REAL_MAX, 0},
                 {v_sigmoid, 100, 1},
                 {v_sigmoid, (real)NAN, (real)NAN},
                 {v_gelu, 0, 0},
                 {v_gelu, (real)-0.0, (real)-0.0},
                 {v_gelu, infinite, infinite},
                 {v_gelu, -infinite, (real)-0.0},
                 {v_gelu, REAL_MAX, REAL_MAX},
                 {v_gelu, -REAL_MAX, (real)-0.0},
                 {v_gelu, 100, 100},
                 {v_gelu, (real)NAN, (real)NAN},
                 {v_gelu_slope, 0, (real)0.5},
                 {v_gelu_slope, (real)-0.0, (real)0.5},
                 {v_gelu_slope, infinite, 1},
                 {v_gelu_slope, 100, 1},
                 {v_gelu_slope, least, (real)0.5},
                 {v_gelu_slope, (real)NAN, (real)NAN}};
    for (size_t k = 0; k < COUNT(known); k++) {
        real y[LANES];
        v_store(y, known[k].vector(v_set(known[k].x)));
        for (int i = 0; i < LANES; i++)
            if (!same(y[i], known[k].y)) {
                fail("a known value", (long)k);
                break;
            }
    }
}

/* ------------------------------------------------------------------------------------------------- 3. bits */

static uint64_t hash(uint64_t h, real x) /* FNV-1a over the value's bytes; every nan counts as one */
{
    uint64_t u = x != x ? UINT64_MAX : bits_of(x);
    for (int i = 0; i < FBP_REAL / 8; i++) h = (h ^ ((u >> (8 * i)) & 0xff)) * 0x100000001b3u;
    return h;
}

static void print_bits(void) {
    vreal (*const functions[])(vreal) = {v_exp, v_exp_below, v_expm1, v_log, v_log1p_unit, v_tanh, v_sigmoid, v_gelu, v_gelu_slope};
    uint64_t h = 0xcbf29ce484222325u;
    random_state = 2;
    for (int trial = 0; trial < 12000; trial++) {
        real x[LANES], y[LANES];
        double width = ldexp(1, trial % 12 - 4);
        for (int i = 0; i < LANES; i++)
            x[i] = trial % 3 ? (real)((random_unit() * 2 - 1) * width) : real_of((uint_real)random_word());
        for (size_t k = 0; k < COUNT(functions); k++) {
            v_store(y, functions[k](v_load(x)));
            for (int i = 0; i < LANES; i++) h = hash(h, y[i]);
        }
        h = hash(h, v_sum(v_load(x)));
        h = hash(h, v_greatest(v_load(x)));
    }
    printf("bits %016llx\n", (unsigned long long)h);
}

int main(void) {
    printf("%s %s\n", TEXT_OF(FBP_ISA), TEXT_OF(FBP_REAL_NAME));
    check_lanes();
    check_words();
    check_memory();
    check_transpose();
    check_columns();
    check_literals();
    check_exp_below();
    print_bits();
    if (failures) {
        printf("%d failures\n", failures);
        return 1;
    }
    puts("ok");
    return 0;
}
