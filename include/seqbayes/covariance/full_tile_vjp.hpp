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
#include <cstddef>

#include <seqbayes/covariance/full_tile.hpp>

namespace seqbayes::detail {

/// Scratch, and what the passes hand to each other: Dk entries a token.
template <class Scalar>
struct FullVjpTile {
  FullBuffers<Scalar> blocks;                  ///< dP, then P.
  DiagonalBuffers<Scalar> diagonal;            ///< Of P.
  Buffer<Scalar> decays;                       ///< One factor or Dk a token.
  Buffer<Scalar> z, dz, dkey, dquery, dnoise;  ///< Dk a token.
  Buffer<Scalar> along;                        ///< 2 z * m / s + dz * z, then k * (\hat P dz) too.
  Buffer<Scalar> ds;                           ///< One a token.
};

template <class Scalar, int Dk, bool variances, bool uniform>
class FullGainsVjp {
  static constexpr int G = sweep_tokens;
  static constexpr int U = variances ? 3 * G : 2 * G;  ///< Updates of the backward pass.
  static constexpr int R = variances ? 2 * G : G;      ///< Reads of the forward pass.
  using Blocks = FullBlocks<Scalar, Dk, uniform>;
  using Keys = typename Blocks::Keys;
  using Row = typename Blocks::Row;
  using ConstRow = typename Blocks::ConstRow;
  using Factors = typename Blocks::Factors;

 public:
  FullGainsVjp(FullVjpTile<Scalar>& tile, const GainTokens<Scalar>& x,
               const GainsCotangent<Scalar>& d)
      : tile_(tile),
        x_(x),
        d_(d),
        dk_(x.key_dim),
        blocks_(tile.blocks, dk_, U, R),
        diagonal_(tile.diagonal, dk_) {
    const Index tokens = whole_groups(x.count);
    for (Buffer<Scalar>* rows :
         {&tile.decays, &tile.z, &tile.dz, &tile.dkey, &tile.dquery, &tile.dnoise, &tile.along}) {
      rows->reserve(tokens * dk_);
    }
    tile.ds.reserve(tokens);
  }

  /// `dcovariance` holds dP after the tile and gets dP before it; `before` and `after` are P.
  template <class Stored>
  void run(const Stored& before, const Stored& after, Stored& dcovariance,
           Fields<Matrix<Scalar>>& gradient) {
    Keys along = Keys::Zero(dk_);
    along = Scalar(2) * after.cwiseProduct(dcovariance).rowwise().sum().array();
    load();
    backward(dcovariance);
    forward(before);
    collect(along, gradient);
  }

 private:
  [[nodiscard]] Index groups() const { return whole_groups(x_.count) / G; }
  Row row(Buffer<Scalar>& buffer, Index t) { return Row(buffer.data() + t * dk_, dk_); }
  ConstRow key(Index t) const { return ConstRow(x_.x.key.row(x_.first + t).data(), dk_); }
  ConstRow query(Index t) const { return ConstRow(x_.x.query.row(x_.first + t).data(), dk_); }
  [[nodiscard]] bool real(Index t) const { return t < x_.count; }

  /// The decay of token t: one number or Dk.
  auto decay(Index t) const {
    if constexpr (uniform) {
      return tile_.decays.data()[t];
    } else {
      return ConstRow(tile_.decays.data() + t * dk_, dk_);
    }
  }

  void load() {
    for (Index t = 0; t < G * groups(); ++t) {
      if constexpr (uniform) {
        tile_.decays.data()[t] = real(t) ? x_.uniform_decay(t) : Scalar(1);
      } else if (real(t)) {
        x_.template decay<Dk>(t, tile_.decays.data() + t * dk_);
      } else {
        row(tile_.decays, t).setOnes();
      }
      if (real(t)) {
        row(tile_.z, t) = ConstRow(d_.gain + t * dk_, dk_) * d_.innovation_variance[t];
      } else {
        row(tile_.z, t).setZero();
        row(tile_.dz, t).setZero();
      }
    }
  }

  /// Takes up the decay of a group, and its updates, for the next. Returns whether the blocks were
  /// scaled.
  template <int Updates, int Reads>
  bool sweep(const Factors& product) {
    const bool scaled = blocks_.decay(product);
    if constexpr (uniform) {
      const Scalar inverse = Scalar(1) / blocks_.scale();
      for (int u = 0; u < Updates; ++u) scale_row(blocks_.lane(u), inverse);
    }
    blocks_.template sweep<std::size_t(Updates), std::size_t(Reads)>(scaled);
    return scaled;
  }

  /// Probes A_Gt z_t of group g.
  void probe_backward(Index g) {
    Factors product = blocks_.no_decay();
    for (int j = G; j-- > 0;) {
      set_scaled(blocks_.probe(j), row(tile_.z, g * G + j), product);
      scale_row(product, decay(g * G + j));
    }
  }

  template <class Stored>
  void backward(Stored& dcovariance) {
    blocks_.load(dcovariance.data());
    Keys diagonal = dcovariance.diagonal().array(), m(dk_);
    probe_backward(groups() - 1);
    blocks_.template sweep<std::size_t(U), std::size_t(G)>(false);
    for (Index g = groups(); g-- > 0;) {
      Factors product = blocks_.no_decay();
      for (int j = G; j-- > 0;) solve_backward(g * G + j, j, product, m, diagonal);
      for (int j = 0; j < G; ++j) {
        set_scaled(blocks_.lane(j), blocks_.row(G + j), Scalar(0.5));
        set_scaled(blocks_.lane(G + j), blocks_.row(j), Scalar(0.5));
        if constexpr (variances) {
          const Scalar a = real(g * G + j) ? d_.dvariance[g * G + j] : Scalar(0);
          set_scaled(blocks_.lane(2 * G + j), blocks_.row(2 * G + j), a);
        }
      }
      if (g > 0) probe_backward(g - 1);
      sweep<U, G>(product);
    }
    blocks_.store(dcovariance.data());
  }

  /// Token t, the group's j-th. Leaves the rows of its update, k_s, dz_s and q_s, decayed to the
  /// time before it, as those of later tokens are. `product` is A_Gt; `diagonal` that of dP; `m` is
  /// scratch.
  void solve_backward(Index t, int j, Factors& product, Keys& m, Keys& diagonal) {
    if (real(t)) {
      times_z(t, j, product, m);
      token_backward(t, j, m, diagonal);
    } else {
      for (int u = j; u < U; u += G) blocks_.row(u).setZero();
    }
    const auto a = decay(t);
    for (int i = j; i < G; ++i) {
      for (int u = i; u < U; u += G) scale_row(blocks_.row(u), a);
    }
    scale_row(diagonal, a);
    scale_row(diagonal, a);
    scale_row(product, a);
  }

  /// m_t = dP_t z_t: of the blocks, and of the updates of the group's tokens from t on.
  void times_z(Index t, int j, const Factors& product, Keys& m) {
    const Row z = row(tile_.z, t);
    Scalar weights[U]{};  // of the updates' rows
    for (int i = j + 1; i < G; ++i) {
      weights[i] = Scalar(0.5) * dot(blocks_.row(G + i), z);
      weights[G + i] = Scalar(0.5) * dot(blocks_.row(i), z);
    }
    if constexpr (variances) {
      blocks_.row(2 * G + j) = query(t);
      for (int i = j; i < G && real(t + i - j); ++i) {
        weights[2 * G + i] = d_.dvariance[t + i - j] * dot(blocks_.row(2 * G + i), z);
      }
    }
    const ConstRow read = blocks_.read(j);
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      auto sum = part<N>(read, at) * part<N>(product, at) * blocks_.scale();
      for (int i = j + 1; i < G; ++i) {
        sum += part<N>(blocks_.row(i), at) * weights[i];
        sum += part<N>(blocks_.row(G + i), at) * weights[G + i];
      }
      for (int u = 2 * G + j; u < U; ++u) sum += part<N>(blocks_.row(u), at) * weights[u];
      sum.store(m.data() + at);
    });
  }

  void token_backward(Index t, int j, const Keys& m, Keys& diagonal) {
    const Row z = row(tile_.z, t);
    const ConstRow k = key(t), dgain(d_.dgain + t * dk_, dk_);
    const Scalar s = d_.innovation_variance[t], inverse = Scalar(1) / s;
    Scalar along_z(0);
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      along_z += (part<N>(z, at) * (part<N>(m, at) - part<N>(dgain, at))).sum();
    });
    const Scalar ds = d_.dlog_innovation_variance[t] / s + along_z / s / s;
    tile_.ds.data()[t] = ds;
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      const auto ks = part<N>(k, at), ms = part<N>(m, at);
      const auto dz = (part<N>(dgain, at) - ms * Scalar(2)) * inverse + ks * ds;
      dz.store(tile_.dz.data() + t * dk_ + at);
      (part<N>(z, at) * (ms * (Scalar(2) * inverse) + dz)).store(tile_.along.data() + t * dk_ + at);
      ks.store(blocks_.row(j).data() + at);
      dz.store(blocks_.row(G + j).data() + at);
      auto sum = part<N>(diagonal, at) + dz * ks;
      if constexpr (variances) {
        const auto q = part<N>(query(t), at);
        sum += q * q * d_.dvariance[t];
      }
      sum.store(diagonal.data() + at);
      sum.store(tile_.dnoise.data() + t * dk_ + at);
    });
  }

  /// Probes A_t dz_t, then A_t q_t, of group g.
  void probe_forward(Index g) {
    Factors product = blocks_.no_decay();
    for (int j = 0; j < G; ++j) {
      const Index t = g * G + j;
      scale_row(product, decay(t));
      set_scaled(blocks_.probe(j), row(tile_.dz, t), product);
      if constexpr (variances) {
        if (real(t)) {
          set_scaled(blocks_.probe(G + j), query(t), product);
        } else {
          blocks_.probe(G + j).setZero();
        }
      }
    }
  }

  template <class Stored>
  void forward(const Stored& before) {
    blocks_.load(before.data());
    diagonal_.start(before);
    probe_forward(0);
    blocks_.template sweep<std::size_t(G), std::size_t(R)>(false);
    for (Index g = 0; g < groups(); ++g) {
      Factors product = blocks_.no_decay();
      for (int j = 0; j < G; ++j) solve_forward(g * G + j, j, product);
      if (g + 1 == groups()) break;
      for (int j = 0; j < G; ++j) {
        Row c = blocks_.row(j), lane = blocks_.lane(j);
        for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
          const auto cs = part<N>(c, at);
          diagonal_.write(cs, at);
          (-cs).store(lane.data() + at);
        });
      }
      probe_forward(g + 1);
      if (sweep<G, R>(product)) diagonal_.round();
      diagonal_.settle(blocks_, R);
    }
  }

  /// Token t, the group's j-th. Rows of the update: c_s, decayed to time t. `product` is A_t.
  void solve_forward(Index t, int j, Factors& product) {
    const auto a = decay(t);
    scale_row(product, a);
    for (int i = 0; i < j; ++i) scale_row(blocks_.row(i), a);
    Row c = blocks_.row(j);
    if (!real(t)) {
      c.setZero();
      return;
    }
    const RowView<Scalar> noise = x_.x.process_noise.row(x_.first + t);
    for_each_columns<Scalar>(
        dk_, [&]<int N>(Index at) { diagonal_.template predict<N>(part<N>(a, at), noise, at); });
    const Row dz = row(tile_.dz, t), z = row(tile_.z, t);
    const ConstRow k = key(t);
    times(j, j, dz, product, [&]<int N>(const Lanes<Scalar, N>& y, Index at) {
      (part<N>(z, at) * tile_.ds.data()[t] + y).store(tile_.dkey.data() + t * dk_ + at);
      Scalar* along = tile_.along.data() + t * dk_ + at;
      (Lanes<Scalar, N>::load(along) + part<N>(k, at) * y).store(along);
    });
    const Scalar s = d_.innovation_variance[t];
    set_scaled(c, z, Scalar(1) / std::sqrt(s));
    const Scalar r = x_.x.observation_noise.row(x_.first + t)[0];
    const Scalar uncorrelated = weighted_norm2(diagonal_.variances(), k);
    diagonal_.keep_back(c, {s, true, s - r < uncorrelated / 8 || s > 16 * r});
    if constexpr (variances) {
      times(G + j, j + 1, query(t), product, [&]<int N>(const Lanes<Scalar, N>& pq, Index at) {
        (pq * (Scalar(2) * d_.dvariance[t])).store(tile_.dquery.data() + t * dk_ + at);
      });
    }
  }

  /// Calls f(P_t x, at), N channels at a time, with the group's first `updates` updates; probe
  /// `read` is A_t x.
  template <class X, class F>
  void times(int read, int updates, const X& x, const Factors& product, const F& f) {
    Scalar known[G]{};  // c_i' x
    for (int i = 0; i < updates; ++i) known[i] = dot(blocks_.row(i), x);
    const ConstRow reads = blocks_.read(read);
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      auto sum = part<N>(reads, at) * part<N>(product, at) * blocks_.scale() +
                 part<N>(diagonal_.delta(), at) * part<N>(x, at);
      for (int i = 0; i < updates; ++i) sum -= part<N>(blocks_.row(i), at) * known[i];
      f(sum, at);
    });
  }

  void collect(Keys& along, Fields<Matrix<Scalar>>& gradient) {
    for (Index i = x_.count; i-- > 0;) {
      const Index t = x_.first + i;
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient, t);
      Vector<Scalar, Dk> noise = Vector<Scalar, Dk>::Zero(dk_);
      add_field<Dk>(noise, x_.x.process_noise.row(t));
      if constexpr (variances) {
        grad.query.add(row(tile_.dquery, i).matrix());
        along += row(tile_.dquery, i) * query(i);
      }
      grad.key.add(row(tile_.dkey, i).matrix());
      grad.observation_noise.add_one(tile_.ds.data()[i]);
      grad.process_noise.add(row(tile_.dnoise, i).matrix());
      along += row(tile_.along, i) - Scalar(2) * noise.array() * row(tile_.dnoise, i);
      forget(along, decay(i));
      Row(d_.dlog_decay + i * dk_, dk_) = along;
    }
  }

  FullVjpTile<Scalar>& tile_;
  const GainTokens<Scalar>& x_;
  const GainsCotangent<Scalar>& d_;
  Index dk_;
  Blocks blocks_;
  TileDiagonal<Scalar, Dk> diagonal_;
};

}  // namespace seqbayes::detail
