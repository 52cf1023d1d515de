/* gemm.h: matrix products.
 *
 * Problem. C (M, N) = A (M, K) B (K, N) for the three products of a dense layer: x W, x^T dz and dz W^T.
 *
 * Representation. C is cut into tiles of at most TILE_ROWS rows and TILE_VECTORS vectors of columns, as many as the
 * register file holds. A tile's accumulators stay in registers while k runs: each k takes TILE_VECTORS loads from B and,
 * for each row, one element of A spread over a vector. A is read in place through (a_row, a_col), so x and x^T are the
 * same to it. B's rows must be contiguous; where they are not (W^T) or lie so far apart that they fall on few cache sets
 * (wide W), gemm_pack first copies B into panels: for each group of `panel` columns all K rows, one after the other.
 *
 * Order of summation. Each element of C is a chain of fused multiply-adds over at most FBP_BLOCK values of k, started from
 * the bias or zero; the blocks are added in order. Tiles, panels and shares of threads change nothing in that, so neither
 * do they change the bits.
 *
 * References: Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008; Van Zee, van
 * de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", ACM TOMS 41(3), 2015.
 */

#include <math.h> /* INFINITY */

enum {
    TILE_COLUMNS = TILE_VECTORS * LANES,
    WIDE_VECTORS = TILE_ROWS * TILE_VECTORS > 8 ? 8 : 4, /* of a tile of one row */
    ROW_GROUP = 3,
    ROW_GROUPS = (TILE_ROWS + ROW_GROUP - 1) / ROW_GROUP,
};

/* One tile over one block of k. */
struct tile {
    size_t K;
    const real *a; size_t a_row, a_col;
    const real *b; size_t b_row;
    const real *bias;          /* where the chains start, or NULL: from zero */
    real *c; size_t c_row;
    size_t last;               /* columns in the last vector: LANES, or fewer when the tile is `partial` */
    int add;                   /* C += chain rather than C = max(chain, least) */
    real least;                /* -infinity, or 0 for a ReLU */
    const real *relu; size_t relu_row; /* C *= relu > 0, or NULL; may be C itself; not with add */
};

/* rows, vectors and partial are constants at every call, so that the loops over them unroll and acc lives in registers.
 * Rows are addressed in groups of three from one pointer (p, p + a_row, p + 2 a_row): a pointer for each of 14 rows would
 * not fit the general registers. */
FBP_SPECIALIZE void tile_run(const int rows, const int vectors, const int partial, const struct tile *t) {
    const size_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row, last = t->last;
    vreal acc[TILE_ROWS][WIDE_VECTORS];
    vreal start[WIDE_VECTORS];
    FBP_UNROLL
    for (int j = 0; j < vectors; j++) {
        if (!t->bias) start[j] = v_zero();
        else start[j] = partial && j == vectors - 1 ? v_load_n(t->bias + j * LANES, last) : v_load(t->bias + j * LANES);
    }
    FBP_UNROLL
    for (int i = 0; i < rows; i++)
        FBP_UNROLL
        for (int j = 0; j < vectors; j++) acc[i][j] = start[j];

    const real *p[ROW_GROUPS];
    FBP_UNROLL
    for (int g = 0; g < ROW_GROUPS; g++) p[g] = t->a + (g * ROW_GROUP < rows ? g * ROW_GROUP : 0) * a_row;
    const real *b = t->b;
    for (size_t k = t->K; k; k--) {
        vreal bk[WIDE_VECTORS];
        FBP_UNROLL
        for (int j = 0; j < vectors; j++)
            bk[j] = partial && j == vectors - 1 ? v_load_n(b + j * LANES, last) : v_load(b + j * LANES);
        FBP_UNROLL
        for (int i = 0; i < rows; i++) {
            vreal aik = v_set(p[i / ROW_GROUP][(i % ROW_GROUP) * a_row]);
            FBP_UNROLL
            for (int j = 0; j < vectors; j++) acc[i][j] = v_fma(aik, bk[j], acc[i][j]);
        }
        b += b_row;
        FBP_UNROLL
        for (int g = 0; g < ROW_GROUPS; g++)
            if (g * ROW_GROUP < rows) p[g] += a_col;
    }

    const vreal least = v_set(t->least), zero = v_zero(), one = v_set(1);
    FBP_UNROLL
    for (int i = 0; i < rows; i++)
        FBP_UNROLL
        for (int j = 0; j < vectors; j++) {
            const size_t n = partial && j == vectors - 1 ? last : LANES;
            real *c = t->c + i * t->c_row + j * LANES;
            vreal value = v_max(least, acc[i][j]);
            if (t->add) value = v_add(n < LANES ? v_load_n(c, n) : v_load(c), acc[i][j]);
            if (t->relu) {
                const real *y = t->relu + i * t->relu_row + j * LANES;
                vmask alive = v_gt(n < LANES ? v_load_n(y, n) : v_load(y), zero);
                value = v_mul(acc[i][j], v_select(alive, one, zero)); /* a product, as activation.h has it: nan stays */
            }
            if (n < LANES) v_store_n(c, value, n);
            else v_store(c, value);
        }
}

FBP_SPECIALIZE void tile_run_rows(int rows, const int vectors, const int partial, const struct tile *t) {
    switch (rows) {
#define ROWS(n) case n: tile_run(n <= TILE_ROWS ? n : 1, vectors, partial, t); return
    ROWS(1); ROWS(2); ROWS(3); ROWS(4); ROWS(5); ROWS(6); ROWS(7);
    ROWS(8); ROWS(9); ROWS(10); ROWS(11); ROWS(12); ROWS(13); ROWS(14);
#undef ROWS
    }
}

_Static_assert(TILE_ROWS <= 14 && TILE_VECTORS <= 2, "tile_run_rows and tile_dispatch name the sizes they know");

/* A single row would leave most accumulators unused, and each multiply-add waiting for the one before: it goes many vectors
 * at a time instead, and reads longer runs of B's rows. */
FBP_SPECIALIZE void tile_run_wide(size_t columns, const int partial, const struct tile *t) {
    switch ((columns + LANES - 1) / LANES) {
#define VECTORS(n) case n: tile_run(1, n <= WIDE_VECTORS ? n : 1, partial, t); return
    VECTORS(2); VECTORS(3); VECTORS(4); VECTORS(5); VECTORS(6); VECTORS(7); VECTORS(8);
#undef VECTORS
    }
}

static void tile_dispatch(size_t rows, size_t columns, struct tile *t) {
    t->last = columns % LANES ? columns % LANES : LANES;
    int partial = t->last < LANES;
    if (columns > TILE_COLUMNS) {
        if (partial) tile_run_wide(columns, 1, t);
        else tile_run_wide(columns, 0, t);
    } else if (TILE_VECTORS > 1 && columns > LANES) {
        if (partial) tile_run_rows((int)rows, TILE_VECTORS, 1, t);
        else tile_run_rows((int)rows, TILE_VECTORS, 0, t);
    } else {
        if (partial) tile_run_rows((int)rows, 1, 1, t);
        else tile_run_rows((int)rows, 1, 0, t);
    }
}

/* What becomes of a finished tile of C = A B, besides being stored. */
struct finish {
    int forward;               /* C = f(C) */
    int backward;              /* C = (A B + skip) * f'(saved) */
    int activation; real alpha;
    const real *skip; size_t skip_row;   /* (M, N) or NULL */
    const real *saved; size_t saved_row; /* (M, N); may be C itself */
    int transpose;             /* c is C transposed, (N, M), rows c_row apart */
};

static void tile_finish_backward(const struct finish *f, real *product, size_t i, size_t j, real *c, size_t c_row,
                                 size_t rows, size_t columns) {
    if (f->skip)
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < columns; k += LANES) {
                vreal skip = v_load_n(f->skip + (i + r) * f->skip_row + j + k, columns - k);
                real *p = product + r * TILE_COLUMNS + k;
                v_store(p, v_add(v_load(p), skip));
            }
    activation_backward_rows(product, TILE_COLUMNS, f->saved + i * f->saved_row + j, f->saved_row, f->activation, f->alpha,
                             c, c_row, rows, columns);
}

/* c[j][i] (+)= product[i][j]. product has room for LANES rows. */
static void tile_finish_transposed(const real *product, int accumulate, real *c, size_t c_row, size_t rows,
                                   size_t columns) {
    real turned[LANES * LANES];
    for (size_t i = 0; i < rows; i += LANES)
        for (size_t j = 0; j < columns; j += LANES) {
            v_transpose(product + i * TILE_COLUMNS + j, TILE_COLUMNS, turned, LANES);
            for (size_t r = 0; r < LANES && j + r < columns; r++) {
                real *to = c + (j + r) * c_row + i;
                vreal value = v_load(turned + r * LANES);
                v_store_n(to, accumulate ? v_add(v_load_n(to, rows - i), value) : value, rows - i);
            }
        }
}

/* to[k][j] = b[k][j], rows TILE_COLUMNS apart; zero for j >= columns. */
static void copy_panel(const real *b, size_t b_row, real *to, size_t K, size_t columns) {
    for (size_t k = 0; k < K; k++)
        for (size_t j = 0; j < TILE_COLUMNS; j += LANES)
            v_store(to + k * TILE_COLUMNS + j, j < columns ? v_load_n(b + k * b_row + j, columns - j) : v_zero());
}

/* Tiles are numbered down the rows of one panel, then the next panel, and each part takes a run of them: a panel of B is
 * used again while it is in cache. Rows are shared out evenly among the fewest tiles that cover M, since a tile of 12 and
 * one of 11 waste less than one of 14 and one of 9. */
static void gemm_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    const real *a = g->a, *b = g->b, *panels = g->panels, *bias = g->bias;
    real *c = g->c;
    enum { ROOM = (TILE_ROWS + LANES - 1) / LANES * LANES };
    real product[ROOM * TILE_COLUMNS], near[FBP_BLOCK * TILE_COLUMNS];
    const size_t row_tiles = (g->M + TILE_ROWS - 1) / TILE_ROWS;
    const size_t width = g->M == 1 && !panels && !f->transpose && !f->backward ? WIDE_VECTORS * LANES : TILE_COLUMNS;
    const size_t column_tiles = (g->N + width - 1) / width;
    const size_t tiles = row_tiles * column_tiles;
    const size_t end = tiles * (part + 1) / parts;
    const int one_block = g->K <= FBP_BLOCK;
    /* Rows of B far apart each lie on a page of their own; where a panel is read often, a copy of it close together pays. */
    const int copies_panel = !panels && row_tiles >= 8 && one_block && g->b_row * sizeof(real) >= 1024;
    size_t copied = column_tiles;
    const int relu_forward = f->forward && f->activation == FBP_RELU && one_block;
    const int relu_backward = f->backward && f->activation == FBP_RELU && one_block && !f->skip;
    const int buffered = (f->backward && !relu_backward) || f->transpose;
    for (size_t number = tiles * part / parts; number < end; number++) {
        const size_t row_tile = number % row_tiles, panel = number / row_tiles;
        const size_t i = g->M * row_tile / row_tiles, rows = g->M * (row_tile + 1) / row_tiles - i;
        const size_t j = panel * width, columns = g->N - j < width ? g->N - j : width;
        real *tile_c = f->transpose ? c + j * g->c_row + i : c + i * g->c_row + j;
        struct tile t = {
            .a = a + i * g->a_row, .a_row = g->a_row, .a_col = g->a_col,
            .b = panels ? panels + panel * g->K * TILE_COLUMNS : b + j, .b_row = panels ? TILE_COLUMNS : g->b_row,
            .bias = bias ? bias + j : NULL,
            .c = buffered ? product : tile_c, .c_row = buffered ? TILE_COLUMNS : g->c_row,
            .add = g->accumulate && !f->transpose,
            .least = relu_forward ? 0 : -(real)INFINITY,
            .relu = relu_backward ? f->saved + i * f->saved_row + j : NULL, .relu_row = f->saved_row,
        };
        if (copies_panel) {
            if (copied != panel) copy_panel(t.b, t.b_row, near, g->K, columns);
            copied = panel;
            t.b = near, t.b_row = TILE_COLUMNS;
        }
        size_t left = g->K;
        do { /* once even when K is 0: C is then the bias, or 0 */
            t.K = left < FBP_BLOCK ? left : FBP_BLOCK;
            tile_dispatch(rows, columns, &t);
            t.a += t.K * t.a_col;
            t.b += t.K * t.b_row;
            t.bias = NULL;
            t.add = 1;
            left -= t.K;
        } while (left);
        if (f->transpose) tile_finish_transposed(product, g->accumulate, tile_c, g->c_row, rows, columns);
        else if (f->backward && !relu_backward) tile_finish_backward(f, product, i, j, tile_c, g->c_row, rows, columns);
        else if (f->forward && !relu_forward)
            activation_forward_rows(tile_c, g->c_row, f->activation, f->alpha, rows, columns);
    }
}

/* C (M, N) = A (M, K) B (K, N), plus the bias, added to C when `accumulate`. nan and inf as the multiply-adds give. */
static void FBP(gemm)(const struct fbp_gemm *product, int part, int parts) {
    const struct finish nothing = {0};
    gemm_share(product, &nothing, part, parts);
}

/* to[k][j] = b[j][k], likewise. */
static void transpose_panel(const real *b, size_t b_row, real *to, size_t K, size_t columns) {
    for (size_t j = 0; j < TILE_COLUMNS; j += LANES) {
        size_t k = 0;
        if (columns >= j + LANES)
            for (; k + LANES <= K; k += LANES)
                v_transpose(b + j * b_row + k, b_row, to + k * TILE_COLUMNS + j, TILE_COLUMNS);
        for (; k < K; k++)
            for (size_t lane = j; lane < j + LANES; lane++)
                to[k * TILE_COLUMNS + lane] = lane < columns ? b[lane * b_row + k] : 0;
    }
}

/* panels[j / TILE_COLUMNS][k][j % TILE_COLUMNS] = B[k][j], zero for j >= N. Parts share the panels. Goes through a few rows
 * of B at a time, all panels of them: their pages are then found in the translation buffer. */
static void FBP(gemm_pack)(const void *b_, size_t b_row, int transposed, void *panels_, size_t K, size_t N, int part,
                           int parts) {
    enum { ROWS_AT_ONCE = 32 };
    const real *b = b_;
    const size_t panels = (N + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const size_t first = panels * part / parts, end = panels * (part + 1) / parts;
    const size_t rows = transposed ? K : ROWS_AT_ONCE;
    for (size_t k = 0; k < K; k += rows)
        for (size_t panel = first; panel < end; panel++) {
            const size_t j = panel * TILE_COLUMNS, columns = N - j < TILE_COLUMNS ? N - j : TILE_COLUMNS;
            real *to = (real *)panels_ + (panel * K + k) * TILE_COLUMNS;
            if (transposed) transpose_panel(b + j * b_row, b_row, to, K, columns);
            else copy_panel(b + k * b_row + j, b_row, to, K - k < rows ? K - k : rows, columns);
        }
}
