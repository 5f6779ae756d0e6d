// The rows that pass a filter, a block at a time: what scans run over.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "index/filter.hpp"

namespace semblance {

inline constexpr std::size_t kPassingBlock = 128;  // rows scored against at a time: their codes stay in cache
inline constexpr std::size_t kMostPassing = kPassingBlock + kWordBits;

// Calls visit(slots, count) with the slots of [0, n) that pass, in order, at most kMostPassing at a time.
template <class Visit>
void for_each_passing(const Filter& filter, std::size_t n, const Visit& visit) {
  std::uint32_t slots[kMostPassing];
  std::size_t count = 0;
  for (std::size_t w = 0; w < words_for(n); ++w) {
    for (std::uint64_t word = filter.word(w); word != 0; word &= word - 1)
      slots[count++] = static_cast<std::uint32_t>(w * kWordBits + static_cast<std::size_t>(std::countr_zero(word)));
    while (count > 0 && slots[count - 1] >= n) --count;
    if (count >= kPassingBlock) visit(slots, std::exchange(count, 0));
  }
  if (count > 0) visit(slots, count);
}

}  // namespace semblance
