// One immutable table of stored, quantised rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "table/key_map.hpp"
#include "table/table.hpp"

namespace semblance {

// Borrowed memory that outlives the table.
struct TableParts {
  TableFormat format = TableFormat::f32;
  std::size_t dim = 0;
  const std::byte* rows = nullptr;
  std::size_t row_count = 0;
  std::size_t row_step = 0;  // bytes from one row to the next; fewer than a row has where rows overlap
  // How keys become row numbers: through buckets, or by this array (-1: a row of zeros), or they are row numbers.
  std::optional<std::span<const KeyBucket>> buckets;
  std::optional<std::span<const std::int32_t>> remap;
  KeyPolicy policy;
  // Newer rows and removals, looked at before all else: a bucket row below `delta_count` is in `delta_rows`, any other
  // says that the key was removed.
  std::optional<std::span<const KeyBucket>> delta;
  const std::byte* delta_rows = nullptr;
  std::size_t delta_count = 0;
};

class EmbeddingTable final : public Table {
 public:
  explicit EmbeddingTable(const TableParts& parts);

  std::size_t size() const override { return parts_.remap ? parts_.remap->size() : parts_.row_count; }
  std::size_t row_bytes() const override { return kernels::table_row_bytes(parts_.format, parts_.dim); }
  void prefetch(std::span<const std::int64_t> keys) const override;
  void prefetch_search(std::span<const std::int64_t> keys) const override;
  std::optional<PlainRows> plain_rows() const override;

  // For copies of the rows elsewhere: out[i] is where the row of keys[i] is among the base's rows, the delta's after
  // them, and the policy's row after those; -1 for zeros, -2 for no row at all. Counted as look-ups.
  void row_numbers(std::span<const std::int64_t> keys, std::int64_t* out) const;

 protected:
  std::size_t locate(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const override;
  void find(const std::int64_t* keys, std::size_t count, bool* found) const override;
  bool has_all(std::span<const std::int64_t> keys) const override;
  bool by_row_number() const override { return !parts_.buckets; }

 private:
  std::size_t locate_base(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t locate_dense(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t locate_remapped(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t locate_keyed(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t overlay(const std::int64_t* keys, std::size_t count, RowPointer* rows, std::size_t unknown) const;
  std::int64_t number_of(RowPointer row) const;
  RowPointer row(std::size_t number) const { return parts_.rows + number * parts_.row_step; }

  TableParts parts_;
  std::optional<KeyFilter> changed_;  // keys of the delta
  bool removals_ = false;             // in the delta
};

}  // namespace semblance
