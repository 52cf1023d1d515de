/* portable.h: the vocabulary of common.h on the vector extension of gcc and clang, which every processor can run. A vector is
 * four quarters of 16 bytes, the register size that nearly every processor has. v_fma and v_fnma round twice here: a correctly
 * rounded fma without the instruction costs more than everything else, so this header alone gives other bits than the others. */
#ifndef FBP_VEC_PORTABLE_H
#define FBP_VEC_PORTABLE_H

#define FBP_ISA portable
#define FBP_INLINE static inline /* inlining everywhere only makes a large, slow build: the compiler decides */
#include "common.h"

/* One operation on each line, in the order of common.h. */
/* clang-format off */

#include <math.h>
#include <string.h>

#define TILE_ROWS 4
#define TILE_VECTORS 1
#define TILE_ROWS_PARTIAL 4
#define TILE_PACKS 0

typedef real quarter __attribute__((vector_size(16)));
typedef int_real int_quarter __attribute__((vector_size(16)));
typedef uint_real uint_quarter __attribute__((vector_size(16)));
typedef struct { quarter q[4]; } vreal;
typedef struct { int_quarter q[4]; } vint;
typedef struct { int_quarter q[4]; } vmask; /* 0 or -1 */

#define FBP_EACH(i) FBP_ROLLED for (int i = 0; i < LANES; i++)

/* A vector from an expression in the number of a quarter. */
#define FBP_QUARTERS(type, f) ((type){{f(0), f(1), f(2), f(3)}})

#if FBP_REAL == 32
#define FBP_REPEAT(x) {x, x, x, x}
#define FBP_SQRT sqrtf
#else
#define FBP_REPEAT(x) {x, x}
#define FBP_SQRT sqrt
#endif

static inline quarter q_select(int_quarter m, quarter a, quarter b) {
    return (quarter)(((int_quarter)a & m) | ((int_quarter)b & ~m));
}

FBP_INLINE vreal v_set(real x) { const quarter q = FBP_REPEAT(x); return (vreal){{q, q, q, q}}; }
FBP_INLINE vreal v_zero(void) { return v_set(0); }
FBP_INLINE vreal v_load(const real *p) { vreal v; memcpy(&v, p, sizeof v); return v; }
FBP_INLINE void v_store(real *p, vreal v) { memcpy(p, &v, sizeof v); }

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    if (n >= LANES) return v_load(p);
    real lane[LANES] = {0};
    FBP_ROLLED
    for (size_t i = 0; i < n; i++) lane[i] = p[i];
    return v_load(lane);
}

FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n >= LANES) { v_store(p, v); return; }
    real lane[LANES];
    v_store(lane, v);
    FBP_ROLLED
    for (size_t i = 0; i < n; i++) p[i] = lane[i];
}

#define FBP_BINARY(name, operation) \
    FBP_INLINE vreal name(vreal a, vreal b) { \
        return (vreal){{a.q[0] operation b.q[0], a.q[1] operation b.q[1], a.q[2] operation b.q[2], a.q[3] operation b.q[3]}}; \
    }
FBP_BINARY(v_add, +)
FBP_BINARY(v_sub, -)
FBP_BINARY(v_mul, *)
FBP_BINARY(v_div, /)
#undef FBP_BINARY

FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return v_add(v_mul(a, b), c); }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return v_sub(c, v_mul(a, b)); }
FBP_INLINE vreal v_neg(vreal a) { return (vreal){{-a.q[0], -a.q[1], -a.q[2], -a.q[3]}}; }

FBP_INLINE vreal v_sqrt(vreal a) {
    real lane[LANES];
    v_store(lane, a);
    FBP_EACH(i) lane[i] = FBP_SQRT(lane[i]);
    return v_load(lane);
}

#define FBP_COMPARISON(name, operator) \
    FBP_INLINE vmask name(vreal a, vreal b) { \
        return (vmask){{(int_quarter)(a.q[0] operator b.q[0]), (int_quarter)(a.q[1] operator b.q[1]), \
                        (int_quarter)(a.q[2] operator b.q[2]), (int_quarter)(a.q[3] operator b.q[3])}}; \
    }
FBP_COMPARISON(v_lt, <)
FBP_COMPARISON(v_le, <=)
FBP_COMPARISON(v_gt, >)
FBP_COMPARISON(v_ge, >=)
FBP_COMPARISON(v_eq, ==)
FBP_COMPARISON(v_ne, !=)
#undef FBP_COMPARISON

FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) {
#define SELECTED(i) q_select(m.q[i], a.q[i], b.q[i])
    return FBP_QUARTERS(vreal, SELECTED);
#undef SELECTED
}

FBP_INLINE vreal v_max(vreal a, vreal b) { return v_select(v_gt(a, b), a, b); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return v_select(v_lt(a, b), a, b); }

FBP_INLINE vmask m_first(size_t n) {
    int_real lane[LANES];
    FBP_EACH(i) lane[i] = -((size_t)i < n);
    vmask m;
    memcpy(&m, lane, sizeof m);
    return m;
}

FBP_INLINE int m_any(vmask m) {
    const int_quarter any = m.q[0] | m.q[1] | m.q[2] | m.q[3];
    int_real found = 0;
    for (int i = 0; i < QUARTER; i++) found |= any[i];
    return found != 0;
}

FBP_INLINE int m_all(vmask m) {
    const int_quarter all = m.q[0] & m.q[1] & m.q[2] & m.q[3];
    int_real found = -1;
    for (int i = 0; i < QUARTER; i++) found &= all[i];
    return found != 0;
}

FBP_INLINE vint v_bits(vreal a) { vint v; memcpy(&v, &a, sizeof v); return v; }
FBP_INLINE vreal v_from_bits(vint a) { vreal v; memcpy(&v, &a, sizeof v); return v; }

/* Through unsigned integers, which wrap. */
#define FBP_INTEGER(name, operation) \
    FBP_INLINE vint name(vint a, vint b) { \
        return (vint){{(int_quarter)((uint_quarter)a.q[0] operation (uint_quarter)b.q[0]), \
                       (int_quarter)((uint_quarter)a.q[1] operation (uint_quarter)b.q[1]), \
                       (int_quarter)((uint_quarter)a.q[2] operation (uint_quarter)b.q[2]), \
                       (int_quarter)((uint_quarter)a.q[3] operation (uint_quarter)b.q[3])}}; \
    }
FBP_INTEGER(vi_add, +)
FBP_INTEGER(vi_sub, -)
FBP_INTEGER(vi_and, &)
FBP_INTEGER(vi_or, |)
FBP_INTEGER(vi_xor, ^)
#undef FBP_INTEGER

#define FBP_SHIFT(name, operator) \
    FBP_INLINE vint name(vint a, int n) { \
        return (vint){{(int_quarter)((uint_quarter)a.q[0] operator n), (int_quarter)((uint_quarter)a.q[1] operator n), \
                       (int_quarter)((uint_quarter)a.q[2] operator n), (int_quarter)((uint_quarter)a.q[3] operator n)}}; \
    }
FBP_SHIFT(vi_shl, <<)
FBP_SHIFT(vi_shr, >>)
#undef FBP_SHIFT

FBP_INLINE vint vi_set(int_real x) { const int_quarter q = FBP_REPEAT(x); return (vint){{q, q, q, q}}; }

FBP_INLINE vreal v_abs(vreal a) { return v_from_bits(vi_shr(vi_shl(v_bits(a), 1), 1)); }

FBP_INLINE real v_sum(vreal v) {
    quarter sum = (v.q[0] + v.q[2]) + (v.q[1] + v.q[3]);
    for (int half = QUARTER / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

FBP_INLINE real v_greatest(vreal v) {
    const quarter even = q_select((int_quarter)(v.q[0] > v.q[2]), v.q[0], v.q[2]);
    const quarter odd = q_select((int_quarter)(v.q[1] > v.q[3]), v.q[1], v.q[3]);
    quarter most = q_select((int_quarter)(even > odd), even, odd);
    for (int half = QUARTER / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) most[i] = most[i] > most[i + half] ? most[i] : most[i + half];
    return most[0];
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    FBP_EACH(j) FBP_EACH(i) dst[j * dst_row + i] = src[i * src_row + j];
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    real lane[LANES];
    for (size_t j = 0; j < QUARTER; j++) {
        FBP_EACH(i) lane[i] = j < n ? src[(size_t)i * src_row + j] : 0;
        c[j] = v_load(lane);
    }
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    real lane[LANES];
    for (size_t j = 0; j < n; j++) {
        v_store(lane, c[j]);
        FBP_EACH(i) dst[(size_t)i * dst_row + j] = lane[i];
    }
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    const real sums[4] = {v_sum(a), v_sum(b), v_sum(c), v_sum(d)};
    const quarter w = FBP_REPEAT(sums[0]), x = FBP_REPEAT(sums[1]), y = FBP_REPEAT(sums[2]), z = FBP_REPEAT(sums[3]);
    return (vreal){{w, x, y, z}};
}

FBP_INLINE vreal v_spread(vreal v, int q) { return (vreal){{v.q[q], v.q[q], v.q[q], v.q[q]}}; }

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    int_real lane[LANES];
    FBP_EACH(i) lane[i] = -(words[i] < limit);
    vmask m;
    memcpy(&m, lane, sizeof m);
    return m;
}

typedef struct { uint32_t lane[16]; } vword;

#define FBP_WORDS(i) for (int i = 0; i < 16; i++)

FBP_INLINE vword w_set(uint32_t x) { vword v; FBP_WORDS(i) v.lane[i] = x; return v; }
FBP_INLINE vword w_index(void) { vword v; FBP_WORDS(i) v.lane[i] = (uint32_t)i; return v; }
FBP_INLINE vword w_add(vword a, vword b) { FBP_WORDS(i) a.lane[i] += b.lane[i]; return a; }
FBP_INLINE vword w_xor(vword a, vword b) { FBP_WORDS(i) a.lane[i] ^= b.lane[i]; return a; }
FBP_INLINE vword w_raised(vword a) { FBP_WORDS(i) a.lane[i] <<= 16; return a; }
FBP_INLINE void w_store(uint32_t *p, vword v) { memcpy(p, v.lane, sizeof v.lane); }

FBP_INLINE vword w_product(vword a, vword b, vword *high) {
    FBP_WORDS(i) {
        const uint64_t product = (uint64_t)a.lane[i] * b.lane[i];
        high->lane[i] = (uint32_t)(product >> 32);
        a.lane[i] = (uint32_t)product;
    }
    return a;
}

#endif
