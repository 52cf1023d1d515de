/* loss.c: what the losses are.
 */
#include "fbp.h"

#include <float.h>
#include <math.h>

#define ABOVE_0 DBL_TRUE_MIN /* the smallest double: a closed bound in place of the open one at 0 */

const struct fbp_loss_traits fbp_loss_traits[FBP_LOSSES] = {
    [FBP_SOFTMAX_CROSS_ENTROPY_LABELS] = {
        .name = "softmax_cross_entropy_labels", .labels = 1, .of_classes = 1, .mean_over_rows = 1,
        .smoothed = FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES,
    },
    [FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES] = {
        .name = "softmax_cross_entropy_probabilities", .of_classes = 1, .mean_over_rows = 1, .probabilities = 1,
        .smoothed = FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES,
    },
    [FBP_BINARY_CROSS_ENTROPY] = {.name = "binary_cross_entropy", .probabilities = 1},
    [FBP_BINARY_CROSS_ENTROPY_WEIGHTED] = {
        .name = "binary_cross_entropy_weighted", .probabilities = 1,
        .parameter = "pos_weight", .parameter_least = 0, .parameter_end = INFINITY,
    },
    [FBP_MEAN_SQUARED_ERROR] = {.name = "mean_squared_error"},
    [FBP_MEAN_ABSOLUTE_ERROR] = {.name = "mean_absolute_error"},
    [FBP_HUBER] = {.name = "huber", .parameter = "delta", .parameter_least = ABOVE_0, .parameter_end = INFINITY},
    [FBP_POISSON] = {.name = "poisson"},
    [FBP_PINBALL] = {.name = "pinball", .parameter = "quantiles", .parameter_least = ABOVE_0, .parameter_end = 1},
};
