/// Inputs for the tests of the libtorch adapter.
#pragma once

#include <seqbayes/adapters/torch/tensors.hpp>

/// Every field that is read, with some sense: decays < 0, variances > 0.
inline seqbayes::libtorch::Inputs random_inputs(const seqbayes::InputWidths& widths,
                                                seqbayes::Index B, seqbayes::Index T,
                                                seqbayes::Index H) {
  using seqbayes::Domain;
  torch::manual_seed(7);
  seqbayes::libtorch::Inputs x;
  seqbayes::for_each_field(
      [&](auto, Domain domain, torch::Tensor& field, const seqbayes::InputWidth& input) {
        if (input.width == 0) return;
        field = torch::randn({B, T, H, input.width}, at::kDouble) * 0.5;
        if (domain == Domain::log_decay || domain == Domain::log_factor) {
          field = -field.abs() - 0.01;
        } else if (domain != Domain::finite) {
          field = field.abs() + 0.1;
        }
      },
      x, widths);
  return x;
}
