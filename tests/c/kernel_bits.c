/* kernel_bits.c: every entry of an instruction set's two kernel tables on fixed inputs of odd sizes.
 *
 *   cc -std=c11 -ffp-contract=off -DISA=avx2 -I../../src_c kernel_bits.c avx2_f32.o avx2_f64.o rng.o
 *
 * Prints a line for each kernel: real, name, hash of the bits of all outputs, a weighted sum of the outputs, and the
 * sum of their magnitudes. Instruction sets with fused multiply-add must agree on the hashes, all on the sums but for
 * rounding. On the way it checks what needs no other instruction set, and says FAIL where it does not hold:
 * - one part, or three: the same bits; B or its transpose: the same bits; in place or not: the same bits;
 * - nothing is read past the end of an array (each ends at a page without access), nor used between two rows (nan lies
 *   there), and nothing is written there.
 * Prints "ok" and returns 0 when all is well. */
#define _DEFAULT_SOURCE

#include "fbp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PASTE(real, isa) fbp_kernels_##real##_##isa
#define TABLE(real, isa) PASTE(real, isa)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct fbp_kernels *k; /* the table at work */
static int failures;

static void fail(const char *what) {
    if (++failures <= 20) printf("FAIL %s %s: %s\n", k->item == 4 ? "f32" : "f64", k->isa, what);
}

/* --------------------------------------------------------------------------------------------- arrays of reals */

static double get(const void *p, size_t i) { return k->item == 4 ? (double)((const float *)p)[i] : ((const double *)p)[i]; }

static void put(void *p, size_t i, double x) {
    if (k->item == 4) ((float *)p)[i] = (float)x;
    else ((double *)p)[i] = x;
}

static struct {
    void *at;
    size_t bytes;
} maps[200000];
static size_t n_maps;

static void free_all(void) {
    while (n_maps) n_maps--, munmap(maps[n_maps].at, maps[n_maps].bytes);
}

/* n items that end at a page without access. They begin at a multiple of the item's size and of nothing more. */
static void *array(size_t n, size_t item) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (n * item + page - 1) / page * page + page;
    unsigned char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || n_maps == COUNT(maps) || mprotect(at + bytes - page, page, PROT_NONE)) {
        puts("FAIL no memory");
        exit(2);
    }
    maps[n_maps].at = at, maps[n_maps++].bytes = bytes;
    return at + bytes - page - n * item;
}

/* A matrix whose rows are `row` apart: nan in between, which nothing may use. */
struct matrix {
    size_t rows, columns, row;
    void *at;
};

static uint64_t next_stream;

static struct matrix filled(size_t rows, size_t columns, size_t gap, double low, double high) {
    struct matrix m = {rows, columns, columns + gap, array(rows * (columns + gap), k->item)};
    double *u = malloc((rows * columns + 1) * sizeof *u);
    fbp_random_uniform(20240229, next_stream++, 0, u, rows * columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < m.row; j++)
            put(m.at, i * m.row + j, j < columns ? low + (high - low) * u[i * columns + j] : (double)NAN);
    free(u);
    return m;
}

static struct matrix random_matrix(size_t rows, size_t columns, size_t gap) { return filled(rows, columns, gap, -1, 1); }

static struct matrix copy(struct matrix m) {
    struct matrix c = m;
    c.at = array(m.rows * m.row, k->item);
    memcpy(c.at, m.at, m.rows * m.row * k->item);
    return c;
}

static void *vector(size_t n) { return random_matrix(1, n, 0).at; }
static void *copy_vector(void *at, size_t n) { return copy((struct matrix){1, n, n, at}).at; }

static void same(struct matrix a, struct matrix b, const char *what) {
    for (size_t i = 0; i < a.rows; i++)
        for (size_t j = 0; j < a.columns; j++) {
            double x = get(a.at, i * a.row + j), y = get(b.at, i * b.row + j);
            if ((x != x) != (y != y) || (x == x && memcmp(&x, &y, sizeof x))) {
                fail(what);
                return;
            }
        }
}

static void same_vector(const void *a, const void *b, size_t n, const char *what) {
    same((struct matrix){1, n, n, (void *)a}, (struct matrix){1, n, n, (void *)b}, what);
}

/* --------------------------------------------------------------------------------------------------- reports */

static struct {
    const char *name, *suffix;
    uint64_t hash;
    double sum, size;
    size_t n;
} report;

static void begin(const char *name, const char *suffix) {
    report.name = name, report.suffix = suffix, report.hash = 14695981039346656037u;
    report.sum = report.size = 0, report.n = 0;
    next_stream = 0;
}

static void take(double x) {
    uint64_t bits = 0x7ff8000000000000u; /* one nan for all: processors differ in which they make */
    if (x == x) memcpy(&bits, &x, sizeof bits);
    for (int byte = 0; byte < 8; byte++) report.hash = (report.hash ^ (bits >> (8 * byte) & 255)) * 1099511628211u;
    if (isfinite(x)) {
        report.sum += x * ((double)(report.n * 2654435761u % 1009) / 504 - 1);
        report.size += fabs(x);
    }
    report.n++;
}

static void take_matrix(struct matrix m) {
    for (size_t i = 0; i < m.rows; i++)
        for (size_t j = 0; j < m.row; j++) {
            double x = get(m.at, i * m.row + j);
            if (j < m.columns) take(x);
            else if (x == x) fail("something was written between two rows");
        }
}

static void take_vector(const void *at, size_t n) { take_matrix((struct matrix){1, n, n, (void *)at}); }

static void end(void) {
    char name[80];
    snprintf(name, sizeof name, "%s%s%s", report.name, *report.suffix ? "_" : "", report.suffix);
    printf("%s %s %016llx %.17g %.17g\n", k->item == 4 ? "f32" : "f64", name, (unsigned long long)report.hash, report.sum,
           report.size);
    free_all();
}

/* -------------------------------------------------------------------------------------------------- products */

static const struct {
    size_t M, N, K;
} PRODUCTS[] = {
    {1, 1, 1},     {5, 3, 7},     {14, 32, 16},   {15, 33, 17},    {6, 16, 256},   {29, 65, 257}, {131, 7, 20},
    {43, 40, 530}, {3, 9, 0},     {112, 300, 33}, {60, 1022, 270}, {132, 1022, 5}, /* with the gap, rows of B are 4 KiB apart: copied */
    {16, 1, 255},  {33, 10, 257}, {40, 3, 513},   {19, 12, 512},   {17, 6, 41}, /* narrow: rows of A in the lanes */
    {3, 50, 300},  {12, 33, 257}, {6, 16, 40},                                  /* few rows: rows of a transposed B in the lanes */
    {1, 300, 270}, {1, 10, 530},  {1, 32, 773},   {1, 7, 1290},                 /* one row: blocks of k side by side */
    {20, 33, 1},   {40, 64, 1},                                                 /* one term */
};

static struct matrix transposed(struct matrix m, size_t gap) {
    struct matrix t = random_matrix(m.columns, m.rows, gap);
    for (size_t i = 0; i < m.rows; i++)
        for (size_t j = 0; j < m.columns; j++) put(t.at, j * t.row + i, get(m.at, i * m.row + j));
    return t;
}

static void check_gemm(void) {
    begin("gemm", "");
    for (size_t p = 0; p < COUNT(PRODUCTS); p++)
        for (int mode = 0; mode < 3; mode++)
            for (int transpose_a = 0; transpose_a < 2; transpose_a++) {
                const size_t M = PRODUCTS[p].M, N = PRODUCTS[p].N, K = PRODUCTS[p].K;
                struct matrix a = transpose_a ? random_matrix(K, M, 3) : random_matrix(M, K, 1);
                struct matrix b = random_matrix(K, N, 2), c = random_matrix(M, N, 5);
                struct matrix in_parts = copy(c), turned = copy(c), bt = transposed(b, 3);
                struct fbp_gemm g = {
                    .M = M,
                    .N = N,
                    .K = K,
                    .a = a.at,
                    .a_row = transpose_a ? 1 : a.row,
                    .a_col = transpose_a ? a.row : 1,
                    .b = b.at,
                    .b_row = b.row,
                    .bias = mode == 1 ? vector(N) : NULL,
                    .accumulate = mode == 2,
                    .c = c.at,
                    .c_row = c.row,
                };
                k->gemm(&g, 0, 1);
                g.c = in_parts.at;
                for (int part = 2; part >= 0; part--) k->gemm(&g, part, 3);
                same(c, in_parts, "gemm depends on the number of parts");
                g.c = turned.at, g.b = bt.at, g.b_row = bt.row, g.b_transposed = 1;
                k->gemm(&g, 1, 2);
                k->gemm(&g, 0, 2);
                same(c, turned, "gemm depends on whether B is given transposed");
                take_matrix(c);
                take_matrix(in_parts);
                take_matrix(turned);
            }
    end();
}

/* ----------------------------------------------------------------------------------------------- dense layers */

static const struct {
    const char *name;
    int number;
    double alpha;
} ACTIVATIONS[] = {
    {"identity", FBP_IDENTITY, 0},   {"relu", FBP_RELU, 0}, {"leaky_relu", FBP_LEAKY_RELU, 0.2},
    {"sigmoid", FBP_SIGMOID, 0},     {"tanh", FBP_TANH, 0}, {"softplus", FBP_SOFTPLUS, 1.7},
    {"elu", FBP_ELU, 1.3},           {"selu", FBP_SELU, 0}, {"gelu", FBP_GELU, 0},
    {"gelu_tanh", FBP_GELU_TANH, 0}, {"silu", FBP_SILU, 0},
};
_Static_assert(COUNT(ACTIVATIONS) == FBP_ACTIVATIONS, "every activation has a row");

static const struct {
    size_t B, I, O;
} LAYERS[] = {
    {1, 1, 1},     {1, 33, 17},   {7, 5, 3},  {37, 16, 32}, {64, 130, 31}, {259, 19, 40},  {40, 270, 300}, {5, 3, 530},
    {300, 130, 3}, {21, 333, 10}, {2, 40, 1}, {3, 40, 300}, {11, 35, 20},  {70, 33, 1024}, {1, 100, 64},
};

static void check_dense_forward(void) {
    for (size_t f = 0; f < COUNT(ACTIVATIONS); f++) {
        begin("dense_forward", ACTIVATIONS[f].name);
        for (size_t l = 0; l < COUNT(LAYERS); l++)
            for (int bias = 0; bias < 2; bias++) {
                const size_t B = LAYERS[l].B, I = LAYERS[l].I, O = LAYERS[l].O;
                struct matrix x = random_matrix(B, I, 2), y = random_matrix(B, O, 3);
                struct matrix in_parts = copy(y);
                struct fbp_dense d = {
                    .B = B,
                    .I = I,
                    .O = O,
                    .x = x.at,
                    .x_row = x.row,
                    .W = vector(I * O),
                    .b = bias ? vector(O) : NULL,
                    .activation = ACTIVATIONS[f].number,
                    .alpha = ACTIVATIONS[f].alpha,
                    .y = y.at,
                    .y_row = y.row,
                };
                k->dense_forward(&d, 0, 1);
                d.y = in_parts.at;
                for (int part = 0; part < 3; part++) k->dense_forward(&d, part, 3);
                same(y, in_parts, "dense_forward depends on the number of parts");
                take_matrix(y);
                take_matrix(in_parts);
            }
        end();
    }
}

static void check_dense_backward_weights(void) {
    begin("dense_backward_weights", "");
    for (size_t l = 0; l < COUNT(LAYERS); l++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            for (int bias = 0; bias < 2; bias++) {
                const size_t B = LAYERS[l].B, I = LAYERS[l].I, O = LAYERS[l].O;
                struct matrix x = random_matrix(B, I, 2), dz = random_matrix(B, O, 3);
                void *dW = vector(I * O), *db = vector(O), *dW3 = copy_vector(dW, I * O), *db3 = copy_vector(db, O);
                struct fbp_dense d = {
                    .B = B,
                    .I = I,
                    .O = O,
                    .x = x.at,
                    .x_row = x.row,
                    .dz = dz.at,
                    .dz_row = dz.row,
                    .dW = dW,
                    .db = bias ? db : NULL,
                    .accumulate = accumulate,
                };
                k->dense_backward_weights(&d, 0, 1);
                d.dW = dW3, d.db = bias ? db3 : NULL;
                for (int part = 2; part >= 0; part--) k->dense_backward_weights(&d, part, 3);
                same_vector(dW, dW3, I * O, "dW depends on the number of parts");
                same_vector(db, db3, O, "db depends on the number of parts");
                take_vector(dW, I * O);
                take_vector(db, O);
            }
    end();
}

static void check_dense_backward_inputs(void) {
    for (size_t f = 0; f < COUNT(ACTIVATIONS); f++) {
        begin("dense_backward_inputs", ACTIVATIONS[f].name);
        for (size_t l = 0; l < COUNT(LAYERS); l++)
            for (int skips = 0; skips < 2; skips++) {
                const size_t B = LAYERS[l].B, I = LAYERS[l].I, O = LAYERS[l].O;
                struct matrix x = random_matrix(B, I, 2), dz = random_matrix(B, O, 3), skip = random_matrix(B, I, 1);
                struct matrix dx = random_matrix(B, I, 4), in_place = copy(x);
                void *W = vector(I * O);
                struct fbp_dense d = {
                    .B = B,
                    .I = I,
                    .O = O,
                    .x = x.at,
                    .x_row = x.row,
                    .W = W,
                    .dz = dz.at,
                    .dz_row = dz.row,
                    .skip = skips ? skip.at : NULL,
                    .skip_row = skip.row,
                    .x_activation = ACTIVATIONS[f].number,
                    .x_alpha = ACTIVATIONS[f].alpha,
                    .dx = dx.at,
                    .dx_row = dx.row,
                };
                k->dense_backward_inputs(&d, 0, 1);
                d.x = d.dx = in_place.at, d.x_row = d.dx_row = in_place.row;
                for (int part = 0; part < 3; part++) k->dense_backward_inputs(&d, part, 3);
                same(dx, in_place, "dx depends on the number of parts, or on taking the place of x");
                take_matrix(dx);
                take_matrix(in_place);
            }
        end();
    }
}

/* ---------------------------------------------------------------------------------------- element by element */

static const size_t LENGTHS[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 1001};

static void check_activations(void) {
    const double specials[] = {
        INFINITY, -INFINITY, NAN, 0.0, -0.0, 1e-40, -1e-40, 1e-8, 87, -87, 89, -104, 709, -746, 3e38,
    };
    for (size_t f = 0; f < COUNT(ACTIVATIONS); f++) {
        const int number = ACTIVATIONS[f].number;
        const double alpha = ACTIVATIONS[f].alpha;
        begin("activation_forward", ACTIVATIONS[f].name);
        for (size_t l = 0; l < COUNT(LENGTHS); l++) {
            const size_t N = LENGTHS[l];
            void *x = filled(1, N, 0, -9, 9).at, *y = vector(N), *in_place;
            for (size_t i = 0; N > 1000 && i < COUNT(specials); i++) put(x, 3 * i, specials[i]);
            in_place = copy_vector(x, N);
            k->activation_forward(x, number, alpha, y, N);
            k->activation_forward(in_place, number, alpha, in_place, N);
            same_vector(y, in_place, N, "activation_forward depends on being in place");
            take_vector(y, N);
        }
        end();
        begin("activation_backward", ACTIVATIONS[f].name);
        for (size_t l = 0; l < COUNT(LENGTHS); l++) {
            const size_t N = LENGTHS[l];
            const int from_z = number >= FBP_FROM_Z;
            void *dy = vector(N), *y = filled(1, N, 0, from_z ? -9 : 0, from_z ? 9 : 1).at, *dx = vector(N);
            void *over_dy = copy_vector(dy, N), *over_y;
            for (size_t i = 0; from_z && N > 1000 && i < COUNT(specials); i++) put(y, 3 * i, specials[i]);
            over_y = copy_vector(y, N);
            k->activation_backward(dy, y, number, alpha, dx, N);
            k->activation_backward(over_dy, y, number, alpha, over_dy, N);
            k->activation_backward(dy, over_y, number, alpha, over_y, N);
            same_vector(dx, over_dy, N, "activation_backward depends on taking the place of dy");
            same_vector(dx, over_y, N, "activation_backward depends on taking the place of y");
            take_vector(dx, N);
        }
        end();
    }
}

/* -------------------------------------------------------------------------------------------- softmax and losses */

static const struct {
    size_t B, C;
} ROWS[] = {
    {0, 3},  {1, 1},    {1, 9},  {3, 2},  {16, 8}, {17, 7},  {5, 16},   {33, 10}, {35, 5},
    {6, 33}, {2, 1000}, {19, 3}, {24, 4}, {40, 1}, {270, 2}, {131, 10}, {75, 16},
};

static void check_softmax(void) {
    begin("softmax", "forward");
    for (size_t r = 0; r < COUNT(ROWS); r++) {
        const size_t B = ROWS[r].B, C = ROWS[r].C;
        struct matrix x = filled(B, C, 3, -20, 20), y = random_matrix(B, C, 2), in_place = copy(x);
        void *close = vector(B * C);
        k->softmax_forward(x.at, x.row, y.at, y.row, B, C);
        k->softmax_forward(in_place.at, in_place.row, in_place.at, in_place.row, B, C);
        k->softmax_forward(x.at, x.row, close, C, B, C);
        same(y, in_place, "softmax_forward depends on being in place");
        same(y, (struct matrix){B, C, C, close}, "softmax_forward depends on the distance of rows");
        take_matrix(y);
        take_matrix(in_place);
    }
    end();
    begin("softmax", "backward");
    for (size_t r = 0; r < COUNT(ROWS); r++) {
        const size_t B = ROWS[r].B, C = ROWS[r].C;
        struct matrix dy = random_matrix(B, C, 1), y = filled(B, C, 3, 0, 1), dx = random_matrix(B, C, 2);
        struct matrix over_dy = copy(dy), over_y = copy(y);
        k->softmax_backward(dy.at, dy.row, y.at, y.row, dx.at, dx.row, B, C);
        k->softmax_backward(over_dy.at, over_dy.row, y.at, y.row, over_dy.at, over_dy.row, B, C);
        k->softmax_backward(dy.at, dy.row, over_y.at, over_y.row, over_y.at, over_y.row, B, C);
        same(dx, over_dy, "softmax_backward depends on taking the place of dy");
        same(dx, over_y, "softmax_backward depends on taking the place of y");
        take_matrix(dx);
        take_matrix(over_dy);
        take_matrix(over_y);
    }
    end();
}

static void check_losses(void) {
    static const char *const names[FBP_LOSSES] = {
        "softmax_cross_entropy_labels",
        "softmax_cross_entropy_probabilities",
        "binary_cross_entropy",
        "binary_cross_entropy_weighted",
        "mean_squared_error",
        "mean_absolute_error",
        "huber",
        "poisson",
        "pinball",
    };
    for (int loss = 0; loss < FBP_LOSSES; loss++) {
        begin("loss", names[loss]);
        for (size_t r = 0; r < COUNT(ROWS); r++) {
            const size_t B = ROWS[r].B, C = ROWS[r].C;
            struct matrix z = filled(B, C, 3, -5, 5), dz = random_matrix(B, C, 1), in_place = copy(z);
            struct matrix target = filled(B, C, 2, 0, 1);
            double *row_loss = array(B, sizeof *row_loss), *again = array(B, sizeof *again);
            double *levels = array(C, sizeof *levels);
            int64_t *labels = array(B, sizeof *labels);
            for (size_t j = 0; j < C; j++) levels[j] = (double)(j + 1) / (double)(C + 1);
            for (size_t b = 0; b < B; b++) labels[b] = (int64_t)(b * 7 % C);
            const void *t = loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS ? (void *)labels : target.at;
            const size_t t_row = loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS ? 1 : target.row;
            k->loss[loss](z.at, z.row, t, t_row, levels, 1.0 / 3, dz.at, dz.row, row_loss, B, C);
            k->loss[loss](in_place.at, z.row, t, t_row, levels, 1.0 / 3, in_place.at, z.row, again, B, C);
            same(dz, in_place, "the gradient of a loss depends on taking the place of z");
            for (size_t b = 0; b < B; b++) {
                if (memcmp(&row_loss[b], &again[b], sizeof again[b])) fail("a loss depends on where its gradient goes");
                take(row_loss[b]);
                /* a row by itself: its bits do not depend on its neighbours */
                struct matrix alone = random_matrix(1, C, 0);
                double alone_loss;
                const size_t t_item = loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS ? sizeof(int64_t) : k->item;
                k->loss[loss]((unsigned char *)z.at + b * z.row * k->item, z.row, (unsigned char *)t + b * t_row * t_item, t_row,
                              levels, 1.0 / 3, alone.at, C, &alone_loss, 1, C);
                if (memcmp(&row_loss[b], &alone_loss, sizeof alone_loss)) fail("a row's loss depends on its neighbours");
                same(alone, (struct matrix){1, C, C, (unsigned char *)dz.at + b * dz.row * k->item},
                     "the gradient of a row's loss depends on its neighbours");
            }
            take_matrix(dz);
        }
        end();
    }
}

/* ----------------------------------------------------------------------------------------- norms and dropout */

static const struct {
    size_t B, N;
} BLOCKS[] = {
    {1, 1}, {2, 3}, {3, 16}, {4, 17}, {5, 8}, {9, 33}, {7, 64}, {257, 40}, {600, 5}, {11, 131}, {2, 4100}, {30, 9},
};

static void norm_of(struct fbp_norm *n, struct matrix x, struct matrix y, struct matrix dz, int affine) {
    const size_t B = x.rows, N = x.columns;
    *n = (struct fbp_norm){
        .B = B,
        .N = N,
        .x = x.at,
        .x_row = x.row,
        .eps = 1e-5,
        .gamma = affine ? vector(N) : NULL,
        .beta = affine ? vector(N) : NULL,
        .activation = affine ? FBP_TANH : FBP_IDENTITY,
        .y = y.at,
        .y_row = y.row,
        .dz = dz.at,
        .dz_row = dz.row,
        .dgamma = vector(N),
        .dbeta = vector(N),
        .accumulate = affine,
        .sums = vector(2 * N),
    };
}

typedef void norm_fn(const struct fbp_norm *norm, int part, int parts);

static void in_parts(norm_fn *fn, const struct fbp_norm *n, int parts) {
    for (int part = parts - 1; part >= 0; part--) fn(n, part, parts);
}

static void *row_of(struct matrix m, size_t row) { return (unsigned char *)m.at + row * m.row * k->item; }

/* y is f of what the identity gives. */
static void norm_activates(const struct fbp_norm *n, norm_fn *forward, struct matrix y) {
    struct matrix z = copy(y);
    struct fbp_norm plain = *n;
    plain.activation = FBP_IDENTITY, plain.y = z.at;
    forward(&plain, 0, 1);
    for (size_t b = 0; b < n->B; b++) k->activation_forward(row_of(z, b), n->activation, n->alpha, row_of(z, b), n->N);
    same(y, z, "a norm's activation is not that of activation_forward");
}

/* Column sums are added to what is there: of a layer norm in blocks of rows, of a batch norm all at once. */
static void norm_accumulates(const struct fbp_norm *n, norm_fn *weights, int by_column) {
    const size_t N = n->N;
    void *start = vector(N), *dgamma = copy_vector(start, N), *blocks = copy_vector(start, N);
    struct fbp_norm whole = *n;
    whole.accumulate = 1, whole.dgamma = dgamma, whole.dbeta = NULL;
    weights(&whole, 0, 1);
    if (by_column) {
        k->add(start, n->sums, blocks, N);
    } else {
        struct fbp_norm block = whole;
        block.dgamma = blocks;
        for (size_t b = 0; b < n->B; b += FBP_BLOCK) {
            block.B = n->B - b < FBP_BLOCK ? n->B - b : FBP_BLOCK;
            block.x = (const unsigned char *)n->x + b * n->x_row * k->item;
            block.dz = (const unsigned char *)n->dz + b * n->dz_row * k->item;
            block.mean = (unsigned char *)n->mean + b * k->item, block.rstd = (unsigned char *)n->rstd + b * k->item;
            weights(&block, 0, 1);
        }
    }
    same_vector(dgamma, blocks, N, "dgamma is not what was there and the sum");
    whole.dgamma = filled(1, N, 0, 0, 0).at;
    weights(&whole, 0, 1);
    struct fbp_norm anew = whole;
    anew.accumulate = 0, anew.dgamma = dgamma;
    weights(&anew, 0, 1);
    same_vector(dgamma, whole.dgamma, N, "dgamma is not its sum added to 0");
}

/* dx = dz gamma rstd. */
static void norm_takes_constants(const struct fbp_norm *n, struct matrix dz, struct matrix dx) {
    void *factor = copy_vector(n->rstd, n->N);
    struct matrix expected = copy(dx);
    if (n->gamma) k->multiply(n->gamma, factor, factor, n->N);
    for (size_t b = 0; b < n->B; b++) k->multiply(row_of(dz, b), factor, row_of(expected, b), n->N);
    same(dx, expected, "dx with constant statistics is not dz gamma rstd");
}

/* Both norms, one kernel after the other; forward and backward take what the kernels before them left. */
static void check_norms(void) {
    static const char *const stages[] = {"statistics", "forward", "backward_weights", "backward_inputs"};
    for (int by_column = 0; by_column < 2; by_column++)
        for (int stage = by_column ? 0 : 1; stage < 4; stage++) {
            begin(by_column ? "batch_norm" : "layer_norm", stages[stage]);
            for (size_t l = 0; l < COUNT(BLOCKS); l++)
                for (int affine = 0; affine < 2; affine++) {
                    const size_t B = BLOCKS[l].B, N = BLOCKS[l].N, statistics = by_column ? N : B;
                    struct matrix x = filled(B, N, 2, -3, 5), dz = random_matrix(B, N, 1), y = random_matrix(B, N, 3);
                    struct matrix dx = random_matrix(B, N, 4), over_x = copy(x), over_dz = copy(dz), y3 = copy(y);
                    struct fbp_norm n;
                    norm_of(&n, x, y, dz, affine);
                    n.mean = vector(statistics), n.rstd = vector(statistics), n.variance = vector(statistics);
                    void *mean3 = vector(statistics), *rstd3 = vector(statistics);
                    struct fbp_norm again = n;
                    again.mean = mean3, again.rstd = rstd3, again.variance = vector(statistics), again.y = y3.at;
                    again.dgamma = copy_vector(n.dgamma, N), again.dbeta = copy_vector(n.dbeta, N);
                    again.sums = vector(2 * N);
                    norm_fn *const forward = by_column ? k->batch_norm_forward : k->layer_norm_forward;
                    norm_fn *const weights = by_column ? k->batch_norm_backward_weights : k->layer_norm_backward_weights;
                    norm_fn *const inputs = by_column ? k->batch_norm_backward_inputs : k->layer_norm_backward_inputs;
                    if (by_column) k->batch_norm_statistics(&n, 0, 1), in_parts(k->batch_norm_statistics, &again, 3);
                    forward(&n, 0, 1), in_parts(forward, &again, 3);
                    weights(&n, 0, 1), in_parts(weights, &again, 3);
                    same_vector(n.mean, mean3, statistics, "the mean depends on the number of parts");
                    same_vector(n.rstd, rstd3, statistics, "rstd depends on the number of parts");
                    same(y, y3, "a norm's y depends on the number of parts");
                    same_vector(n.dgamma, again.dgamma, N, "dgamma depends on the number of parts");
                    same_vector(n.dbeta, again.dbeta, N, "dbeta depends on the number of parts");
                    if (by_column) same_vector(n.sums, again.sums, 2 * N, "sums depend on the number of parts");
                    norm_activates(&n, forward, y);
                    norm_accumulates(&n, weights, by_column);
                    n.constant_statistics = by_column && l % 3 == 2;
                    n.dx = dx.at, n.dx_row = dx.row;
                    inputs(&n, 0, 1);
                    if (n.constant_statistics) norm_takes_constants(&n, dz, dx);
                    again = n, again.x = again.dx = over_x.at, again.dx_row = over_x.row;
                    in_parts(inputs, &again, 3);
                    same(dx, over_x, "a norm's dx depends on the number of parts, or on taking the place of x");
                    again = n, again.dz = again.dx = over_dz.at, again.dx_row = over_dz.row;
                    in_parts(inputs, &again, 2);
                    same(dx, over_dz, "a norm's dx depends on taking the place of dz");
                    if (stage == 0) take_vector(n.mean, N), take_vector(n.variance, N), take_vector(n.rstd, N);
                    if (stage == 1) take_matrix(y), take_vector(n.mean, statistics), take_vector(n.rstd, statistics);
                    if (stage == 2) take_vector(n.dgamma, N), take_vector(n.dbeta, N);
                    if (stage == 2 && by_column) take_vector(n.sums, 2 * N);
                    if (stage == 3) take_matrix(dx);
                }
            end();
        }
    begin("batch_norm", "rstd");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        void *variance = filled(1, N, 0, 0, 2).at, *rstd = vector(N);
        k->batch_norm_rstd(variance, 1e-3, rstd, N);
        k->batch_norm_rstd(variance, 1e-3, variance, N);
        same_vector(rstd, variance, N, "batch_norm_rstd depends on being in place");
        take_vector(rstd, N);
    }
    end();
    begin("batch_norm", "running");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        void *mean = vector(N), *variance = vector(N), *its_mean = vector(N), *its_variance = vector(N);
        k->batch_norm_running(its_mean, its_variance, 0.1, mean, variance, 7, N);
        take_vector(mean, N);
        take_vector(variance, N);
    }
    end();
}

static void check_dropout(void) {
    static const double rates[] = {0, 0.3, 0.5, 0.999};
    begin("dropout_forward", "");
    for (size_t l = 0; l < COUNT(BLOCKS); l++)
        for (size_t r = 0; r < COUNT(rates); r++) {
            const size_t B = BLOCKS[l].B, N = BLOCKS[l].N, half = B / 2;
            struct matrix x = random_matrix(B, N, 2), y = random_matrix(B, N, 3), mask = random_matrix(B, N, 1);
            struct matrix in_place = copy(x), mask3 = copy(mask);
            struct fbp_dropout d = {
                .B = B,
                .N = N,
                .x = x.at,
                .x_row = x.row,
                .rate = rates[r],
                .seed = 0x123456789abcdef0u + l,
                .stream = 0x4000000000u + l,
                .draw = 0x3fffffffu - r,
                .first_row = 7 * l,
                .mask = mask.at,
                .mask_row = mask.row,
                .y = y.at,
                .y_row = y.row,
            };
            k->dropout_forward(&d, 0, 1);
            /* in place, rows before half by themselves, the others in three parts */
            d.x = d.y = in_place.at, d.y_row = x.row, d.mask = mask3.at, d.B = half;
            k->dropout_forward(&d, 0, 1);
            d.x = d.y = (unsigned char *)in_place.at + half * x.row * k->item;
            d.mask = (unsigned char *)mask3.at + half * mask.row * k->item;
            d.B = B - half, d.first_row += half;
            for (int part = 2; part >= 0; part--) k->dropout_forward(&d, part, 3);
            same(y, in_place, "dropout depends on how rows are cut, or on being in place");
            same(mask, mask3, "a mask depends on how rows are cut");
            for (size_t i = 0; i < B; i++)
                for (size_t j = 0; j < N; j++) {
                    const uint64_t p = (7 * l + i) * N + j, block = ((0x3fffffffu - r) << 32) + p / 64 * 16 + p % 16;
                    uint32_t word;
                    fbp_random_bits(d.seed, d.stream, 4 * block + p % 64 / 16, &word, 1);
                    if ((get(mask.at, i * mask.row + j) == 0) != (word < rates[r] * 0x1p32)) fail("dropout: another word decides");
                }
            take_matrix(y);
            take_matrix(mask);
        }
    end();
    begin("multiply", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        void *a = vector(N), *b = vector(N), *c = vector(N), *in_place = copy_vector(a, N);
        k->multiply(a, b, c, N);
        k->multiply(in_place, b, in_place, N);
        same_vector(c, in_place, N, "multiply depends on being in place");
        take_vector(c, N);
    }
    end();
}

static void check_quantile(void) {
    if (k->item == 4) {
        if (k->normal_quantile) fail("normal_quantile is for doubles");
        return;
    }
    begin("normal_quantile", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        double *u = filled(1, N, 0, 0, 1).at, *y = array(N, sizeof *y);
        for (size_t i = 0; i < N; i += 3) u[i] = ldexp(u[i], -(int)(i % 60)); /* far into the tail */
        k->normal_quantile(u, y, N);
        for (size_t i = 0; i < N; i++) /* the way back; the slope of log u is about |y| in the tail */
            if (fabs(erfc(-y[i] / sqrt(2)) / 2 / u[i] - 1) > 4e-15 * (1 + y[i] * y[i]))
                fail("normal_quantile is not the inverse of the distribution function");
        k->normal_quantile(u, u, N);
        same_vector(y, u, N, "normal_quantile depends on being in place");
        take_vector(y, N);
    }
    end();
}

static void check_targets_and_rows(void) {
    for (int weighted = 0; weighted < 2; weighted++) {
        static const char *const names[] = {"smooth_targets", "smooth_labels"};
        for (int labels_only = 0; labels_only < 2; labels_only++) {
            begin(names[labels_only], weighted ? "weighted" : "");
            for (size_t r = 0; r < COUNT(ROWS); r++) {
                const size_t B = ROWS[r].B, C = ROWS[r].C;
                struct matrix t = filled(B, C, 3, 0, 1), one_hot = filled(B, C, 1, 0, 0);
                double *class_weights = array(C, sizeof *class_weights);
                int64_t *labels = array(B, sizeof *labels);
                for (size_t j = 0; j < C; j++) class_weights[j] = (double)((j + 2) % 5) / 3;
                for (size_t b = 0; b < B; b++) labels[b] = (int64_t)(b * 7 % C);
                for (size_t b = 0; b < B; b++) put(one_hot.at, b * one_hot.row + (size_t)labels[b], 1);
                if (labels_only) {
                    k->smooth_labels(labels, 0.1, weighted ? class_weights : NULL, t.at, t.row, B, C);
                    k->smooth_targets(one_hot.at, one_hot.row, 0.1, weighted ? class_weights : NULL, B, C);
                    same(t, one_hot, "smooth_labels is not smooth_targets of ones and zeros");
                } else {
                    k->smooth_targets(t.at, t.row, 0.1, weighted ? class_weights : NULL, B, C);
                }
                take_matrix(t);
            }
            end();
        }
    }
    begin("scale_rows", "");
    for (size_t r = 0; r < COUNT(ROWS); r++) {
        const size_t B = ROWS[r].B, C = ROWS[r].C;
        struct matrix dz = random_matrix(B, C, 2);
        double *weights = array(B, sizeof *weights), *row_loss = array(B, sizeof *row_loss);
        for (size_t b = 0; b < B; b++) weights[b] = (double)(b % 7) / 3, row_loss[b] = (double)b + 0.1;
        k->scale_rows(weights, dz.at, dz.row, row_loss, B, C);
        take_matrix(dz);
        for (size_t b = 0; b < B; b++) take(row_loss[b]);
    }
    end();
}

/* --------------------------------------------------------------------------------------- optimisers, reductions */

static struct {
    const char *name;
    int kind;
    struct fbp_optimizer o;
    int moments[3];
} UPDATES[] = {
    {"sgd_step", FBP_SGD, {0}, {0}},
    {"sgd_step_momentum", FBP_SGD, {.momentum = 0.9}, {1}},
    {"sgd_step_decay", FBP_SGD, {.weight_decay = 0.01}, {0}},
    {"sgd_step_momentum_decay", FBP_SGD, {.momentum = 0.9, .weight_decay = 0.01}, {1}},
    {"sgd_step_nesterov", FBP_SGD, {.momentum = 0.9, .nesterov = 1}, {1}},
    {"sgd_step_nesterov_decay", FBP_SGD, {.momentum = 0.9, .weight_decay = 0.01, .nesterov = 1}, {1}},
    {"adam_step", FBP_ADAM, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, {1, 2}},
    {"adam_step_decay", FBP_ADAM, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01}, {1, 2}},
    {"adam_step_decoupled", FBP_ADAM, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .decoupled = 1}, {1, 2}},
    {"rmsprop_step", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8}, {2}},
    {"rmsprop_step_decay", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01}, {2}},
    {"rmsprop_step_momentum", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8, .momentum = 0.9}, {2, 1}},
    {"rmsprop_step_momentum_decay", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8, .momentum = 0.9, .weight_decay = 0.01}, {2, 1}},
    {"rmsprop_step_centered", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8}, {2, 0, 3}},
    {"rmsprop_step_centered_decay", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01}, {2, 0, 3}},
    {"rmsprop_step_centered_momentum", FBP_RMSPROP, {.beta2 = 0.99, .eps = 1e-8, .momentum = 0.9}, {2, 1, 3}},
    {"rmsprop_step_centered_momentum_decay",
     FBP_RMSPROP,
     {.beta2 = 0.99, .eps = 1e-8, .momentum = 0.9, .weight_decay = 0.01},
     {2, 1, 3}},
    {"adagrad_step", FBP_ADAGRAD, {.eps = 1e-10, .rate_decay = 0.1}, {2}},
    {"adagrad_step_decay", FBP_ADAGRAD, {.eps = 1e-10, .rate_decay = 0.1, .weight_decay = 0.01}, {2}},
};

/* moments: 0 is none, 1 of any sign, 2 means of squares, 3 means whose squares are less than those */
static void *moment(int sort, size_t N) {
    static const double low[] = {0, -1, 0.5, -0.6}, high[] = {0, 1, 1.5, 0.6};
    return sort ? filled(1, N, 0, low[sort], high[sort]).at : NULL;
}

static void check_optimizers(void) {
    int kinds[FBP_OPTIMIZERS] = {0};
    for (size_t u = 0; u < COUNT(UPDATES); u++) {
        begin(UPDATES[u].name, "");
        kinds[UPDATES[u].kind] = 1;
        for (uint64_t t = 1; t < 100000; t = 7 * t + 1)
            for (size_t l = 0; l < COUNT(LENGTHS); l++) {
                const size_t N = LENGTHS[l];
                void *w = vector(N), *g = vector(N), *before = copy_vector(g, N), *moments[3];
                for (int m = 0; m < 3; m++) moments[m] = moment(UPDATES[u].moments[m], N);
                k->optimizer[UPDATES[u].kind](&UPDATES[u].o, w, g, moments, t, 0.1, N);
                same_vector(g, before, N, "an optimiser writes to the gradient");
                take_vector(w, N);
                for (int m = 0; m < 3; m++)
                    if (moments[m]) take_vector(moments[m], N);
            }
        end();
    }
    for (int kind = 0; kind < FBP_OPTIMIZERS; kind++)
        if (!kinds[kind]) fail("an optimiser has no row");
}

static void check_around_the_update(void) {
    static const size_t lengths[] = {0, 1, 7, 9, 15, 17, 33, 63, 65, 1001, 4095, 4096, 4097, 9001};
    static const double penalties[][2] = {{0, 0}, {0.1, 0}, {0, 0.2}, {0.1, 0.2}};
    static const char *const suffixes[] = {"none", "l1", "l2", "l1_l2"};
    for (size_t p = 0; p < COUNT(penalties); p++) {
        begin("penalty", suffixes[p]);
        for (size_t l = 0; l < COUNT(lengths); l++) {
            const size_t N = lengths[l];
            void *w = vector(N), *g = vector(N), *before = copy_vector(w, N);
            for (size_t i = 0; i < N; i += 5) put(w, i, i % 2 ? 0.0 : -0.0), put(before, i, i % 2 ? 0.0 : -0.0);
            take(k->penalty(w, g, penalties[p][0], penalties[p][1], N));
            same_vector(w, before, N, "penalty writes to the weights");
            take_vector(g, N);
        }
        end();
    }
    begin("scale", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        void *g = vector(LENGTHS[l]);
        k->scale(g, 1.0 / 3, LENGTHS[l]);
        take_vector(g, LENGTHS[l]);
    }
    end();
    begin("clip", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        void *g = vector(N);
        for (size_t i = 0; i + 2 < N; i += 7) put(g, i, NAN), put(g, i + 1, INFINITY), put(g, i + 2, -INFINITY);
        k->clip(g, 1.0 / 3, N);
        take_vector(g, N);
    }
    end();
    begin("average", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        void *average = vector(LENGTHS[l]), *w = vector(LENGTHS[l]);
        k->average(average, w, 0.9, LENGTHS[l]);
        take_vector(average, LENGTHS[l]);
    }
    end();
}

static void check_reductions(void) {
    static const size_t lengths[] = {0, 1, 16, 17, 63, 65, 255, 4095, 4096, 4097, 9001};
    begin("add", "");
    for (size_t l = 0; l < COUNT(LENGTHS); l++) {
        const size_t N = LENGTHS[l];
        void *a = vector(N), *b = vector(N), *c = vector(N), *in_place = copy_vector(a, N);
        k->add(a, b, c, N);
        k->add(in_place, b, in_place, N);
        same_vector(c, in_place, N, "add depends on being in place");
        take_vector(c, N);
    }
    end();
    begin("sum_squares", "");
    for (size_t l = 0; l < COUNT(lengths); l++) take(k->sum_squares(vector(lengths[l]), lengths[l]));
    end();
    begin("row_squares", "");
    for (size_t r = 0; r < COUNT(ROWS); r++) {
        struct matrix x = random_matrix(ROWS[r].B, ROWS[r].C, 2);
        double *squares = array(x.rows, sizeof *squares);
        k->row_squares(x.at, x.row, squares, x.rows, x.columns);
        for (size_t b = 0; b < x.rows; b++) {
            if (squares[b] != k->sum_squares((unsigned char *)x.at + b * x.row * k->item, x.columns))
                fail("row_squares differs from sum_squares");
            take(squares[b]);
        }
    }
    end();
    begin("all_finite", "");
    for (size_t l = 0; l < COUNT(lengths); l++) {
        const size_t N = lengths[l];
        void *x = vector(N);
        take(k->all_finite(x, N));
        if (!k->all_finite(x, N)) fail("all_finite does not know finite numbers");
        for (size_t i = 0; i<N; i += N> 300 ? 97 : 1) {
            double before = get(x, i);
            put(x, i, i % 3 == 0 ? (double)NAN : i % 3 == 1 ? INFINITY : -INFINITY);
            if (k->all_finite(x, N)) fail("all_finite overlooks an element");
            put(x, i, before);
        }
    }
    end();
}

/* Element number i of data of a kind, and what a net is to take it for. */
static double put_datum(void *p, size_t i, int kind, size_t bytes) {
    const double x = ldexp(sin((double)i + 1), (int)(i * 37 % 301) - 150); /* some too large or too small for a float */
    const float single = (float)x;
    if (kind == FBP_BYTES) {
        *(unsigned char *)p = (unsigned char)(i * 89);
        return k->item == 4 ? (double)((float)(unsigned char)(i * 89) / 255) : (double)(unsigned char)(i * 89) / 255;
    }
    memcpy(p, bytes == 4 ? (const void *)&single : (const void *)&x, bytes);
    return bytes == 4 || k->item == 4 ? (double)single : x;
}

/* Rows or columns next to each other, from the last to the first, with gaps that make no element aligned; every third row. */
static void check_gather(void) {
    static const char *const names[] = {"reals", "other_reals", "bytes"};
    for (int kind = FBP_REALS; kind <= FBP_BYTES; kind++) {
        const size_t bytes = kind == FBP_BYTES ? 1 : kind == FBP_REALS ? k->item : 12 - k->item;
        begin("gather", names[kind]);
        for (size_t l = 0; l < COUNT(LENGTHS); l++)
            for (int layout = 0; layout < 6; layout++) {
                const size_t R = 20, N = LENGTHS[l], gap = layout / 2 % 3 ? 1 + 2 * (layout / 2) : 0;
                const int by_columns = layout % 2, backwards = layout >= 4;
                const size_t inner = bytes + (gap && layout >= 4 ? gap : 0);
                const size_t outer = (by_columns ? R : N) * inner + gap, room = (by_columns ? N : R) * outer;
                unsigned char *memory = array(room + 1, 1);
                struct fbp_rows x = {memory, (ptrdiff_t)(by_columns ? inner : outer), (ptrdiff_t)(by_columns ? outer : inner),
                                     kind};
                struct matrix y = random_matrix(R, N, 3), some = random_matrix(7, N, 1), one = random_matrix(1, N, 0);
                int64_t *order = array(7, sizeof *order);
                if (backwards && N) {
                    x.at = memory + (R - 1) * (size_t)x.row + (N - 1) * (size_t)x.column;
                    x.row = -x.row, x.column = -x.column;
                }
                memset(memory, 0xff, room);
                struct matrix expected = random_matrix(R, N, 3);
                for (size_t b = 0; b < R; b++)
                    for (size_t j = 0; j < N; j++)
                        put(expected.at, b * expected.row + j,
                            put_datum((unsigned char *)x.at + (ptrdiff_t)b * x.row + (ptrdiff_t)j * x.column, b * N + j, kind,
                                      bytes));
                k->gather(&x, NULL, y.at, y.row, R, N);
                same(y, expected, "gather converts wrongly");
                for (size_t b = 0; b < 7; b++) order[b] = (int64_t)((b * 13 + 19) % R);
                k->gather(&x, order, some.at, some.row, 7, N);
                for (size_t b = 0; b < 7; b++) {
                    k->gather(&x, order + b, one.at, one.row, 1, N);
                    same_vector((unsigned char *)some.at + b * some.row * k->item, one.at, N, "gather depends on the rows beside");
                    same_vector((unsigned char *)y.at + (size_t)order[b] * y.row * k->item, one.at, N, "gather takes another row");
                }
                take_matrix(y);
                take_matrix(some);
            }
        end();
    }
}

static void check(const struct fbp_kernels *kernels) {
    k = kernels;
    check_gemm();
    check_dense_forward();
    check_dense_backward_weights();
    check_dense_backward_inputs();
    check_activations();
    check_softmax();
    check_losses();
    check_targets_and_rows();
    check_norms();
    check_dropout();
    check_quantile();
    check_optimizers();
    check_around_the_update();
    check_reductions();
    check_gather();
}

int main(void) {
    check(&TABLE(f32, ISA));
    check(&TABLE(f64, ISA));
    if (failures) {
        printf("%d failures\n", failures);
        return 1;
    }
    puts("ok");
    return 0;
}
