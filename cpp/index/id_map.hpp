// From a caller's 64-bit id to its slot: open addressing over slots alone, the ids being compared where the rows keep
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/limits.hpp"
#include "core/rng.hpp"

namespace semblance {

class IdMap {
 public:
  // `ids[slot]` must hold the id of every slot that is put in.
  std::uint32_t find(std::int64_t id, const std::int64_t* ids) const {
    if (cells_.empty()) return kNoSlot;
    for (std::size_t at = home(id);; at = next(at)) {
      const std::uint32_t slot = cells_[at];
      if (slot == kEmpty) return kNoSlot;
      if (slot != kErased && ids[slot] == id) return slot;
    }
  }
  // Makes room so that `more` calls of put cannot fail.
  void reserve(std::size_t more, const std::int64_t* ids) {
    if ((used_ + more) * 4 > cells_.size() * 3) rehash((size_ + more) * 2, ids);
  }
  // The id must not be in the map.
  void put(std::int64_t id, std::uint32_t slot) {
    std::size_t at = home(id);
    while (cells_[at] != kEmpty) at = next(at);
    cells_[at] = slot;
    ++used_;
    ++size_;
  }
  void erase(std::int64_t id, const std::int64_t* ids) { replace(id, kErased, ids), --size_; }
  // Points an id that is in the map elsewhere.
  void replace(std::int64_t id, std::uint32_t slot, const std::int64_t* ids) {
    std::size_t at = home(id);
    while (cells_[at] == kErased || ids[cells_[at]] != id) at = next(at);
    cells_[at] = slot;
  }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return cells_.size() * sizeof(std::uint32_t); }

 private:
  static constexpr std::uint32_t kEmpty = kNoSlot, kErased = kNoSlot - 1;

  std::size_t home(std::int64_t id) const { return mix64(static_cast<std::uint64_t>(id)) & (cells_.size() - 1); }
  std::size_t next(std::size_t at) const { return (at + 1) & (cells_.size() - 1); }

  void rehash(std::size_t room, const std::int64_t* ids) {
    std::size_t cells = 16;
    while (cells < room) cells *= 2;
    std::vector<std::uint32_t> old(cells, kEmpty);
    old.swap(cells_);
    used_ = size_ = 0;
    for (const std::uint32_t slot : old)
      if (slot != kEmpty && slot != kErased) put(ids[slot], slot);
  }

  std::vector<std::uint32_t> cells_;
  std::size_t used_ = 0, size_ = 0;  // cells that are not empty; ids
};

}  // namespace semblance
