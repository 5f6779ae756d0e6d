// Where the rows of one round of a build meet: at the nodes that their walks found close to them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace semblance {

class Meetings {
 public:
  struct Visit {
    std::uint32_t place, row;
  };

  void clear() { visits_.clear(); }
  void add(Visit visit) { visits_.push_back(visit); }
  // Puts visits to one place together, those of a place in the order in which they were added.
  void arrange() {
    mask_ = std::bit_ceil(visits_.size() + 1) - 1;
    ends_.assign(mask_ + 2, 0);
    for (const Visit& visit : visits_) ++ends_[bucket(visit.place) + 1];
    for (std::size_t b = 1; b < ends_.size(); ++b) ends_[b] += ends_[b - 1];
    arranged_.resize(visits_.size());
    for (const Visit& visit : visits_) arranged_[ends_[bucket(visit.place)]++] = visit;
  }
  // Calls body(row) for every row that visited a place.
  template <class Body>
  void each(std::uint32_t place, const Body& body) const {
    const std::size_t b = bucket(place);
    for (std::size_t i = b == 0 ? 0 : ends_[b - 1]; i < ends_[b]; ++i)
      if (arranged_[i].place == place) body(arranged_[i].row);
  }

 private:
  std::size_t bucket(std::uint32_t place) const { return place & mask_; }

  std::vector<Visit> visits_, arranged_;
  std::vector<std::uint32_t> ends_;  // of the buckets in arranged_
  std::size_t mask_ = 0;
};

}  // namespace semblance
