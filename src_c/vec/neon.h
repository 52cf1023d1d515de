/* neon.h: the vocabulary of common.h for 64-bit ARM: a vreal is four registers. */
#ifndef FBP_VEC_NEON_H
#define FBP_VEC_NEON_H

#define FBP_ISA neon
#include "common.h"

/* One operation on each line, in the order of common.h. */
/* clang-format off */

#include <arm_neon.h>

#define TILE_ROWS 6
#define TILE_VECTORS 1
#define TILE_ROWS_PARTIAL 1
#define TILE_PACKS 1

#if FBP_REAL == 32

typedef struct { float32x4_t part[4]; } vreal;
typedef struct { uint32x4_t part[4]; } vint;
typedef vint vmask; /* all bits of a lane set or clear */

#define FBP_PARTS(i) for (int i = 0; i < 4; i++)
#define FBP_PART (LANES / 4)

FBP_INLINE vreal v_set(real x) { vreal v; FBP_PARTS(i) v.part[i] = vdupq_n_f32(x); return v; }
FBP_INLINE vreal v_zero(void) { return v_set(0); }
FBP_INLINE vreal v_load(const real *p) { vreal v; FBP_PARTS(i) v.part[i] = vld1q_f32(p + i * FBP_PART); return v; }
FBP_INLINE void v_store(real *p, vreal v) { FBP_PARTS(i) vst1q_f32(p + i * FBP_PART, v.part[i]); }

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    if (n >= LANES) return v_load(p);
    real lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i] = p[i];
    return v_load(lane);
}

FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n >= LANES) { v_store(p, v); return; }
    real lane[LANES];
    v_store(lane, v);
    for (size_t i = 0; i < n; i++) p[i] = lane[i];
}

FBP_INLINE vreal v_add(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vaddq_f32(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_sub(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vsubq_f32(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_mul(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vmulq_f32(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_div(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vdivq_f32(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_sqrt(vreal a) { FBP_PARTS(i) a.part[i] = vsqrtq_f32(a.part[i]); return a; }
FBP_INLINE vreal v_abs(vreal a) { FBP_PARTS(i) a.part[i] = vabsq_f32(a.part[i]); return a; }
FBP_INLINE vreal v_neg(vreal a) { FBP_PARTS(i) a.part[i] = vnegq_f32(a.part[i]); return a; }
FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { FBP_PARTS(i) c.part[i] = vfmaq_f32(c.part[i], a.part[i], b.part[i]); return c; }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { FBP_PARTS(i) c.part[i] = vfmsq_f32(c.part[i], a.part[i], b.part[i]); return c; }

FBP_INLINE vmask v_lt(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcltq_f32(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_le(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcleq_f32(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_gt(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcgtq_f32(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_ge(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcgeq_f32(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_eq(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vceqq_f32(a.part[i], b.part[i]); return m; }
FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vbslq_f32(m.part[i], a.part[i], b.part[i]); return a; }

/* Not by fmax and fmin, which treat nan and signed zeros otherwise. */
FBP_INLINE vreal v_max(vreal a, vreal b) { return v_select(v_gt(a, b), a, b); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return v_select(v_lt(a, b), a, b); }

FBP_INLINE vint vi_set(int_real x) { vint v; FBP_PARTS(i) v.part[i] = vdupq_n_u32((uint_real)x); return v; }
FBP_INLINE vint vi_add(vint a, vint b) { FBP_PARTS(i) a.part[i] = vaddq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_sub(vint a, vint b) { FBP_PARTS(i) a.part[i] = vsubq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_and(vint a, vint b) { FBP_PARTS(i) a.part[i] = vandq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_or(vint a, vint b) { FBP_PARTS(i) a.part[i] = vorrq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_xor(vint a, vint b) { FBP_PARTS(i) a.part[i] = veorq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_shl(vint a, int n) { FBP_PARTS(i) a.part[i] = vshlq_u32(a.part[i], vdupq_n_s32(n)); return a; }
FBP_INLINE vint vi_shr(vint a, int n) { FBP_PARTS(i) a.part[i] = vshlq_u32(a.part[i], vdupq_n_s32(-n)); return a; }
FBP_INLINE vint v_bits(vreal a) { vint v; FBP_PARTS(i) v.part[i] = vreinterpretq_u32_f32(a.part[i]); return v; }
FBP_INLINE vreal v_from_bits(vint a) { vreal v; FBP_PARTS(i) v.part[i] = vreinterpretq_f32_u32(a.part[i]); return v; }

FBP_INLINE vmask v_ne(vreal a, vreal b) { return vi_xor(v_eq(a, b), vi_set(-1)); }
FBP_INLINE int m_any(vmask m) { return vmaxvq_u32(vorrq_u32(vorrq_u32(m.part[0], m.part[1]), vorrq_u32(m.part[2], m.part[3]))) != 0; }
FBP_INLINE int m_all(vmask m) { return vminvq_u32(vandq_u32(vandq_u32(m.part[0], m.part[1]), vandq_u32(m.part[2], m.part[3]))) != 0; }

FBP_INLINE vmask m_first(size_t n) {
    static const uint_real index[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint32x4_t count = vdupq_n_u32((uint_real)(n < LANES ? n : LANES));
    vmask m;
    FBP_PARTS(i) m.part[i] = vcltq_u32(vld1q_u32(index + i * FBP_PART), count);
    return m;
}

FBP_INLINE real v_sum(vreal v) {
    float32x4_t x = vaddq_f32(vaddq_f32(v.part[0], v.part[2]), vaddq_f32(v.part[1], v.part[3]));
    float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}

FBP_INLINE real v_greatest(vreal v) {
    vreal eight = v_max(v, (vreal){{v.part[2], v.part[3], v.part[2], v.part[3]}});
    real x[4];
    vst1q_f32(x, v_max(eight, (vreal){{eight.part[1], eight.part[1], eight.part[1], eight.part[1]}}).part[0]);
    real a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
    return a > b ? a : b;
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    for (int j = 0; j < LANES; j += 4) {
        for (int i = 0; i < LANES; i += 4) {
            const real *p = src + i * src_row + j;
            real *q = dst + j * dst_row + i;
            float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + src_row);
            float32x4_t c = vld1q_f32(p + 2 * src_row), d = vld1q_f32(p + 3 * src_row);
            float64x2_t ab_low = vreinterpretq_f64_f32(vzip1q_f32(a, b)), ab_high = vreinterpretq_f64_f32(vzip2q_f32(a, b));
            float64x2_t cd_low = vreinterpretq_f64_f32(vzip1q_f32(c, d)), cd_high = vreinterpretq_f64_f32(vzip2q_f32(c, d));
            vst1q_f32(q, vreinterpretq_f32_f64(vzip1q_f64(ab_low, cd_low)));
            vst1q_f32(q + dst_row, vreinterpretq_f32_f64(vzip2q_f64(ab_low, cd_low)));
            vst1q_f32(q + 2 * dst_row, vreinterpretq_f32_f64(vzip1q_f64(ab_high, cd_high)));
            vst1q_f32(q + 3 * dst_row, vreinterpretq_f32_f64(vzip2q_f64(ab_high, cd_high)));
        }
    }
}

/* The first n elements, at most four; memory past them is not touched. */
FBP_INLINE float32x4_t v_load_part(const real *p, size_t n) {
    if (n >= 4) return vld1q_f32(p);
    float32x4_t v = vld1q_lane_f32(p, vdupq_n_f32(0), 0);
    if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
    return n > 2 ? vld1q_lane_f32(p + 2, v, 2) : v;
}

FBP_INLINE void v_store_part(real *p, float32x4_t v, size_t n) {
    if (n >= 4) { vst1q_f32(p, v); return; }
    vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}

/* v[i][j] goes to v[j][i]. */
FBP_INLINE void v_turn_part(float32x4_t v[QUARTER]) {
    float64x2_t ab_low = vreinterpretq_f64_f32(vzip1q_f32(v[0], v[1])), ab_high = vreinterpretq_f64_f32(vzip2q_f32(v[0], v[1]));
    float64x2_t cd_low = vreinterpretq_f64_f32(vzip1q_f32(v[2], v[3])), cd_high = vreinterpretq_f64_f32(vzip2q_f32(v[2], v[3]));
    v[0] = vreinterpretq_f32_f64(vzip1q_f64(ab_low, cd_low));
    v[1] = vreinterpretq_f32_f64(vzip2q_f64(ab_low, cd_low));
    v[2] = vreinterpretq_f32_f64(vzip1q_f64(ab_high, cd_high));
    v[3] = vreinterpretq_f32_f64(vzip2q_f64(ab_high, cd_high));
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    FBP_PARTS(q) {
        float32x4_t v[QUARTER];
        for (size_t i = 0; i < QUARTER; i++) v[i] = v_load_part(src + ((size_t)q * QUARTER + i) * src_row, n);
        v_turn_part(v);
        for (size_t j = 0; j < QUARTER; j++) c[j].part[q] = v[j];
    }
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    FBP_PARTS(q) {
        float32x4_t v[QUARTER] = {c[0].part[q], c[1].part[q], c[2].part[q], c[3].part[q]};
        v_turn_part(v);
        for (size_t i = 0; i < QUARTER; i++) v_store_part(dst + ((size_t)q * QUARTER + i) * dst_row, v[i], n);
    }
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    const vreal sums[4] = {a, b, c, d};
    vreal v;
    FBP_PARTS(i) {
        const float32x4_t *p = sums[i].part;
        float32x4_t x = vaddq_f32(vaddq_f32(p[0], p[2]), vaddq_f32(p[1], p[3]));
        x = vaddq_f32(x, vextq_f32(x, x, 2));
        v.part[i] = vaddq_f32(x, vrev64q_f32(x));
    }
    return v;
}

FBP_INLINE vreal v_spread(vreal v, int q) { return (vreal){{v.part[q], v.part[q], v.part[q], v.part[q]}}; }

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    vmask m;
    FBP_PARTS(i) m.part[i] = vcltq_u32(vld1q_u32(words + i * FBP_PART), vdupq_n_u32(limit));
    return m;
}

#else

typedef struct { float64x2_t part[4]; } vreal;
typedef struct { uint64x2_t part[4]; } vint;
typedef vint vmask; /* all bits of a lane set or clear */

#define FBP_PARTS(i) for (int i = 0; i < 4; i++)
#define FBP_PART (LANES / 4)

FBP_INLINE vreal v_set(real x) { vreal v; FBP_PARTS(i) v.part[i] = vdupq_n_f64(x); return v; }
FBP_INLINE vreal v_zero(void) { return v_set(0); }
FBP_INLINE vreal v_load(const real *p) { vreal v; FBP_PARTS(i) v.part[i] = vld1q_f64(p + i * FBP_PART); return v; }
FBP_INLINE void v_store(real *p, vreal v) { FBP_PARTS(i) vst1q_f64(p + i * FBP_PART, v.part[i]); }

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    if (n >= LANES) return v_load(p);
    real lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i] = p[i];
    return v_load(lane);
}

FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n >= LANES) { v_store(p, v); return; }
    real lane[LANES];
    v_store(lane, v);
    for (size_t i = 0; i < n; i++) p[i] = lane[i];
}

FBP_INLINE vreal v_add(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vaddq_f64(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_sub(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vsubq_f64(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_mul(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vmulq_f64(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_div(vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vdivq_f64(a.part[i], b.part[i]); return a; }
FBP_INLINE vreal v_sqrt(vreal a) { FBP_PARTS(i) a.part[i] = vsqrtq_f64(a.part[i]); return a; }
FBP_INLINE vreal v_abs(vreal a) { FBP_PARTS(i) a.part[i] = vabsq_f64(a.part[i]); return a; }
FBP_INLINE vreal v_neg(vreal a) { FBP_PARTS(i) a.part[i] = vnegq_f64(a.part[i]); return a; }
FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { FBP_PARTS(i) c.part[i] = vfmaq_f64(c.part[i], a.part[i], b.part[i]); return c; }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { FBP_PARTS(i) c.part[i] = vfmsq_f64(c.part[i], a.part[i], b.part[i]); return c; }

FBP_INLINE vmask v_lt(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcltq_f64(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_le(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcleq_f64(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_gt(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcgtq_f64(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_ge(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vcgeq_f64(a.part[i], b.part[i]); return m; }
FBP_INLINE vmask v_eq(vreal a, vreal b) { vmask m; FBP_PARTS(i) m.part[i] = vceqq_f64(a.part[i], b.part[i]); return m; }
FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) { FBP_PARTS(i) a.part[i] = vbslq_f64(m.part[i], a.part[i], b.part[i]); return a; }

/* Not by fmax and fmin, which treat nan and signed zeros otherwise. */
FBP_INLINE vreal v_max(vreal a, vreal b) { return v_select(v_gt(a, b), a, b); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return v_select(v_lt(a, b), a, b); }

FBP_INLINE vint vi_set(int_real x) { vint v; FBP_PARTS(i) v.part[i] = vdupq_n_u64((uint_real)x); return v; }
FBP_INLINE vint vi_add(vint a, vint b) { FBP_PARTS(i) a.part[i] = vaddq_u64(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_sub(vint a, vint b) { FBP_PARTS(i) a.part[i] = vsubq_u64(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_and(vint a, vint b) { FBP_PARTS(i) a.part[i] = vandq_u64(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_or(vint a, vint b) { FBP_PARTS(i) a.part[i] = vorrq_u64(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_xor(vint a, vint b) { FBP_PARTS(i) a.part[i] = veorq_u64(a.part[i], b.part[i]); return a; }
FBP_INLINE vint vi_shl(vint a, int n) { FBP_PARTS(i) a.part[i] = vshlq_u64(a.part[i], vdupq_n_s64(n)); return a; }
FBP_INLINE vint vi_shr(vint a, int n) { FBP_PARTS(i) a.part[i] = vshlq_u64(a.part[i], vdupq_n_s64(-n)); return a; }
FBP_INLINE vint v_bits(vreal a) { vint v; FBP_PARTS(i) v.part[i] = vreinterpretq_u64_f64(a.part[i]); return v; }
FBP_INLINE vreal v_from_bits(vint a) { vreal v; FBP_PARTS(i) v.part[i] = vreinterpretq_f64_u64(a.part[i]); return v; }

FBP_INLINE vmask v_ne(vreal a, vreal b) { return vi_xor(v_eq(a, b), vi_set(-1)); }
FBP_INLINE int m_any(vmask m) { return vmaxvq_u32(vreinterpretq_u32_u64(vorrq_u64(vorrq_u64(m.part[0], m.part[1]), vorrq_u64(m.part[2], m.part[3])))) != 0; }
FBP_INLINE int m_all(vmask m) { return vminvq_u32(vreinterpretq_u32_u64(vandq_u64(vandq_u64(m.part[0], m.part[1]), vandq_u64(m.part[2], m.part[3])))) != 0; }

FBP_INLINE vmask m_first(size_t n) {
    static const uint_real index[LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint64x2_t count = vdupq_n_u64((uint_real)(n < LANES ? n : LANES));
    vmask m;
    FBP_PARTS(i) m.part[i] = vcltq_u64(vld1q_u64(index + i * FBP_PART), count);
    return m;
}

FBP_INLINE real v_sum(vreal v) {
    float64x2_t x = vaddq_f64(vaddq_f64(v.part[0], v.part[2]), vaddq_f64(v.part[1], v.part[3]));
    return vgetq_lane_f64(x, 0) + vgetq_lane_f64(x, 1);
}

FBP_INLINE real v_greatest(vreal v) {
    vreal four = v_max(v, (vreal){{v.part[2], v.part[3], v.part[2], v.part[3]}});
    real x[2];
    vst1q_f64(x, v_max(four, (vreal){{four.part[1], four.part[1], four.part[1], four.part[1]}}).part[0]);
    return x[0] > x[1] ? x[0] : x[1];
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    for (int j = 0; j < LANES; j += 2) {
        for (int i = 0; i < LANES; i += 2) {
            const real *p = src + i * src_row + j;
            real *q = dst + j * dst_row + i;
            float64x2_t a = vld1q_f64(p), b = vld1q_f64(p + src_row);
            vst1q_f64(q, vzip1q_f64(a, b));
            vst1q_f64(q + dst_row, vzip2q_f64(a, b));
        }
    }
}

/* The first n elements, at most two; memory past them is not touched. */
FBP_INLINE float64x2_t v_load_part(const real *p, size_t n) {
    return n >= 2 ? vld1q_f64(p) : vld1q_lane_f64(p, vdupq_n_f64(0), 0);
}

FBP_INLINE void v_store_part(real *p, float64x2_t v, size_t n) {
    if (n >= 2) vst1q_f64(p, v);
    else vst1q_lane_f64(p, v, 0);
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    FBP_PARTS(q) {
        const real *p = src + (size_t)q * QUARTER * src_row;
        float64x2_t a = v_load_part(p, n), b = v_load_part(p + src_row, n);
        c[0].part[q] = vzip1q_f64(a, b);
        c[1].part[q] = vzip2q_f64(a, b);
    }
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    FBP_PARTS(q) {
        real *p = dst + (size_t)q * QUARTER * dst_row;
        v_store_part(p, vzip1q_f64(c[0].part[q], c[1].part[q]), n);
        v_store_part(p + dst_row, vzip2q_f64(c[0].part[q], c[1].part[q]), n);
    }
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    const vreal sums[4] = {a, b, c, d};
    vreal v;
    FBP_PARTS(i) {
        const float64x2_t *p = sums[i].part;
        float64x2_t x = vaddq_f64(vaddq_f64(p[0], p[2]), vaddq_f64(p[1], p[3]));
        v.part[i] = vaddq_f64(x, vextq_f64(x, x, 1));
    }
    return v;
}

FBP_INLINE vreal v_spread(vreal v, int q) { return (vreal){{v.part[q], v.part[q], v.part[q], v.part[q]}}; }

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    vmask m;
    FBP_PARTS(i) {
        uint32x2_t below = vclt_u32(vld1_u32(words + i * FBP_PART), vdup_n_u32(limit));
        m.part[i] = vreinterpretq_u64_s64(vmovl_s32(vreinterpret_s32_u32(below)));
    }
    return m;
}

#endif

typedef struct { uint32x4_t part[4]; } vword;

FBP_INLINE vword w_set(uint32_t x) { vword v; FBP_PARTS(i) v.part[i] = vdupq_n_u32(x); return v; }
FBP_INLINE vword w_add(vword a, vword b) { FBP_PARTS(i) a.part[i] = vaddq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vword w_xor(vword a, vword b) { FBP_PARTS(i) a.part[i] = veorq_u32(a.part[i], b.part[i]); return a; }
FBP_INLINE vword w_raised(vword a) { FBP_PARTS(i) a.part[i] = vshlq_n_u32(a.part[i], 16); return a; }
FBP_INLINE void w_store(uint32_t *p, vword v) { FBP_PARTS(i) vst1q_u32(p + 4 * i, v.part[i]); }

FBP_INLINE vword w_index(void) {
    static const uint32_t index[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vword v;
    FBP_PARTS(i) v.part[i] = vld1q_u32(index + 4 * i);
    return v;
}

FBP_INLINE vword w_product(vword a, vword b, vword *high) {
    FBP_PARTS(i) {
        uint32x4_t front = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a.part[i]), vget_low_u32(b.part[i])));
        uint32x4_t back = vreinterpretq_u32_u64(vmull_high_u32(a.part[i], b.part[i]));
        high->part[i] = vuzp2q_u32(front, back);
        a.part[i] = vuzp1q_u32(front, back);
    }
    return a;
}

#endif
