// Modules and checkpoints against the model written out in Eigen, and a pretrained model as the
// start of a filter.
#include <torch/autograd.h>
#include <unistd.h>
#include <seqbayes/adapters/torch/language_model.hpp>

#include <Eigen/Dense>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace {

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
        const double a = weight(attn + "a_proj.weight").row(head).dot(x.row(t));
        const double b = weight(attn + "b_proj.weight").row(head).dot(x.row(t));
        const double rate = std::exp(weight(attn + "A_log")(head, 0));
        const double dt = std::log1p(std::exp(a + weight(attn + "dt_bias")(head, 0)));
        memory *= std::exp(-rate * dt);
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

const std::vector<std::int64_t> text = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 10, 0, 7};

Tensor as_tensor(const std::vector<std::int64_t>& tokens) {
  return torch::tensor(tokens).unsqueeze(0);
}

double deviation(const Tensor& logits, const MatrixXd& expected) {
  double worst = 0;
  for (Index t = 0; t < expected.rows(); ++t) {
    for (Index i = 0; i < expected.cols(); ++i) {
      worst = std::max(worst, std::abs(logits[0][t][i].item<double>() - expected(t, i)));
    }
  }
  return worst;
}

TEST_CASE("language model: a checkpoint's logits, at once and token by token") {
  const torch::NoGradGuard no_grad;
  for (const bool full : {true, false}) {
    const Plain plain(full);
    const Workplace work;
    plain.write(work.path);
    const MatrixXd expected = plain.logits(text);  // of order 1
    auto model = st::read_language_model(work.path, at::kDouble);
    CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
    auto single = st::read_language_model(work.path, at::kFloat);
    CHECK(deviation(single->forward(as_tensor(text)), expected) < 1e-4);

    st::LanguageModelImpl::Cache cache;
    std::vector<Tensor> parts;
    const Tensor tokens = as_tensor(text);
    parts.push_back(model->forward(tokens.slice(1, 0, 5), cache));
    for (std::int64_t t = 5; t < tokens.size(1); ++t) {
      parts.push_back(model->forward(tokens.slice(1, t, t + 1), cache));
    }
    CHECK(deviation(torch::cat(parts, 1), expected) < 1e-12);

    if (full) {  // two texts in a batch
      const std::vector<std::int64_t> other(text.rbegin(), text.rend());
      const Tensor both = model->forward(torch::cat({tokens, as_tensor(other)}));
      CHECK(deviation(both.slice(0, 1), plain.logits(other)) < 1e-12);
    }
  }
}

TEST_CASE("language model: what a checkpoint lacks or has too much is named") {
  const Workplace work;
  const auto message = [&](const Plain& plain) -> std::string {
    plain.write(work.path);
    try {
      st::read_language_model(work.path);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "";
  };
  Plain plain(true);
  CHECK(message(plain).empty());
  plain.shapes.erase("model.norm.weight");
  CHECK(message(plain) == "seqbayes: the checkpoint has no model.norm.weight");
  plain.add("model.norm.weight", {5});
  plain.numbers["model.norm.weight"].resize(5);
  CHECK(message(plain) == "seqbayes: the checkpoint's model.norm.weight is [5], expected [6]");
  plain.shapes["model.norm.weight"] = {6};
  plain.numbers["model.norm.weight"].resize(6);
  plain.add("model.layers.0.attn.D", {4});
  CHECK(message(plain) ==
        "seqbayes: the model has no model.layers.0.attn.D, which the checkpoint has");
  plain.config["model_type"] = "mamba2";
  CHECK(message(plain).find("expected model_type gated_deltanet") != std::string::npos);
}

TEST_CASE("filters: at the reset a pretrained Gated DeltaNet keeps its outputs") {
  Plain plain(true);
  const Workplace work;
  plain.write(work.path);
  const MatrixXd expected = plain.logits(text);
  for (const auto rule : {st::Rule::diagonal_kalman, st::Rule::bayesian}) {
    auto model = st::read_language_model(work.path, at::kDouble, rule);
    CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
    auto single = st::read_language_model(work.path, at::kFloat, rule);
    CHECK(deviation(single->forward(as_tensor(text)), expected) < 1e-4);
  }
  plain.config["allow_neg_eigval"] = true;
  plain.write(work.path);
  CHECK_THROWS_AS(st::read_language_model(work.path, at::kDouble, st::Rule::bayesian),
                  std::invalid_argument);
}

TEST_CASE("filters: derivatives with respect to what is forgotten") {
  const Tensor h = torch::randn({2, 9, 8}, at::kDouble);
  for (const auto rule : {st::Rule::diagonal_kalman, st::Rule::bayesian}) {
    for (const auto forgetting : {st::Forgetting::dial, st::Forgetting::tied}) {
      for (const bool memory_decay : {true, false}) {
        torch::manual_seed(3);
        st::Mixer mixer(st::MixerOptions{.rule = rule,
                                         .hidden_size = 8,
                                         .num_heads = 2,
                                         .head_dim = 4,
                                         .memory_decay = memory_decay,
                                         .forgetting = forgetting,
                                         .forgetting_start = -2});
        mixer->to(at::kDouble);
        {
          const torch::NoGradGuard no_grad;
          mixer->f_proj->weight.uniform_(-0.5, 0.5);
        }
        const auto loss = [&] {
          st::MixerState state;
          return mixer(h, state).square().mean();
        };
        const auto leaves = mixer->forgetting_parameters();
        REQUIRE(leaves.size() == 2);
        const auto gradients = torch::autograd::grad({loss()}, leaves);
        const torch::NoGradGuard no_grad;
        for (std::size_t i = 0; i < leaves.size(); ++i) {
          INFO("parameter " << i << ", form " << int(forgetting) << ", decay " << memory_decay);
          double* entry = leaves[i].data_ptr<double>() + 1;
          const double at = *entry, h_step = 1e-5;
          const auto loss_at = [&](double step) {
            *entry = at + step;
            return loss().item<double>();
          };
          const double difference = (loss_at(h_step) - loss_at(-h_step)) / (2 * h_step);
          *entry = at;
          // Rounding of a loss of order 0.1, 1e-17 / h, and truncation.
          CHECK(gradients[i].flatten()[1].item<double>() ==
                Approx(difference).epsilon(1e-5).margin(1e-10));
          CHECK(std::abs(difference) > 1e-7);
        }
      }
    }
  }
}

TEST_CASE("filters: where nothing is written the covariance stays at its prior") {
  const torch::NoGradGuard no_grad;
  for (const auto forgetting : {st::Forgetting::dial, st::Forgetting::tied}) {
    st::Mixer mixer(st::MixerOptions{.rule = st::Rule::bayesian,
                                     .hidden_size = 8,
                                     .head_dim = 4,
                                     .forgetting = forgetting,
                                     .forgetting_start = -3});
    mixer->b_proj->weight.zero_();
    st::MixerState state;
    st::Inputs x = mixer->inputs(torch::randn({1, 30, 8}), state);
    x.key = torch::zeros_like(x.key);
    st::State memory;
    mixer->mix(x, memory);
    // Thirty roundings of numbers of order 1.
    CHECK((memory.covariance[0][0] - torch::eye(4)).abs().max().item<double>() < 1e-5);
    CHECK(x.log_decay.equal(x.covariance_log_decay) == (forgetting == st::Forgetting::tied));
  }
}

TEST_CASE("language model: training lowers the loss of every rule") {
  const Tensor tokens = as_tensor(text);
  for (const auto rule :
       {st::Rule::linear_attention, st::Rule::ssd, st::Rule::delta_net, st::Rule::gated_delta_net,
        st::Rule::diagonal_kalman, st::Rule::bayesian}) {
    torch::manual_seed(2);
    st::LanguageModelOptions options;
    options.mixer = {.rule = rule, .hidden_size = 8, .num_heads = 2, .head_dim = 4};
    options.vocab_size = 11;
    options.intermediate_size = 8;
    st::LanguageModel model(options);
    const auto loss = [&] {
      const Tensor log_p = torch::log_softmax(model->forward(tokens.slice(1, 0, -1)), -1);
      return -log_p.gather(2, tokens.slice(1, 1).unsqueeze(2)).mean();
    };
    const double before = loss().item<double>();
    for (int step = 0; step < 20; ++step) {
      model->zero_grad();
      loss().backward();
      const torch::NoGradGuard no_grad;
      for (auto& parameter : model->parameters()) {
        REQUIRE(parameter.grad().isfinite().all().item<bool>());
        parameter -= 0.3 * parameter.grad();
      }
    }
    CHECK(loss().item<double>() < 0.8 * before);
  }
}

#ifdef RUN_CHECKPOINT
TEST_CASE("run_checkpoint: succeeds where the recorded logits are met, and only there") {
  const Plain plain(true);
  const Workplace work;
  plain.write(work.path);
  seqbayes::Matrix<double> logits = plain.logits(text);
  const std::vector<double> tokens(text.begin(), text.end());
  const auto run = [&] {
    const std::int64_t length = std::int64_t(text.size());
    const std::vector<double> numbers(logits.data(), logits.data() + logits.size());
    seqbayes::safetensors::write(work.path / "stream",
                                 {seqbayes::safetensors::view("tokens", {length}, tokens),
                                  seqbayes::safetensors::view("logits", {length, 11}, numbers)});
    const std::string where = "'" + work.path.string() + "'";
    return std::system(
        ("\"" RUN_CHECKPOINT "\" " + where + " " + where + "/stream >" + where + "/out 2>&1")
            .c_str());
  };
  CHECK(run() == 0);
  logits(3, 4) += 0.01;
  CHECK(run() != 0);
}
#endif

}  // namespace
