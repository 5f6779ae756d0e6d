// One immutable table of quantised rows: from keys to row addresses, and from there to vectors, bags and scores.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/parallel.hpp"
#include "kernel_table.hpp"
#include "table/key_map.hpp"

namespace semblance {

using kernels::RowPointer;
using kernels::TableFormat;

enum class Pooling : std::uint8_t { sum, mean, max };

// What a key that is not in the table stands for. A null `row` under `row` would be zero; `error` refuses the call.
enum class Missing : std::uint8_t { zero, row, error };

// Borrowed memory that outlives the table.
struct TableParts {
  TableFormat format = TableFormat::f32;
  std::size_t dim = 0;
  const std::byte* rows = nullptr;
  std::size_t row_count = 0;
  std::optional<std::span<const KeyBucket>> buckets;  // without: keys are row numbers
  Missing missing = Missing::error;
  RowPointer missing_row = nullptr;
  // Newer rows and removals, looked at before all else: a bucket row below `delta_count` is in `delta_rows`, any other
  // says that the key was removed.
  std::optional<std::span<const KeyBucket>> delta;
  const std::byte* delta_rows = nullptr;
  std::size_t delta_count = 0;
  std::optional<std::int64_t> padding;  // a key that is no row at all: not counted in means, zeros in look-ups
};

struct BagValues {
  const std::int64_t* keys;
  const float* weights;  // null: ones
  std::span<const std::int64_t> offsets;
  Pooling pooling;
};

// f32 rows `stride` floats apart.
struct OutputRows {
  float* data;
  std::size_t stride;
};

class EmbeddingTable {
 public:
  explicit EmbeddingTable(const TableParts& parts);

  TableFormat format() const { return parts_.format; }
  std::size_t dim() const { return parts_.dim; }
  std::size_t size() const { return parts_.row_count; }
  std::size_t row_bytes() const { return kernels::table_row_bytes(parts_.format, parts_.dim); }
  std::uint64_t looked_up() const { return looked_up_.load(std::memory_order_relaxed); }
  std::uint64_t unknown() const { return unknown_.load(std::memory_order_relaxed); }

  // Throws ArgumentError (row numbers) or NotFoundError (keys) for the first key that is not there, where the table's
  // policy is `error`; else does nothing. Every call below expects keys that passed.
  void check_keys(std::span<const std::int64_t> keys) const;

  void lookup(std::span<const std::int64_t> keys, OutputRows out, std::size_t threads, Monitor* monitor) const;
  void pool(const BagValues& values, OutputRows out, std::size_t threads, Monitor* monitor) const;
  // out[i] = the dot product of the query, f32[dim], and the row of keys[i].
  void score(const float* query, std::span<const std::int64_t> keys, float* out, std::size_t threads,
             Monitor* monitor) const;

  // One thread's share, for callers that split the work themselves: bags [begin, end) or keys. They `count` the keys.
  void count(std::size_t keys) const { looked_up_.fetch_add(keys, std::memory_order_relaxed); }
  void lookup_range(std::span<const std::int64_t> keys, OutputRows out) const;
  void pool_range(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const;

  bool contains(std::int64_t key) const;
  // Asks memory for the first rows of keys that will be looked up soon.
  void prefetch(std::span<const std::int64_t> keys) const;

 private:
  // rows[i] = where keys[i] is; keys not there become the table's missing row. Returns how many those are.
  std::size_t locate(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t locate_dense(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t locate_keyed(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  std::size_t overlay(const std::int64_t* keys, std::size_t count, RowPointer* rows, std::size_t unknown) const;
  // As `locate`, and padding becomes no row at all; counts unknown keys.
  void resolve(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  void pool_long_bag(const BagValues& values, std::size_t bag, OutputRows out) const;
  void finish_bags(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const;
  std::size_t counted(const BagValues& values, std::size_t bag) const;
  std::size_t grain(std::size_t rows, std::size_t items) const;

  TableParts parts_;
  const kernels::TableKernels& kernels_;
  mutable std::atomic<std::uint64_t> looked_up_{0}, unknown_{0};
};

// Throws ArgumentError unless offsets start at 0, never decrease and end at `values`.
void check_offsets(std::span<const std::int64_t> offsets, std::size_t values);

}  // namespace semblance
