/* avx512.h: the vocabulary of common.h for AVX-512 F, BW, DQ, VL: a vreal is one register, a mask is a mask register. */
#ifndef FBP_VEC_AVX512_H
#define FBP_VEC_AVX512_H

#define FBP_ISA avx512
#include "common.h"

#include <immintrin.h>

#define TILE_ROWS 14
#define TILE_VECTORS 2
#define TILE_ROWS_PARTIAL 14
#define TILE_PACKS 0

typedef __m512i vint;

#if FBP_REAL == 32

typedef __m512 vreal;
typedef __mmask16 vmask;

FBP_INLINE vmask m_first(size_t n) { return (vmask)(n >= LANES ? 0xffffu : (1u << n) - 1u); }

FBP_INLINE vreal v_zero(void) { return _mm512_setzero_ps(); }
FBP_INLINE vreal v_set(real x) { return _mm512_set1_ps(x); }
FBP_INLINE vreal v_load(const real *p) { return _mm512_loadu_ps(p); }
FBP_INLINE void v_store(real *p, vreal v) { _mm512_storeu_ps(p, v); }
FBP_INLINE vreal v_load_n(const real *p, size_t n) { return _mm512_maskz_loadu_ps(m_first(n), p); }
FBP_INLINE void v_store_n(real *p, vreal v, size_t n) { _mm512_mask_storeu_ps(p, m_first(n), v); }

FBP_INLINE vreal v_add(vreal a, vreal b) { return _mm512_add_ps(a, b); }
FBP_INLINE vreal v_sub(vreal a, vreal b) { return _mm512_sub_ps(a, b); }
FBP_INLINE vreal v_mul(vreal a, vreal b) { return _mm512_mul_ps(a, b); }
FBP_INLINE vreal v_div(vreal a, vreal b) { return _mm512_div_ps(a, b); }
FBP_INLINE vreal v_sqrt(vreal a) { return _mm512_sqrt_ps(a); }
FBP_INLINE vreal v_abs(vreal a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
FBP_INLINE vreal v_neg(vreal a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return _mm512_fmadd_ps(a, b, c); }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return _mm512_fnmadd_ps(a, b, c); }
FBP_INLINE vreal v_max(vreal a, vreal b) { return _mm512_max_ps(a, b); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return _mm512_min_ps(a, b); }

FBP_INLINE vmask v_lt(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FBP_INLINE vmask v_le(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
FBP_INLINE vmask v_gt(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
FBP_INLINE vmask v_ge(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
FBP_INLINE vmask v_eq(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
FBP_INLINE vmask v_ne(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) { return _mm512_mask_blend_ps(m, b, a); }

FBP_INLINE vint v_bits(vreal a) { return _mm512_castps_si512(a); }
FBP_INLINE vreal v_from_bits(vint a) { return _mm512_castsi512_ps(a); }
FBP_INLINE vint vi_set(int_real x) { return _mm512_set1_epi32(x); }
FBP_INLINE vint vi_add(vint a, vint b) { return _mm512_add_epi32(a, b); }
FBP_INLINE vint vi_sub(vint a, vint b) { return _mm512_sub_epi32(a, b); }
FBP_INLINE vint vi_shl(vint a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
FBP_INLINE vint vi_shr(vint a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }

FBP_INLINE real v_sum(vreal v) {
    __m256 x = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

FBP_INLINE real v_greatest(vreal v) {
    __m256 x = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Reads each row once and whole: rows a power of two apart share a few sets of the first cache, and a second visit would
 * find them gone. First 4 x 4 blocks within 128 bits, then the blocks. */
FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    __m512d t[16]; /* 128-bit part q of t[i + j]: rows i .. i + 3 of column 4 q + j */
    for (int i = 0; i < LANES; i += 4) {
        __m512 a = _mm512_loadu_ps(src), b = _mm512_loadu_ps(src + src_row);
        __m512 c = _mm512_loadu_ps(src + 2 * src_row), d = _mm512_loadu_ps(src + 3 * src_row);
        __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)), cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        t[i] = _mm512_unpacklo_pd(ab_low, cd_low);
        t[i + 1] = _mm512_unpackhi_pd(ab_low, cd_low);
        t[i + 2] = _mm512_unpacklo_pd(ab_high, cd_high);
        t[i + 3] = _mm512_unpackhi_pd(ab_high, cd_high);
        src += 4 * src_row;
    }
    for (int j = 0; j < 4; j++) {
        __m512d upper_even = _mm512_shuffle_f64x2(t[j], t[4 + j], 0x88),
                lower_even = _mm512_shuffle_f64x2(t[8 + j], t[12 + j], 0x88);
        __m512d upper_odd = _mm512_shuffle_f64x2(t[j], t[4 + j], 0xdd), lower_odd = _mm512_shuffle_f64x2(t[8 + j], t[12 + j], 0xdd);
        real *q = dst + j * dst_row;
        _mm512_storeu_ps(q, _mm512_castpd_ps(_mm512_shuffle_f64x2(upper_even, lower_even, 0x88)));
        _mm512_storeu_ps(q + 4 * dst_row, _mm512_castpd_ps(_mm512_shuffle_f64x2(upper_odd, lower_odd, 0x88)));
        _mm512_storeu_ps(q + 8 * dst_row, _mm512_castpd_ps(_mm512_shuffle_f64x2(upper_even, lower_even, 0xdd)));
        _mm512_storeu_ps(q + 12 * dst_row, _mm512_castpd_ps(_mm512_shuffle_f64x2(upper_odd, lower_odd, 0xdd)));
    }
}

/* Part q of the result: the first n elements, at most four, at p + q step. */
FBP_INLINE __m512 v_load_parts(const real *p, size_t step, size_t n) {
    const __mmask8 m = (__mmask8)m_first(n);
    __m512 v = _mm512_castps128_ps512(_mm_maskz_loadu_ps(m, p));
    v = _mm512_insertf32x4(v, _mm_maskz_loadu_ps(m, p + step), 1);
    v = _mm512_insertf32x4(v, _mm_maskz_loadu_ps(m, p + 2 * step), 2);
    return _mm512_insertf32x4(v, _mm_maskz_loadu_ps(m, p + 3 * step), 3);
}

/* The empty statement keeps the compiler from joining extraction and store to one instruction, which would touch all of its
 * 128 bits, masked or not. */
FBP_INLINE void v_store_part(real *p, __mmask8 m, __m128 v) {
    __asm__("" : "+v"(v));
    _mm_mask_storeu_ps(p, m, v);
}

FBP_INLINE void v_store_parts(real *p, size_t step, __m512 v, size_t n) {
    const __mmask8 m = (__mmask8)m_first(n);
    v_store_part(p, m, _mm512_castps512_ps128(v));
    v_store_part(p + step, m, _mm512_extractf32x4_ps(v, 1));
    v_store_part(p + 2 * step, m, _mm512_extractf32x4_ps(v, 2));
    v_store_part(p + 3 * step, m, _mm512_extractf32x4_ps(v, 3));
}

/* Element j of part q of v[i] goes to element i of part q of v[j]. */
FBP_INLINE void v_turn_parts(vreal v[QUARTER]) {
    __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])), ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
    __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3])), cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
    v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
    v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
    v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
    v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    FBP_UNROLL
    for (size_t i = 0; i < QUARTER; i++) c[i] = v_load_parts(src + i * src_row, QUARTER * src_row, n);
    v_turn_parts(c);
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    vreal rows[QUARTER] = {c[0], c[1], c[2], c[3]};
    v_turn_parts(rows);
    FBP_UNROLL
    for (size_t i = 0; i < QUARTER; i++) v_store_parts(dst + i * dst_row, QUARTER * dst_row, rows[i], n);
}

FBP_INLINE int m_all(vmask m) { return m == 0xffff; }

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 v = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    v = _mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0x4e));
    return _mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0xb1));
}

FBP_INLINE vreal v_spread(vreal v, int q) {
    return q == 0 ? _mm512_shuffle_f32x4(v, v, 0x00)
         : q == 1 ? _mm512_shuffle_f32x4(v, v, 0x55)
         : q == 2 ? _mm512_shuffle_f32x4(v, v, 0xaa)
                  : _mm512_shuffle_f32x4(v, v, 0xff);
}

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    return _mm512_cmplt_epu32_mask(_mm512_loadu_si512(words), _mm512_set1_epi32((int)limit));
}

#else

typedef __m512d vreal;
typedef __mmask8 vmask;

FBP_INLINE vmask m_first(size_t n) { return (vmask)(n >= LANES ? 0xffu : (1u << n) - 1u); }

FBP_INLINE vreal v_zero(void) { return _mm512_setzero_pd(); }
FBP_INLINE vreal v_set(real x) { return _mm512_set1_pd(x); }
FBP_INLINE vreal v_load(const real *p) { return _mm512_loadu_pd(p); }
FBP_INLINE void v_store(real *p, vreal v) { _mm512_storeu_pd(p, v); }
FBP_INLINE vreal v_load_n(const real *p, size_t n) { return _mm512_maskz_loadu_pd(m_first(n), p); }
FBP_INLINE void v_store_n(real *p, vreal v, size_t n) { _mm512_mask_storeu_pd(p, m_first(n), v); }

FBP_INLINE vreal v_add(vreal a, vreal b) { return _mm512_add_pd(a, b); }
FBP_INLINE vreal v_sub(vreal a, vreal b) { return _mm512_sub_pd(a, b); }
FBP_INLINE vreal v_mul(vreal a, vreal b) { return _mm512_mul_pd(a, b); }
FBP_INLINE vreal v_div(vreal a, vreal b) { return _mm512_div_pd(a, b); }
FBP_INLINE vreal v_sqrt(vreal a) { return _mm512_sqrt_pd(a); }
FBP_INLINE vreal v_abs(vreal a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a); }
FBP_INLINE vreal v_neg(vreal a) { return _mm512_xor_pd(_mm512_set1_pd(-0.0), a); }
FBP_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return _mm512_fmadd_pd(a, b, c); }
FBP_INLINE vreal v_fnma(vreal a, vreal b, vreal c) { return _mm512_fnmadd_pd(a, b, c); }
FBP_INLINE vreal v_max(vreal a, vreal b) { return _mm512_max_pd(a, b); }
FBP_INLINE vreal v_min(vreal a, vreal b) { return _mm512_min_pd(a, b); }

FBP_INLINE vmask v_lt(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
FBP_INLINE vmask v_le(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
FBP_INLINE vmask v_gt(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
FBP_INLINE vmask v_ge(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ); }
FBP_INLINE vmask v_eq(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
FBP_INLINE vmask v_ne(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
FBP_INLINE vreal v_select(vmask m, vreal a, vreal b) { return _mm512_mask_blend_pd(m, b, a); }

FBP_INLINE vint v_bits(vreal a) { return _mm512_castpd_si512(a); }
FBP_INLINE vreal v_from_bits(vint a) { return _mm512_castsi512_pd(a); }
FBP_INLINE vint vi_set(int_real x) { return _mm512_set1_epi64(x); }
FBP_INLINE vint vi_add(vint a, vint b) { return _mm512_add_epi64(a, b); }
FBP_INLINE vint vi_sub(vint a, vint b) { return _mm512_sub_epi64(a, b); }
FBP_INLINE vint vi_shl(vint a, int n) { return _mm512_slli_epi64(a, (unsigned)n); }
FBP_INLINE vint vi_shr(vint a, int n) { return _mm512_srli_epi64(a, (unsigned)n); }

FBP_INLINE real v_sum(vreal v) {
    __m256d x = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
}

FBP_INLINE real v_greatest(vreal v) {
    __m256d x = _mm256_max_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d y = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_max_sd(y, _mm_unpackhi_pd(y, y)));
}

/* Two elements of each of four rows, `step` apart, in one register: loads do most of the shuffles across 128 bits. */
FBP_INLINE __m512d v_load_quarters(const real *p, size_t step) {
    __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + step), 1);
    p += 2 * step;
    __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + step), 1);
    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
}

FBP_INLINE void v_transpose(const real *src, size_t src_row, real *dst, size_t dst_row) {
    for (int j = 0; j < LANES; j += 2) {
        __m512d a = v_load_quarters(src + j, 2 * src_row);
        __m512d b = v_load_quarters(src + j + src_row, 2 * src_row);
        _mm512_storeu_pd(dst, _mm512_unpacklo_pd(a, b));
        _mm512_storeu_pd(dst + dst_row, _mm512_unpackhi_pd(a, b));
        dst += 2 * dst_row;
    }
}

/* Part q of the result: the first n elements, at most two, at p + q step. */
FBP_INLINE __m512d v_load_parts(const real *p, size_t step, size_t n) {
    const __mmask8 m = m_first(n);
    __m512d v = _mm512_castpd128_pd512(_mm_maskz_loadu_pd(m, p));
    v = _mm512_insertf64x2(v, _mm_maskz_loadu_pd(m, p + step), 1);
    v = _mm512_insertf64x2(v, _mm_maskz_loadu_pd(m, p + 2 * step), 2);
    return _mm512_insertf64x2(v, _mm_maskz_loadu_pd(m, p + 3 * step), 3);
}

/* As for floats. */
FBP_INLINE void v_store_part(real *p, __mmask8 m, __m128d v) {
    __asm__("" : "+v"(v));
    _mm_mask_storeu_pd(p, m, v);
}

FBP_INLINE void v_store_parts(real *p, size_t step, __m512d v, size_t n) {
    const __mmask8 m = m_first(n);
    v_store_part(p, m, _mm512_castpd512_pd128(v));
    v_store_part(p + step, m, _mm512_extractf64x2_pd(v, 1));
    v_store_part(p + 2 * step, m, _mm512_extractf64x2_pd(v, 2));
    v_store_part(p + 3 * step, m, _mm512_extractf64x2_pd(v, 3));
}

FBP_INLINE void v_load_columns(const real *src, size_t src_row, size_t n, vreal c[QUARTER]) {
    __m512d even = v_load_parts(src, 2 * src_row, n), odd = v_load_parts(src + src_row, 2 * src_row, n);
    c[0] = _mm512_unpacklo_pd(even, odd);
    c[1] = _mm512_unpackhi_pd(even, odd);
}

FBP_INLINE void v_store_columns(const vreal c[QUARTER], real *dst, size_t dst_row, size_t n) {
    v_store_parts(dst, 2 * dst_row, _mm512_unpacklo_pd(c[0], c[1]), n);
    v_store_parts(dst + dst_row, 2 * dst_row, _mm512_unpackhi_pd(c[0], c[1]), n);
}

FBP_INLINE int m_all(vmask m) { return m == 0xff; }

FBP_INLINE vreal v_sums(vreal a, vreal b, vreal c, vreal d) {
    __m512d ab = _mm512_add_pd(_mm512_shuffle_f64x2(a, b, 0x44), _mm512_shuffle_f64x2(a, b, 0xee));
    __m512d cd = _mm512_add_pd(_mm512_shuffle_f64x2(c, d, 0x44), _mm512_shuffle_f64x2(c, d, 0xee));
    __m512d v = _mm512_add_pd(_mm512_shuffle_f64x2(ab, cd, 0x88), _mm512_shuffle_f64x2(ab, cd, 0xdd));
    return _mm512_add_pd(v, _mm512_permute_pd(v, 0x55));
}

FBP_INLINE vreal v_spread(vreal v, int q) {
    return q == 0 ? _mm512_shuffle_f64x2(v, v, 0x00)
         : q == 1 ? _mm512_shuffle_f64x2(v, v, 0x55)
         : q == 2 ? _mm512_shuffle_f64x2(v, v, 0xaa)
                  : _mm512_shuffle_f64x2(v, v, 0xff);
}

FBP_INLINE vmask m_below(const uint32_t *words, uint32_t limit) {
    return _mm256_cmplt_epu32_mask(_mm256_loadu_si256((const void *)words), _mm256_set1_epi32((int)limit));
}

#endif

FBP_INLINE int m_any(vmask m) { return m != 0; }

FBP_INLINE vint vi_and(vint a, vint b) { return _mm512_and_si512(a, b); }
FBP_INLINE vint vi_or(vint a, vint b) { return _mm512_or_si512(a, b); }
FBP_INLINE vint vi_xor(vint a, vint b) { return _mm512_xor_si512(a, b); }

/* Words 0, 2, 4, ... and words 1, 3, 5, ..., each in the lower half of 64 bits, where the multiplication takes it from
 * and leaves its product. What is in the upper halves does not matter. */
typedef struct {
    __m512i even, odd;
} vword;

FBP_INLINE vword w_pair(__m512i even, __m512i odd) { return (vword){even, odd}; }
FBP_INLINE vword w_set(uint32_t x) { return w_pair(_mm512_set1_epi32((int)x), _mm512_set1_epi32((int)x)); }

FBP_INLINE vword w_add(vword a, vword b) { return w_pair(_mm512_add_epi32(a.even, b.even), _mm512_add_epi32(a.odd, b.odd)); }

FBP_INLINE vword w_xor(vword a, vword b) { return w_pair(_mm512_xor_si512(a.even, b.even), _mm512_xor_si512(a.odd, b.odd)); }

FBP_INLINE vword w_index(void) {
    return w_pair(_mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15));
}

FBP_INLINE vword w_product(vword a, vword b, vword *high) {
    vword product = w_pair(_mm512_mul_epu32(a.even, b.even), _mm512_mul_epu32(a.odd, b.odd));
    *high = w_pair(_mm512_srli_epi64(product.even, 32), _mm512_srli_epi64(product.odd, 32));
    return product;
}

FBP_INLINE vword w_raised(vword a) { return w_pair(_mm512_slli_epi32(a.even, 16), _mm512_slli_epi32(a.odd, 16)); }

FBP_INLINE void w_store(uint32_t *p, vword v) {
    _mm512_storeu_si512(p, _mm512_mask_mov_epi32(v.even, 0xaaaa, _mm512_slli_epi64(v.odd, 32)));
}

#endif
