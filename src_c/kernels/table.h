/* table.h: every kernel, and the table that is all a file of isa/ exports. Include a vec header first. */
#ifndef FBP_TABLE_H
#define FBP_TABLE_H

#include "../fbp.h"
#include "../vec/math.h"
#include "activation.h"
#include "gemm.h"
#include "dense.h"
#include "softmax.h"
#include "loss.h"
#include "reduce.h"
#include "optimizer.h"

#define FBP_TEXT(token) FBP_TEXT_OF(token)
#define FBP_TEXT_OF(token) #token

const struct fbp_kernels FBP(kernels) = {
    .isa = FBP_TEXT(FBP_ISA),
    .item = sizeof(real),
    .panel = TILE_VECTORS * LANES,

    .gemm = FBP(gemm),
    .gemm_pack = FBP(gemm_pack),

    .dense_forward = FBP(dense_forward),
    .dense_backward_weights = FBP(dense_backward_weights),
    .dense_backward_inputs = FBP(dense_backward_inputs),

    .activation_forward = FBP(activation_forward),
    .activation_backward = FBP(activation_backward),

    .softmax_forward = FBP(softmax_forward),
    .softmax_backward = FBP(softmax_backward),

    .loss = {
        [FBP_SOFTMAX_CROSS_ENTROPY_LABELS] = FBP(softmax_cross_entropy_labels),
        [FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES] = FBP(softmax_cross_entropy_probabilities),
        [FBP_BINARY_CROSS_ENTROPY] = FBP(binary_cross_entropy),
        [FBP_MEAN_SQUARED_ERROR] = FBP(mean_squared_error),
        [FBP_PINBALL] = FBP(pinball),
    },

    .optimizer = {
        [FBP_SGD] = FBP(sgd_step),
        [FBP_ADAM] = FBP(adam_step),
        [FBP_RMSPROP] = FBP(rmsprop_step),
        [FBP_ADAGRAD] = FBP(adagrad_step),
    },
    .penalty = FBP(penalty),
    .scale = FBP(scale),
    .clip = FBP(clip),
    .average = FBP(average),

    .add = FBP(add),
    .sum_squares = FBP(sum_squares),
    .all_finite = FBP(all_finite),
};

#endif
