// Which rows a search may return: those alive at its moment, and allowed where the caller said which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/atomic_word.hpp"
#include "core/bitset.hpp"

namespace semblance {

struct RowSet;

// Which rows were alive at one moment: those published by then whose death, if any, came later. A search that runs
// beside changes sees the rows of its moment, so a row that is replaced is seen once, and never missed.
struct Filter {
  const std::uint32_t* died;  // version of the death of each slot, 0 = alive
  std::uint32_t version;
  std::size_t published;
  const Bitset* allowed;  // null = all

  bool alive(std::size_t slot) const {
    const std::uint32_t death = load_acquire(died + slot);
    return death == 0 || death > version;
  }
  bool test(std::uint32_t slot) const {
    return slot < published && (allowed == nullptr || allowed->test(slot)) && alive(slot);
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
  bool keep = true;  // the bits, for the next search
  std::mutex mutex;
  std::shared_ptr<const SlotSet> slots;  // as of `version`
  std::weak_ptr<const RowSet> rows;      // and of these rows
  std::uint32_t version = 0;
};

}  // namespace semblance
