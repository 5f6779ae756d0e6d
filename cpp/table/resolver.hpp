// From keys to row addresses, a chunk at a time, with the memory that this takes.
#pragma once

#include <memory>

#include "table/table.hpp"

namespace semblance {

// As `Table::resolve`, with memory for a chunk.
class Table::Resolver {
 public:
  explicit Resolver(const Table& table)
      : table_(table),
        scratch_(table.chunks_.made ? std::make_unique_for_overwrite<float[]>(table.chunks_.rows * table.dim_)
                                    : nullptr) {}

  const RowPointer* operator()(const std::int64_t* keys, std::size_t count) {
    table_.resolve(keys, count, rows_, scratch_.get());
    return rows_;
  }

 private:
  const Table& table_;
  std::unique_ptr<float[]> scratch_;
  RowPointer rows_[kChunkRows];
};

}  // namespace semblance
