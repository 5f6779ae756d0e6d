// The nodes in line of a walk, in no order: the closest of some hundreds is found in less time than it takes to keep
// them sorted, for which branches would have to be foretold.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/active_kernels.hpp"
#include "core/aligned.hpp"
#include "index/candidates.hpp"

namespace semblance {

class CandidateLine {
 public:
  // The closest `enough` of what is offered will do: others may be forgotten.
  void reset(std::size_t enough) {
    std::fill_n(distances_.begin(), size_, kNothing);
    size_ = 0;
    enough_ = enough;
    full_ = kLeast;
    worst_ = kNothing;
  }
  std::size_t size() const { return size_; }
  Neighbour operator[](std::size_t i) const { return {distances_[i], ids_[i]}; }

  void add(Neighbour n) {
    make_room();
    distances_[size_] = n.distance;
    ids_[size_++] = n.id;
  }
  // Those of kLinkLanes neighbours that are closer than `worst` and not seen.
  void add(const float* estimates, const std::uint32_t* ids, const kernels::Seen& seen, float worst) {
    if (size_ >= full_) forget(worst);
    make_room();
    size_ += kernels_->line_up(estimates, ids, seen, std::min(worst, worst_), &distances_[size_], &ids_[size_]);
  }
  // Those that may be among the closest; neither infinity nor NaN is.
  void add(const float* distances, const std::uint32_t* ids, std::size_t count) {
    if (size_ >= full_) forget(worst_);
    make_room(count);
    for (std::size_t i = 0; i < count; ++i) {  // no branch: which ones are close enough cannot be foretold
      distances_[size_] = distances[i];
      ids_[size_] = ids[i];
      size_ += distances[i] < worst_;
    }
    distances_[size_] = kNothing;
  }
  // Takes out the closest.
  bool pop(Neighbour& out) {
    if (size_ == 0) return false;
    const std::size_t at = kernels_->find_closest(distances_.data(), size_);
    out = (*this)[at];
    --size_;
    distances_[at] = distances_[size_];
    ids_[at] = ids_[size_];
    distances_[size_] = kNothing;
    return true;
  }
  // The node that pop would return, for prefetching; false where there is none.
  bool peek(std::uint32_t& id) const {
    if (size_ == 0) return false;
    return id = ids_[kernels_->find_closest(distances_.data(), size_)], true;
  }

 private:
  static constexpr std::size_t kBlock = kernels::kLinkLanes, kLeast = 4 * kBlock;
  static constexpr float kNothing = std::numeric_limits<float>::infinity();

  void make_room(std::size_t count = kBlock) {
    const std::size_t needed = size_ + count + kBlock;
    if (needed <= distances_.size()) return;
    ids_.resize(2 * needed / kBlock * kBlock);
    distances_.resize(ids_.size(), kNothing);
  }
  // Done when the line has doubled, it costs little for each that was added.
  void forget(float worst) {
    size_ = kernels_->keep_closer(distances_.data(), ids_.data(), size_, worst);
    if (size_ > 2 * enough_) {
      worst_ = bound_of_enough();
      size_ = kernels_->keep_closer(distances_.data(), ids_.data(), size_, worst_);
    }
    full_ = std::max(kLeast, 2 * size_);
  }

  // What some more than `enough_` lie below, found by counting: putting so many in order takes as long as several
  // visits.
  float bound_of_enough() const {
    constexpr std::size_t kParts = 256;
    const auto [least, most] =
        std::minmax_element(distances_.begin(), distances_.begin() + static_cast<std::ptrdiff_t>(size_));
    const float width = (*most - *least) / kParts;
    if (!(width > 0.0F) || !std::isfinite(width)) return kNothing;  // all that are equally far stay
    std::array<std::uint32_t, kParts + 1> counts{};
    for (std::size_t i = 0; i < size_; ++i) ++counts[static_cast<std::size_t>((distances_[i] - *least) / width)];
    std::size_t part = 0;
    for (std::size_t below = counts[0]; below <= enough_; below += counts[part]) ++part;
    return *least + width * static_cast<float>(part + 2);
  }

  const kernels::LinkKernels* kernels_ = &require_table().links;
  AlignedVector<float> distances_ = AlignedVector<float>(2 * kLeast, kNothing);
  AlignedVector<std::uint32_t> ids_ = AlignedVector<std::uint32_t>(2 * kLeast);
  std::size_t size_ = 0, enough_ = 0, full_ = kLeast;
  float worst_ = kNothing;
};

}  // namespace semblance
