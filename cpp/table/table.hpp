// What every table offers, wherever its rows come from: vectors, bags and scores of keys.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/parallel.hpp"
#include "kernel_table.hpp"

namespace semblance {

using kernels::RowPointer;
using kernels::TableFormat;

enum class Pooling : std::uint8_t { sum, mean, max };

// What a key that is not in the table stands for. A null `row` under `row` would be zero; `error` refuses the call.
enum class Missing : std::uint8_t { zero, row, error };

struct KeyPolicy {
  Missing missing = Missing::error;
  RowPointer missing_row = nullptr;     // in the table's format
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
  OutputRows from(std::size_t row) const { return {data + row * stride, stride}; }
};

class Table {
 public:
  virtual ~Table() = default;

  TableFormat format() const { return format_; }
  std::size_t dim() const { return dim_; }
  // Rows that keys can name; kAnyKey where every key has one.
  static constexpr std::size_t kAnyKey = SIZE_MAX;
  virtual std::size_t size() const = 0;
  // Bytes of memory that one row touches.
  virtual std::size_t row_bytes() const = 0;
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
  virtual void lookup_range(std::span<const std::int64_t> keys, OutputRows out) const;
  void pool_range(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const;
  virtual void score_range(const float* query, std::span<const std::int64_t> keys, float* out) const;

  bool contains(std::int64_t key) const;
  // Asks memory for the first rows of keys that will be looked up soon.
  virtual void prefetch(std::span<const std::int64_t> keys) const = 0;

  // Whether a grid of fields may hold rows of both tables: they are stored, of one format and width.
  bool gathers_with(const Table& other) const {
    return !chunks_.made && !other.chunks_.made && format_ == other.format_ && dim_ == other.dim_;
  }
  // For tables that gather with themselves: rows[i] = where the row of keys[i] is; at most kChunkRows keys.
  void resolve(std::span<const std::int64_t> keys, RowPointer* rows) const {
    resolve(keys.data(), keys.size(), rows, nullptr);
  }
  // Asks memory for what `resolve` will read, where that is more than the keys.
  virtual void prefetch_search(std::span<const std::int64_t>) const {}
  // Of a table whose keys are row numbers and nothing else: the row of key k < `count` is at rows + k * step.
  struct PlainRows {
    RowPointer rows;
    std::size_t step, count;
  };
  virtual std::optional<PlainRows> plain_rows() const { return std::nullopt; }
  void gather(const kernels::RowGrid& grid, OutputRows out) const {
    kernels_.gather[static_cast<std::size_t>(format_)](grid, dim_, out.data, out.stride);
  }
  static constexpr std::size_t kChunkRows = 1024;

 protected:
  // Rows are resolved `chunk_rows` at a time, at most kChunkRows; so many f32 rows of scratch are at hand where
  // `made`: rows that lie nowhere are made there.
  struct Chunks {
    std::size_t rows;
    bool made;
  };

  Table(TableFormat format, std::size_t dim, const KeyPolicy& policy, Chunks chunks);

  // What `locate` answers for a key that is not there; the policy's row takes its place later.
  static RowPointer unknown_row() { return reinterpret_cast<RowPointer>(std::uintptr_t{2}); }
  // rows[i] = where keys[i] is, or `unknown_row()`; returns how many those are.
  virtual std::size_t locate(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const = 0;
  // found[i] = whether keys[i] is there.
  virtual void find(const std::int64_t* keys, std::size_t count, bool* found) const = 0;
  // True only where every key is there; false is no answer. Cheaper than `find` where it is true.
  virtual bool has_all(std::span<const std::int64_t>) const { return false; }
  // How the error about an unknown key goes on.
  virtual bool by_row_number() const = 0;

  const KeyPolicy& policy() const { return policy_; }

 private:
  class Resolver;
  // As `locate`; padding becomes no row at all, unknown keys become the policy's row and are counted.
  void resolve(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const;
  std::size_t skip_padding(const std::int64_t* keys, std::size_t count, RowPointer* rows) const;
  void pool_long_bag(const BagValues& values, std::size_t bag, Resolver& resolve, OutputRows out) const;
  void finish_bags(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const;
  std::size_t whole_bags(const BagValues& values, std::size_t begin, std::size_t end) const;
  std::size_t counted(const BagValues& values, std::size_t bag) const;
  std::size_t grain(std::size_t rows, std::size_t items) const;

  TableFormat format_;
  std::size_t dim_;
  KeyPolicy policy_;
  Chunks chunks_;
  const kernels::TableKernels& kernels_;
  mutable std::atomic<std::uint64_t> looked_up_{0}, unknown_{0};
};

// Throws ArgumentError unless offsets start at 0, never decrease and end at `values`.
void check_offsets(std::span<const std::int64_t> offsets, std::size_t values);

}  // namespace semblance
