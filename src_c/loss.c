/* loss.c: losses as everything but their kernels sees them: what each one is, and what class weights, weights of rows and label
 * smoothing do to it. A plan and a single call of a loss both come here.
 *
 * With weights s_b of the rows, the loss of a minibatch is sum_b s_b l_b times a scale: 1 for the sum, and for the mean
 * 1 / mass, or 1 / (mass C) where the mean is over elements, with mass = sum_b s_b. Class weights w are weights of rows for labels
 * y that are not smoothed: s_b w[y_b] takes the place of s_b. Otherwise they are part of the targets, as label smoothing is
 * (kernels/loss.h: smooth_targets); the mass of labels is then sum_b s_b w[y_b], too.
 */
#include "fbp.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ABOVE_0 DBL_TRUE_MIN /* the smallest double: a closed bound in place of the open one at 0 */

const struct fbp_loss_traits fbp_loss_traits[FBP_LOSSES] = {
    [FBP_SOFTMAX_CROSS_ENTROPY_LABELS] = {.name = "softmax_cross_entropy_labels",
                                          .input = "z",
                                          .labels = 1,
                                          .of_classes = 1,
                                          .mean_over_rows = 1,
                                          .smoothed = FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES},
    [FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES] = {.name = "softmax_cross_entropy_probabilities",
                                                 .input = "z",
                                                 .of_classes = 1,
                                                 .mean_over_rows = 1,
                                                 .probabilities = 1,
                                                 .smoothed = FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES},
    [FBP_BINARY_CROSS_ENTROPY] = {.name = "binary_cross_entropy", .input = "z", .probabilities = 1},
    [FBP_BINARY_CROSS_ENTROPY_WEIGHTED] = {.name = "binary_cross_entropy_weighted",
                                           .input = "z",
                                           .probabilities = 1,
                                           .parameter = "pos_weight",
                                           .parameter_least = 0,
                                           .parameter_end = INFINITY},
    [FBP_MEAN_SQUARED_ERROR] = {.name = "mean_squared_error", .input = "y"},
    [FBP_MEAN_ABSOLUTE_ERROR] = {.name = "mean_absolute_error", .input = "y"},
    [FBP_HUBER] = {.name = "huber", .input = "y", .parameter = "delta", .parameter_least = ABOVE_0, .parameter_end = INFINITY},
    [FBP_POISSON] = {.name = "poisson", .input = "z"},
    [FBP_PINBALL] = {.name = "pinball", .input = "y", .parameter = "quantiles", .parameter_least = ABOVE_0, .parameter_end = 1},
};

void fbp_loss_begin(struct fbp_weighted_loss *l) {
    static const struct fbp_loss_traits none = {0};
    const struct fbp_loss_traits *traits = l->loss < 0 ? &none : &fbp_loss_traits[l->loss];
    l->labels = traits->labels;
    l->smooths = traits->of_classes && (l->smoothing > 0 || (l->class_weights && !traits->labels));
    l->weighs_rows = traits->labels && l->class_weights && !l->smooths;
    l->target_item = traits->labels ? sizeof(int64_t) : l->kernels->item;
    l->target_width = traits->labels ? 1 : l->C;
    l->terms_a_row = traits->mean_over_rows ? 1 : l->C;
}

/* The weight of the class of a row, where classes have weights and targets are labels. */
static double class_weight(const struct fbp_weighted_loss *l, const void *labels, size_t row) {
    return l->class_weights[((const int64_t *)labels)[row]];
}

double fbp_loss_row_weight(const struct fbp_weighted_loss *l, const double *weights, const void *target, size_t row) {
    const double own = weights ? weights[row] : 1;
    return l->weighs_rows ? own * class_weight(l, target, row) : own;
}

double fbp_loss_mass(const struct fbp_weighted_loss *l, const double *weights, const void *target, const int64_t *order,
                     size_t start, size_t rows) {
    const int by_class = l->labels && l->class_weights;
    if (!weights && !by_class) return (double)rows;
    double mass = 0;
    for (size_t r = start; r < start + rows; r++) {
        const size_t row = order ? (size_t)order[r] : r;
        mass += (weights ? weights[row] : 1) * (by_class ? class_weight(l, target, row) : 1);
    }
    return mass;
}

double fbp_loss_scale(const struct fbp_weighted_loss *l, double mass) {
    if (l->reduction_sum) return 1;
    return mass > 0 ? 1 / (mass * (double)l->terms_a_row) : 0;
}

double fbp_loss_sum_scale(const struct fbp_weighted_loss *l, const double *weights, double mass) {
    return weights || l->weighs_rows ? 1 : fbp_loss_scale(l, mass);
}

/* The targets of B rows, smoothed and weighed by class, into `smoothed` (B, C). */
static void smooth(const struct fbp_weighted_loss *l, const void *target, size_t target_row, void *smoothed, size_t B) {
    const struct fbp_kernels *k = l->kernels;
    if (l->labels) {
        k->smooth_labels(target, l->smoothing, l->class_weights, smoothed, l->C, B, l->C);
        return;
    }
    unsigned char *to = smoothed;
    const unsigned char *from = target;
    for (size_t r = 0; r < B; r++) memcpy(to + r * l->C * k->item, from + r * target_row * k->item, l->C * k->item);
    k->smooth_targets(smoothed, l->C, l->smoothing, l->class_weights, B, l->C);
}

void fbp_loss_rows(const struct fbp_weighted_loss *l, const void *z, size_t z_row, const void *target, size_t target_row,
                   void *smoothed, double scale, void *dz, size_t dz_row, double *row_loss, size_t B) {
    if (l->smooths) smooth(l, target, target_row, smoothed, B);
    l->kernels->loss[l->smooths ? fbp_loss_traits[l->loss].smoothed : l->loss](z, z_row, l->smooths ? smoothed : target,
                                                                               l->smooths ? l->C : target_row, l->parameters, scale,
                                                                               dz, dz_row, row_loss, B, l->C);
}

double fbp_loss_whole(const struct fbp_weighted_loss *l, const void *z, const void *target, const double *weights, void *smoothed,
                      double mass, void *dz, size_t B) {
    double row_loss[FBP_BLOCK], factors[FBP_BLOCK], total = 0;
    const size_t C = l->C, item = l->kernels->item;
    const double divisor = l->reduction_sum ? 1 : mass * (double)l->terms_a_row;
    const int weighted = weights || l->weighs_rows;
    if (divisor == 0) {
        memset(dz, 0, B * C * item);
        return 0;
    }
    for (size_t start = 0, rows; start < B; start += rows) {
        rows = B - start < FBP_BLOCK ? B - start : FBP_BLOCK;
        unsigned char *dz_block = (unsigned char *)dz + start * C * item;
        fbp_loss_rows(l, (const unsigned char *)z + start * C * item, C,
                      (const unsigned char *)target + start * l->target_width * l->target_item, l->target_width, smoothed,
                      weighted ? 1 : 1 / divisor, dz_block, C, row_loss, rows);
        /* Weights may be so small that the scale alone is not a real, but weight times scale is. */
        for (size_t r = 0; r < rows; r++) {
            const double weight = weighted ? fbp_loss_row_weight(l, weights, target, start + r) : 1;
            total += weight * row_loss[r];
            factors[r] = weight / divisor;
        }
        if (weighted) l->kernels->scale_rows(factors, dz_block, C, row_loss, rows, C);
    }
    return total / divisor;
}
