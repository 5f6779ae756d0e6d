// Which nodes a walk has seen: a bitset whose touched words are cleared afterwards, so that a search costs what it
// visits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernel_table.hpp"

namespace semblance {

class VisitedSet {
 public:
  // Forgets all and makes room for ids below `n`.
  void reset(std::size_t n) {
    for (const std::uint32_t word : touched_) words_[word] = 0;
    touched_.clear();
    if (words_.size() * kWordBits < n) words_.resize((n + kWordBits - 1) / kWordBits);
    limit_ = n;
  }
  // True the first time an id is seen. Ids at or above the limit (linked after the walk began) count as seen.
  bool insert(std::uint32_t id) {
    if (id >= limit_) return false;
    std::uint32_t& word = words_[id / kWordBits];
    const std::uint32_t bit = std::uint32_t{1} << (id % kWordBits);
    if (word & bit) return false;
    if (word == 0) touched_.push_back(static_cast<std::uint32_t>(id / kWordBits));
    word |= bit;
    return true;
  }

  // Whether `insert` would return false.
  bool seen(std::uint32_t id) const { return id >= limit_ || ((words_[id / kWordBits] >> (id % kWordBits)) & 1U) != 0; }
  kernels::Seen view() const { return {words_.data(), static_cast<std::uint32_t>(limit_)}; }

 private:
  static constexpr std::size_t kWordBits = 32;

  std::vector<std::uint32_t> words_;
  std::vector<std::uint32_t> touched_;
  std::size_t limit_ = 0;
};

}  // namespace semblance
