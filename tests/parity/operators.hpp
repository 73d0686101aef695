// Which layer each operator of the golden files is, and how its tensors become the layer's fields.
#pragma once

#include "runner.hpp"

namespace parity {

/// What `scale` and the common field names of Case::sequence don't settle.
template <class Scalar>
struct Operators {
  using Golden = Case<Scalar>;
  static constexpr int any = Eigen::Dynamic;

  template <class Layer>
  static void plain(Golden& golden) {
    run<Layer>(golden);
  }

  static void retention(Golden& golden) {
    run<seqbayes::Retention<Scalar>>(golden, [](Index h, auto& options, auto&) {
      options.log_decay = seqbayes::retention_log_decay<Scalar>(int(h));
    });
  }

  /// Mamba-2 in its own names; its state is the transpose of S.
  static void ssd(Golden& golden) {
    using std::exp;
    using std::log1p;
    auto& dt = golden.inputs.at("dt_raw").values;
    for (Index h = 0; h < golden.heads(); ++h) {
      const Scalar bias = golden.inputs.head("dt_bias", h).row(0)[0];
      for (auto i = std::size_t(h); i < dt.size(); i += std::size_t(golden.heads())) {
        dt[i] = log1p(exp(dt[i] + bias));  // softplus
      }
    }
    const auto states = [](auto& state, auto visitor) {
      visitor.kept("initial_state", "final_state", state.mean.transpose());
    };
    for_each_run(golden, [&](Index h) {
      const auto tokens = [&](const char* name) { return golden.inputs.tokens(name, h); };
      const auto number = [&](const char* name) { return golden.inputs.head(name, h).row(0)[0]; };
      const seqbayes::Mamba2Inputs<Scalar> in{tokens("x"), tokens("dt_raw"), number("A"),
                                              tokens("B"), tokens("C"),      number("D")};
      const seqbayes::Ssd<Scalar> layer(
          {.key_dim = golden.key_dim(), .value_dim = golden.value_dim()});
      run_scans(golden, h, layer, states, [&](auto& state, Execution how) {
        return seqbayes::ssd_scan(layer, state, in, how);
      });
    });
  }

  static void gdn2(Golden& golden) {
    run<seqbayes::GatedDeltaNet2<Scalar>>(golden, [&](Index h, auto&, auto& x) {
      x.erase_gate = golden.inputs.tokens("b", h);
      x.value_gate = golden.inputs.tokens("w", h);
    });
  }

  static void comba(Golden& golden) {
    run<seqbayes::Comba<Scalar>>(
        golden, [&](Index h, auto&, auto& x) { x.erase_key = golden.inputs.tokens("p", h); });
  }

  static void dplr(Golden& golden) {
    run<seqbayes::Dplr<Scalar>>(golden, [&](Index h, auto&, auto& x) {
      x.erase_key = golden.inputs.tokens("a", h);
      x.erase_write = golden.inputs.tokens("b", h);
    });
  }

  static void rwkv7(Golden& golden) {
    run<seqbayes::Rwkv7<Scalar>>(golden, [&](Index h, auto&, auto& x) {
      x.erase_key = golden.inputs.tokens("kk", h);
      x.erase_gate = golden.inputs.tokens("a_gate", h);
    });
  }

  /// [T n, H, d] in token-major order has the n writes of a head H rows apart. The layer wants them
  /// side by side: [T, H, n d].
  static void put_writes_side_by_side(Array<Scalar>& array, Index n) {
    if (array.extent(0) % n != 0) throw Error("a token has not num_householder writes");
    const Index tokens = array.extent(0) / n;
    const Index heads = array.extent(1);
    const Index width = array.below(2);
    const std::vector<Scalar> old = array.values;
    auto to = array.values.begin();
    for (Index t = 0; t < tokens; ++t) {
      for (Index h = 0; h < heads; ++h) {
        for (Index j = 0; j < n; ++j) {
          const auto from = old.begin() + ((t * n + j) * heads + h) * width;
          to = std::copy(from, from + width, to);
        }
      }
    }
    array.shape = {tokens, heads, n * width};
  }

  static void gated_delta_product(Golden& golden) {
    const auto n = golden.count("num_householder");
    for (const char* name : {"k", "v", "beta"}) put_writes_side_by_side(golden.inputs.at(name), n);
    switch (n) {
      case 1: return run<seqbayes::GatedDeltaProduct<Scalar, 1>>(golden);
      case 2: return run<seqbayes::GatedDeltaProduct<Scalar, 2>>(golden);
      case 3: return run<seqbayes::GatedDeltaProduct<Scalar, 3>>(golden);
      default: throw Error("this program has no layer of " + std::to_string(n) + " writes a token");
    }
  }

  static void normalise_rows(Array<Scalar>& array) {
    using Rows = Eigen::Map<Matrix<Scalar>>;
    Rows rows(array.values.data(), array.extent(0) * array.extent(1), array.below(2));
    for (auto row : rows.rowwise()) row /= std::max(row.norm(), Scalar(1e-12));
  }

  static void preconditioned(Golden& golden) {
    normalise_rows(golden.inputs.at("q"));
    normalise_rows(golden.inputs.at("k"));
    const auto setup = [&](Index h, auto& options, auto& x) {
      options.epsilon = Scalar(golden.number("eps"));
      options.base = Scalar(golden.number("x"));
      options.log_scale = golden.inputs.has("log_atk_scale")
                              ? golden.inputs.head("log_atk_scale", h).row(0)[0]
                              : Scalar(golden.number("log_atk_scale"));
      x.precondition_log_decay = golden.inputs.tokens("g_atk", h);
      x.precondition_strength = golden.inputs.tokens("beta_atk", h);
    };
    run<seqbayes::PreconditionedGatedDeltaNet<Scalar>>(golden, setup, [](auto& s, auto visitor) {
      visitor.kept("initial_state", "final_state", s.mean);
      visitor.kept("initial_A_state", "final_A_state", s.covariance);
    });
  }

  static void mesa_net(Golden& golden) {
    const auto setup = [&](Index h, auto& options, auto&) {
      options.ridge = as_matrix(golden.inputs.head("lamb", h));
    };
    run<seqbayes::MesaNet<Scalar>>(golden, setup, [](auto& state, auto visitor) {
      visitor.kept("initial_state", "final_state", state.value_moment);
      visitor.kept("initial_state_kk", "final_state_kk", state.key_moment);
    });
  }

  static void kla(Golden& golden) {
    const auto setup = [&](Index h, auto& options, auto& x) {
      options.decay = as_matrix(golden.inputs.head("a", h));
      options.process_noise = as_matrix(golden.inputs.head("p", h));
      options.decode_from_prior = golden.text("decode_from_prior") == "true";
      x.value_precision = golden.inputs.tokens("lambda_v", h);
    };
    run<seqbayes::KalmanLinearAttention<Scalar>>(golden, setup, [](auto& state, auto visitor) {
      visitor.kept("initial_lam", "final_lam", state.precision);
      visitor.kept("initial_eta", "final_eta", state.information);
    });
  }

  static void kdn_diag(Golden& golden) {
    const auto setup = [&](Index, auto& options, auto&) {
      options.info_scale = Scalar(golden.number("info_scale"));
    };
    run<seqbayes::DiagonalKalmanDeltaNet<Scalar>>(golden, setup, [](auto& state, auto visitor) {
      visitor.kept("initial_state", "final_state", state.mean);
      visitor.kept("p0", "", state.covariance);
      visitor.after_token("p_post", state.covariance.transpose());
    });
  }

  /// The file has precisions where the layer has variances.
  static void kdn_iso(Golden& golden) {
    const auto setup = [&](Index h, auto& options, auto&) {
      options.info_scale = Scalar(golden.number("info_scale"));
      options.prior_variance = 1 / golden.inputs.head("c0", h).row(0)[0];
    };
    run<seqbayes::IsotropicKalmanDeltaNet<Scalar>>(golden, setup, [](auto& state, auto visitor) {
      visitor.kept("initial_state", "final_state", state.mean);
      visitor.after_token("c", Matrix<Scalar>::Constant(1, 1, 1 / state.covariance));
    });
  }

  static void kf_dense(Golden& golden) {
    using Layer = seqbayes::BayesianLayer<Scalar, any, any, seqbayes::ChannelDecay>;
    run<Layer>(golden, nothing_more, [](auto& state, auto visitor) {
      visitor.kept("initial_state", "final_state", state.mean);
      visitor.kept("P0", "final_P", state.covariance);
    });
  }

  static constexpr struct {
    const char* name;
    void (*run)(Golden&);
  } table[] = {{"linear_attn", plain<seqbayes::LinearAttention<Scalar>>},
               {"simple_gla", plain<seqbayes::Ssd<Scalar>>},
               {"ssd", ssd},
               {"retention", retention},
               {"gla", plain<seqbayes::GatedLinearAttention<Scalar>>},
               {"mesa_net", mesa_net},
               {"delta_rule", plain<seqbayes::DeltaNet<Scalar>>},
               {"gated_delta_rule", plain<seqbayes::GatedDeltaNet<Scalar>>},
               {"kda", plain<seqbayes::KimiDeltaAttention<Scalar>>},
               {"gdn2", gdn2},
               {"comba", comba},
               {"gated_delta_product", gated_delta_product},
               {"precond_gated_delta_rule", preconditioned},
               {"dplr", dplr},
               {"rwkv7", rwkv7},
               {"kla", kla},
               {"kdn_diag", kdn_diag},
               {"kdn_iso", kdn_iso},
               {"kf_dense", kf_dense}};
};

}  // namespace parity
