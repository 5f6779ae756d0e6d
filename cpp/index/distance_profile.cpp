#include "index/distance_profile.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace semblance {
namespace {

// Of ef, before a walk may stop: it may be in a group of rows from which others look equally far.
constexpr std::pair<std::size_t, std::size_t> kLeastVisits = {2, 3};
// Of ef, in all: the longest walk in a hundred would make three to four times ef visits, for one result in a thousand.
constexpr std::size_t kMostVisits = 2;

using Curve = std::array<float, DistanceProfile::kRanks>;

// Between powers of two, and beyond the last one, distances grow with the logarithm of the rank as they do around it.
float at_rank(const Curve& curve, std::size_t rank) {
  const std::size_t below = std::min<std::size_t>(std::bit_width(rank) - 1, curve.size() - 2);
  const auto part = static_cast<float>(std::log2(static_cast<double>(rank)) - static_cast<double>(below));
  return curve[below] + part * (curve[below + 1] - curve[below]);
}

template <class Pick>
Curve medians(std::vector<DistanceProfile::Sample>& samples, const Pick& pick) {
  Curve out{};
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::nth_element(samples.begin(), middle, samples.end(),
                     [&](const auto& a, const auto& b) { return pick(a)[i] < pick(b)[i]; });
    out[i] = pick(*middle)[i];
  }
  return out;
}

}  // namespace

DistanceProfile::DistanceProfile(std::vector<Sample> samples, std::size_t rows) : rows_(samples.empty() ? 0 : rows) {
  if (rows_ == 0) return;
  medians_.found = medians(samples, [](const Sample& s) -> const Curve& { return s.found; });
  medians_.estimated = medians(samples, [](const Sample& s) -> const Curve& { return s.estimated; });
}

// Rows that are copies of each other have no distances to compare: their walks do not stop early. Estimates of far rows
// are on the low side, the closest of many more so: stretch may be below 1.
StopRule DistanceProfile::rule(std::size_t ef, std::size_t k, float origin) const {
  if (rows_ == 0) return {};
  const float found = at_rank(medians_.found, k), last = at_rank(medians_.estimated, std::max(ef, k));
  if (!(found > 0.0F && last > 0.0F)) return {};
  // No sooner than it can have found k.
  const std::size_t least = std::max(k, ef * kLeastVisits.first / kLeastVisits.second);
  return {least, last / found, origin, std::max(ef, k) * kMostVisits};
}

float DistanceProfile::growth(std::size_t near, std::size_t far) const {
  const float from = rows_ == 0 ? 0.0F : at_rank(medians_.estimated, near);
  return from > 0.0F ? std::max(1.0F, at_rank(medians_.estimated, far) / from) : 1.0F;
}

std::array<double, DistanceProfile::kNumbers> DistanceProfile::numbers() const {
  std::array<double, kNumbers> out{static_cast<double>(rows_)};
  std::copy(medians_.found.begin(), medians_.found.end(), out.begin() + 1);
  std::copy(medians_.estimated.begin(), medians_.estimated.end(), out.begin() + 1 + kRanks);
  return out;
}

DistanceProfile DistanceProfile::from(const double* numbers) {
  constexpr double kMost = 4294967296.0;
  DistanceProfile out;
  if (!(numbers[0] >= 0.0 && numbers[0] <= kMost))
    throw FormatError(expected("graph.profile", "a number of rows", std::to_string(numbers[0])));
  out.rows_ = static_cast<std::size_t>(numbers[0]);
  for (std::size_t i = 0; i < 2 * kRanks; ++i) {
    const auto value = static_cast<float>(numbers[1 + i]);
    if (!std::isfinite(value) || (i % kRanks > 0 && value < static_cast<float>(numbers[i])))
      throw FormatError(expected("graph.profile", "finite distances that grow", std::to_string(numbers[1 + i])));
    (i < kRanks ? out.medians_.found : out.medians_.estimated)[i % kRanks] = value;
  }
  return out;
}

}  // namespace semblance
