// Values outside each domain.
#pragma once

#include <laws/stream.hpp>

namespace laws {

inline std::vector<float> outside(seqbayes::Domain domain) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  switch (domain) {
    case seqbayes::Domain::finite: return {nan, inf, -inf};
    case seqbayes::Domain::non_negative: return {nan, inf, -inf, -1.0f, -1e-30f};
    case seqbayes::Domain::positive: return {nan, inf, -inf, -1.0f, 0.0f, -0.0f};
    case seqbayes::Domain::log_decay: return {nan, inf, 1e-30f, 1.0f};
    case seqbayes::Domain::log_factor: return {nan, inf};
  }
  return {};
}

}  // namespace laws
