// Lines of candidates, for the instruction sets that cannot move wanted lanes together. No branches on data: which
// lanes are wanted cannot be foretold.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernel_table.hpp"

namespace semblance::kernels {
namespace {

inline std::size_t append_unseen(const float* estimates, const std::uint32_t* ids, const Seen& seen, float worst,
                                 float* distances, std::uint32_t* out_ids) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < kLinkLanes; ++i) {
    const std::uint32_t id = ids[i];
    const bool known = id < seen.limit;
    const bool fresh = known & (((seen.words[known ? id / 32 : 0] >> (id % 32)) & 1U) == 0);
    distances[count] = estimates[i];
    out_ids[count] = id;
    count += fresh & (estimates[i] < worst);
  }
  if (count < kLinkLanes) distances[count] = __builtin_inff();
  return count;
}

// The smallest of all, then the first block that it is in.
inline std::size_t find_smallest(const float* x, std::size_t count) {
  float least[kLinkLanes];
  for (std::size_t i = 0; i < kLinkLanes; ++i) least[i] = x[i];
  for (std::size_t first = kLinkLanes; first < count; first += kLinkLanes)
    for (std::size_t i = 0; i < kLinkLanes; ++i) least[i] = x[first + i] < least[i] ? x[first + i] : least[i];
  for (std::size_t half = kLinkLanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
  for (std::size_t first = 0;; first += kLinkLanes) {
    std::uint32_t here = 0;
    for (std::size_t i = 0; i < kLinkLanes; ++i) here |= std::uint32_t{x[first + i] == least[0]} << i;
    if (here != 0) return first + static_cast<std::size_t>(__builtin_ctz(here));
  }
}

inline std::size_t pack_closer(float* distances, std::uint32_t* ids, std::size_t count, float worst) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float distance = distances[i];
    distances[kept] = distance;
    ids[kept] = ids[i];
    kept += distance < worst;
  }
  return kept;
}

}  // namespace
}  // namespace semblance::kernels
