// A table over a row source: the policies, pooling and scores of every table, over rows that are made on demand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "table/key_map.hpp"
#include "table/row_source.hpp"
#include "table/table.hpp"

namespace semblance {

struct MadeKeys {
  std::size_t rows = Table::kAnyKey;                  // numbers from 0 on that the source has
  std::optional<std::span<const KeyBucket>> buckets;  // without: keys are numbers
  KeyPolicy policy;                                   // its row is f32
};

class MadeTable final : public Table {
 public:
  MadeTable(std::unique_ptr<RowSource> source, const MadeKeys& keys);

  std::size_t size() const override { return keys_.rows; }
  std::size_t row_bytes() const override { return source_->row_bytes(); }
  void lookup_range(std::span<const std::int64_t> keys, OutputRows out) const override;
  void score_range(const float* query, std::span<const std::int64_t> keys, float* out) const override;
  void prefetch(std::span<const std::int64_t> keys) const override;

 protected:
  std::size_t locate(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const override;
  void find(const std::int64_t* keys, std::size_t count, bool* found) const override;
  bool by_row_number() const override { return !keys_.buckets; }

 private:
  // numbers[i] = the number of keys[i]; false where a key has none, and then nothing is promised about them.
  bool all_known(std::span<const std::int64_t> keys, std::int64_t* numbers) const;
  bool known(std::int64_t number) const {
    return keys_.rows == kAnyKey || static_cast<std::uint64_t>(number) < keys_.rows;
  }

  std::unique_ptr<RowSource> source_;
  MadeKeys keys_;
};

}  // namespace semblance
