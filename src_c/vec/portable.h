/* portable.h: the vocabulary of common.h in standard C. v_fma and v_fnma round twice here: a correctly rounded fma
 * without the instruction costs more than all the rest, so this header alone gives other bits than the others. */
#ifndef FBP_VEC_PORTABLE_H
#define FBP_VEC_PORTABLE_H

#define FBP_ISA portable
#define FBP_INLINE static inline /* vectors lie in memory here: to inline them everywhere only makes a large, slow build */
#include "common.h"

/* One operation on each line, in the order of common.h. */
/* clang-format off */

#include <math.h>
#include <string.h>

#define TILE_ROWS 4
#define TILE_VECTORS 1
#define TILE_ROWS_PARTIAL 4

typedef struct { real lane[LANES]; } vreal;
typedef struct { int_real lane[LANES]; } vint;
typedef struct { int_real lane[LANES]; } vmask; /* 0 or -1 */

#define FBP_EACH(i) for (int i = 0; i < LANES; i++)

FBP_INLINE vreal v_set(real x) { vreal v; FBP_EACH(i) v.lane[i] = x; return v; }
FBP_INLINE vreal v_zero(void) { return v_set(0); }
FBP_INLINE vreal v_load(const real *p) { vreal v; memcpy(v.lane, p, sizeof v.lane); return v; }
FBP_INLINE void v_store(real *p, vreal v) { memcpy(p, v.lane, sizeof v.lane); }

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    vreal v = v_zero();
    if (n >= LANES) return v_load(p);
    for (size_t i = 0; i < n; i++) v.lane[i] = p[i];
    return v;
}

FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n > LANES) n = LANES;
    for (size_t i = 0; i < n; i++) p[i] = v.lane[i];
}

FBP_INLINE vreal v_add(vreal a, vreal b) { FBP_EACH(i) a.lane[i] += b.lane[i]; return a; }
FBP_INLINE vreal v_sub(vreal a, vreal b) { FBP_EACH(i) a.lane[i] -= b.lane[i]; return a; }
FBP_INLINE vreal v_mul(vreal a, vreal b) { FBP_EACH(i) a.lane[i] *= b.lane[i]; return a; }
FBP_INLINE vreal v_div(vreal a, vreal b) { FBP_EACH(i) a.lane[i] /= b.lane[i]; return a; }
FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { FBP_EACH(i) c.lane[i] = a.lane[i] * b.lane[i] + c.lane[i]; return c; }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { FBP_EACH(i) c.lane[i] = c.lane[i] - a.lane[i] * b.lane[i]; return c; }
FBP_INLINE vreal v_neg(vreal a) { FBP_EACH(i) a.lane[i] = -a.lane[i]; return a; }
#if FBP_REAL == 32
FBP_INLINE vreal v_sqrt(vreal a) { FBP_EACH(i) a.lane[i] = sqrtf(a.lane[i]); return a; }
FBP_INLINE vreal v_abs(vreal a) { FBP_EACH(i) a.lane[i] = fabsf(a.lane[i]); return a; }
#else
FBP_INLINE vreal v_sqrt(vreal a) { FBP_EACH(i) a.lane[i] = sqrt(a.lane[i]); return a; }
FBP_INLINE vreal v_abs(vreal a) { FBP_EACH(i) a.lane[i] = fabs(a.lane[i]); return a; }
#endif
FBP_INLINE vreal v_max(vreal a, vreal b) { FBP_EACH(i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; return a; }
FBP_INLINE vreal v_min(vreal a, vreal b) { FBP_EACH(i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; return a; }

FBP_INLINE vmask v_lt(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] < b.lane[i]); return m; }
FBP_INLINE vmask v_le(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] <= b.lane[i]); return m; }
FBP_INLINE vmask v_gt(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] > b.lane[i]); return m; }
FBP_INLINE vmask v_ge(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] >= b.lane[i]); return m; }
FBP_INLINE vmask v_eq(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] == b.lane[i]); return m; }
FBP_INLINE vmask v_ne(vreal a, vreal b) { vmask m; FBP_EACH(i) m.lane[i] = -(a.lane[i] != b.lane[i]); return m; }

FBP_INLINE vmask m_first(size_t n) { vmask m; FBP_EACH(i) m.lane[i] = -((size_t)i < n); return m; }
FBP_INLINE int m_any(vmask m) { int_real any = 0; FBP_EACH(i) any |= m.lane[i]; return any != 0; }
FBP_INLINE int m_all(vmask m) { int_real all = -1; FBP_EACH(i) all &= m.lane[i]; return all != 0; }

FBP_INLINE vint v_bits(vreal a) { vint v; memcpy(v.lane, a.lane, sizeof v.lane); return v; }
FBP_INLINE vreal v_from_bits(vint a) { vreal v; memcpy(v.lane, a.lane, sizeof v.lane); return v; }

FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) {
    vint x = v_bits(a), y = v_bits(b);
    FBP_EACH(i) x.lane[i] = (x.lane[i] & m.lane[i]) | (y.lane[i] & ~m.lane[i]);
    return v_from_bits(x);
}

/* Through unsigned integers, which wrap. */
FBP_INLINE vint vi_set(int_real x) { vint v; FBP_EACH(i) v.lane[i] = x; return v; }
FBP_INLINE vint vi_add(vint a, vint b) { FBP_EACH(i) a.lane[i] = (int_real)((uint_real)a.lane[i] + (uint_real)b.lane[i]); return a; }
FBP_INLINE vint vi_sub(vint a, vint b) { FBP_EACH(i) a.lane[i] = (int_real)((uint_real)a.lane[i] - (uint_real)b.lane[i]); return a; }
FBP_INLINE vint vi_and(vint a, vint b) { FBP_EACH(i) a.lane[i] &= b.lane[i]; return a; }
FBP_INLINE vint vi_or(vint a, vint b) { FBP_EACH(i) a.lane[i] |= b.lane[i]; return a; }
FBP_INLINE vint vi_xor(vint a, vint b) { FBP_EACH(i) a.lane[i] ^= b.lane[i]; return a; }
FBP_INLINE vint vi_shl(vint a, int n) { FBP_EACH(i) a.lane[i] = (int_real)((uint_real)a.lane[i] << n); return a; }
FBP_INLINE vint vi_shr(vint a, int n) { FBP_EACH(i) a.lane[i] = (int_real)((uint_real)a.lane[i] >> n); return a; }

FBP_INLINE real v_sum(vreal v) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v.lane[i] += v.lane[i + half];
    return v.lane[0];
}

FBP_INLINE real v_greatest(vreal v) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v.lane[i] = v.lane[i] > v.lane[i + half] ? v.lane[i] : v.lane[i + half];
    return v.lane[0];
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    FBP_EACH(j) FBP_EACH(i) dst[j * dst_row + i] = src[i * src_row + j];
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    for (size_t j = 0; j < QUARTER; j++) FBP_EACH(i) c[j].lane[i] = j < n ? src[(size_t)i * src_row + j] : 0;
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    for (size_t j = 0; j < n; j++) FBP_EACH(i) dst[(size_t)i * dst_row + j] = c[j].lane[i];
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    const real sums[4] = {v_sum(a), v_sum(b), v_sum(c), v_sum(d)};
    FBP_EACH(i) a.lane[i] = sums[i / QUARTER];
    return a;
}

FBP_INLINE vreal v_spread(vreal v, int q) { return v_set(v.lane[q * QUARTER]); }

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    vmask m;
    FBP_EACH(i) m.lane[i] = -(words[i] < limit);
    return m;
}

typedef struct { uint32_t lane[16]; } vword;

#define FBP_WORDS(i) for (int i = 0; i < 16; i++)

FBP_INLINE vword w_set(uint32_t x) { vword v; FBP_WORDS(i) v.lane[i] = x; return v; }
FBP_INLINE vword w_index(void) { vword v; FBP_WORDS(i) v.lane[i] = (uint32_t)i; return v; }
FBP_INLINE vword w_add(vword a, vword b) { FBP_WORDS(i) a.lane[i] += b.lane[i]; return a; }
FBP_INLINE vword w_xor(vword a, vword b) { FBP_WORDS(i) a.lane[i] ^= b.lane[i]; return a; }
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
