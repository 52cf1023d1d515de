/* common.h: what the vec headers share. A vec header defines FBP_ISA, then includes this one.
 *
 * The vocabulary is the same on every instruction set, and a vreal always has 64 bytes: sixteen floats or eight
 * doubles. An instruction set with shorter registers uses several of them. So lane-wise results, and reductions over
 * lanes, have the same bits on every instruction set with fused multiply-add.
 *
 *   v_zero v_set v_load v_store             any alignment
 *   v_load_n v_store_n                      the first n lanes; memory past them is not touched. v_load_n zeroes the rest.
 *                                           n above LANES counts as LANES.
 *   v_add v_sub v_mul v_div v_sqrt v_abs v_neg
 *   v_fma(a, b, c) = a b + c                fused, one rounding; the portable header rounds twice
 *   v_fnma(a, b, c) = c - a b               the same
 *   v_max(a, b) = a > b ? a : b             exactly so: b when either is nan, and b when both are zeros
 *   v_min(a, b) = a < b ? a : b             the same
 *   v_lt v_le v_gt v_ge v_eq v_ne           masks, as C's operators: with a nan false, v_ne true
 *   v_select(m, a, b) = m ? a : b
 *   m_first(n) m_any m_all
 *   v_bits v_from_bits                      the same bits as integers of the real's width, and back
 *   vi_set vi_add vi_sub vi_and vi_or vi_xor vi_shl(v, n) vi_shr(v, n)      shifts by a constant; vi_shr shifts in zeros
 *   v_sum v_greatest                        lane i with lane i + LANES/2, then i with i + LANES/4, ...; greatest by v_max
 *   v_sums(a, b, c, d)                      v_sum of each, in all lanes of a quarter of the result: of a in the first
 *   v_spread(v, q)                          quarter q of v, 0 to 3, in all four
 *   v_transpose(src, src_row, dst, dst_row) dst[j][i] = src[i][j], for a block of LANES x LANES
 *   v_load_columns(src, src_row, n, c)      lane i of c[j] = src[i][j], for LANES rows and j < n <= QUARTER; c has QUARTER
 *                                           vectors, those from n on are zeroed. Memory past n columns is not touched.
 *   v_store_columns(c, dst, dst_row, n)     dst[i][j] = lane i of c[j], for the same i and j
 *
 * And a few for sixteen words of 32 bits, a vword:
 *
 *   w_set w_add w_xor w_store               w_store writes words 0 to 15 in order, at any alignment
 *   w_index                                 word i is i
 *   w_raised(a)                             each word times 2^16: its lower half in the place of the upper one
 *   w_product(a, b, &high)                  the lower words of the products of 64 bits; their upper words go to high
 *   m_below(words, limit)                   mask: words[i] < limit, both unsigned, for LANES words at any alignment
 *
 * TILE_ROWS x TILE_VECTORS vectors are the accumulators of a product's register tile: as many as leave room for the
 * operands. A tile of up to TILE_ROWS_PARTIAL rows may have v_load_n in its loop; where that takes registers or time, a
 * taller one is given whole vectors. TILE_PACKS: large products pack their operands. */
#ifndef FBP_VEC_COMMON_H
#define FBP_VEC_COMMON_H

#include <stddef.h>
#include <stdint.h>

#if FBP_REAL == 32
typedef float real;
typedef int32_t int_real;
typedef uint32_t uint_real;
#define LANES 16
#define FBP_REAL_NAME f32
#elif FBP_REAL == 64
typedef double real;
typedef int64_t int_real;
typedef uint64_t uint_real;
#define LANES 8
#define FBP_REAL_NAME f64
#else
#error "FBP_REAL must be 32 or 64"
#endif
#define QUARTER (LANES / 4) /* reals in 16 bytes */

/* FBP(gemm) is fbp_gemm_f32_avx2 in a file compiled for floats and AVX2. */
#define FBP_PASTE(name, real_name, isa) fbp_##name##_##real_name##_##isa
#define FBP_EXPAND(name, real_name, isa) FBP_PASTE(name, real_name, isa)
#define FBP(name) FBP_EXPAND(name, FBP_REAL_NAME, FBP_ISA)

/* FBP_SMALL is defined in builds that must compile fast and may run slowly: no loop is unrolled, and the compiler decides what is
 * inlined. No bit of a result depends on it. */

/* FBP_SPECIALIZE is for a function some of whose arguments are constants at every call: it must be inlined there. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(FBP_SMALL)
#define FBP_SPECIALIZE static inline __attribute__((always_inline))
#else
#define FBP_SPECIALIZE static inline
#endif
#ifndef FBP_INLINE
#define FBP_INLINE FBP_SPECIALIZE
#endif
#if defined(__GNUC__) || defined(__clang__)
#define FBP_NOINLINE __attribute__((noinline))
#else
#define FBP_NOINLINE
#endif

/* Asks for the cache line of an address, which need not be one of an array: into the second-level cache, since the first has
 * fewer misses to spare. */
#if defined(__GNUC__) || defined(__clang__)
#define FBP_FETCH(p) __builtin_prefetch((const void *)(p), 0, 2)
#else
#define FBP_FETCH(p) ((void)(p))
#endif

/* Before a loop whose count is bounded by the size of an array: not unrolled, which would be whole, with an exit each turn. */
#if defined(__clang__)
#define FBP_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define FBP_ROLLED _Pragma("GCC unroll 1")
#else
#define FBP_ROLLED
#endif

/* Before a loop with a constant count below 17: unrolled whole, so that an array indexed by it stays in registers. */
#if defined(FBP_SMALL)
#define FBP_UNROLL
#elif defined(__clang__)
#define FBP_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define FBP_UNROLL _Pragma("GCC unroll 16")
#else
#define FBP_UNROLL
#endif

#endif
