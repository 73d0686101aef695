/// A language model written out in Eigen, and its checkpoint.
#pragma once

#include <unistd.h>
#include <seqbayes/adapters/torch/language_model.hpp>

#include <Eigen/Dense>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace fs = std::filesystem;
namespace st = seqbayes::libtorch;
using Eigen::ArrayXXd;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using torch::Tensor;

// A checkpoint of random numbers and the plain forward pass of it, token rows, in double.
struct Plain {
  nlohmann::json config;
  Index hidden, heads, value_heads, dk, dv, inner = 7, vocabulary = 11, layers = 2, taps;
  bool gate, negative;
  std::map<std::string, std::vector<std::int64_t>> shapes;
  std::map<std::string, std::vector<double>> numbers;
  std::mt19937 random{5};

  explicit Plain(bool full)
      : hidden(6),
        heads(2),
        value_heads(full ? 4 : 2),
        dk(4),
        dv(full ? 6 : 4),
        taps(full ? 3 : 0),
        gate(full),
        negative(!full) {
    config = {{"model_type", "gated_deltanet"},
              {"hidden_size", hidden},
              {"num_heads", heads},
              {"num_v_heads", nullptr},
              {"head_dim", dk},
              {"expand_v", full ? 1.5 : 1.0},
              {"use_short_conv", full},
              {"conv_size", 3},
              {"use_gate", gate},
              {"allow_neg_eigval", negative},
              {"norm_eps", 1e-5},
              {"vocab_size", vocabulary},
              {"num_hidden_layers", layers},
              {"intermediate_size", inner},
              {"attn", nullptr}};
    if (full) config["num_v_heads"] = value_heads;
    add("model.embeddings.weight", {vocabulary, hidden});
    add("model.norm.weight", {hidden});
    add("lm_head.weight", {vocabulary, hidden});
    for (Index i = 0; i < layers; ++i) {
      const std::string block = "model.layers." + std::to_string(i) + ".", attn = block + "attn.";
      for (const char* name : {"attn_norm", "mlp_norm"}) add(block + name + ".weight", {hidden});
      add(block + "mlp.gate_proj.weight", {inner, hidden});
      add(block + "mlp.up_proj.weight", {inner, hidden});
      add(block + "mlp.down_proj.weight", {hidden, inner});
      const std::map<std::string, Index> widths = {
          {"q", heads * dk}, {"k", heads * dk}, {"v", value_heads * dv}};
      for (const auto& [name, width] : widths) {
        add(attn + name + "_proj.weight", {width, hidden});
        if (taps > 0) add(attn + name + "_conv1d.weight", {width, 1, taps});
      }
      for (const char* name : {"a", "b"}) add(attn + name + "_proj.weight", {value_heads, hidden});
      for (const char* name : {"A_log", "dt_bias"}) add(attn + name, {value_heads});
      if (gate) add(attn + "g_proj.weight", {value_heads * dv, hidden});
      add(attn + "o_norm.weight", {dv});
      add(attn + "o_proj.weight", {hidden, value_heads * dv});
    }
  }

  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::normal_distribution<double> normal(0, 0.7);
    std::int64_t size = 1;
    for (const auto extent : shape) size *= extent;
    shapes[name] = std::move(shape);
    for (std::int64_t i = 0; i < size; ++i) numbers[name].push_back(normal(random));
  }
  void write(const fs::path& directory) const {
    std::vector<seqbayes::safetensors::Tensor> tensors;
    for (const auto& [name, shape] : shapes) {
      tensors.push_back(seqbayes::safetensors::view(name, shape, numbers.at(name)));
    }
    seqbayes::safetensors::write(directory / "model.safetensors", tensors);
    std::ofstream(directory / "config.json") << config;
  }

  // One row for the first extent, the others together.
  [[nodiscard]] MatrixXd weight(const std::string& name) const {
    const auto& list = numbers.at(name);
    const Index rows = shapes.at(name)[0];
    return seqbayes::Matrix<double>::Map(list.data(), rows, Index(list.size()) / rows);
  }
  static double silu(double x) { return x / (1 + std::exp(-x)); }
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

  [[nodiscard]] VectorXd norm(const VectorXd& x, const std::string& name) const {
    const double size = std::sqrt(x.squaredNorm() / double(x.size()) + 1e-5);
    return (x / size).cwiseProduct(weight(name).col(0));
  }
  // silu(conv(proj x)), a row a token
  [[nodiscard]] MatrixXd project(const MatrixXd& x, const std::string& attn, char name) const {
    const MatrixXd y = x * weight(attn + name + "_proj.weight").transpose();
    if (taps == 0) return y.unaryExpr(&silu);
    const MatrixXd w = weight(attn + name + "_conv1d.weight");
    MatrixXd out = MatrixXd::Zero(y.rows(), y.cols());
    for (Index t = 0; t < y.rows(); ++t) {
      for (Index c = 0; c < y.cols(); ++c) {
        for (Index lag = 0; lag < std::min(taps, t + 1); ++lag) {
          out(t, c) += w(c, taps - 1 - lag) * y(t - lag, c);
        }
      }
    }
    return out.unaryExpr(&silu);
  }
  [[nodiscard]] MatrixXd mix(const MatrixXd& x, const std::string& attn) const {
    const MatrixXd q = project(x, attn, 'q'), k = project(x, attn, 'k'), v = project(x, attn, 'v');
    MatrixXd out(x.rows(), value_heads * dv);
    for (Index head = 0; head < value_heads; ++head) {
      const Index key_head = head / (value_heads / heads);
      MatrixXd memory = MatrixXd::Zero(dk, dv);
      for (Index t = 0; t < x.rows(); ++t) {
        const auto unit = [&](const MatrixXd& rows) -> VectorXd {
          const VectorXd row = rows.row(t).segment(key_head * dk, dk);
          return row / std::sqrt(row.squaredNorm() + 1e-6);
        };
        const VectorXd key = unit(k), value = v.row(t).segment(head * dv, dv);
        const double b = weight(attn + "b_proj.weight").row(head).dot(x.row(t));
        if (shapes.contains(attn + "A_log")) {  // DeltaNet has no decay
          const double a = weight(attn + "a_proj.weight").row(head).dot(x.row(t));
          const double rate = std::exp(weight(attn + "A_log")(head, 0));
          const double dt = std::log1p(std::exp(a + weight(attn + "dt_bias")(head, 0)));
          memory *= std::exp(-rate * dt);
        }
        const VectorXd error = value - memory.transpose() * key;
        memory += (negative ? 2 : 1) * sigmoid(b) * key * error.transpose();
        VectorXd o = memory.transpose() * unit(q) / std::sqrt(double(dk));
        o = norm(o, attn + "o_norm.weight");
        if (gate) {
          const VectorXd g = weight(attn + "g_proj.weight") * x.row(t).transpose();
          o.array() *= g.segment(head * dv, dv).unaryExpr(&silu).array();
        }
        out.row(t).segment(head * dv, dv) = o;
      }
    }
    return out * weight(attn + "o_proj.weight").transpose();
  }
  [[nodiscard]] MatrixXd logits(const std::vector<std::int64_t>& tokens) const {
    MatrixXd x(Index(tokens.size()), hidden);
    for (Index t = 0; t < x.rows(); ++t) {
      x.row(t) = weight("model.embeddings.weight").row(tokens[std::size_t(t)]);
    }
    const auto normed = [&](const std::string& name) {
      MatrixXd y(x.rows(), hidden);
      for (Index t = 0; t < x.rows(); ++t) y.row(t) = norm(x.row(t), name);
      return y;
    };
    for (Index i = 0; i < layers; ++i) {
      const std::string block = "model.layers." + std::to_string(i) + ".";
      x += mix(normed(block + "attn_norm.weight"), block + "attn.");
      const MatrixXd h = normed(block + "mlp_norm.weight");
      const MatrixXd gates = h * weight(block + "mlp.gate_proj.weight").transpose();
      const MatrixXd up = h * weight(block + "mlp.up_proj.weight").transpose();
      x += gates.unaryExpr(&silu).cwiseProduct(up) *
           weight(block + "mlp.down_proj.weight").transpose();
    }
    return normed("model.norm.weight") * weight("lm_head.weight").transpose();
  }
};

struct Workplace {
  fs::path path = fs::temp_directory_path() / ("seqbayes torch " + std::to_string(::getpid()));
  Workplace() { fs::create_directories(path); }
  ~Workplace() { fs::remove_all(path); }
};

inline const std::vector<std::int64_t> text = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 10, 0, 7};

inline Tensor as_tensor(const std::vector<std::int64_t>& tokens) {
  return torch::tensor(tokens).unsqueeze(0);
}

inline double deviation(const Tensor& logits, const MatrixXd& expected) {
  double worst = 0;
  for (Index t = 0; t < expected.rows(); ++t) {
    for (Index i = 0; i < expected.cols(); ++i) {
      worst = std::max(worst, std::abs(logits[0][t][i].item<double>() - expected(t, i)));
    }
  }
  return worst;
}
