/* tiles.h: products by tiles of C that stay in registers, with operands in place, copied or packed.
 *
 * Representation. C is cut into panels of TILE_VECTORS vectors of columns, and a panel into tiles of at most TILE_ROWS rows:
 * as many accumulators as the register file holds. They stay in registers while k runs: each k takes TILE_VECTORS loads from
 * B and, for each row, one element of A broadcast to a vector. A is read in place through (a_row, a_col), so x and x^T are
 * the same to it. B is read in place too, unless its rows are not contiguous (W^T), lie a multiple of 4 KiB apart and so on
 * few cache sets, or would end in a part of a vector where loading that is slow: then a block of FBP_BLOCK rows of the panel
 * is copied close together, onto the stack, just before the tiles that use it, or by the first of them.
 *
 * Algorithm. Chunks of rows (their part of A stays in the second-level cache) -> panels -> blocks of k -> tiles down the
 * rows. Between blocks of k the sums wait in C, or in a buffer where C must not be written yet. A large product packs both
 * operands in the order in which the tiles read them (packed_share): groups of panels -> blocks of k -> chunks of rows ->
 * panels -> tiles.
 *
 * References: Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008; Van Zee, van
 * de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", ACM TOMS 41(3), 2015.
 */
#ifndef FBP_TILES_H
#define FBP_TILES_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "activation.h"

enum {
    TILE_COLUMNS = TILE_VECTORS * LANES,
    WIDE_VECTORS = TILE_ROWS * TILE_VECTORS > 8 ? 8 : 4, /* of a tile of one row */
    ROW_GROUP = 3,
    ROW_GROUPS = (TILE_ROWS + ROW_GROUP - 1) / ROW_GROUP,
    CHUNK_TILES = (FBP_BLOCK + TILE_ROWS - 1) / TILE_ROWS, /* tiles in a chunk of rows */
    COPY_TILES = 5,                                        /* with fewer tiles a copy of B costs more than it saves */
    FETCH_TILES = 4,
    FAR_BYTES = 512 * 1024, /* B from this size on is fetched before it is copied */
    /* Reals of a packed tile of A (a line more, so that tiles do not share cache sets), of a packed panel of B, and of the
     * sums of a panel in a chunk. */
    TILE_ROOM = TILE_ROWS * FBP_BLOCK + LANES,
    PANEL_ROOM = FBP_BLOCK * TILE_COLUMNS,
    SUMS_ROOM = CHUNK_TILES * TILE_ROWS * TILE_COLUMNS,
    PACKED_ROWS = 96,
    PACKED_COLUMNS = 128,
    PACKED_WORK = 12 << 20, /* the least for which packing pays */
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
    const real *a;
    size_t a_row, a_col, a_tile; /* a_tile: from one tile's rows to the next */
    const real *b;
    size_t b_row;
    const real *bias; /* where the chains start, or NULL: from zero */
    const real *sum;
    size_t sum_row; /* added to the chains, or NULL; may be c */
    int finish;
    const real *saved;
    size_t saved_row; /* for TILE_SLOPE; may be c */
    real *c;
    size_t c_row;
    size_t last;  /* columns in the last vector: LANES, or fewer when the tile is `partial` */
    int packed_a; /* a is packed: a_row is 1, a_tile is TILE_ROOM, and run_tiles sets a_col to the number of rows */
    real *copy;   /* where the rows of B are to lie TILE_COLUMNS apart, or NULL: no copy */
};

/* rows, vectors and partial are constants at every call, so that the loops over them unroll and acc lives in registers.
 * Rows are addressed in groups of three from one pointer (p, p + a_row, p + 2 a_row): a pointer for each of 14 rows would
 * not fit the general registers. What is done to the sums is asked once for all of them, and the loop over the tiles is in
 * here: of a short K a tile has little time for anything else. What only that loop needs stays in s, which is left as the
 * next strip would begin: the loop over k has use for all general registers. */
FBP_SPECIALIZE void strip_run(const int rows, const int vectors, const int partial, const int copies, struct strip *s) {
    for (; s->tiles; s->tiles--) {
        const size_t a_row = s->a_row, a_col = s->a_col, b_row = s->b_row, last = s->last;
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
            for (int i = 0; i < rows; i++) FBP_UNROLL
            for (int j = 0; j < vectors; j++) acc[i][j] = v_zero();
        }

        const real *p[ROW_GROUPS];
        FBP_UNROLL
        for (int g = 0; g < ROW_GROUPS; g++) p[g] = s->a + (g * ROW_GROUP < rows ? g * ROW_GROUP : 0) * a_row;
        const real *b = s->b;
        real *copy = s->copy;
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
            if (copies) {
                FBP_UNROLL
                for (int j = 0; j < vectors; j++) v_store(copy + j * LANES, bk[j]);
                copy += TILE_COLUMNS;
            }
            b += b_row;
            FBP_UNROLL
            for (int g = 0; g < ROW_GROUPS; g++)
                if (g * ROW_GROUP < rows) p[g] += a_col;
        }
        s->a += s->a_tile;

#define EACH_VECTOR(body) \
    FBP_UNROLL \
    for (int i = 0; i < rows; i++) FBP_UNROLL \
    for (int j = 0; j < vectors; j++) { \
        const size_t n = partial && j == vectors - 1 ? last : LANES; \
        body \
    }
        if (s->sum) {
            EACH_VECTOR(const real *at = s->sum + i * s->sum_row + j * LANES;
                        acc[i][j] = v_add(n < LANES ? v_load_n(at, n) : v_load(at), acc[i][j]);)
            s->sum += rows * s->sum_row;
        }
        if (s->finish == TILE_RELU) {
            EACH_VECTOR((void)n; acc[i][j] = v_max(v_zero(), acc[i][j]);) /* this order keeps a nan */
        } else if (s->finish == TILE_SLOPE) {
            /* a product, as activation.h has it: nan stays */
            EACH_VECTOR(const real *at = s->saved + i * s->saved_row + j * LANES;
                        vmask alive = v_gt(n < LANES ? v_load_n(at, n) : v_load(at), v_zero());
                        acc[i][j] = v_mul(acc[i][j], v_select(alive, v_set(1), v_zero()));)
            s->saved += rows * s->saved_row;
        }
        real *const c = s->c;
        const size_t c_row = s->c_row;
        EACH_VECTOR(real *at = c + i * c_row + j * LANES; if (n < LANES) v_store_n(at, acc[i][j], n); else v_store(at, acc[i][j]);)
        s->c += rows * c_row;
#undef EACH_VECTOR
    }
}

FBP_SPECIALIZE void strip_run_rows(int rows, const int vectors, const int partial, struct strip *s) {
    switch (rows) {
#define ROWS(n) \
    case n: \
        if (n <= TILE_ROWS && (!partial || n <= TILE_ROWS_PARTIAL)) strip_run(n, vectors, partial, 0, s); \
        return
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#undef ROWS
    }
}

_Static_assert(TILE_ROWS <= 14 && TILE_VECTORS <= 2, "strip_run_rows and strip_dispatch name the sizes they know");

/* A single row would leave most accumulators unused, and each multiply-add waiting for the one before: it goes many vectors
 * at a time instead, and reads longer runs of B's rows. */
FBP_SPECIALIZE void strip_run_wide(size_t columns, const int partial, struct strip *s) {
    switch ((columns + LANES - 1) / LANES) {
#define VECTORS(n) \
    case n: \
        if (n <= WIDE_VECTORS) strip_run(1, n, partial, 0, s); \
        return
        VECTORS(2);
        VECTORS(3);
        VECTORS(4);
        VECTORS(5);
        VECTORS(6);
        VECTORS(7);
        VECTORS(8);
#undef VECTORS
    }
}

static void strip_dispatch(size_t rows, size_t columns, struct strip *s) {
    const int partial = s->last < LANES;
    if (s->copy) {
        if (rows == TILE_ROWS) strip_run(TILE_ROWS, TILE_VECTORS, 0, 1, s);
        else if (rows == TILE_ROWS - 1) strip_run(TILE_ROWS - 1, TILE_VECTORS, 0, 1, s);
        else strip_run(TILE_ROWS - 2, TILE_VECTORS, 0, 1, s);
    } else if (columns > TILE_COLUMNS) {
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
struct row_tiles {
    size_t count, rows, larger;
};

static struct row_tiles row_tiles_of(size_t M) {
    const size_t count = (M + TILE_ROWS - 1) / TILE_ROWS, rows = count > 1 ? M / count : M;
    return (struct row_tiles){count, rows, M - rows * count};
}

static size_t rows_of(const struct row_tiles *tiles, size_t tile) { return tiles->rows + (tile < tiles->larger); }

static size_t first_row(const struct row_tiles *tiles, size_t tile) {
    return tile * tiles->rows + (tile < tiles->larger ? tile : tiles->larger);
}

/* Tiles of `rows` rows, from where s says. */
static void run_equal_tiles(size_t rows, size_t count, size_t columns, struct strip *s) {
    s->tiles = count;
    if (s->packed_a) s->a_col = rows;
    else s->a_tile = rows * s->a_row;
    strip_dispatch(rows, columns, s);
}

/* Tiles [first, end) of a panel. s says where the first begins, and then where the next would. */
static void run_tiles(const struct row_tiles *tiles, size_t first, size_t end, size_t columns, struct strip *s) {
    const size_t stop = first < tiles->larger && tiles->larger < end ? tiles->larger : end;
    run_equal_tiles(rows_of(tiles, first), stop - first, columns, s);
    if (stop < end) run_equal_tiles(tiles->rows, end - stop, columns, s);
}

/* What becomes of C = A B, besides being stored. */
struct finish {
    int forward;  /* C = f(C) */
    int backward; /* C = (A B + skip) * f'(saved) */
    int activation;
    real alpha;
    const real *skip;
    size_t skip_row; /* (M, N) or NULL */
    const real *saved;
    size_t saved_row; /* (M, N); may be C itself */
    int transpose;    /* c is C transposed, (N, M), rows c_row apart; with `accumulate` only one block of k */
};

/* c = (product + skip) * f'(saved), for rows from i, columns from j of C. product is changed, up to LANES - 1 elements past
 * the end of each row. */
static void finish_backward(const struct finish *f, real *product, size_t product_row, size_t i, size_t j, real *c, size_t c_row,
                            size_t rows, size_t columns) {
    if (f->skip)
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < columns; k += LANES) {
                vreal skip = v_load_n(f->skip + (i + r) * f->skip_row + j + k, columns - k);
                real *p = product + r * product_row + k;
                v_store(p, v_add(v_load(p), skip));
            }
    activation_backward_rows(product, product_row, f->saved + i * f->saved_row + j, f->saved_row, f->activation, f->alpha, c, c_row,
                             rows, columns);
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
static void copy_rows(const real *b, size_t b_row, real *to, size_t K, size_t columns) {
    for (size_t k = 0; k < K; k++, b += b_row, to += TILE_COLUMNS)
        for (size_t j = 0; j < TILE_COLUMNS; j += LANES)
            v_store(to + j, columns >= TILE_COLUMNS ? v_load(b + j) : j < columns ? v_load_n(b + j, columns - j) : v_zero());
}

/* to[j][i] = from[i][j] in a block LANES x LANES of which only `rows` and `columns` exist; zero for the missing
 * rows. What there is of missing columns is not to be used. */
static void turn_edge(const real *from, size_t from_row, size_t rows, size_t columns, real *to, size_t to_row) {
    real edge[LANES * LANES];
    if (columns <= LANES / 4) {
        for (size_t i = 0; i < LANES; i++)
            for (size_t j = 0; j < columns; j++) to[j * to_row + i] = i < rows ? from[i * from_row + j] : 0;
        return;
    }
    for (size_t i = 0; i < LANES; i++) v_store(edge + i * LANES, i < rows ? v_load_n(from + i * from_row, columns) : v_zero());
    v_transpose(edge, LANES, to, to_row);
}

/* to[k][j] = b[j][k], likewise. to has room for K rounded up to a multiple of LANES. */
static void turn_rows(const real *b, size_t b_row, real *to, size_t K, size_t columns) {
    for (size_t j = 0; j < columns; j += LANES)
        for (size_t k = 0; k < K; k += LANES) {
            const real *from = b + j * b_row + k;
            real *block = to + k * TILE_COLUMNS + j;
            if (columns - j < LANES || K - k < LANES) turn_edge(from, b_row, columns - j, K - k, block, TILE_COLUMNS);
            else v_transpose(from, b_row, block, TILE_COLUMNS);
        }
}

/* A block of k of a panel of B. */
struct block {
    const real *b;
    size_t b_row;
    int transposed;
    size_t K, columns;
};

static struct block block_of(const struct fbp_gemm *g, size_t k, size_t j) {
    return (struct block){
        .b = (const real *)g->b + (g->b_transposed ? j * g->b_row + k : k * g->b_row + j),
        .b_row = g->b_row,
        .transposed = g->b_transposed,
        .K = g->K - k < FBP_BLOCK ? g->K - k : FBP_BLOCK,
        .columns = g->N - j < TILE_COLUMNS ? g->N - j : TILE_COLUMNS,
    };
}

static void copy_block(const struct block *block, real *to) {
    (block->transposed ? turn_rows : copy_rows)(block->b, block->b_row, to, block->K, block->columns);
}

/* Asks for rows [first, end) of a block as they lie in memory. */
static void fetch_block(const struct block *block, size_t first, size_t end) {
    const size_t columns = block->transposed ? block->K : block->columns;
    for (size_t r = first; r < end; r++)
        for (size_t j = 0; j < columns; j += LANES) FBP_FETCH(block->b + r * block->b_row + j);
}

/* Runs tiles [first, end) of a panel, and asks for the next block of B before each of the last few: earlier, and lines whose
 * addresses share few cache sets would be gone again when they are copied. */
static void run_tiles_and_fetch(const struct row_tiles *tiles, size_t first, size_t end, size_t columns, struct strip *s,
                                const struct block *next) {
    const size_t rows = next->transposed ? next->columns : next->K;
    size_t left = end - first < FETCH_TILES ? end - first : FETCH_TILES, done = 0;
    run_tiles(tiles, first, end - left, columns, s);
    for (; left; left--) {
        const size_t share = (rows - done) / left;
        fetch_block(next, done, done + share);
        done += share;
        run_tiles(tiles, end - left, end - left + 1, columns, s);
    }
}

/* Where a product's sums wait until they can go to C, and where a block of B is copied to. */
struct room {
    real waiting[(CHUNK_TILES * TILE_ROWS + LANES - 1) / LANES * LANES * TILE_COLUMNS]; /* finish_transposed reads whole vectors */
    real near[FBP_BLOCK * TILE_COLUMNS];
};

/* A block of k whose operands are packed. */
struct packed {
    const real *b; /* of a panel: rows TILE_COLUMNS apart */
    const real *a; /* tiles, TILE_ROOM apart, in each k after k; NULL: A is read in place */
    real *c;       /* where the tiles of C are stored; NULL: in C */
};

/* Tiles [first, last) of the panel that begins at column j. `copies`: B is copied block by block; `fetches`: each is asked
 * for while the one before is used. With `packed` neither, and K is at most FBP_BLOCK. */
static void panel_share(const struct fbp_gemm *g, const struct finish *f, const struct row_tiles *tiles, size_t first, size_t last,
                        size_t j, int copies, int fetches, const struct packed *packed, struct room *room) {
    const size_t i = first_row(tiles, first), rows = first_row(tiles, last) - i;
    const size_t columns = g->N - j < TILE_COLUMNS ? g->N - j : TILE_COLUMNS, taller = rows_of(tiles, first);
    real *const c = packed && packed->c ? packed->c : (real *)g->c + (f->transpose ? j * g->c_row + i : i * g->c_row + j);
    /* A tall tile takes a panel's last columns as a whole vector, where v_load_n in its loop would cost too much. */
    const int fills = columns % LANES && taller > TILE_ROWS_PARTIAL;
    const int relu_forward = f->forward && f->activation == FBP_RELU;
    const int relu_backward = f->backward && f->activation == FBP_RELU && !f->skip && !fills;
    const int waits = f->backward || f->transpose || fills; /* C is what `saved` is, or lies the other way, or is too narrow */
    const int adds = g->accumulate && !f->transpose;
    const real *bias = g->bias ? (const real *)g->bias + j : NULL;
    real filled_bias[TILE_COLUMNS];
    if (fills && bias) {
        for (size_t n = 0; n < columns; n += LANES) v_store(filled_bias + n, v_load_n(bias + n, columns - n));
        bias = filled_bias;
    }
    if (fills && adds) copy_rows(c, g->c_row, room->waiting, rows, columns);
    size_t k = 0;
    do { /* once even when K is 0: C is then the bias, or 0 */
        const struct block now = block_of(g, k, j);
        const size_t K = now.K;
        const int ends = k + K == g->K, stores = !waits || (relu_backward && ends);
        struct strip s = {
            /* every member, or all would be zeroed first, which takes as long as a small tile */
            .tiles = 0,
            .K = K,
            .a = (const real *)g->a + i * g->a_row + k * g->a_col,
            .a_row = g->a_row,
            .a_col = g->a_col,
            .a_tile = 0,
            .b = now.b,
            .b_row = now.b_row,
            .bias = k ? NULL : bias,
            .sum = !k && !adds ? NULL
                 : waits       ? room->waiting
                               : c,
            .sum_row = waits ? TILE_COLUMNS : g->c_row,
            .finish = !ends         ? TILE_STORE
                    : relu_forward  ? TILE_RELU
                    : relu_backward ? TILE_SLOPE
                                    : TILE_STORE,
            .saved = relu_backward ? f->saved + i * f->saved_row + j : NULL,
            .saved_row = f->saved_row,
            .c = stores ? c : room->waiting,
            .c_row = stores ? g->c_row : TILE_COLUMNS,
            .last = columns % LANES && !fills ? columns % LANES : LANES,
            .packed_a = 0,
            .copy = NULL,
        };
        size_t tile = first;
        if (packed) {
            s.b = packed->b, s.b_row = TILE_COLUMNS;
            if (packed->a) s.a = packed->a, s.a_row = 1, s.a_tile = TILE_ROOM, s.packed_a = 1;
        } else if (copies || fills) {
            if (!now.transposed && columns == TILE_COLUMNS && taller >= TILE_ROWS - 2) {
                s.copy = room->near;
                run_tiles(tiles, tile, tile + 1, columns, &s);
                s.copy = NULL;
                tile++;
            } else copy_block(&now, room->near);
            s.b = room->near, s.b_row = TILE_COLUMNS;
        }
        k += K;
        if (fetches && (k < g->K || j + columns < g->N)) {
            const struct block next = k < g->K ? block_of(g, k, j) : block_of(g, 0, j + columns);
            run_tiles_and_fetch(tiles, tile, last, columns, &s, &next);
        } else run_tiles(tiles, tile, last, columns, &s);
    } while (k < g->K);
    if (f->transpose) finish_transposed(room->waiting, g->accumulate, c, g->c_row, rows, columns);
    else if (f->backward && !relu_backward) finish_backward(f, room->waiting, TILE_COLUMNS, i, j, c, g->c_row, rows, columns);
    else if (fills || (f->forward && !relu_forward))
        activation_forward_strided(fills ? room->waiting : c, fills ? TILE_COLUMNS : g->c_row,
                                   f->forward ? f->activation : FBP_IDENTITY, f->alpha, c, g->c_row, rows, columns);
}

/* A's tiles [first, end) of a block of k, packed: of A whose columns are contiguous, as x^T is. Whole rows of the block are
 * read, so that each page and each cache line of A is visited once. */
static void pack_tiles(const struct row_tiles *tiles, size_t first, size_t end, const real *a, size_t a_col, size_t K, real *to) {
    for (size_t k = 0; k < K; k++, a += a_col) {
        const real *from = a;
        real *tile = to;
        for (size_t t = first; t < end; t++, tile += TILE_ROOM) {
            const size_t rows = rows_of(tiles, t);
            if (rows == TILE_ROWS)
                for (size_t r = 0; r < TILE_ROWS; r++) tile[k * TILE_ROWS + r] = from[r];
            else
                for (size_t r = 0; r < rows; r++) tile[k * rows + r] = from[r];
            from += rows;
        }
    }
}

/* B's panels [first, end) of a block of k, packed one after the other, each as copy_block would leave it. */
static void pack_panels(const struct fbp_gemm *g, size_t k, size_t first, size_t end, real *to) {
    if (g->b_transposed) {
        for (size_t panel = first; panel < end; panel++, to += PANEL_ROOM) {
            const struct block block = block_of(g, k, panel * TILE_COLUMNS);
            copy_block(&block, to);
        }
        return;
    }
    const struct block block = block_of(g, k, first * TILE_COLUMNS);
    const size_t columns = (end * TILE_COLUMNS < g->N ? end * TILE_COLUMNS : g->N) - first * TILE_COLUMNS;
    const real *b = block.b;
    for (size_t r = 0; r < block.K; r++, b += block.b_row, to += TILE_COLUMNS) {
        size_t j = 0;
        for (; j + LANES <= columns; j += LANES) v_store(to + j / LANES * (PANEL_ROOM / TILE_VECTORS), v_load(b + j));
        if (j < columns) v_store(to + j / LANES * (PANEL_ROOM / TILE_VECTORS), v_load_n(b + j, columns - j));
    }
}

/* How a part of a large product is cut, and where it is packed. */
struct packing {
    const struct fbp_gemm *g;
    const struct finish *f;
    struct row_tiles tiles;
    real *a, *b;
    int packs_a;         /* A would be read down its columns */
    int waits;           /* C may be what f' is computed from: the sums of all blocks but the last wait where A would be packed */
    size_t chunk, group; /* the most tiles and panels to use at once */
    struct room *room;
};

static struct fbp_gemm block_product(const struct fbp_gemm *g, size_t k) {
    struct fbp_gemm block = *g;
    block.K = g->K - k < FBP_BLOCK ? g->K - k : FBP_BLOCK;
    block.a = (const real *)g->a + k * g->a_col;
    if (k) block.bias = NULL, block.accumulate = 1;
    return block;
}

/* Block k of tiles [top, bottom) and panels [left, right), the panels packed. */
static void packed_block(struct packing *p, size_t k, size_t top, size_t bottom, size_t left, size_t right) {
    struct fbp_gemm block = block_product(p->g, k);
    struct finish finish = *p->f;
    if (k + block.K < p->g->K) finish.forward = 0;
    if (p->waits) block.c_row = TILE_COLUMNS, finish.backward = 0;
    for (size_t first = top; first < bottom; first += p->chunk) {
        const size_t end = bottom - first < p->chunk ? bottom : first + p->chunk;
        if (p->packs_a)
            pack_tiles(&p->tiles, first, end, (const real *)block.a + first_row(&p->tiles, first) * block.a_row, block.a_col,
                       block.K, p->a);
        for (size_t panel = left; panel < right; panel++) {
            const struct packed packed = {
                .b = p->b + (panel - left) * PANEL_ROOM,
                .a = p->packs_a ? p->a : NULL,
                .c = p->waits ? p->a + (panel - left) * SUMS_ROOM : NULL,
            };
            panel_share(&block, &finish, &p->tiles, first, end, panel * TILE_COLUMNS, 0, 0, &packed, p->room);
        }
    }
}

/* From the sums of tiles [top, bottom) and panels [left, right), which have waited, to C. */
static void finish_sums(const struct packing *p, size_t top, size_t bottom, size_t left, size_t right) {
    const struct fbp_gemm *g = p->g;
    const size_t i = first_row(&p->tiles, top), rows = first_row(&p->tiles, bottom) - i;
    for (size_t panel = left; panel < right; panel++) {
        const size_t j = panel * TILE_COLUMNS, columns = g->N - j < TILE_COLUMNS ? g->N - j : TILE_COLUMNS;
        finish_backward(p->f, p->a + (panel - left) * SUMS_ROOM, TILE_COLUMNS, i, j, (real *)g->c + i * g->c_row + j, g->c_row,
                        rows, columns);
    }
}

/* A large product: a group of panels of B is packed, a block of k at a time, and used by chunk after chunk of rows. Each
 * block of k is a product of its own, added to those before it. A part has some of the tiles, or of the panels. */
static void packed_share(const struct fbp_gemm *g, const struct finish *f, const struct fbp_room *memory, int part, int parts) {
    struct room room;
    struct packing p = {
        .g = g,
        .f = f,
        .room = &room,
        .tiles = row_tiles_of(g->M),
        .a = memory->a,
        .b = memory->b,
        .packs_a = g->a_col != 1,
        .waits = f->backward && g->K > FBP_BLOCK,
        .chunk = CHUNK_TILES,
        .group = memory->b_bytes / sizeof(real) / PANEL_ROOM,
    };
    const size_t a_tiles = memory->a_bytes / sizeof(real) / TILE_ROOM, a_panels = memory->a_bytes / sizeof(real) / SUMS_ROOM;
    if (p.packs_a && p.chunk > a_tiles) p.chunk = a_tiles;
    if (p.waits && p.group > a_panels) p.group = a_panels;

    size_t top = 0, bottom = p.tiles.count, first = 0, last = (g->N + TILE_COLUMNS - 1) / TILE_COLUMNS;
    if (bottom > last) top = bottom * part / parts, bottom = bottom * (part + 1) / parts;
    else first = last * part / parts, last = last * (part + 1) / parts;
    const size_t band = p.waits ? p.chunk : bottom - top; /* sums of no more tiles can wait */
    for (; top < bottom; top += band) {
        const size_t end = bottom - top < band ? bottom : top + band;
        for (size_t left = first; left < last; left += p.group) {
            const size_t right = last - left < p.group ? last : left + p.group;
            for (size_t k = 0; k < g->K; k += FBP_BLOCK) {
                pack_panels(g, k, left, right, p.b);
                packed_block(&p, k, top, end, left, right);
            }
            if (p.waits) finish_sums(&p, top, end, left, right);
        }
    }
}

/* Whether packing pays: with few rows or columns it costs more than it saves, and a small product is in cache anyway. */
static int is_large(const struct fbp_gemm *g, const struct finish *f) {
    return TILE_PACKS && g->room && !f->transpose && (!f->backward || g->a_col == 1) && g->M >= PACKED_ROWS
        && g->N >= PACKED_COLUMNS && (double)g->M * g->N * g->K >= PACKED_WORK;
}

/* Tiles are numbered down the rows of one panel, then the next panel, and each part takes a run of them. */
static void gemm_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    const struct row_tiles tiles = row_tiles_of(g->M);
    const size_t panels = (g->N + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const size_t chunks = (tiles.count + CHUNK_TILES - 1) / CHUNK_TILES;
    const struct fbp_room *memory = is_large(g, f) ? g->room() : NULL;
    if (memory) {
        packed_share(g, f, memory, part, parts);
        return;
    }
    size_t begin = 0, end = tiles.count * panels;
    if (parts > 1) begin = end * part / parts, end = end * (part + 1) / parts;
    struct room room;

    size_t number = 0; /* of the first tile of the chunk and panel */
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t top = chunks > 1 ? tiles.count * chunk / chunks : 0;
        const size_t count = (chunks > 1 ? tiles.count * (chunk + 1) / chunks : tiles.count) - top;
        /* Rows of B a multiple of 4 KiB apart share few cache sets, and would be read from far away by each tile. */
        const int copies = g->b_transposed || (count >= COPY_TILES && g->b_row * sizeof(real) % 4096 == 0);
        const int fetches = copies && g->K * g->N * sizeof(real) >= FAR_BYTES;
        for (size_t panel = 0; panel < panels; panel++, number += count) {
            if (number + count <= begin) continue;
            if (number >= end) return;
            const size_t first = begin > number ? begin - number : 0, last = end - number < count ? end - number : count;
            panel_share(g, f, &tiles, top + first, top + last, panel * TILE_COLUMNS, copies, fetches, NULL, &room);
        }
    }
}

#endif
