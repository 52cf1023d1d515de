/* optimizer.h: updates of the flat parameter vector; penalties, clipping and the moving average.
 *
 * All but the sums of `penalty` is element-wise, so the bits of an element do not depend on N, on alignment or on its index.
 * Hyperparameters are doubles; terms that contain nothing else are computed in double and rounded once to a real. A nan or an inf
 * in g makes w non-finite: the caller checks the gradient first. Variants of an update with different state, or with and without
 * weight decay, are separate loops without branches. */
#ifndef FBP_OPTIMIZER_H
#define FBP_OPTIMIZER_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "reduce.h"

#include <math.h>

static const real smallest_normal = FBP_REAL == 32 ? (real)0x1p-126 : (real)0x1p-1022;

/* Flushes subnormal numbers to zero. The moments of a unit whose gradient stays 0 decay into them, and many processors compute with
 * them slowly, some a hundred times. An update of that size changes no parameter that is a normal number. A nan stays. */
FBP_INLINE vreal flushed(vreal mean) { return v_select(v_lt(v_abs(mean), v_set(smallest_normal)), v_zero(), mean); }

/* Second moments below this are flushed to zero: smallest_normal if correction * sqrt(v) + eps rounds to eps for every smaller v,
 * otherwise 0, so that none is. With a tiny eps a v flushed to zero would make the quotient by sqrt(v) + eps larger. */
static real least_square(double eps, double correction) {
    const double ulp = FBP_REAL == 32 ? 0x1p-24 : 0x1p-53;
    return correction * sqrt((double)smallest_normal) < eps * ulp / 4 ? smallest_normal : 0;
}

/* The gradient in a row of w: x g + 0, as an outer product computes it, or g itself without x. Whether x is NULL is a constant at
 * every call. */
FBP_INLINE vreal row_gradient(const real *x, vreal x_r, vreal g) { return x ? v_fma(x_r, g, v_zero()) : g; }

/* g' = g + weight_decay w where weights decay; `decays` is a constant at every call. */
FBP_INLINE vreal decayed(int decays, vreal weight_decay, vreal w, vreal g) { return decays ? v_fma(weight_decay, w, g) : g; }

/* ---------------------------------------------------------------------------------------------------- SGD
 *
 *   g' = g + weight_decay w,   v = momentum v + g',   w = w - learning_rate v       (without momentum: v = g')
 *   Nesterov's momentum:                              w = w - learning_rate (g' + momentum v)
 *
 * The formulas of torch.optim.SGD with dampening 0, from v = 0. Each line is one fused multiply-add, the last one of Nesterov's
 * momentum two. Subnormal v are flushed to zero. */

struct sgd {
    vreal learning_rate, momentum, weight_decay;
};

/* Updates *v and returns the step. */
FBP_INLINE vreal sgd_momentum(const struct sgd *s, int nesterov, vreal g, vreal *v) {
    *v = flushed(v_fma(s->momentum, *v, g));
    return nesterov ? v_fma(s->momentum, *v, g) : *v;
}

/* `decays`, `nesterov`, and whether x and v are NULL are constants at every call. */
FBP_INLINE void sgd_each(const struct sgd *s, int decays, int nesterov, real *w, const real *g, const real *x, real *v, size_t rows,
                         size_t N) {
    for (size_t r = 0; r < rows; r++, w += N, v = v ? v + N : NULL) {
        const vreal x_r = x ? v_set(x[r]) : v_zero();
        size_t i = 0;
        for (; i + LANES <= N; i += LANES) {
            vreal wi = v_load(w + i), step = decayed(decays, s->weight_decay, wi, row_gradient(x, x_r, v_load(g + i)));
            if (v) {
                vreal vi = v_load(v + i);
                step = sgd_momentum(s, nesterov, step, &vi);
                v_store(v + i, vi);
            }
            v_store(w + i, v_fnma(s->learning_rate, step, wi));
        }
        if (i < N) {
            size_t n = N - i;
            vreal wi = v_load_n(w + i, n), step = decayed(decays, s->weight_decay, wi, row_gradient(x, x_r, v_load_n(g + i, n)));
            if (v) {
                vreal vi = v_load_n(v + i, n);
                step = sgd_momentum(s, nesterov, step, &vi);
                v_store_n(v + i, vi, n);
            }
            v_store_n(w + i, v_fnma(s->learning_rate, step, wi), n);
        }
    }
}

/* Selects the loop; whether x is NULL is a constant at every call. */
FBP_INLINE void sgd_any(const struct sgd *s, int decays, int nesterov, real *w, const real *g, const real *x, real *v, size_t rows,
                        size_t N) {
    if (v && nesterov && decays) sgd_each(s, 1, 1, w, g, x, v, rows, N);
    else if (v && nesterov) sgd_each(s, 0, 1, w, g, x, v, rows, N);
    else if (v && decays) sgd_each(s, 1, 0, w, g, x, v, rows, N);
    else if (v) sgd_each(s, 0, 0, w, g, x, v, rows, N);
    else if (decays) sgd_each(s, 1, 0, w, g, x, NULL, rows, N);
    else sgd_each(s, 0, 0, w, g, x, NULL, rows, N);
}

/* w, v: (rows, N), g: (N,), x: (rows,) or NULL, which do not overlap. Writes w and v. v: NULL without momentum. */
static void FBP(sgd_step)(const struct fbp_optimizer *o, void *w, const void *g, const void *x, void *const moments[3], uint64_t t,
                          double learning_rate, size_t rows, size_t N) {
    const struct sgd s = {v_set((real)learning_rate), v_set((real)o->momentum), v_set((real)o->weight_decay)};
    const int decays = o->weight_decay != 0;
    (void)t;
    if (x) sgd_any(&s, decays, o->nesterov, w, g, x, moments[0], rows, N);
    else sgd_any(&s, decays, o->nesterov, w, g, NULL, moments[0], rows, N);
}

/* --------------------------------------------------------------------------------------------------- Adam
 *
 *   g' = g + weight_decay w
 *   m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g' g'
 *   w = w - learning_rate/(1 - beta1^t) * m / (sqrt(v)/sqrt(1 - beta2^t) + eps)
 *
 * Decoupled, the weight decay leaves g alone and comes first: w = w - learning_rate weight_decay w, fused, the product
 * of the two rates formed in double.
 *
 * Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, algorithm 1; decoupled: Loshchilov and Hutter,
 * Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2. eps is added after the correction, and weight decay is
 * L2 or else times the learning rate, as in torch.optim.Adam and AdamW. The square root and the quotient are exactly
 * rounded. Subnormal m are flushed to zero; v as least_square says. */

enum adam_decay { NO_DECAY, DECAY_OF_GRADIENT, DECAY_OF_WEIGHT };

struct adam {
    vreal beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    vreal rate, correction, eps;      /* learning_rate/(1 - beta1^t), 1/sqrt(1 - beta2^t) */
    vreal weight_decay;               /* decoupled: times the learning rate */
    vreal least_v;
};

/* Updates *m and *v and returns the new w. */
FBP_INLINE vreal adam_of(const struct adam *s, enum adam_decay decay, vreal w, vreal g, vreal *m, vreal *v) {
    g = decayed(decay == DECAY_OF_GRADIENT, s->weight_decay, w, g);
    if (decay == DECAY_OF_WEIGHT) w = v_fnma(s->weight_decay, w, w);
    *m = flushed(v_fma(s->beta1, *m, v_mul(s->rest1, g)));
    *v = v_fma(s->beta2, *v, v_mul(v_mul(s->rest2, g), g));
    *v = v_select(v_lt(*v, s->least_v), v_zero(), *v);
    return v_fnma(s->rate, v_div(*m, v_fma(v_sqrt(*v), s->correction, s->eps)), w);
}

/* `decay`, and whether x is NULL, are constants at every call. */
FBP_INLINE void adam_each(const struct adam *s, enum adam_decay decay, real *w, const real *g, const real *x, real *m, real *v,
                          size_t rows, size_t N) {
    for (size_t r = 0; r < rows; r++, w += N, m += N, v += N) {
        const vreal x_r = x ? v_set(x[r]) : v_zero();
        size_t i = 0;
        for (; i + LANES <= N; i += LANES) {
            vreal mi = v_load(m + i), vi = v_load(v + i);
            v_store(w + i, adam_of(s, decay, v_load(w + i), row_gradient(x, x_r, v_load(g + i)), &mi, &vi));
            v_store(m + i, mi);
            v_store(v + i, vi);
        }
        if (i < N) {
            size_t n = N - i;
            vreal mi = v_load_n(m + i, n), vi = v_load_n(v + i, n);
            v_store_n(w + i, adam_of(s, decay, v_load_n(w + i, n), row_gradient(x, x_r, v_load_n(g + i, n)), &mi, &vi), n);
            v_store_n(m + i, mi, n);
            v_store_n(v + i, vi, n);
        }
    }
}

/* Selects the loop; whether x is NULL is a constant at every call. */
FBP_INLINE void adam_any(const struct adam *s, enum adam_decay decay, real *w, const real *g, const real *x, real *m, real *v,
                         size_t rows, size_t N) {
    switch (decay) {
    case NO_DECAY: adam_each(s, NO_DECAY, w, g, x, m, v, rows, N); break;
    case DECAY_OF_GRADIENT: adam_each(s, DECAY_OF_GRADIENT, w, g, x, m, v, rows, N); break;
    case DECAY_OF_WEIGHT: adam_each(s, DECAY_OF_WEIGHT, w, g, x, m, v, rows, N); break;
    }
}

/* base^t by repeated squaring: the same bits everywhere, which pow() does not promise. */
static double power(double base, uint64_t t) {
    double result = 1;
    for (; t; t >>= 1, base *= base)
        if (t & 1) result *= base;
    return result;
}

/* w, m, v: (rows, N), g: (N,), x: (rows,) or NULL, which do not overlap. Writes w, m and v. t: the number of this step, from 1. */
static void FBP(adam_step)(const struct fbp_optimizer *o, void *w, const void *g, const void *x, void *const moments[3], uint64_t t,
                           double learning_rate, size_t rows, size_t N) {
    const double correction = 1 / sqrt(1 - power(o->beta2, t));
    const struct adam s = {
        .beta1 = v_set((real)o->beta1),
        .rest1 = v_set((real)(1 - o->beta1)),
        .beta2 = v_set((real)o->beta2),
        .rest2 = v_set((real)(1 - o->beta2)),
        .rate = v_set((real)(learning_rate / (1 - power(o->beta1, t)))),
        .correction = v_set((real)correction),
        .eps = v_set((real)o->eps),
        .weight_decay = v_set((real)(o->decoupled ? learning_rate * o->weight_decay : o->weight_decay)),
        .least_v = v_set(least_square(o->eps, correction)),
    };
    const enum adam_decay decay = o->weight_decay == 0 ? NO_DECAY : o->decoupled ? DECAY_OF_WEIGHT : DECAY_OF_GRADIENT;
    if (x) adam_any(&s, decay, w, g, x, moments[0], moments[1], rows, N);
    else adam_any(&s, decay, w, g, NULL, moments[0], moments[1], rows, N);
}

/* ------------------------------------------------------------------------------------------------ RMSprop
 *
 *   g' = g + weight_decay w,   v = alpha v + (1 - alpha) g' g'
 *   q = g' / (sqrt(v) + eps);   centred: mean = alpha mean + (1 - alpha) g', q = g' / (sqrt(max(v - mean^2, 0)) + eps)
 *   w = w - learning_rate q;    momentum: buffer = momentum buffer + q,   w = w - learning_rate buffer
 *
 * alpha is o->beta2. Tieleman and Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012; centred: Graves,
 * Generating Sequences with Recurrent Neural Networks, 2013. The formulas of torch.optim.RMSprop, from zeros, except
 * for the maximum with 0: v - mean^2 is a variance, and where rounding makes it negative the root would be a nan. Subnormal mean
 * and buffer are flushed to zero; v as least_square says. */

struct rmsprop {
    vreal learning_rate, alpha, rest, eps, momentum, weight_decay; /* rest = 1 - alpha */
    vreal least_v;
};

/* Updates *v and, unless NULL, *buffer and *mean, and returns the new w. */
FBP_INLINE vreal rmsprop_of(const struct rmsprop *s, int decays, vreal w, vreal g, vreal *v, vreal *buffer, vreal *mean) {
    g = decayed(decays, s->weight_decay, w, g);
    *v = v_fma(s->alpha, *v, v_mul(v_mul(s->rest, g), g));
    *v = v_select(v_lt(*v, s->least_v), v_zero(), *v);
    vreal square = *v;
    if (mean) {
        *mean = flushed(v_fma(s->alpha, *mean, v_mul(s->rest, g)));
        square = v_max(v_zero(), v_fnma(*mean, *mean, square)); /* in this order a nan stays */
    }
    vreal step = v_div(g, v_add(v_sqrt(square), s->eps));
    if (buffer) step = *buffer = flushed(v_fma(s->momentum, *buffer, step));
    return v_fnma(s->learning_rate, step, w);
}

/* `decays`, and whether x, buffer and mean are NULL, are constants at every call. */
FBP_INLINE void rmsprop_each(const struct rmsprop *s, int decays, real *w, const real *g, const real *x, real *v, real *buffer,
                             real *mean, size_t rows, size_t N) {
    for (size_t r = 0; r < rows; r++, w += N, v += N, buffer = buffer ? buffer + N : NULL, mean = mean ? mean + N : NULL) {
        const vreal x_r = x ? v_set(x[r]) : v_zero();
        size_t i = 0;
        for (; i + LANES <= N; i += LANES) {
            const vreal wi = v_load(w + i), gi = row_gradient(x, x_r, v_load(g + i));
            vreal vi = v_load(v + i), bi = buffer ? v_load(buffer + i) : v_zero(), mi = mean ? v_load(mean + i) : v_zero();
            v_store(w + i, rmsprop_of(s, decays, wi, gi, &vi, buffer ? &bi : NULL, mean ? &mi : NULL));
            v_store(v + i, vi);
            if (buffer) v_store(buffer + i, bi);
            if (mean) v_store(mean + i, mi);
        }
        if (i < N) {
            const size_t n = N - i;
            const vreal wi = v_load_n(w + i, n), gi = row_gradient(x, x_r, v_load_n(g + i, n));
            vreal vi = v_load_n(v + i, n), bi = buffer ? v_load_n(buffer + i, n) : v_zero();
            vreal mi = mean ? v_load_n(mean + i, n) : v_zero();
            v_store_n(w + i, rmsprop_of(s, decays, wi, gi, &vi, buffer ? &bi : NULL, mean ? &mi : NULL), n);
            v_store_n(v + i, vi, n);
            if (buffer) v_store_n(buffer + i, bi, n);
            if (mean) v_store_n(mean + i, mi, n);
        }
    }
}

/* Selects the loop for the state that exists; `decays`, and whether x is NULL, are constants at every call. */
FBP_INLINE void rmsprop_any(const struct rmsprop *s, int decays, real *w, const real *g, const real *x, real *v, real *buffer,
                            real *mean, size_t rows, size_t N) {
    if (buffer && mean) rmsprop_each(s, decays, w, g, x, v, buffer, mean, rows, N);
    else if (buffer) rmsprop_each(s, decays, w, g, x, v, buffer, NULL, rows, N);
    else if (mean) rmsprop_each(s, decays, w, g, x, v, NULL, mean, rows, N);
    else rmsprop_each(s, decays, w, g, x, v, NULL, NULL, rows, N);
}

/* w, v, buffer, mean: (rows, N), g: (N,), x: (rows,) or NULL, which do not overlap. Writes all but g and x. buffer: NULL without
 * momentum; mean: NULL if not centred. */
static void FBP(rmsprop_step)(const struct fbp_optimizer *o, void *w, const void *g, const void *x, void *const moments[3],
                              uint64_t t, double learning_rate, size_t rows, size_t N) {
    const struct rmsprop s = {
        .learning_rate = v_set((real)learning_rate),
        .alpha = v_set((real)o->beta2),
        .rest = v_set((real)(1 - o->beta2)),
        .eps = v_set((real)o->eps),
        .momentum = v_set((real)o->momentum),
        .weight_decay = v_set((real)o->weight_decay),
        .least_v = v_set(least_square(o->eps, 1)),
    };
    (void)t;
    const int decays = o->weight_decay != 0;
    if (decays && x) rmsprop_any(&s, 1, w, g, x, moments[0], moments[1], moments[2], rows, N);
    else if (decays) rmsprop_any(&s, 1, w, g, NULL, moments[0], moments[1], moments[2], rows, N);
    else if (x) rmsprop_any(&s, 0, w, g, x, moments[0], moments[1], moments[2], rows, N);
    else rmsprop_any(&s, 0, w, g, NULL, moments[0], moments[1], moments[2], rows, N);
}

/* ------------------------------------------------------------------------------------------------ Adagrad
 *
 *   g' = g + weight_decay w,   v = v + g' g',   w = w - learning_rate/(1 + (t - 1) rate_decay) * g' / (sqrt(v) + eps)
 *
 * Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, JMLR 2011. The
 * formula of torch.optim.Adagrad. v is a sum that does not decay, from zeros or the caller's initial values.
 * If the squares of the gradients are too small it would remain subnormal: it is flushed to zero as least_square says. */

struct adagrad {
    vreal rate, eps, weight_decay, least_v;
};

/* Updates *v and returns the new w. */
FBP_INLINE vreal adagrad_of(const struct adagrad *s, int decays, vreal w, vreal g, vreal *v) {
    g = decayed(decays, s->weight_decay, w, g);
    *v = v_fma(g, g, *v);
    *v = v_select(v_lt(*v, s->least_v), v_zero(), *v);
    return v_fnma(s->rate, v_div(g, v_add(v_sqrt(*v), s->eps)), w);
}

/* `decays`, and whether x is NULL, are constants at every call. */
FBP_INLINE void adagrad_each(const struct adagrad *s, int decays, real *w, const real *g, const real *x, real *v, size_t rows,
                             size_t N) {
    for (size_t r = 0; r < rows; r++, w += N, v += N) {
        const vreal x_r = x ? v_set(x[r]) : v_zero();
        size_t i = 0;
        for (; i + LANES <= N; i += LANES) {
            vreal vi = v_load(v + i);
            v_store(w + i, adagrad_of(s, decays, v_load(w + i), row_gradient(x, x_r, v_load(g + i)), &vi));
            v_store(v + i, vi);
        }
        if (i < N) {
            const size_t n = N - i;
            vreal vi = v_load_n(v + i, n);
            v_store_n(w + i, adagrad_of(s, decays, v_load_n(w + i, n), row_gradient(x, x_r, v_load_n(g + i, n)), &vi), n);
            v_store_n(v + i, vi, n);
        }
    }
}

/* w, v: (rows, N), g: (N,), x: (rows,) or NULL, which do not overlap. Writes w and v. t: the number of this step, from 1. */
static void FBP(adagrad_step)(const struct fbp_optimizer *o, void *w, const void *g, const void *x, void *const moments[3],
                              uint64_t t, double learning_rate, size_t rows, size_t N) {
    const struct adagrad s = {
        .rate = v_set((real)(learning_rate / (1 + (double)(t - 1) * o->rate_decay))),
        .eps = v_set((real)o->eps),
        .weight_decay = v_set((real)o->weight_decay),
        .least_v = v_set(least_square(o->eps, 1)),
    };
    const int decays = o->weight_decay != 0;
    if (decays && x) adagrad_each(&s, 1, w, g, x, moments[0], rows, N);
    else if (decays) adagrad_each(&s, 1, w, g, NULL, moments[0], rows, N);
    else if (x) adagrad_each(&s, 0, w, g, x, moments[0], rows, N);
    else adagrad_each(&s, 0, w, g, NULL, moments[0], rows, N);
}

/* -------------------------------------------------------------------- penalties, clipping and the moving average */

/* Returns g plus the gradient of the penalty at w, and adds the penalty's terms to *sum1 and *sum2. The sign of a zero or a nan is
 * w itself. */
FBP_INLINE vreal penalty_of(int first, int second, vreal l1, vreal l2, vreal w, vreal g, vreal *sum1, vreal *sum2) {
    if (first) {
        *sum1 = v_add(*sum1, v_abs(w));
        g = v_add(g, v_select(v_gt(w, v_zero()), l1, v_select(v_lt(w, v_zero()), v_neg(l1), w)));
    }
    if (second) {
        *sum2 = v_fma(w, w, *sum2);
        g = v_fma(l2, w, g);
    }
    return g;
}

/* `first` and `second` are constants at every call. Both sums have the order of sum_squares in reduce.h. */
FBP_INLINE double penalty_each(int first, int second, double l1, double l2, const real *w, real *g, size_t N) {
    const vreal l1_ = v_set((real)l1), l2_ = v_set((real)l2);
    double total1 = 0, total2 = 0;
    while (N > 0) {
        const size_t n = N < REDUCE_BLOCK ? N : REDUCE_BLOCK;
        vreal sum1[REDUCE_GROUP] = {v_zero(), v_zero(), v_zero(), v_zero()};
        vreal sum2[REDUCE_GROUP] = {v_zero(), v_zero(), v_zero(), v_zero()};
        size_t i = 0;
        for (; i + REDUCE_GROUP * LANES <= n; i += REDUCE_GROUP * LANES)
            for (size_t k = 0; k < REDUCE_GROUP; k++) {
                const size_t at = i + k * LANES;
                const vreal wi = v_load(w + at), gi = v_load(g + at);
                v_store(g + at, penalty_of(first, second, l1_, l2_, wi, gi, sum1 + k, sum2 + k));
            }
        for (size_t k = 0; i < n; k++, i += LANES) {
            const vreal wi = v_load_n(w + i, n - i), gi = v_load_n(g + i, n - i);
            v_store_n(g + i, penalty_of(first, second, l1_, l2_, wi, gi, sum1 + k, sum2 + k), n - i);
        }
        if (first) total1 += (double)v_sum(v_add(v_add(sum1[0], sum1[1]), v_add(sum1[2], sum1[3])));
        if (second) total2 += (double)v_sum(v_add(v_add(sum2[0], sum2[1]), v_add(sum2[2], sum2[3])));
        w += n, g += n, N -= n;
    }
    return (first ? l1 * total1 : 0) + (second ? l2 / 2 * total2 : 0);
}

/* g = g + l1 sign(w) + l2 w, the gradient of the penalty l1 sum |w| + l2/2 sum w^2, which it returns. w, g: (N,), which do
 * not overlap. sign(0) = 0. The term of an l that is 0 is omitted, so that an inf in w stays an inf. The relative error of each
 * sum is that of sum_squares; a sum beyond the largest real is inf. */
static double FBP(penalty)(const void *w, void *g, double l1, double l2, size_t N) {
    if (l1 != 0 && l2 != 0) return penalty_each(1, 1, l1, l2, w, g, N);
    if (l1 != 0) return penalty_each(1, 0, l1, l2, w, g, N);
    return l2 != 0 ? penalty_each(0, 1, l1, l2, w, g, N) : 0;
}

/* g = factor g. g: (N,). One rounding; an inf times a factor of 0 is a nan. */
static void FBP(scale)(void *g_, double factor, size_t N) {
    const vreal by = v_set((real)factor);
    real *g = g_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(g + i, v_mul(by, v_load(g + i)));
    if (i < N) v_store_n(g + i, v_mul(by, v_load_n(g + i, N - i)), N - i);
}

/* g = min(max(g, -limit), limit). g: (N,); limit > 0. Exact except for the rounding of limit; an inf becomes limit
 * with its sign, a nan stays. */
static void FBP(clip)(void *g_, double limit, size_t N) {
    const vreal most = v_set((real)limit), least = v_set((real)-limit);
    real *g = g_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(g + i, v_min(most, v_max(least, v_load(g + i))));
    if (i < N) v_store_n(g + i, v_min(most, v_max(least, v_load_n(g + i, N - i))), N - i);
}

FBP_INLINE vreal average_of(vreal rest, vreal average, vreal w) { return flushed(v_fma(rest, v_sub(w, average), average)); }

/* average = average + (1 - decay) (w - average), an exponential moving average; subnormal results are flushed to zero. average, w:
 * (N,), which do not overlap. */
static void FBP(average)(void *average_, const void *w_, double decay, size_t N) {
    const vreal rest = v_set((real)(1 - decay));
    const real *w = w_;
    real *average = average_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(average + i, average_of(rest, v_load(average + i), v_load(w + i)));
    if (i < N) v_store_n(average + i, average_of(rest, v_load_n(average + i, N - i), v_load_n(w + i, N - i)), N - i);
}

#endif
