// From keys to row addresses, a chunk at a time, with the memory that this takes.
#pragma once

#include <algorithm>
#include <memory>

#include "table/table.hpp"

namespace semblance {

// As `Table::locate`; padding becomes no row at all, unknown keys become the policy's row and are counted.
class Table::Resolver {
 public:
  explicit Resolver(const Table& table)
      : table_(table),
        scratch_(table.chunks_.made ? std::make_unique_for_overwrite<float[]>(table.chunks_.rows * table.dim_)
                                    : nullptr) {}

  const RowPointer* operator()(const std::int64_t* keys, std::size_t count) {
    std::size_t unknown = table_.locate(keys, count, rows_, scratch_.get());
    if (table_.policy_.padding) unknown -= skip_padding(keys, count);
    if (unknown > 0) {
      std::replace(rows_, rows_ + count, unknown_row(), table_.policy_.missing_row);
      table_.unknown_.fetch_add(unknown, std::memory_order_relaxed);
    }
    return rows_;
  }

 private:
  // Returns how many of the padding keys were unknown.
  std::size_t skip_padding(const std::int64_t* keys, std::size_t count) {
    std::size_t unknown = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (keys[i] != *table_.policy_.padding) continue;
      unknown += rows_[i] == unknown_row();
      rows_[i] = kernels::padding_row();
    }
    return unknown;
  }

  const Table& table_;
  std::unique_ptr<float[]> scratch_;
  RowPointer rows_[kChunkRows];
};

}  // namespace semblance
