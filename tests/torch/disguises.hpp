/// Tensors whose numbers do not lie in memory as those of a fresh tensor do.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

struct Disguise {
  std::string name;
  torch::Tensor (*of)(const torch::Tensor&);  ///< Some view, of any tensor with elements.
};

inline torch::Tensor reversed(const torch::Tensor& x) {  // the order of its dimensions, in memory
  std::vector<std::int64_t> order;
  for (std::int64_t i = x.dim(); i-- > 0;) order.push_back(i);
  return x.permute(order).contiguous().permute(order);
}

inline const std::vector<Disguise> disguises = {
    {"negated lazily", [](const torch::Tensor& x) { return torch::_neg_view(-x); }},
    {"imag(conj(z))",
     [](const torch::Tensor& x) {
       return torch::imag(torch::conj(torch::complex(torch::zeros_like(x), -x)));
     }},
    {"dimensions in reverse", [](const torch::Tensor& x) { return reversed(x); }},
    {"in reverse and negated",
     [](const torch::Tensor& x) { return torch::_neg_view(reversed(-x)); }},
    {"odd offset",
     [](const torch::Tensor& x) {
       return torch::cat({x.flatten().slice(0, 0, 1), x.flatten()}).slice(0, 1).view(x.sizes());
     }},
    {"gaps after each row",
     [](const torch::Tensor& x) {
       return torch::cat({x, x}, -1).slice(-1, 0, x.size(-1));
     }},
    {"gaps between entries",
     [](const torch::Tensor& x) {
       return torch::stack({x, x}, -1).select(-1, 1);
     }},
    {"slice of a longer tensor",
     [](const torch::Tensor& x) {
       const std::int64_t along = x.dim() > 1 ? 1 : 0, length = x.size(along);
       return torch::cat({x, x, x}, along).slice(along, length, 2 * length);
     }},
    {"first entry for all",
     [](const torch::Tensor& x) { return x.slice(0, 0, 1).expand(x.sizes()); }},
    {"one number for all", [](const torch::Tensor& x) { return x.flatten()[0].expand(x.sizes()); }},
    {"flipped", [](const torch::Tensor& x) { return x.flip({0}); }},
};

/// The same numbers in memory of their own, in order.
inline torch::Tensor plain(const torch::Tensor& x) {
  return torch::empty(x.sizes(), x.options()).copy_(x);
}
