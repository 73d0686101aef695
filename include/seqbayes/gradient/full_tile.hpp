/// @file
/// The full-covariance gain pass backwards over a tile of tokens, in groups of G = `sweep_tokens`
/// (covariance/full_tile.hpp has the notation). With z = \hat P k, m = dP z and c = z / sqrt(s),
/// two passes of the same sweep:
///
/// - backward on X = dP after the group: m_t needs X A_Gt z_t and the group's later updates a q q'
///   and (dz k' + k dz') / 2; it gives ds, dz, and with them the update of token t;
/// - forward on P: \hat P_t dz_t and P_t q_t need P_0 A_t dz_t, P_0 A_t q_t and the group's earlier
///   updates -c c'.
///
/// The decay's derivative needs no further product of matrices. With h = 2 rowsum(P * dP),
///
///     dg_t = h_t + 2 z * m / s + dz * z + k * (\hat P dz) - 2 omega * domega
///
/// and h_{t-1} = dg_t plus what the variance of token t-1 adds, q * dq.
#pragma once

#include <cmath>

#include <seqbayes/covariance/full_tile.hpp>
#include <seqbayes/gradient/gain.hpp>

namespace seqbayes::detail {

/// Scratch, and what the passes hand to each other: Dk entries a token.
template <class Scalar>
struct FullVjpTile {
  Buffer<Scalar> decays;                       ///< One factor or Dk a token.
  Buffer<Scalar> z, dz, dkey, dquery, dnoise;  ///< Dk a token.
  Buffer<Scalar> along;                        ///< 2 z * m / s + dz * z, then k * (\hat P dz) too.
  Buffer<Scalar> ds;                           ///< One a token.
  Buffer<Scalar> blocks, probes, scales, rows, lanes, reads;
};

/// What comes into the gain pass, for the tokens of a tile.
template <class Scalar>
struct FullVjpInputs {
  const Sequence<Scalar>& x;
  Index first, count;
  const Scalar* gain;                  ///< kappa, Dk a token.
  const Scalar* innovation_variance;   ///< s.
  const Scalar* dgain;                 ///< Dk a token.
  const Scalar* dinnovation_variance;  ///< The evidence's part.
  const Scalar* dvariance;             ///< Null: none.
};

template <class Scalar, int Dk, bool variances, bool uniform>
class FullGainsVjp {
  static constexpr int G = sweep_tokens;
  static constexpr int N = sweep_lanes<Scalar>;
  static constexpr int U = variances ? 3 * G : 2 * G;  ///< Updates of the backward pass.
  static constexpr int R = variances ? 2 * G : G;      ///< Reads of the forward pass.
  using Row = Eigen::Map<Eigen::Array<Scalar, Dk, 1>>;
  using ConstRow = Eigen::Map<const Eigen::Array<Scalar, Dk, 1>>;
  using Keys = Eigen::Array<Scalar, Dk, 1>;

 public:
  FullGainsVjp(FullVjpTile<Scalar>& tile, const FullVjpInputs<Scalar>& in, Index key_dim)
      : tile_(tile), in_(in), dk_(key_dim), padded_((key_dim + N - 1) / N * N) {
    const Index tokens = whole_groups(in.count);
    for (Buffer<Scalar>* rows :
         {&tile.decays, &tile.z, &tile.dz, &tile.dkey, &tile.dquery, &tile.dnoise, &tile.along}) {
      rows->reserve(tokens * dk_);
    }
    tile.ds.reserve(tokens);
    tile.blocks.reserve(dk_ * padded_);
    tile.probes.reserve(R * dk_);
    for (Buffer<Scalar>* rows : {&tile.scales, &tile.rows, &tile.lanes, &tile.reads}) {
      std::fill_n(rows->reserve(U * padded_), U * padded_, Scalar(0));
    }
  }

  /// `dcovariance` holds dP after the tile and gets dP before it; `before` and `after` are P.
  template <class Stored, class DecayOf>
  void run(const Stored& before, const Stored& after, Stored& dcovariance, const DecayOf& decay_of,
           Fields<Matrix<Scalar>>& gradient) {
    Keys along = Keys::Zero(dk_);
    along = Scalar(2) * after.cwiseProduct(dcovariance).rowwise().sum().array();
    load(decay_of);
    backward(dcovariance);
    forward(before);
    collect(along, gradient);
  }

 private:
  [[nodiscard]] Index groups() const { return whole_groups(in_.count) / G; }
  Row row(Buffer<Scalar>& buffer, Index t) { return Row(buffer.data() + t * dk_, dk_); }
  Row padded_row(Buffer<Scalar>& buffer, int u) { return Row(buffer.data() + u * padded_, dk_); }
  ConstRow key(Index t) const { return ConstRow(in_.x.key.row(in_.first + t).data(), dk_); }
  ConstRow query(Index t) const { return ConstRow(in_.x.query.row(in_.first + t).data(), dk_); }
  [[nodiscard]] bool real(Index t) const { return t < in_.count; }

  /// The decay of token t: one number or Dk.
  auto decay(Index t) const {
    if constexpr (uniform) {
      return tile_.decays.data()[t];
    } else {
      return ConstRow(tile_.decays.data() + t * dk_, dk_);
    }
  }

  template <class DecayOf>
  void load(const DecayOf& decay_of) {
    for (Index t = 0; t < G * groups(); ++t) {
      if constexpr (uniform) {
        tile_.decays.data()[t] = real(t) ? decay_of.uniform(in_.first + t) : Scalar(1);
      } else if (real(t)) {
        decay_of(in_.first + t, tile_.decays.data() + t * dk_);
      } else {
        row(tile_.decays, t).setOnes();
      }
      if (real(t)) {
        row(tile_.z, t) = ConstRow(in_.gain + t * dk_, dk_) * in_.innovation_variance[t];
      } else {
        row(tile_.z, t).setZero();
        row(tile_.dz, t).setZero();
      }
    }
  }

  template <class Stored>
  void load_blocks(const Stored& matrix) {
    for (Index b = 0; b < padded_; b += N) {
      load_block<N>(tile_.blocks.data() + b * dk_, matrix.data(), dk_, dk_, b,
                    std::min<Index>(N, dk_ - b));
    }
    scale_ = Scalar(1);
  }

  /// Updates the blocks with rows x lanes and reads the probes. `product` is the group's decay.
  template <std::size_t Updates, std::size_t Reads, class Product>
  void sweep_all(const Product& product) {
    Scalar scale(1);
    if constexpr (uniform) {
      scale_ *= product * product;
      if (scale_ < least_lazy_decay<Scalar> || scale_ > 1 / least_lazy_decay<Scalar>) {
        std::swap(scale, scale_);
      }
      const Scalar inverse = Scalar(1) / scale_;
      for (std::size_t u = 0; u < Updates; ++u) padded_row(tile_.lanes, int(u)) *= inverse;
      if (scale == Scalar(1)) return sweep_blocks<Scaling::none, Updates, Reads>({});
      sweep_blocks<Scaling::rows, Updates, Reads>({&scale, 0});
    } else {
      Row(tile_.scales.data(), dk_) = product;
      sweep_blocks<Scaling::rows_and_columns, Updates, Reads>({tile_.scales.data(), 1});
    }
  }

  template <Scaling scaling, std::size_t Updates, std::size_t Reads>
  void sweep_blocks(Scales<Scalar> scales) {
    std::array<const Scalar*, Updates> w;
    for (std::size_t u = 0; u < Updates; ++u) w[u] = tile_.rows.data() + Index(u) * padded_;
    std::array<const Scalar*, Reads> e;
    for (std::size_t j = 0; j < Reads; ++j) e[j] = tile_.probes.data() + Index(j) * dk_;
    for (Index b = 0; b < padded_; b += N) {
      scales.columns = tile_.scales.data() + b;
      sweep<scaling, N>(tile_.blocks.data() + b * dk_, dk_, w, {tile_.lanes.data() + b, padded_}, e,
                        {tile_.reads.data() + b, padded_}, scales);
    }
  }

  /// Probes A_Gt z_t of group g, or zeros before the first group.
  void probe_backward(Index g) {
    if (g < 0) return;
    Keys product = Keys::Ones(dk_);
    for (int j = G; j-- > 0;) {
      row(tile_.probes, j) = product * row(tile_.z, g * G + j);
      product *= decay(g * G + j);
    }
  }

  template <class Stored>
  void backward(Stored& dcovariance) {
    load_blocks(dcovariance);
    Keys diagonal = dcovariance.diagonal().array();
    std::fill_n(tile_.lanes.data(), U * padded_, Scalar(0));
    probe_backward(groups() - 1);
    sweep_blocks<Scaling::none, std::size_t(U), std::size_t(G)>({});
    for (Index g = groups(); g-- > 0;) {
      Keys product = Keys::Ones(dk_);
      for (int j = G; j-- > 0;) solve_backward(g * G + j, j, product, diagonal);
      for (int j = 0; j < G; ++j) {
        padded_row(tile_.lanes, j) = padded_row(tile_.rows, G + j) * Scalar(0.5);
        padded_row(tile_.lanes, G + j) = padded_row(tile_.rows, j) * Scalar(0.5);
        if constexpr (variances) {
          const Scalar a = real(g * G + j) ? in_.dvariance[g * G + j] : Scalar(0);
          padded_row(tile_.lanes, 2 * G + j) = padded_row(tile_.rows, 2 * G + j) * a;
        }
      }
      probe_backward(g - 1);
      if constexpr (uniform) {
        sweep_all<std::size_t(U), std::size_t(G)>(product[0]);
      } else {
        sweep_all<std::size_t(U), std::size_t(G)>(product);
      }
    }
    for (Index b = 0; b < padded_; b += N) {
      Scalar* columns = tile_.blocks.data() + b * dk_;
      for (Index i = 0; i < dk_; ++i) lanes<Scalar, N>(columns + i * N) *= scale_;
      store_block<N>(columns, dcovariance.data(), dk_, dk_, b, std::min<Index>(N, dk_ - b));
    }
  }

  /// Token t, the group's j-th. Rows of the update, decayed to the time before the group's next
  /// token back: k_s, then dz_s, then q_s. `product` is A_Gt; `diagonal` that of dP.
  [[gnu::flatten]] void solve_backward(Index t, int j, Keys& product, Keys& diagonal) {
    Row k_row = padded_row(tile_.rows, j), dz_row = padded_row(tile_.rows, G + j);
    const auto a = decay(t);
    if (!real(t)) {
      k_row.setZero();
      dz_row.setZero();
      if constexpr (variances) padded_row(tile_.rows, 2 * G + j).setZero();
    } else {
      const Row z = row(tile_.z, t);
      const ConstRow k = key(t), dgain(in_.dgain + t * dk_, dk_);
      const Scalar s = in_.innovation_variance[t];
      Keys m = product * ConstRow(tile_.reads.data() + j * padded_, dk_) * scale_;
      for (int i = j + 1; i < G; ++i) {
        const Row ki = padded_row(tile_.rows, i), dzi = padded_row(tile_.rows, G + i);
        m += dzi * (Scalar(0.5) * (ki * z).sum()) + ki * (Scalar(0.5) * (dzi * z).sum());
      }
      if constexpr (variances) {
        padded_row(tile_.rows, 2 * G + j) = query(t);
        for (int i = j; i < G && real(t + i - j); ++i) {
          const Row qi = padded_row(tile_.rows, 2 * G + i);
          m += qi * (in_.dvariance[t + i - j] * (qi * z).sum());
        }
        diagonal += query(t).square() * in_.dvariance[t];
      }
      Scalar& ds = tile_.ds.data()[t];
      ds = in_.dinnovation_variance[t] + (z * (m - dgain)).sum() / (s * s);
      Row dz = row(tile_.dz, t);
      dz = (dgain - m * Scalar(2)) / s + k * ds;
      row(tile_.along, t) = z * (m * (Scalar(2) / s) + dz);
      k_row = k;
      dz_row = dz;
      diagonal += dz * k;
      row(tile_.dnoise, t) = diagonal;
      diagonal *= a * a;
    }
    for (int i = j; i < G; ++i) {
      padded_row(tile_.rows, i) *= a;
      padded_row(tile_.rows, G + i) *= a;
      if constexpr (variances) padded_row(tile_.rows, 2 * G + i) *= a;
    }
    product *= a;
  }

  void probe_forward(Index g) {
    if (g >= groups()) return;
    Keys product = Keys::Ones(dk_);
    for (int j = 0; j < G; ++j) {
      const Index t = g * G + j;
      product *= decay(t);
      row(tile_.probes, j) = product * row(tile_.dz, t);
      if constexpr (variances) {
        if (real(t)) {
          row(tile_.probes, G + j) = product * query(t);
        } else {
          row(tile_.probes, G + j).setZero();
        }
      }
    }
  }

  template <class Stored>
  void forward(const Stored& before) {
    load_blocks(before);
    Keys noise = Keys::Zero(dk_);
    std::fill_n(tile_.lanes.data(), U * padded_, Scalar(0));
    probe_forward(0);
    sweep_blocks<Scaling::none, std::size_t(G), std::size_t(R)>({});
    for (Index g = 0; g < groups(); ++g) {
      Keys product = Keys::Ones(dk_);
      for (int j = 0; j < G; ++j) solve_forward(g * G + j, j, product, noise);
      if (g + 1 == groups()) break;
      for (int j = 0; j < G; ++j) padded_row(tile_.lanes, j) = -padded_row(tile_.rows, j);
      probe_forward(g + 1);
      if constexpr (uniform) {
        sweep_all<std::size_t(G), std::size_t(R)>(product[0]);
      } else {
        sweep_all<std::size_t(G), std::size_t(R)>(product);
      }
    }
  }

  /// Token t, the group's j-th. Rows of the update: c_s, decayed to time t.
  [[gnu::flatten]] void solve_forward(Index t, int j, Keys& product, Keys& noise) {
    const auto a = decay(t);
    product *= a;
    for (int i = 0; i < j; ++i) padded_row(tile_.rows, i) *= a;
    Row c = padded_row(tile_.rows, j);
    if (!real(t)) {
      c.setZero();
      return;
    }
    noise *= a * a;
    add_field<Dk>(noise.matrix(), in_.x.process_noise.row(in_.first + t));
    const Row dz = row(tile_.dz, t), z = row(tile_.z, t);
    const ConstRow k = key(t);
    Keys y = product * ConstRow(tile_.reads.data() + j * padded_, dk_) * scale_ + noise * dz;
    for (int i = 0; i < j; ++i) {
      const Row ci = padded_row(tile_.rows, i);
      y -= ci * (ci * dz).sum();
    }
    row(tile_.dkey, t) = z * tile_.ds.data()[t] + y;
    row(tile_.along, t) += k * y;
    c = z * (Scalar(1) / std::sqrt(in_.innovation_variance[t]));
    if constexpr (variances) {
      const ConstRow q = query(t);
      Keys pq =
          product * ConstRow(tile_.reads.data() + (G + j) * padded_, dk_) * scale_ + noise * q;
      for (int i = 0; i <= j; ++i) {
        const Row ci = padded_row(tile_.rows, i);
        pq -= ci * (ci * q).sum();
      }
      row(tile_.dquery, t) = pq * (Scalar(2) * in_.dvariance[t]);
    }
  }

  void collect(Keys& along, Fields<Matrix<Scalar>>& gradient) {
    for (Index i = in_.count; i-- > 0;) {
      const Index t = in_.first + i;
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient, t);
      Vector<Scalar, Dk> noise = Vector<Scalar, Dk>::Zero(dk_);
      add_field<Dk>(noise, in_.x.process_noise.row(t));
      if constexpr (variances) {
        grad.query.add(row(tile_.dquery, i).matrix());
        along += row(tile_.dquery, i) * query(i);
      }
      grad.key.add(row(tile_.dkey, i).matrix());
      grad.observation_noise.add_one(tile_.ds.data()[i]);
      grad.process_noise.add(row(tile_.dnoise, i).matrix());
      along += row(tile_.along, i) - Scalar(2) * noise.array() * row(tile_.dnoise, i);
      if constexpr (uniform) {
        if (!(decay(i) > Scalar(0))) along.setZero();
      } else {
        along = (decay(i) > Scalar(0)).select(along, Scalar(0));
      }
      (in_.x.covariance_log_decay.empty() ? grad.log_decay : grad.covariance_log_decay)
          .add(along.matrix());
    }
  }

  FullVjpTile<Scalar>& tile_;
  const FullVjpInputs<Scalar>& in_;
  Index dk_;
  Index padded_;
  Scalar scale_{};  ///< The matrix is scale_ * blocks.
};

}  // namespace seqbayes::detail
