/* peak.c: how many multiply-adds a core makes in a second when nothing else stands in their way.
 *
 * Twelve chains that depend on nothing but themselves and never leave the registers: more than the latency of a
 * multiply-add times its units a cycle on the cores of today, and few enough for sixteen registers. Built by measure.py
 * with the flags of the instruction set in use, REAL and VECTOR (bytes in a register).
 */
typedef REAL vreal __attribute__((vector_size(VECTOR)));

enum { CHAINS = 12 };

/* Makes n multiply-adds on each of the chains; returns how many that were, counted by element. */
double multiply_adds(long n, REAL *result) {
    vreal chain[CHAINS];
    const vreal factor = {0}, term = factor + (REAL)0.001, shrink = factor + (REAL)0.999;
    for (int c = 0; c < CHAINS; c++) chain[c] = factor + (REAL)(2 + c); /* not 1: it would stay 1, and a compiler sees that */
    for (long i = 0; i < n; i++)
        for (int c = 0; c < CHAINS; c++) chain[c] = chain[c] * shrink + term;
    vreal sum = factor;
    for (int c = 0; c < CHAINS; c++) sum += chain[c];
    *result = sum[0];
    return (double)n * CHAINS * (VECTOR / sizeof(REAL));
}
