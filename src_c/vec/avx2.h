/* avx2.h: the vocabulary of common.h for AVX2 and FMA: a vreal is two registers. */
#ifndef FBP_VEC_AVX2_H
#define FBP_VEC_AVX2_H

#define FBP_ISA avx2
#include "common.h"

/* One operation on each line, in the order of common.h. */
/* clang-format off */

#include <immintrin.h>

#define TILE_ROWS 6
#define TILE_VECTORS 1
#define TILE_ROWS_PARTIAL 4
#define TILE_PACKS 1

typedef struct { __m256i low, high; } vint;

FBP_INLINE vint vi_pair(__m256i low, __m256i high) { return (vint){low, high}; }
FBP_INLINE vint vi_and(vint a, vint b) { return vi_pair(_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)); }
FBP_INLINE vint vi_or(vint a, vint b) { return vi_pair(_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)); }
FBP_INLINE vint vi_xor(vint a, vint b) { return vi_pair(_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)); }

/* Words 0, 2, 4, ... and words 1, 3, 5, ..., each in the lower half of 64 bits, where the multiplication takes it from
 * and leaves its product. What is in the upper halves does not matter. */
typedef struct { vint even, odd; } vword;

FBP_INLINE vword w_pair(vint even, vint odd) { return (vword){even, odd}; }
FBP_INLINE vword w_xor(vword a, vword b) { return w_pair(vi_xor(a.even, b.even), vi_xor(a.odd, b.odd)); }

FBP_INLINE vword w_set(uint32_t x) {
    vint v = vi_pair(_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x));
    return w_pair(v, v);
}

FBP_INLINE vword w_index(void) {
    return w_pair(vi_pair(_mm256_setr_epi64x(0, 2, 4, 6), _mm256_setr_epi64x(8, 10, 12, 14)),
                  vi_pair(_mm256_setr_epi64x(1, 3, 5, 7), _mm256_setr_epi64x(9, 11, 13, 15)));
}

FBP_INLINE vint w_add_half(vint a, vint b) {
    return vi_pair(_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high));
}

FBP_INLINE vword w_add(vword a, vword b) { return w_pair(w_add_half(a.even, b.even), w_add_half(a.odd, b.odd)); }

FBP_INLINE vint w_product_half(vint a, vint b) {
    return vi_pair(_mm256_mul_epu32(a.low, b.low), _mm256_mul_epu32(a.high, b.high));
}

FBP_INLINE vint w_upper_half(vint a) { return vi_pair(_mm256_srli_epi64(a.low, 32), _mm256_srli_epi64(a.high, 32)); }

FBP_INLINE vword w_product(vword a, vword b, vword *high) {
    vword product = w_pair(w_product_half(a.even, b.even), w_product_half(a.odd, b.odd));
    *high = w_pair(w_upper_half(product.even), w_upper_half(product.odd));
    return product;
}

FBP_INLINE vint w_raised_half(vint a) { return vi_pair(_mm256_slli_epi32(a.low, 16), _mm256_slli_epi32(a.high, 16)); }
FBP_INLINE vword w_raised(vword a) { return w_pair(w_raised_half(a.even), w_raised_half(a.odd)); }

FBP_INLINE void w_store(uint32_t *p, vword v) {
    __m256i *at = (__m256i *)(void *)p;
    _mm256_storeu_si256(at, _mm256_blend_epi32(v.even.low, _mm256_slli_epi64(v.odd.low, 32), 0xaa));
    _mm256_storeu_si256(at + 1, _mm256_blend_epi32(v.even.high, _mm256_slli_epi64(v.odd.high, 32), 0xaa));
}

#if FBP_REAL == 32

typedef struct { __m256 low, high; } vreal;
typedef vreal vmask; /* all bits of a lane set or clear */

FBP_INLINE vreal v_pair(__m256 low, __m256 high) { return (vreal){low, high}; }

FBP_INLINE vreal v_set(real x) { return v_pair(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
FBP_INLINE vreal v_zero(void) { return v_pair(_mm256_setzero_ps(), _mm256_setzero_ps()); }
FBP_INLINE vreal v_load(const real *p) { return v_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + LANES / 2)); }
FBP_INLINE void v_store(real *p, vreal v) { _mm256_storeu_ps(p, v.low); _mm256_storeu_ps(p + LANES / 2, v.high); }

FBP_INLINE vmask m_first(size_t n) {
    __m256i count = _mm256_set1_epi32(n < LANES ? (int)n : LANES), index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return v_pair(_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, index)),
                  _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_add_epi32(index, _mm256_set1_epi32(8)))));
}

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    if (n >= LANES) return v_load(p);
    vmask m = m_first(n);
    return v_pair(_mm256_maskload_ps(p, _mm256_castps_si256(m.low)),
                  _mm256_maskload_ps(p + LANES / 2, _mm256_castps_si256(m.high)));
}

/* Not by maskstore, which some processors take tens of cycles for. */
FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n >= LANES) { v_store(p, v); return; }
    __m256 eight = v.low;
    if (n & 8) { _mm256_storeu_ps(p, eight); eight = v.high; p += 8; }
    __m128 four = _mm256_castps256_ps128(eight);
    if (n & 4) { _mm_storeu_ps(p, four); four = _mm256_extractf128_ps(eight, 1); p += 4; }
    if (n & 2) { _mm_storel_pi((__m64 *)(void *)p, four); four = _mm_movehl_ps(four, four); p += 2; }
    if (n & 1) _mm_store_ss(p, four);
}

FBP_INLINE vreal v_add(vreal a, vreal b) { return v_pair(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)); }
FBP_INLINE vreal v_sub(vreal a, vreal b) { return v_pair(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)); }
FBP_INLINE vreal v_mul(vreal a, vreal b) { return v_pair(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)); }
FBP_INLINE vreal v_div(vreal a, vreal b) { return v_pair(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)); }
FBP_INLINE vreal v_max(vreal a, vreal b) { return v_pair(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return v_pair(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)); }
FBP_INLINE vreal v_sqrt(vreal a) { return v_pair(_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)); }
FBP_INLINE vreal v_abs(vreal a) { __m256 s = _mm256_set1_ps(-0.0f); return v_pair(_mm256_andnot_ps(s, a.low), _mm256_andnot_ps(s, a.high)); }
FBP_INLINE vreal v_neg(vreal a) { __m256 s = _mm256_set1_ps(-0.0f); return v_pair(_mm256_xor_ps(s, a.low), _mm256_xor_ps(s, a.high)); }

FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
    return v_pair(_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high));
}

FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
    return v_pair(_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high));
}

FBP_INLINE vmask v_lt(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ));
}

FBP_INLINE vmask v_le(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_LE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LE_OQ));
}

FBP_INLINE vmask v_gt(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ));
}

FBP_INLINE vmask v_ge(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ));
}

FBP_INLINE vmask v_eq(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
}

FBP_INLINE vmask v_ne(vreal a, vreal b) {
    return v_pair(_mm256_cmp_ps(a.low, b.low, _CMP_NEQ_UQ), _mm256_cmp_ps(a.high, b.high, _CMP_NEQ_UQ));
}

FBP_INLINE int m_any(vmask m) { return _mm256_movemask_ps(_mm256_or_ps(m.low, m.high)) != 0; }
FBP_INLINE int m_all(vmask m) { return _mm256_movemask_ps(_mm256_and_ps(m.low, m.high)) == 0xff; }

FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) {
    return v_pair(_mm256_blendv_ps(b.low, a.low, m.low), _mm256_blendv_ps(b.high, a.high, m.high));
}

FBP_INLINE vint v_bits(vreal a) { return vi_pair(_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)); }
FBP_INLINE vreal v_from_bits(vint a) { return v_pair(_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)); }
FBP_INLINE vint vi_set(int_real x) { return vi_pair(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
FBP_INLINE vint vi_add(vint a, vint b) { return vi_pair(_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)); }
FBP_INLINE vint vi_sub(vint a, vint b) { return vi_pair(_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)); }
FBP_INLINE vint vi_shl(vint a, int n) { return vi_pair(_mm256_slli_epi32(a.low, n), _mm256_slli_epi32(a.high, n)); }
FBP_INLINE vint vi_shr(vint a, int n) { return vi_pair(_mm256_srli_epi32(a.low, n), _mm256_srli_epi32(a.high, n)); }

FBP_INLINE real v_sum(vreal v) {
    __m256 x = _mm256_add_ps(v.low, v.high);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

FBP_INLINE real v_greatest(vreal v) {
    __m256 x = _mm256_max_ps(v.low, v.high);
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Four elements of each of two rows, `step` apart, in one register: the load does the shuffle across 128 bits. */
FBP_INLINE __m256 v_load_halves(const real *p, size_t step) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + step), 1);
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    for (int j = 0; j < LANES; j += 4) {
        for (int i = 0; i < LANES; i += 8) {
            const real *p = src + i * src_row + j;
            real *q = dst + j * dst_row + i;
            __m256 a = v_load_halves(p, 4 * src_row), b = v_load_halves(p + src_row, 4 * src_row);
            __m256 c = v_load_halves(p + 2 * src_row, 4 * src_row), d = v_load_halves(p + 3 * src_row, 4 * src_row);
            __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
            __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
            _mm256_storeu_ps(q, _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low)));
            _mm256_storeu_ps(q + dst_row, _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low)));
            _mm256_storeu_ps(q + 2 * dst_row, _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)));
            _mm256_storeu_ps(q + 3 * dst_row, _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high)));
        }
    }
}

/* The first n elements, at most four; memory past them is not touched. */
FBP_INLINE __m128 v_load_part(const real *p, size_t n) {
    if (n >= 4) return _mm_loadu_ps(p);
    return _mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3)));
}

FBP_INLINE void v_store_part(real *p, __m128 v, size_t n) {
    if (n >= 4) { _mm_storeu_ps(p, v); return; }
    if (n & 2) { _mm_storel_pi((__m64 *)(void *)p, v); v = _mm_movehl_ps(v, v); p += 2; }
    if (n & 1) _mm_store_ss(p, v);
}

/* Element j of part q of v[i] goes to element i of part q of v[j]; a part has 128 bits. */
FBP_INLINE void v_turn_parts(__m256 v[QUARTER]) {
    __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1])), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
    __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3])), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
    v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
    v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
    v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
    v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
}

/* Eight rows of four columns. */
FBP_INLINE void v_load_eight(const real *p, size_t row, size_t n, __m256 c[QUARTER]) {
    FBP_UNROLL
    for (size_t i = 0; i < QUARTER; i++, p += row)
        c[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(v_load_part(p, n)), v_load_part(p + 4 * row, n), 1);
    v_turn_parts(c);
}

FBP_INLINE void v_store_eight(__m256 c[QUARTER], real *p, size_t row, size_t n) {
    v_turn_parts(c);
    FBP_UNROLL
    for (size_t i = 0; i < QUARTER; i++, p += row) {
        v_store_part(p, _mm256_castps256_ps128(c[i]), n);
        v_store_part(p + 4 * row, _mm256_extractf128_ps(c[i], 1), n);
    }
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    __m256 low[QUARTER], high[QUARTER];
    v_load_eight(src, src_row, n, low);
    v_load_eight(src + 8 * src_row, src_row, n, high);
    FBP_UNROLL
    for (size_t j = 0; j < QUARTER; j++) c[j] = v_pair(low[j], high[j]);
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    __m256 low[QUARTER] = {c[0].low, c[1].low, c[2].low, c[3].low}, high[QUARTER] = {c[0].high, c[1].high, c[2].high, c[3].high};
    v_store_eight(low, dst, dst_row, n);
    v_store_eight(high, dst + 8 * dst_row, dst_row, n);
}

/* The two 128-bit halves of a, added, and those of b. */
FBP_INLINE __m256 v_add_halves(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    __m256 a8 = _mm256_add_ps(a.low, a.high), b8 = _mm256_add_ps(b.low, b.high);
    __m256 c8 = _mm256_add_ps(c.low, c.high), d8 = _mm256_add_ps(d.low, d.high);
    vreal v = v_pair(v_add_halves(a8, b8), v_add_halves(c8, d8));
    v = v_add(v, v_pair(_mm256_shuffle_ps(v.low, v.low, 0x4e), _mm256_shuffle_ps(v.high, v.high, 0x4e)));
    return v_add(v, v_pair(_mm256_shuffle_ps(v.low, v.low, 0xb1), _mm256_shuffle_ps(v.high, v.high, 0xb1)));
}

FBP_INLINE vreal v_spread(vreal v, int q) {
    __m256 half = q < 2 ? v.low : v.high;
    half = q % 2 == 0 ? _mm256_permute2f128_ps(half, half, 0x00) : _mm256_permute2f128_ps(half, half, 0x11);
    return v_pair(half, half);
}

/* Signed comparison of words with the sign turned. */
FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    __m256i sign = _mm256_set1_epi32(INT32_MIN), most = _mm256_set1_epi32((int)(limit ^ 0x80000000u));
    __m256i low = _mm256_xor_si256(_mm256_loadu_si256((const void *)words), sign);
    __m256i high = _mm256_xor_si256(_mm256_loadu_si256((const void *)(words + 8)), sign);
    return v_pair(_mm256_castsi256_ps(_mm256_cmpgt_epi32(most, low)),
                  _mm256_castsi256_ps(_mm256_cmpgt_epi32(most, high)));
}

#else

typedef struct { __m256d low, high; } vreal;
typedef vreal vmask; /* all bits of a lane set or clear */

FBP_INLINE vreal v_pair(__m256d low, __m256d high) { return (vreal){low, high}; }

FBP_INLINE vreal v_set(real x) { return v_pair(_mm256_set1_pd(x), _mm256_set1_pd(x)); }
FBP_INLINE vreal v_zero(void) { return v_pair(_mm256_setzero_pd(), _mm256_setzero_pd()); }
FBP_INLINE vreal v_load(const real *p) { return v_pair(_mm256_loadu_pd(p), _mm256_loadu_pd(p + LANES / 2)); }
FBP_INLINE void v_store(real *p, vreal v) { _mm256_storeu_pd(p, v.low); _mm256_storeu_pd(p + LANES / 2, v.high); }

FBP_INLINE vmask m_first(size_t n) {
    __m256i count = _mm256_set1_epi64x(n < LANES ? (int)n : LANES), index = _mm256_setr_epi64x(0, 1, 2, 3);
    return v_pair(_mm256_castsi256_pd(_mm256_cmpgt_epi64(count, index)),
                  _mm256_castsi256_pd(_mm256_cmpgt_epi64(count, _mm256_add_epi64(index, _mm256_set1_epi64x(4)))));
}

FBP_INLINE vreal v_load_n(const real *p, size_t n) {
    if (n >= LANES) return v_load(p);
    vmask m = m_first(n);
    return v_pair(_mm256_maskload_pd(p, _mm256_castpd_si256(m.low)),
                  _mm256_maskload_pd(p + LANES / 2, _mm256_castpd_si256(m.high)));
}

/* Not by maskstore, which some processors take tens of cycles for. */
FBP_INLINE void v_store_n(real *p, vreal v, size_t n) {
    if (n >= LANES) { v_store(p, v); return; }
    __m256d four = v.low;
    if (n & 4) { _mm256_storeu_pd(p, four); four = v.high; p += 4; }
    __m128d two = _mm256_castpd256_pd128(four);
    if (n & 2) { _mm_storeu_pd(p, two); two = _mm256_extractf128_pd(four, 1); p += 2; }
    if (n & 1) _mm_store_sd(p, two);
}

FBP_INLINE vreal v_add(vreal a, vreal b) { return v_pair(_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)); }
FBP_INLINE vreal v_sub(vreal a, vreal b) { return v_pair(_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)); }
FBP_INLINE vreal v_mul(vreal a, vreal b) { return v_pair(_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)); }
FBP_INLINE vreal v_div(vreal a, vreal b) { return v_pair(_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)); }
FBP_INLINE vreal v_max(vreal a, vreal b) { return v_pair(_mm256_max_pd(a.low, b.low), _mm256_max_pd(a.high, b.high)); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return v_pair(_mm256_min_pd(a.low, b.low), _mm256_min_pd(a.high, b.high)); }
FBP_INLINE vreal v_sqrt(vreal a) { return v_pair(_mm256_sqrt_pd(a.low), _mm256_sqrt_pd(a.high)); }
FBP_INLINE vreal v_abs(vreal a) { __m256d s = _mm256_set1_pd(-0.0); return v_pair(_mm256_andnot_pd(s, a.low), _mm256_andnot_pd(s, a.high)); }
FBP_INLINE vreal v_neg(vreal a) { __m256d s = _mm256_set1_pd(-0.0); return v_pair(_mm256_xor_pd(s, a.low), _mm256_xor_pd(s, a.high)); }

FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
    return v_pair(_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high));
}

FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
    return v_pair(_mm256_fnmadd_pd(a.low, b.low, c.low), _mm256_fnmadd_pd(a.high, b.high, c.high));
}

FBP_INLINE vmask v_lt(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_LT_OQ));
}

FBP_INLINE vmask v_le(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_LE_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_LE_OQ));
}

FBP_INLINE vmask v_gt(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_GT_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_GT_OQ));
}

FBP_INLINE vmask v_ge(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_GE_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_GE_OQ));
}

FBP_INLINE vmask v_eq(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_EQ_OQ));
}

FBP_INLINE vmask v_ne(vreal a, vreal b) {
    return v_pair(_mm256_cmp_pd(a.low, b.low, _CMP_NEQ_UQ), _mm256_cmp_pd(a.high, b.high, _CMP_NEQ_UQ));
}

FBP_INLINE int m_any(vmask m) { return _mm256_movemask_pd(_mm256_or_pd(m.low, m.high)) != 0; }
FBP_INLINE int m_all(vmask m) { return _mm256_movemask_pd(_mm256_and_pd(m.low, m.high)) == 0xf; }

FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) {
    return v_pair(_mm256_blendv_pd(b.low, a.low, m.low), _mm256_blendv_pd(b.high, a.high, m.high));
}

FBP_INLINE vint v_bits(vreal a) { return vi_pair(_mm256_castpd_si256(a.low), _mm256_castpd_si256(a.high)); }
FBP_INLINE vreal v_from_bits(vint a) { return v_pair(_mm256_castsi256_pd(a.low), _mm256_castsi256_pd(a.high)); }
FBP_INLINE vint vi_set(int_real x) { return vi_pair(_mm256_set1_epi64x(x), _mm256_set1_epi64x(x)); }
FBP_INLINE vint vi_add(vint a, vint b) { return vi_pair(_mm256_add_epi64(a.low, b.low), _mm256_add_epi64(a.high, b.high)); }
FBP_INLINE vint vi_sub(vint a, vint b) { return vi_pair(_mm256_sub_epi64(a.low, b.low), _mm256_sub_epi64(a.high, b.high)); }
FBP_INLINE vint vi_shl(vint a, int n) { return vi_pair(_mm256_slli_epi64(a.low, n), _mm256_slli_epi64(a.high, n)); }
FBP_INLINE vint vi_shr(vint a, int n) { return vi_pair(_mm256_srli_epi64(a.low, n), _mm256_srli_epi64(a.high, n)); }

FBP_INLINE real v_sum(vreal v) {
    __m256d x = _mm256_add_pd(v.low, v.high);
    __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
}

FBP_INLINE real v_greatest(vreal v) {
    __m256d x = _mm256_max_pd(v.low, v.high);
    __m128d y = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_max_sd(y, _mm_unpackhi_pd(y, y)));
}

/* Two elements of each of two rows, `step` apart, in one register: the load does the shuffle across 128 bits. */
FBP_INLINE __m256d v_load_halves(const real *p, size_t step) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + step), 1);
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    for (int j = 0; j < LANES; j += 2) {
        for (int i = 0; i < LANES; i += 4) {
            const real *p = src + i * src_row + j;
            real *q = dst + j * dst_row + i;
            __m256d a = v_load_halves(p, 2 * src_row), b = v_load_halves(p + src_row, 2 * src_row);
            _mm256_storeu_pd(q, _mm256_unpacklo_pd(a, b));
            _mm256_storeu_pd(q + dst_row, _mm256_unpackhi_pd(a, b));
        }
    }
}

/* The first n elements, at most two; memory past them is not touched. */
FBP_INLINE __m128d v_load_part(const real *p, size_t n) { return n >= 2 ? _mm_loadu_pd(p) : _mm_load_sd(p); }

FBP_INLINE void v_store_part(real *p, __m128d v, size_t n) {
    if (n >= 2) _mm_storeu_pd(p, v);
    else _mm_store_sd(p, v);
}

/* Four rows of two columns. */
FBP_INLINE void v_load_four(const real *p, size_t row, size_t n, __m256d c[QUARTER]) {
    __m256d even = _mm256_insertf128_pd(_mm256_castpd128_pd256(v_load_part(p, n)), v_load_part(p + 2 * row, n), 1);
    __m256d odd = _mm256_insertf128_pd(_mm256_castpd128_pd256(v_load_part(p + row, n)), v_load_part(p + 3 * row, n), 1);
    c[0] = _mm256_unpacklo_pd(even, odd);
    c[1] = _mm256_unpackhi_pd(even, odd);
}

FBP_INLINE void v_store_four(__m256d a, __m256d b, real *p, size_t row, size_t n) {
    __m256d even = _mm256_unpacklo_pd(a, b), odd = _mm256_unpackhi_pd(a, b);
    v_store_part(p, _mm256_castpd256_pd128(even), n);
    v_store_part(p + row, _mm256_castpd256_pd128(odd), n);
    v_store_part(p + 2 * row, _mm256_extractf128_pd(even, 1), n);
    v_store_part(p + 3 * row, _mm256_extractf128_pd(odd, 1), n);
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    __m256d low[QUARTER], high[QUARTER];
    v_load_four(src, src_row, n, low);
    v_load_four(src + 4 * src_row, src_row, n, high);
    c[0] = v_pair(low[0], high[0]);
    c[1] = v_pair(low[1], high[1]);
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    v_store_four(c[0].low, c[1].low, dst, dst_row, n);
    v_store_four(c[0].high, c[1].high, dst + 4 * dst_row, dst_row, n);
}

/* The two 128-bit halves of a, added, and those of b. */
FBP_INLINE __m256d v_add_halves(__m256d a, __m256d b) {
    return _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
}

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    __m256d a4 = _mm256_add_pd(a.low, a.high), b4 = _mm256_add_pd(b.low, b.high);
    __m256d c4 = _mm256_add_pd(c.low, c.high), d4 = _mm256_add_pd(d.low, d.high);
    vreal v = v_pair(v_add_halves(a4, b4), v_add_halves(c4, d4));
    return v_add(v, v_pair(_mm256_permute_pd(v.low, 0x5), _mm256_permute_pd(v.high, 0x5)));
}

FBP_INLINE vreal v_spread(vreal v, int q) {
    __m256d half = q < 2 ? v.low : v.high;
    half = q % 2 == 0 ? _mm256_permute2f128_pd(half, half, 0x00) : _mm256_permute2f128_pd(half, half, 0x11);
    return v_pair(half, half);
}

/* Signed comparison of words with the sign turned, and each answer in 64 bits. */
FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    __m256i turned = _mm256_xor_si256(_mm256_loadu_si256((const void *)words), _mm256_set1_epi32(INT32_MIN));
    __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(limit ^ 0x80000000u)), turned);
    return v_pair(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(m))),
                  _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(m, 1))));
}

#endif

#endif
