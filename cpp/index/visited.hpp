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
    for (std::size_t i = 0; i < touched_count_; ++i) words_[touched_[i]] = 0;
    touched_count_ = 0;
    if (words_.size() * kWordBits < n) {
      const std::size_t words = (n + kWordBits - 1) / kWordBits;
      touched_.resize(words + 1);
      words_.resize(words);
    }
    limit_ = n;
  }
  // True the first time an id is seen. Ids at or above the limit (linked after the walk began) count as seen.
  bool insert(std::uint32_t id) {
    if (id >= limit_) return false;
    std::uint32_t& word = words_[id / kWordBits];
    const std::uint32_t bit = std::uint32_t{1} << (id % kWordBits);
    const bool fresh = (word & bit) == 0;
    touched_[touched_count_] = static_cast<std::uint32_t>(id / kWordBits);
    touched_count_ += word == 0;
    word |= bit;
    return fresh;
  }

  // Whether `insert` would return false.
  bool seen(std::uint32_t id) const { return id >= limit_ || ((words_[id / kWordBits] >> (id % kWordBits)) & 1U) != 0; }
  kernels::Seen view() const { return {words_.data(), static_cast<std::uint32_t>(limit_)}; }

 private:
  static constexpr std::size_t kWordBits = 32;

  std::vector<std::uint32_t> words_;
  std::vector<std::uint32_t> touched_;  // and one more place, written before it is known to count
  std::size_t touched_count_ = 0;
  std::size_t limit_ = 0;
};

}  // namespace semblance
