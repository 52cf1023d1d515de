/* optimizer.h: the update of the flat parameter vector.
 *
 * Both updates are element by element, so the bits of an element do not depend on N, on alignment or on its place.
 * Hyperparameters arrive as doubles; what is formed from them is formed in double and rounded once to a real.
 * A nan or an inf in g makes w non-finite: the caller looks at the gradient first. */

#include <math.h>

static const real smallest_normal = FBP_REAL == 32 ? (real)0x1p-126 : (real)0x1p-1022;

/* A mean of gradients that have stopped, those of a dead unit, decays until it is no longer a normal number, and with such
 * numbers many processors are slow, some a hundred times. There it becomes 0: an update of that size changes no parameter
 * that is a normal number. A nan stays. */
FBP_INLINE vreal settled(vreal mean) {
    return v_select(v_lt(v_abs(mean), v_set(smallest_normal)), v_zero(), mean);
}

/* ---------------------------------------------------------------------------------------------------- SGD
 *
 *   g' = g + weight_decay w,   v = momentum v + g',   w = w - learning_rate v       (without momentum: v = g')
 *
 * The formula of torch.optim.SGD with dampening 0, from v = 0. Each line is one fused multiply-add; v is settled. */

struct sgd {
    vreal learning_rate, momentum, weight_decay;
};

FBP_INLINE vreal sgd_gradient(const struct sgd *s, int decays, vreal w, vreal g) {
    return decays ? v_fma(s->weight_decay, w, g) : g;
}

/* `decays` and `v` being NULL or not are constants wherever this is called. */
FBP_INLINE void sgd_each(const struct sgd *s, int decays, real *w, const real *g, real *v, size_t N) {
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) {
        vreal wi = v_load(w + i), step = sgd_gradient(s, decays, wi, v_load(g + i));
        if (v) {
            step = settled(v_fma(s->momentum, v_load(v + i), step));
            v_store(v + i, step);
        }
        v_store(w + i, v_fnma(s->learning_rate, step, wi));
    }
    if (i < N) {
        size_t n = N - i;
        vreal wi = v_load_n(w + i, n), step = sgd_gradient(s, decays, wi, v_load_n(g + i, n));
        if (v) {
            step = settled(v_fma(s->momentum, v_load_n(v + i, n), step));
            v_store_n(v + i, step, n);
        }
        v_store_n(w + i, v_fnma(s->learning_rate, step, wi), n);
    }
}

/* w, g, v: (N,), none of them another. Writes w and v. v: NULL means no momentum. */
static void FBP(sgd_step)(const struct fbp_optimizer *o, void *w, const void *g, void *const moments[3], uint64_t t,
                          double learning_rate, size_t N) {
    const struct sgd s = {v_set((real)learning_rate), v_set((real)o->momentum), v_set((real)o->weight_decay)};
    void *v = moments[0];
    (void)t;
    if (v && o->weight_decay != 0)
        sgd_each(&s, 1, w, g, v, N);
    else if (v)
        sgd_each(&s, 0, w, g, v, N);
    else if (o->weight_decay != 0)
        sgd_each(&s, 1, w, g, NULL, N);
    else
        sgd_each(&s, 0, w, g, NULL, N);
}

/* --------------------------------------------------------------------------------------------------- Adam
 *
 *   g' = g + weight_decay w
 *   m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g' g'
 *   w = w - learning_rate/(1 - beta1^t) * m / (sqrt(v)/sqrt(1 - beta2^t) + eps)
 *
 * Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, algorithm 1; eps is added after the correction
 * and weight decay is L2, as in torch.optim.Adam. The square root and the quotient are exactly rounded. m is settled; so is v
 * where eps is so much larger than the root of such a v that their sum is eps all the same. With a tiny eps the quotient of
 * a v of 0 would grow rather than shrink. */

struct adam {
    vreal beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    vreal rate, correction, eps;      /* learning_rate/(1 - beta1^t), 1/sqrt(1 - beta2^t) */
    vreal weight_decay;
    vreal least_v; /* below it v is settled: smallest_normal, or 0 */
};

/* Updates *m and *v and returns the new w. */
FBP_INLINE vreal adam_of(const struct adam *s, int decays, vreal w, vreal g, vreal *m, vreal *v) {
    if (decays)
        g = v_fma(s->weight_decay, w, g);
    *m = settled(v_fma(s->beta1, *m, v_mul(s->rest1, g)));
    *v = v_fma(s->beta2, *v, v_mul(v_mul(s->rest2, g), g));
    *v = v_select(v_lt(*v, s->least_v), v_zero(), *v);
    return v_fnma(s->rate, v_div(*m, v_fma(v_sqrt(*v), s->correction, s->eps)), w);
}

/* `decays` is a constant wherever this is called. */
FBP_INLINE void adam_each(const struct adam *s, int decays, real *w, const real *g, real *m, real *v, size_t N) {
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) {
        vreal mi = v_load(m + i), vi = v_load(v + i);
        v_store(w + i, adam_of(s, decays, v_load(w + i), v_load(g + i), &mi, &vi));
        v_store(m + i, mi);
        v_store(v + i, vi);
    }
    if (i < N) {
        size_t n = N - i;
        vreal mi = v_load_n(m + i, n), vi = v_load_n(v + i, n);
        v_store_n(w + i, adam_of(s, decays, v_load_n(w + i, n), v_load_n(g + i, n), &mi, &vi), n);
        v_store_n(m + i, mi, n);
        v_store_n(v + i, vi, n);
    }
}

/* base^t by repeated squaring: the same bits everywhere, which pow() does not promise. */
static double power(double base, uint64_t t) {
    double result = 1;
    for (; t; t >>= 1, base *= base)
        if (t & 1)
            result *= base;
    return result;
}

/* w, g, m, v: (N,), none of them another. Writes w, m and v. t: the number of this step, from 1. */
static void FBP(adam_step)(const struct fbp_optimizer *o, void *w, const void *g, void *const moments[3], uint64_t t,
                           double learning_rate, size_t N) {
    const double correction = 1 / sqrt(1 - power(o->beta2, t)), ulp = FBP_REAL == 32 ? 0x1p-24 : 0x1p-53;
    const int eps_rules = correction * sqrt((double)smallest_normal) < o->eps * ulp / 4;
    const struct adam s = {
        .beta1 = v_set((real)o->beta1),
        .rest1 = v_set((real)(1 - o->beta1)),
        .beta2 = v_set((real)o->beta2),
        .rest2 = v_set((real)(1 - o->beta2)),
        .rate = v_set((real)(learning_rate / (1 - power(o->beta1, t)))),
        .correction = v_set((real)correction),
        .eps = v_set((real)o->eps),
        .weight_decay = v_set((real)o->weight_decay),
        .least_v = v_set(eps_rules ? smallest_normal : 0),
    };
    if (o->weight_decay != 0)
        adam_each(&s, 1, w, g, moments[0], moments[1], N);
    else
        adam_each(&s, 0, w, g, moments[0], moments[1], N);
}
