/* table.h: every kernel, and the table that is all a file of isa/ exports. Include a vec header first. */
#ifndef FBP_TABLE_H
#define FBP_TABLE_H

#include "../fbp.h"
#include "activation.h"
#include "tiles.h"
#include "narrow.h"
#include "streams.h"
#include "gemm.h"
#include "dense.h"
#include "softmax.h"
#include "loss.h"
#include "norm.h"
#include "rng.h"
#include "dropout.h"
#include "reduce.h"
#include "optimizer.h"

#define FBP_TEXT(token) FBP_TEXT_OF(token)
#define FBP_TEXT_OF(token) #token

const struct fbp_kernels FBP(kernels) = {
    .isa = FBP_TEXT(FBP_ISA),
    .item = sizeof(real),

    .gemm = FBP(gemm),

    .dense_forward = FBP(dense_forward),
    .dense_backward_weights = FBP(dense_backward_weights),
    .dense_backward_inputs = FBP(dense_backward_inputs),

    .activation_forward = FBP(activation_forward),
    .activation_backward = FBP(activation_backward),

    .softmax_forward = FBP(softmax_forward),
    .softmax_backward = FBP(softmax_backward),

    .loss =
        {
            [FBP_SOFTMAX_CROSS_ENTROPY_LABELS] = FBP(softmax_cross_entropy_labels),
            [FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES] = FBP(softmax_cross_entropy_probabilities),
            [FBP_BINARY_CROSS_ENTROPY] = FBP(binary_cross_entropy),
            [FBP_BINARY_CROSS_ENTROPY_WEIGHTED] = FBP(binary_cross_entropy_weighted),
            [FBP_MEAN_SQUARED_ERROR] = FBP(mean_squared_error),
            [FBP_MEAN_ABSOLUTE_ERROR] = FBP(mean_absolute_error),
            [FBP_HUBER] = FBP(huber),
            [FBP_POISSON] = FBP(poisson),
            [FBP_PINBALL] = FBP(pinball),
        },
    .smooth_targets = FBP(smooth_targets),
    .smooth_labels = FBP(smooth_labels),
    .scale_rows = FBP(scale_rows),

    .optimizer =
        {
            [FBP_SGD] = FBP(sgd_step),
            [FBP_ADAM] = FBP(adam_step),
            [FBP_RMSPROP] = FBP(rmsprop_step),
            [FBP_ADAGRAD] = FBP(adagrad_step),
        },
    .penalty = FBP(penalty),
    .scale = FBP(scale),
    .clip = FBP(clip),
    .average = FBP(average),

    .layer_norm_forward = FBP(layer_norm_forward),
    .layer_norm_backward_weights = FBP(layer_norm_backward_weights),
    .layer_norm_backward_inputs = FBP(layer_norm_backward_inputs),
    .batch_norm_statistics = FBP(batch_norm_statistics),
    .batch_norm_forward = FBP(batch_norm_forward),
    .batch_norm_backward_weights = FBP(batch_norm_backward_weights),
    .batch_norm_backward_inputs = FBP(batch_norm_backward_inputs),
    .batch_norm_rstd = FBP(batch_norm_rstd),
    .batch_norm_running = FBP(batch_norm_running),

    .dropout_forward = FBP(dropout_forward),
    .multiply = FBP(multiply),

#if FBP_REAL == 64
    .normal_quantile = FBP(normal_quantile),
#endif

    .add = FBP(add),
    .row_squares = FBP(row_squares),
    .sum_squares = FBP(sum_squares),
    .all_finite = FBP(all_finite),
    .gather = FBP(gather),
};

#endif
