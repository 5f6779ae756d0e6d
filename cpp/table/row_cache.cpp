#include "table/row_cache.hpp"

namespace semblance {

RowCache::RowCache(std::size_t rows, std::size_t slots)
    : slot_of_(rows, kAbsent), row_of_(slots, kAbsent), last_batch_(slots, 0), spared_(slots, false) {}

// Rows that are in no slot, marked kWanted; `used` is how many slots the batch uses already.
std::vector<std::int64_t> RowCache::wanted_by(std::span<const std::int64_t> rows, std::size_t& used) {
  std::vector<std::int64_t> wanted;
  used = 0;
  for (const std::int64_t row : rows) {
    if (row < 0) continue;
    std::int32_t& slot = slot_of_[static_cast<std::size_t>(row)];
    if (slot == kAbsent) {
      slot = kWanted;
      wanted.push_back(row);
    } else if (slot != kWanted && last_batch_[static_cast<std::size_t>(slot)] != batch_) {
      last_batch_[static_cast<std::size_t>(slot)] = batch_;
      used += 1;
    }
  }
  return wanted;
}

std::size_t RowCache::free_slot() {
  for (;; hand_ = (hand_ + 1) % slots()) {
    if (last_batch_[hand_] == batch_) continue;
    if (row_of_[hand_] == kAbsent || !spared_[hand_]) return hand_;
    spared_[hand_] = false;
  }
}

bool RowCache::place(std::span<std::int64_t> rows, std::vector<Move>& moves) {
  batch_ += 1;
  std::size_t used = 0;
  const std::vector<std::int64_t> wanted = wanted_by(rows, used);
  if (wanted.size() + used > slots()) {
    for (const std::int64_t row : wanted) slot_of_[static_cast<std::size_t>(row)] = kAbsent;
    return false;
  }
  for (const std::int64_t row : wanted) {
    const std::size_t slot = free_slot();
    if (row_of_[slot] != kAbsent) slot_of_[static_cast<std::size_t>(row_of_[slot])] = kAbsent;
    row_of_[slot] = row;
    slot_of_[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(slot);
    last_batch_[slot] = batch_;
    moves.push_back({row, static_cast<std::int64_t>(slot)});
  }
  for (std::int64_t& row : rows) {
    if (row < 0) continue;
    row = slot_of_[static_cast<std::size_t>(row)];
    spared_[static_cast<std::size_t>(row)] = true;
    hits_ += 1;
  }
  hits_ -= wanted.size();
  misses_ += wanted.size();
  return true;
}

}  // namespace semblance
