// A table as Python holds it, and the slot through which a new generation takes its place.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
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

// A table over arrays that Python owns: it keeps them alive and never copies them.
class BoundTable {
 public:
  BoundTable(const std::string& dtype, std::size_t dim, const py::array& rows, const py::object& buckets,
             const std::string& missing, const py::object& missing_row, std::optional<std::int64_t> padding,
             const py::object& delta_rows, const py::object& delta_buckets)
      : owners_{rows, buckets, missing_row, delta_rows, delta_buckets},
        table_(with_delta(parts(dtype, dim, rows, buckets, missing, missing_row, padding), delta_rows, delta_buckets)) {
  }

  const EmbeddingTable& table() const { return table_; }

 private:
  static std::span<const KeyBucket> buckets_of(const py::array& buckets) {
    require<std::uint8_t>("buckets", buckets, {kAnySize, sizeof(KeyBucket)});
    if (buckets.shape(0) == 0 || reinterpret_cast<std::uintptr_t>(buckets.data()) % alignof(KeyBucket) != 0)
      throw ArgumentError(expected("buckets", "at least one bucket at an aligned address", describe(buckets)));
    return {static_cast<const KeyBucket*>(buckets.data()), static_cast<std::size_t>(buckets.shape(0))};
  }

  static TableParts parts(const std::string& dtype, std::size_t dim, const py::array& rows, const py::object& buckets,
                          const std::string& missing, const py::object& missing_row,
                          std::optional<std::int64_t> padding) {
    TableParts parts;
    parts.format = format_of(dtype);
    if (dim == 0 || dim > kMaxDim) throw ArgumentError(expected("dim", "1 to 2^20", std::to_string(dim)));
    parts.dim = dim;
    const auto row_bytes = static_cast<py::ssize_t>(kernels::table_row_bytes(parts.format, dim));
    require<std::uint8_t>("rows", rows, {kAnySize, row_bytes});
    parts.rows = static_cast<const std::byte*>(rows.data());
    parts.row_count = static_cast<std::size_t>(rows.shape(0));
    if (!buckets.is_none()) parts.buckets = buckets_of(py::array(buckets));
    parts.missing = missing_of(missing);
    if (!missing_row.is_none()) {
      const py::array row(missing_row);
      require<std::uint8_t>("missing_row", row, {row_bytes});
      parts.missing_row = static_cast<const std::byte*>(row.data());
    }
    parts.padding = padding;
    return parts;
  }

  static TableParts with_delta(TableParts parts, const py::object& rows, const py::object& buckets) {
    if (rows.is_none() || buckets.is_none()) return parts;
    const py::array newer(rows);
    require<std::uint8_t>("delta_rows", newer,
                          {kAnySize, static_cast<py::ssize_t>(kernels::table_row_bytes(parts.format, parts.dim))});
    parts.delta_rows = static_cast<const std::byte*>(newer.data());
    parts.delta_count = static_cast<std::size_t>(newer.shape(0));
    parts.delta = buckets_of(py::array(buckets));
    return parts;
  }

  std::vector<py::object> owners_;
  EmbeddingTable table_;
};

// Holds the generation that readers get. A reader keeps the one it took for as long as its call lasts.
class TableSlot {
 public:
  using Pinned = std::shared_ptr<const BoundTable>;
  TableSlot(Pinned table, bool strings) : hashes_strings(strings), table_(std::move(table)) {}
  Pinned pin() const { return table_.load(); }
  void publish(Pinned table) { table_.store(std::move(table)); }
  const bool hashes_strings;  // keys of callers are strings

 private:
  std::atomic<Pinned> table_;
};

void register_table_group(py::module_& m);

}  // namespace semblance::bind
