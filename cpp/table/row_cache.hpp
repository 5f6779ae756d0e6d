// Which rows of a large table are in the few slots of a smaller, faster memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace semblance {

// The clock algorithm (Corbató, 1968): a slot that was used since the hand last passed is spared once. Whole batches
// are placed at a time and nothing that a batch uses is evicted for it. Four bytes a row, nine a slot.
class RowCache {
 public:
  RowCache(std::size_t rows, std::size_t slots);

  struct Move {
    std::int64_t row, slot;
  };
  // Turns row numbers into slots, in place; negative ones stay. Appends the rows that must be brought in, each once, in
  // the order in which the batch first names them. False, with nothing changed, where the batch names more rows than
  // there are slots.
  bool place(std::span<std::int64_t> rows, std::vector<Move>& moves);

  std::size_t slots() const { return row_of_.size(); }
  std::uint64_t hits() const { return hits_; }
  std::uint64_t misses() const { return misses_; }

 private:
  static constexpr std::int32_t kAbsent = -1, kWanted = -2;
  std::vector<std::int64_t> wanted_by(std::span<const std::int64_t> rows, std::size_t& used);
  std::size_t free_slot();

  std::vector<std::int32_t> slot_of_;      // of a row, kAbsent or, within a call, kWanted
  std::vector<std::int64_t> row_of_;       // of a slot, or kAbsent
  std::vector<std::uint64_t> last_batch_;  // that used the slot
  std::vector<bool> spared_;
  std::size_t hand_ = 0;
  std::uint64_t batch_ = 0, hits_ = 0, misses_ = 0;
};

}  // namespace semblance
