// cross_modal_score as the block calls it.
#pragma once

#include <optional>
#include <tuple>

#include "tensor_checks.h"

namespace mesm_ops {

Tensor cross_modal_score(const Tensor& features, const Tensor& offsets, const Tensor& query,
                         const std::optional<Tensor>& lengths, const Tensor& map_weight,
                         const Tensor& map_bias, const Tensor& query_weight,
                         const Tensor& score_weight, const Tensor& score_bias);

// Gradients of features, query, map_weight, map_bias, query_weight, score_weight, score_bias.
using ScoreGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

ScoreGradients cross_modal_score_backward(const Tensor& grad_logits, const Tensor& features,
                                          const Tensor& offsets, const Tensor& query,
                                          const std::optional<Tensor>& lengths,
                                          const Tensor& map_weight, const Tensor& map_bias,
                                          const Tensor& query_weight, const Tensor& score_weight);

}  // namespace mesm_ops
