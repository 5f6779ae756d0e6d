// How far away the neighbours of a typical query are, by rank: what tells a walk when it has seen enough.
//
// A pool of `ef` entries stops every walk after about as many visits, though some queries have their nearest rows far
// ahead of the others and some have hundreds at about one distance. A walk that stops where the next candidate is
// `stretch` times as far as the k-th best so far looks at few nodes for the first and at many for the second:
// Al-Jazzazi et al., "Distance Adaptive Beam Search for Provably Accurate Graph-Based Nearest Neighbor Search" (NeurIPS
// 2025). The stretch that costs a typical query as much as `ef` does is read off this profile.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <vector>

namespace semblance {

// What a walk may skip once it has made `after` visits, and when it ends in any case. Scores plus `origin`
// are distances; an infinite stretch skips nothing.
struct StopRule {
  std::size_t after = std::numeric_limits<std::size_t>::max();
  float stretch = std::numeric_limits<float>::infinity();  // of the k-th best distance
  float origin = 0.0F;
  std::size_t most = std::numeric_limits<std::size_t>::max();  // visits

  bool ends() const { return after < std::numeric_limits<std::size_t>::max(); }
  // The estimate beyond which nothing is worth a visit, where the k-th best score is `worst`.
  float limit(float worst) const {
    if (!(worst < std::numeric_limits<float>::infinity())) return worst;
    return stretch * (worst + origin) - origin;
  }
};

class DistanceProfile {
 public:
  static constexpr std::size_t kRanks = 10;  // 1, 2, 4, ... 512
  static constexpr std::size_t kDeepest = std::size_t{1} << (kRanks - 1);

  // Ascending distances around one sampled query, at least kDeepest of each kind.
  struct Sample {
    std::array<float, kRanks> found, estimated;
  };

  DistanceProfile() = default;  // knows nothing
  explicit DistanceProfile(std::vector<Sample> samples, std::size_t rows);

  // Rows there were when it was made; 0 = none, and nothing is ever skipped.
  std::size_t rows() const { return rows_; }
  // What costs a typical query as much as a pool of ef.
  StopRule rule(std::size_t ef, std::size_t k, float origin) const;
  // How many times as far as the neighbour of rank `near` the one of rank `far` seems to a typical query; 1 where
  // nothing is known.
  float growth(std::size_t near, std::size_t far) const;

  // As a file keeps it: rows, then the medians of `found` and of `estimated`.
  static constexpr std::size_t kNumbers = 1 + 2 * kRanks;
  std::array<double, kNumbers> numbers() const;
  static DistanceProfile from(const double* numbers);  // FormatError where they cannot be distances by rank

 private:
  std::size_t rows_ = 0;
  Sample medians_{};
};

}  // namespace semblance
