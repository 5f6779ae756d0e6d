// Which nodes a search may return: those that are live, and allowed where the caller said which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/bitset.hpp"

namespace semblance {

struct Filter {
  const AtomicBitset* live;
  const Bitset* allowed;  // null = all

  bool test(std::uint32_t node) const { return (allowed == nullptr || allowed->test(node)) && live->test(node); }
  std::uint64_t word(std::size_t w) const {
    return live->word(w) & (allowed == nullptr ? ~std::uint64_t{0} : allowed->word(w));
  }
};

// Allowed rows as bits, and how many there were when they were made.
struct SlotSet {
  Bitset bits;
  std::size_t count = 0;
};

// Allowed ids, with the bits they last stood for: rows get other slots when they are replaced or compacted, ids do not.
struct AllowedIds {
  std::vector<std::int64_t> ids;
  std::mutex mutex;
  std::shared_ptr<const SlotSet> slots;  // as of `version`
  std::uint64_t version = 0;
};

}  // namespace semblance
