// A table as Python holds it, and the slot through which a new generation takes its place.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind/table_arrays.hpp"
#include "core/error.hpp"
#include "table/embedding_table.hpp"
#include "table/row_codec.hpp"

namespace semblance::bind {

inline constexpr std::size_t kMaxDim = 1 << 20;

inline TableFormat format_of(const std::string& name) {
  const auto format = find_table_format(name);
  if (!format)
    throw ArgumentError(expected("dtype", "'f32', 'f16', 'bf16', 'i8', 'i4', 'i2' or 'fp8'", "'" + name + "'"));
  return *format;
}

inline Missing missing_of(const std::string& name) {
  if (name == "zero") return Missing::zero;
  if (name == "row") return Missing::row;
  if (name == "error") return Missing::error;
  throw ArgumentError(expected("missing", "'zero', 'row' or 'error'", "'" + name + "'"));
}

inline Pooling pooling_of(const std::string& mode) {
  if (mode == "sum") return Pooling::sum;
  if (mode == "mean") return Pooling::mean;
  if (mode == "max") return Pooling::max;
  throw ArgumentError(expected("mode", "'sum', 'mean' or 'max'", "'" + mode + "'"));
}

// A table over memory that Python owns: it keeps the arrays and tables alive and never copies them.
class BoundTable {
 public:
  BoundTable(std::vector<py::object> owners, std::unique_ptr<Table> table)
      : owners_(std::move(owners)), table_(std::move(table)) {}

  const Table& table() const { return *table_; }

 private:
  std::vector<py::object> owners_;
  std::unique_ptr<Table> table_;
};

inline std::span<const KeyBucket> buckets_of(const py::object& object) {
  const py::array buckets(object);
  require<std::uint8_t>("buckets", buckets, {kAnySize, sizeof(KeyBucket)});
  if (buckets.shape(0) == 0 || reinterpret_cast<std::uintptr_t>(buckets.data()) % alignof(KeyBucket) != 0)
    throw ArgumentError(expected("buckets", "at least one bucket at an aligned address", describe(buckets)));
  return {static_cast<const KeyBucket*>(buckets.data()), static_cast<std::size_t>(buckets.shape(0))};
}

inline std::size_t checked_dim(std::size_t dim) {
  if (dim == 0 || dim > kMaxDim) throw ArgumentError(expected("dim", "1 to 2^20", std::to_string(dim)));
  return dim;
}

class PinnedTables;

// Holds the generation that readers get. A reader keeps the one it took for as long as its call lasts.
class TableSlot {
 public:
  using Pinned = std::shared_ptr<const BoundTable>;
  TableSlot(Pinned table, bool strings) : hashes_strings(strings), table_(std::move(table)) {}
  Pinned pin() const { return table_.load(); }
  void publish(Pinned table);
  // Has `reader` look again after every publication, while it lives.
  void tell(const std::shared_ptr<PinnedTables>& reader);
  const bool hashes_strings;  // keys of callers are strings

 private:
  std::atomic<Pinned> table_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<PinnedTables>> readers_;
};

// The generations that the fields of a group are read from. One pin a call: a pin a field would be a third of a look-up
// of one example.
class PinnedTables {
 public:
  using All = std::vector<TableSlot::Pinned>;
  static std::shared_ptr<PinnedTables> of(const std::vector<std::shared_ptr<TableSlot>>& slots);
  std::shared_ptr<const All> pin() const { return all_.load(); }
  void look_again();

 private:
  explicit PinnedTables(const std::vector<std::shared_ptr<TableSlot>>& slots) : slots_(slots) {}
  const std::vector<std::shared_ptr<TableSlot>> slots_;
  std::mutex mutex_;  // the last to look sees what all published
  std::atomic<std::shared_ptr<const All>> all_;
};

void register_table_group(py::module_& m);
void register_table_makers(py::module_& m);

}  // namespace semblance::bind
