// The rows that pass a filter, a block at a time: what scans run over.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/parallel.hpp"
#include "index/filter.hpp"

namespace semblance {

inline constexpr std::size_t kPassingBlock = 128;  // rows scored against at a time: their codes stay in cache
inline constexpr std::size_t kMostPassing = kPassingBlock + kWordBits;
inline constexpr std::size_t kBlocksALook = 4;  // between two looks at the clock

// Calls visit(slots, count) with the slots that pass, in order, at most kMostPassing at a time. Can be stopped.
template <class Visit>
void for_each_passing(const Filter& filter, const Visit& visit) {
  std::uint32_t slots[kMostPassing];
  std::size_t count = 0, blocks = 0;
  for (std::size_t w = 0; w < words_for(filter.published); ++w) {
    const std::size_t first = w * kWordBits;
    std::uint64_t word = filter.allowed == nullptr ? ~std::uint64_t{0} : filter.allowed->word(w);
    for (; word != 0; word &= word - 1) {
      const std::size_t slot = first + static_cast<std::size_t>(std::countr_zero(word));
      if (slot >= filter.published) break;
      slots[count] = static_cast<std::uint32_t>(slot);
      count += filter.alive(slot);
    }
    if (count < kPassingBlock) continue;
    visit(slots, std::exchange(count, 0));
    if (++blocks % kBlocksALook == 0) stop_if_asked();
  }
  if (count > 0) visit(slots, count);
}

}  // namespace semblance
