/* kernel_bits.c: every entry of an instruction set's two kernel tables on fixed inputs of odd sizes.
 *
 *   cc -std=c11 -ffp-contract=off -DISA=avx2 -I../../src_c kernel_bits.c avx2_f32.o avx2_f64.o rng.o
 *   ./a.out [f32|f64]
 *
 * Prints a line for each kernel: real, name, hash of the bits of all outputs, a weighted sum of the outputs, and the
 * sum of their magnitudes. Instruction sets with fused multiply-add must agree on the hashes, all on the sums but for
 * rounding. On the way it checks what needs no other instruction set, and says FAIL where it does not hold:
 * - one part, or three that may pack their operands: the same bits; B or its transpose: the same bits; in place or not: the same bits;
 * - nothing is read past the end of an array (each ends at a page without access), nor used between two rows (nan lies
 *   there), and nothing is written there.
 * With an argument it then sweeps all lengths up to three vectors and one element, with arrays that end at such a page and with
 * arrays that begin right after one: the same bits, and nothing is read or written before an array either.
 * Prints "ok" and returns 0 when all is well. */
#define _DEFAULT_SOURCE

#include "kernel_harness.h"

#include "check_norms.h"

/* -------------------------------------------------------------------------------------------------- products */

static const struct sizes PRODUCTS[] = {
    /* M, N, K */
    {1, 1, 1},      {5, 3, 7},       {14, 32, 16},   {15, 33, 17},    {6, 16, 256},   {29, 65, 257}, {131, 7, 20},
    {43, 40, 530},  {3, 9, 0},       {112, 300, 33}, {60, 1022, 270}, {132, 1022, 5}, /* with the gap, rows of B are 4 KiB apart: copied */
    {16, 1, 255},   {33, 10, 257},   {40, 3, 513},   {19, 12, 512},   {17, 6, 41}, /* narrow: rows of A in the lanes */
    {3, 50, 300},   {12, 33, 257},   {6, 16, 40},                   /* few rows: rows of a transposed B in the lanes */
    {1, 300, 270},  {1, 10, 530},    {1, 32, 773},   {1, 7, 1290},  /* one row: blocks of k side by side */
    {2, 300, 270},  {2, 1030, 6},    {1, 1029, 13},  {515, 517, 3}, /* by streams */
    {18, 5, 1023},                                                  /* narrow, with rows of A 4 KiB apart: copied */
    {37, 67, 80},   {20, 33, 300},                                  /* the last columns are narrow */
    {20, 33, 1},    {40, 64, 1},                                    /* one term */
    {97, 257, 513}, {270, 129, 520},                                /* packed */
};

/* Memory to pack operands in: as little as there may be, up to a page without access. */
static const struct fbp_room *least_room(void) {
    static struct fbp_room room;
    room = (struct fbp_room){array(FBP_ROOM_LEAST, 1), array(FBP_ROOM_LEAST, 1), FBP_ROOM_LEAST, FBP_ROOM_LEAST};
    return &room;
}

static struct matrix transposed(struct matrix m, size_t gap) {
    struct matrix t = random_matrix(m.columns, m.rows, gap);
    for (size_t i = 0; i < m.rows; i++)
        for (size_t j = 0; j < m.columns; j++) put(t.at, j * t.row + i, get(m.at, i * m.row + j));
    return t;
}

static void check_gemm(void) {
    begin("gemm", "");
    for (size_t p = 0; p < count_of_sizes(COUNT(PRODUCTS)); p++)
        for (int mode = 0; mode < 3; mode++)
            for (int transpose_a = 0; transpose_a < 2; transpose_a++) {
                const struct sizes size = sizes_at(PRODUCTS, p);
                const size_t M = size.a, N = size.b, K = size.c;
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
                g.c = in_parts.at, g.room = least_room;
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

static const struct sizes LAYERS[] = {
    /* B, I, O */
    {1, 1, 1},      {1, 33, 17},    {7, 5, 3},     {37, 16, 32},    {64, 130, 31}, {259, 19, 40},
    {40, 270, 300}, {5, 3, 530},    {300, 130, 3}, {21, 333, 10},   {2, 40, 1},    {3, 40, 300},
    {11, 35, 20},   {70, 33, 1024}, {1, 100, 64},  {260, 170, 300}, /* packed */
};

/* Identity and ReLU are part of a tile, and run on each layer with and without a bias or a skip. The other activations run
 * afterwards over a panel, whatever it holds: each of them takes one of the two, in turn from layer to layer. */
static int left_out(size_t activation, size_t layer, int choice) {
    return activation > 1 && choice != (int)((activation + layer) % 2);
}

static void check_dense_forward(void) {
    for (size_t f = 0; f < COUNT(ACTIVATIONS); f++) {
        begin("dense_forward", ACTIVATIONS[f].name);
        for (size_t l = 0; l < count_of_sizes(COUNT(LAYERS)); l++)
            for (int bias = 0; bias < 2; bias++) {
                if (left_out(f, l, bias)) continue;
                const struct sizes size = sizes_at(LAYERS, l);
                const size_t B = size.a, I = size.b, O = size.c;
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
                d.y = in_parts.at, d.room = least_room;
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
    for (size_t l = 0; l < count_of_sizes(COUNT(LAYERS)); l++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            for (int bias = 0; bias < 2; bias++) {
                const struct sizes size = sizes_at(LAYERS, l);
                const size_t B = size.a, I = size.b, O = size.c;
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
                d.dW = dW3, d.db = bias ? db3 : NULL, d.room = least_room;
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
        for (size_t l = 0; l < count_of_sizes(COUNT(LAYERS)); l++)
            for (int skips = 0; skips < 2; skips++) {
                if (left_out(f, l, skips)) continue;
                const struct sizes size = sizes_at(LAYERS, l);
                const size_t B = size.a, I = size.b, O = size.c;
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
                d.room = least_room;
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

static void check_activations(void) {
    const double specials[] = {
        INFINITY, -INFINITY, NAN, 0.0, -0.0, 1e-40, -1e-40, 1e-8, 87, -87, 89, -104, 709, -746, 3e38,
    };
    for (size_t f = 0; f < COUNT(ACTIVATIONS); f++) {
        const int number = ACTIVATIONS[f].number;
        const double alpha = ACTIVATIONS[f].alpha;
        begin("activation_forward", ACTIVATIONS[f].name);
        for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
            const size_t N = length_at(LENGTHS, l);
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
        for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
            const size_t N = length_at(LENGTHS, l);
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

static const struct pair ROWS[] = {
    /* B, C */
    {0, 3},  {1, 1},    {1, 9},  {3, 2},  {16, 8}, {17, 7},  {5, 16},   {33, 10}, {35, 5},
    {6, 33}, {2, 1000}, {19, 3}, {24, 4}, {40, 1}, {270, 2}, {131, 10}, {75, 16},
};

static void check_softmax(void) {
    begin("softmax", "forward");
    for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
        const size_t B = pair_at(ROWS, r).a, C = pair_at(ROWS, r).b;
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
    for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
        const size_t B = pair_at(ROWS, r).a, C = pair_at(ROWS, r).b;
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
        for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
            const size_t B = pair_at(ROWS, r).a, C = pair_at(ROWS, r).b;
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

/* Word number `word` of a block of Philox4x32-7 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011). */
static uint32_t philox7(uint64_t seed, uint64_t stream, uint64_t block, uint64_t word) {
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    for (uint32_t round = 0; round < 7; round++) {
        const uint32_t key0 = (uint32_t)seed + round * 0x9E3779B9u, key1 = (uint32_t)(seed >> 32) + round * 0xBB67AE85u;
        const uint64_t first = (uint64_t)0xD2511F53u * c[0], second = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t next[4] = {(uint32_t)(second >> 32) ^ c[1] ^ key0, (uint32_t)second, (uint32_t)(first >> 32) ^ c[3] ^ key1,
                                  (uint32_t)first};
        for (int i = 0; i < 4; i++) c[i] = next[i];
    }
    return c[word];
}

static void check_dropout(void) {
    static const double rates[] = {0, 0.3, 0.5, 0.999};
    begin("dropout_forward", "");
    for (size_t l = 0; l < count_of_pairs(COUNT(BLOCKS)); l++)
        for (size_t r = 0; r < COUNT(rates); r++) {
            const size_t B = pair_at(BLOCKS, l).a, N = pair_at(BLOCKS, l).b, half = B / 2;
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
                    const uint64_t p = (7 * l + i) * N + j, block = ((0x3fffffffu - r) << 32) + p / 128 * 16 + p % 16;
                    const uint32_t word = philox7(d.seed, d.stream, block, p % 64 / 16);
                    const double half_word = p % 128 < 64 ? word >> 16 : word & 0xffff, limit = rates[r] * 0x1p16 + 0.5;
                    const int dropped = half_word < (limit < 0xffff ? floor(limit) : 0xffff);
                    if ((get(mask.at, i * mask.row + j) == 0) != dropped) fail("dropout: another half of a word decides");
                }
            take_matrix(y);
            take_matrix(mask);
        }
    end();
    begin("multiply", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
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
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
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
            for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
                const size_t B = pair_at(ROWS, r).a, C = pair_at(ROWS, r).b;
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
    for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
        const size_t B = pair_at(ROWS, r).a, C = pair_at(ROWS, r).b;
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
            for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
                const size_t N = length_at(LENGTHS, l);
                void *w = vector(N), *g = vector(N), *before = copy_vector(g, N), *moments[3];
                for (int m = 0; m < 3; m++) moments[m] = moment(UPDATES[u].moments[m], N);
                k->optimizer[UPDATES[u].kind](&UPDATES[u].o, w, g, NULL, moments, t, 0.1, 1, N);
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
        for (size_t l = 0; l < count_of_lengths(COUNT(lengths)); l++) {
            const size_t N = length_at(lengths, l);
            void *w = vector(N), *g = vector(N), *before = copy_vector(w, N);
            for (size_t i = 0; i < N; i += 5) put(w, i, i % 2 ? 0.0 : -0.0), put(before, i, i % 2 ? 0.0 : -0.0);
            take(k->penalty(w, g, penalties[p][0], penalties[p][1], N));
            same_vector(w, before, N, "penalty writes to the weights");
            take_vector(g, N);
        }
        end();
    }
    begin("scale", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        void *g = vector(length_at(LENGTHS, l));
        k->scale(g, 1.0 / 3, length_at(LENGTHS, l));
        take_vector(g, length_at(LENGTHS, l));
    }
    end();
    begin("clip", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
        void *g = vector(N);
        for (size_t i = 0; i + 2 < N; i += 7) put(g, i, NAN), put(g, i + 1, INFINITY), put(g, i + 2, -INFINITY);
        k->clip(g, 1.0 / 3, N);
        take_vector(g, N);
    }
    end();
    begin("average", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        void *average = vector(length_at(LENGTHS, l)), *w = vector(length_at(LENGTHS, l));
        k->average(average, w, 0.9, length_at(LENGTHS, l));
        take_vector(average, length_at(LENGTHS, l));
    }
    end();
}

static void check_reductions(void) {
    static const size_t lengths[] = {0, 1, 16, 17, 63, 65, 255, 4095, 4096, 4097, 9001};
    begin("add", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
        void *a = vector(N), *b = vector(N), *c = vector(N), *in_place = copy_vector(a, N);
        k->add(a, b, c, N);
        k->add(in_place, b, in_place, N);
        same_vector(c, in_place, N, "add depends on being in place");
        take_vector(c, N);
    }
    end();
    begin("sum_squares", "");
    for (size_t l = 0; l < count_of_lengths(COUNT(lengths)); l++)
        take(k->sum_squares(vector(length_at(lengths, l)), length_at(lengths, l)));
    end();
    begin("row_squares", "");
    for (size_t r = 0; r < count_of_pairs(COUNT(ROWS)); r++) {
        struct matrix x = random_matrix(pair_at(ROWS, r).a, pair_at(ROWS, r).b, 2);
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
    for (size_t l = 0; l < count_of_lengths(COUNT(lengths)); l++) {
        const size_t N = length_at(lengths, l);
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
        for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++)
            for (int layout = 0; layout < 6; layout++) {
                const size_t R = 20, N = length_at(LENGTHS, l), gap = layout / 2 % 3 ? 1 + 2 * (layout / 2) : 0;
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

/* With f32 or f64 the kernels of that real alone. With a second argument: the sweep, too. */
int main(int argc, char **argv) {
    const char *real = argc > 1 ? argv[1] : "";
    const int single = strcmp(real, "f64") != 0, twofold = strcmp(real, "f32") != 0;
    report_touches();
    if (single) check(&TABLE(f32, ISA));
    if (twofold) check(&TABLE(f64, ISA));
    sweeping = 1;
    for (place = BEFORE_A_PAGE; argc > 2 && place <= AFTER_A_PAGE; place++) {
        if (single) check(&TABLE(f32, ISA));
        if (twofold) check(&TABLE(f64, ISA));
    }
    if (failures) {
        printf("%d failures\n", failures);
        return 1;
    }
    puts("ok");
    return 0;
}
