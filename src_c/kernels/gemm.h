/* gemm.h: matrix products.
 *
 * Problem. C (M, N) = A (M, K) B (K, N) for the three products of a dense layer: x W, x^T dz and dz W^T.
 *
 * Representation. C is cut into panels of TILE_VECTORS vectors of columns, and a panel into tiles of at most TILE_ROWS rows:
 * as many accumulators as the register file holds. They stay in registers while k runs: each k takes TILE_VECTORS loads from
 * B and, for each row, one element of A spread over a vector. A is read in place through (a_row, a_col), so x and x^T are
 * the same to it. B is wanted as a panel whose rows lie one after the other: where it is not (W^T), or its rows are so far
 * apart that they fall on few cache sets and many pages (wide W), a block of FBP_BLOCK rows of the panel is copied close
 * together, onto the stack, just before the tiles that use it; the copy stays in the second-level cache while they do.
 * gemm_pack makes such panels of a whole matrix, for one that several products share.
 *
 * Algorithm. Chunks of rows (so many that their part of A stays in the second-level cache) -> panels -> blocks of k -> tiles
 * down the rows. Between blocks of k the sums wait in C, or in a buffer where C is not to be written yet.
 *
 * Order of summation. Each element of C is a chain of fused multiply-adds over at most FBP_BLOCK values of k, started from
 * the bias or zero; the blocks are added in order. Tiles, panels and shares of threads change nothing in that, so neither
 * do they change the bits.
 *
 * References: Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008; Van Zee, van
 * de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", ACM TOMS 41(3), 2015.
 */

enum {
    TILE_COLUMNS = TILE_VECTORS * LANES,
    WIDE_VECTORS = TILE_ROWS * TILE_VECTORS > 8 ? 8 : 4, /* of a tile of one row */
    ROW_GROUP = 3,
    ROW_GROUPS = (TILE_ROWS + ROW_GROUP - 1) / ROW_GROUP,
    CHUNK_TILES = (FBP_BLOCK + TILE_ROWS - 1) / TILE_ROWS, /* tiles in a chunk of rows */
};

/* What a tile does to its sums before it stores them. */
enum tile_finish {
    TILE_STORE,
    TILE_RELU, /* max(0, sum) */
    TILE_SLOPE /* sum * (saved > 0): back through a ReLU */
};

/* Tiles of the same size, one below the other, over one block of k. */
struct strip {
    size_t tiles, K;
    const real *a; size_t a_row, a_col;
    const real *b; size_t b_row;
    const real *bias;            /* where the chains start, or NULL: from zero */
    const real *sum; size_t sum_row; /* added to the chains, or NULL; may be c */
    int finish;
    const real *saved; size_t saved_row; /* for TILE_SLOPE; may be c */
    real *c; size_t c_row;
    size_t last;                 /* columns in the last vector: LANES, or fewer when the tile is `partial` */
};

/* rows, vectors and partial are constants at every call, so that the loops over them unroll and acc lives in registers.
 * Rows are addressed in groups of three from one pointer (p, p + a_row, p + 2 a_row): a pointer for each of 14 rows would
 * not fit the general registers. What is done to the sums is asked once for all of them, and the loop over the tiles is in
 * here: of a short K a tile has little time for anything else. */
FBP_SPECIALIZE void strip_run(const int rows, const int vectors, const int partial, const struct strip *s) {
    const size_t a_row = s->a_row, a_col = s->a_col, b_row = s->b_row, last = s->last;
    const real *a = s->a, *sum = s->sum, *saved = s->saved;
    real *c = s->c;
    for (size_t tiles = s->tiles; tiles; tiles--) {
        vreal acc[TILE_ROWS][WIDE_VECTORS];
        if (s->bias) {
            FBP_UNROLL
            for (int j = 0; j < vectors; j++) {
                const real *bias = s->bias + j * LANES;
                const vreal start = partial && j == vectors - 1 ? v_load_n(bias, last) : v_load(bias);
                FBP_UNROLL
                for (int i = 0; i < rows; i++) acc[i][j] = start;
            }
        } else {
            FBP_UNROLL
            for (int i = 0; i < rows; i++)
                FBP_UNROLL
                for (int j = 0; j < vectors; j++) acc[i][j] = v_zero();
        }

        const real *p[ROW_GROUPS];
        FBP_UNROLL
        for (int g = 0; g < ROW_GROUPS; g++) p[g] = a + (g * ROW_GROUP < rows ? g * ROW_GROUP : 0) * a_row;
        const real *b = s->b;
        for (size_t k = s->K; k; k--) {
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
        a += rows * a_row;

#define EACH_VECTOR(body) \
    FBP_UNROLL \
    for (int i = 0; i < rows; i++) \
        FBP_UNROLL \
        for (int j = 0; j < vectors; j++) { \
            const size_t n = partial && j == vectors - 1 ? last : LANES; \
            body \
        }
        if (sum) {
            EACH_VECTOR(const real *at = sum + i * s->sum_row + j * LANES;
                        acc[i][j] = v_add(n < LANES ? v_load_n(at, n) : v_load(at), acc[i][j]);)
            sum += rows * s->sum_row;
        }
        if (s->finish == TILE_RELU) {
            EACH_VECTOR((void)n; acc[i][j] = v_max(v_zero(), acc[i][j]);) /* this order keeps a nan */
        } else if (s->finish == TILE_SLOPE) {
            /* a product, as activation.h has it: nan stays */
            EACH_VECTOR(const real *at = saved + i * s->saved_row + j * LANES;
                        vmask alive = v_gt(n < LANES ? v_load_n(at, n) : v_load(at), v_zero());
                        acc[i][j] = v_mul(acc[i][j], v_select(alive, v_set(1), v_zero()));)
            saved += rows * s->saved_row;
        }
        EACH_VECTOR(real *at = c + i * s->c_row + j * LANES;
                    if (n < LANES) v_store_n(at, acc[i][j], n);
                    else v_store(at, acc[i][j]);)
        c += rows * s->c_row;
#undef EACH_VECTOR
    }
}

FBP_SPECIALIZE void strip_run_rows(int rows, const int vectors, const int partial, const struct strip *s) {
    switch (rows) {
#define ROWS(n) case n: strip_run(n <= TILE_ROWS ? n : 1, vectors, partial, s); return
    ROWS(1); ROWS(2); ROWS(3); ROWS(4); ROWS(5); ROWS(6); ROWS(7);
    ROWS(8); ROWS(9); ROWS(10); ROWS(11); ROWS(12); ROWS(13); ROWS(14);
#undef ROWS
    }
}

_Static_assert(TILE_ROWS <= 14 && TILE_VECTORS <= 2, "strip_run_rows and strip_dispatch name the sizes they know");

/* A single row would leave most accumulators unused, and each multiply-add waiting for the one before: it goes many vectors
 * at a time instead, and reads longer runs of B's rows. */
FBP_SPECIALIZE void strip_run_wide(size_t columns, const int partial, const struct strip *s) {
    switch ((columns + LANES - 1) / LANES) {
#define VECTORS(n) case n: strip_run(1, n <= WIDE_VECTORS ? n : 1, partial, s); return
    VECTORS(2); VECTORS(3); VECTORS(4); VECTORS(5); VECTORS(6); VECTORS(7); VECTORS(8);
#undef VECTORS
    }
}

static void strip_dispatch(size_t rows, size_t columns, const struct strip *s) {
    const int partial = s->last < LANES;
    if (columns > TILE_COLUMNS) {
        if (partial) strip_run_wide(columns, 1, s);
        else strip_run_wide(columns, 0, s);
    } else if (TILE_VECTORS > 1 && columns > LANES) {
        if (partial) strip_run_rows((int)rows, TILE_VECTORS, 1, s);
        else strip_run_rows((int)rows, TILE_VECTORS, 0, s);
    } else {
        if (partial) strip_run_rows((int)rows, 1, 1, s);
        else strip_run_rows((int)rows, 1, 0, s);
    }
}

/* Rows are shared out evenly among the fewest tiles that cover M, since a tile of 12 and one of 11 waste less than one of 14
 * and one of 9: the first `larger` tiles have `rows` + 1 rows, the others `rows`. */
struct row_tiles { size_t count, rows, larger; };

static struct row_tiles row_tiles_of(size_t M) {
    const size_t count = (M + TILE_ROWS - 1) / TILE_ROWS, rows = count > 1 ? M / count : M;
    return (struct row_tiles){count, rows, M - rows * count};
}

static size_t first_row(const struct row_tiles *tiles, size_t tile) {
    return tile * tiles->rows + (tile < tiles->larger ? tile : tiles->larger);
}

/* Tiles [first, end) of a panel. s says where the first begins. */
static void run_tiles(const struct row_tiles *tiles, size_t first, size_t end, size_t columns, struct strip *s) {
    if (first < tiles->larger) {
        s->tiles = (end < tiles->larger ? end : tiles->larger) - first;
        strip_dispatch(tiles->rows + 1, columns, s);
        first += s->tiles;
        if (first == end) return;
        const size_t rows = s->tiles * (tiles->rows + 1);
        s->a += rows * s->a_row;
        s->c += rows * s->c_row;
        if (s->sum) s->sum += rows * s->sum_row;
        if (s->saved) s->saved += rows * s->saved_row;
    }
    s->tiles = end - first;
    strip_dispatch(tiles->rows, columns, s);
}

/* What becomes of C = A B, besides being stored. */
struct finish {
    int forward;               /* C = f(C) */
    int backward;              /* C = (A B + skip) * f'(saved) */
    int activation; real alpha;
    const real *skip; size_t skip_row;   /* (M, N) or NULL */
    const real *saved; size_t saved_row; /* (M, N); may be C itself */
    int transpose;             /* c is C transposed, (N, M), rows c_row apart; with `accumulate` only one block of k */
};

/* c = (product + skip) * f'(saved), for rows from i, columns from j of C. product: rows TILE_COLUMNS apart; changed. */
static void finish_backward(const struct finish *f, real *product, size_t i, size_t j, real *c, size_t c_row, size_t rows,
                            size_t columns) {
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

/* c[j][i] (+)= product[i][j]. product: rows TILE_COLUMNS apart, with room for a multiple of LANES of them. */
static void finish_transposed(const real *product, int accumulate, real *c, size_t c_row, size_t rows, size_t columns) {
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
    if (columns == TILE_COLUMNS) {
        for (size_t k = 0; k < K; k++)
            FBP_UNROLL
            for (int j = 0; j < TILE_COLUMNS; j += LANES) v_store(to + k * TILE_COLUMNS + j, v_load(b + k * b_row + j));
        return;
    }
    for (size_t k = 0; k < K; k++)
        for (size_t j = 0; j < TILE_COLUMNS; j += LANES)
            v_store(to + k * TILE_COLUMNS + j, j < columns ? v_load_n(b + k * b_row + j, columns - j) : v_zero());
}

/* to[k][j] = b[j][k], likewise. to has room for K rounded up to a multiple of LANES. */
static void turn_panel(const real *b, size_t b_row, real *to, size_t K, size_t columns) {
    real edge[LANES * LANES];
    for (size_t j = 0; j < columns; j += LANES)
        for (size_t k = 0; k < K; k += LANES) {
            const real *from = b + j * b_row + k;
            size_t from_row = b_row;
            if (columns - j < LANES || K - k < LANES) { /* nothing past the ends is to be read */
                for (size_t r = 0; r < LANES; r++)
                    v_store(edge + r * LANES, j + r < columns ? v_load_n(from + r * b_row, K - k) : v_zero());
                from = edge, from_row = LANES;
            }
            v_transpose(from, from_row, to + k * TILE_COLUMNS + j, TILE_COLUMNS);
        }
}

/* Tiles are numbered down the rows of one panel, then the next panel, and each part takes a run of them. */
static void gemm_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    const struct row_tiles tiles = row_tiles_of(g->M);
    const int wide = g->M == 1 && !g->panels && !g->b_transposed && !f->transpose && !f->backward;
    const size_t width = wide ? WIDE_VECTORS * LANES : TILE_COLUMNS, panels = (g->N + width - 1) / width;
    const size_t chunks = (tiles.count + CHUNK_TILES - 1) / CHUNK_TILES;
    size_t begin = 0, end = tiles.count * panels;
    if (parts > 1) begin = end * part / parts, end = end * (part + 1) / parts;

    const int relu_forward = f->forward && f->activation == FBP_RELU;
    const int relu_backward = f->backward && f->activation == FBP_RELU && !f->skip;
    const int waits = f->backward || f->transpose; /* C may be what `saved` is, or lies the other way: not to hold sums */
    enum { ROOM = (CHUNK_TILES * TILE_ROWS + LANES - 1) / LANES * LANES };
    real waiting[ROOM * TILE_COLUMNS], near[FBP_BLOCK * TILE_COLUMNS];

    size_t number = 0; /* of the first tile of the chunk and panel */
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t chunk_first = chunks > 1 ? tiles.count * chunk / chunks : 0;
        const size_t chunk_tiles = (chunks > 1 ? tiles.count * (chunk + 1) / chunks : tiles.count) - chunk_first;
        for (size_t panel = 0; panel < panels; panel++, number += chunk_tiles) {
            if (number + chunk_tiles <= begin) continue;
            if (number >= end) return;
            const size_t first = chunk_first + (begin > number ? begin - number : 0);
            const size_t last = chunk_first + (end - number < chunk_tiles ? end - number : chunk_tiles);
            const size_t i = first_row(&tiles, first), rows = first_row(&tiles, last) - i;
            const size_t j = panel * width, columns = g->N - j < width ? g->N - j : width;
            real *const c = (real *)g->c + (f->transpose ? j * g->c_row + i : i * g->c_row + j);
            /* Rows of B far apart lie on a page each, and share few cache sets. */
            const int copies = !g->panels && (g->b_transposed || (last - first >= 8 && g->b_row * sizeof(real) >= 1024));
            size_t k = 0;
            do { /* once even when K is 0: C is then the bias, or 0 */
                const size_t K = g->K - k < FBP_BLOCK ? g->K - k : FBP_BLOCK;
                const int is_last = k + K == g->K;
                const int stores = !waits || (relu_backward && is_last);
                struct strip s = {
                    .K = K,
                    .a = (const real *)g->a + i * g->a_row + k * g->a_col, .a_row = g->a_row, .a_col = g->a_col,
                    .bias = g->bias && !k ? (const real *)g->bias + j : NULL,
                    .c = stores ? c : waiting, .c_row = stores ? g->c_row : TILE_COLUMNS,
                    .last = columns % LANES ? columns % LANES : LANES,
                };
                if (g->panels) {
                    s.b = (const real *)g->panels + (panel * g->K + k) * TILE_COLUMNS, s.b_row = TILE_COLUMNS;
                } else {
                    s.b = (const real *)g->b + (g->b_transposed ? j * g->b_row + k : k * g->b_row + j), s.b_row = g->b_row;
                    if (copies) {
                        (g->b_transposed ? turn_panel : copy_panel)(s.b, s.b_row, near, K, columns);
                        s.b = near, s.b_row = TILE_COLUMNS;
                    }
                }
                if (waits && k) s.sum = waiting, s.sum_row = TILE_COLUMNS;
                else if (k || (g->accumulate && !f->transpose)) s.sum = c, s.sum_row = g->c_row;
                if (is_last && relu_forward) s.finish = TILE_RELU;
                if (is_last && relu_backward)
                    s.finish = TILE_SLOPE, s.saved = f->saved + i * f->saved_row + j, s.saved_row = f->saved_row;
                run_tiles(&tiles, first, last, columns, &s);
                k += K;
            } while (k < g->K);
            if (f->transpose) finish_transposed(waiting, g->accumulate, c, g->c_row, rows, columns);
            else if (f->backward && !relu_backward) finish_backward(f, waiting, i, j, c, g->c_row, rows, columns);
            else if (f->forward && !relu_forward)
                activation_forward_rows(c, g->c_row, f->activation, f->alpha, rows, columns);
        }
    }
}

/* C (M, N) = A (M, K) B (K, N), plus the bias, added to C when `accumulate`. nan and inf as the multiply-adds give. */
static void FBP(gemm)(const struct fbp_gemm *product, int part, int parts) {
    const struct finish nothing = {0};
    gemm_share(product, &nothing, part, parts);
}

/* panels[j / TILE_COLUMNS][k][j % TILE_COLUMNS] = B[k][j], zero for j >= N. Parts share the panels. Goes through a few rows
 * of B at a time, all panels of them: their pages are then found in the translation buffer. */
static void FBP(gemm_pack)(const void *b_, size_t b_row, void *panels_, size_t K, size_t N, int part, int parts) {
    enum { ROWS_AT_ONCE = 32 };
    const real *b = b_;
    const size_t panels = (N + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const size_t first = panels * part / parts, end = panels * (part + 1) / parts;
    for (size_t k = 0; k < K; k += ROWS_AT_ONCE)
        for (size_t panel = first; panel < end; panel++) {
            const size_t j = panel * TILE_COLUMNS, columns = N - j < TILE_COLUMNS ? N - j : TILE_COLUMNS;
            copy_panel(b + k * b_row + j, b_row, (real *)panels_ + (panel * K + k) * TILE_COLUMNS,
                       K - k < ROWS_AT_ONCE ? K - k : ROWS_AT_ONCE, columns);
        }
}
