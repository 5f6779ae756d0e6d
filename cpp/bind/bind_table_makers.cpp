// The kinds of table: stored rows, rows composed of parts' rows, parts one after the other, rows from a seed.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/bound_table.hpp"
#include "codec/kmeans.hpp"
#include "table/made_table.hpp"
#include "table/row_source.hpp"

namespace semblance::bind {
namespace {

using TablePtr = std::shared_ptr<BoundTable>;

const std::byte* row_of(const char* where, const py::object& row, std::size_t bytes) {
  if (row.is_none()) return nullptr;
  const py::array array(row);
  require<std::uint8_t>(where, array, {static_cast<py::ssize_t>(bytes)});
  return static_cast<const std::byte*>(array.data());
}

TablePtr stored(const std::string& dtype, std::size_t dim, const py::array& rows, const py::object& map,
                const std::string& missing, const py::object& missing_row, std::optional<std::int64_t> padding,
                const py::object& delta_rows, const py::object& delta_buckets) {
  TableParts parts;
  parts.format = format_of(dtype);
  parts.dim = checked_dim(dim);
  const std::size_t row_bytes = kernels::table_row_bytes(parts.format, dim);
  require<std::uint8_t>("rows", rows, {kAnySize, static_cast<py::ssize_t>(row_bytes)});
  parts.rows = static_cast<const std::byte*>(rows.data());
  parts.row_count = static_cast<std::size_t>(rows.shape(0));
  if (!map.is_none() && has_type<std::int32_t>(py::array(map))) {
    parts.remap = vector_of<std::int32_t>("remap", py::array(map));
  } else if (!map.is_none()) {
    parts.buckets = buckets_of(map);
  }
  parts.policy = {missing_of(missing), row_of("missing_row", missing_row, row_bytes), padding};
  if (!delta_rows.is_none() && !delta_buckets.is_none()) {
    const py::array newer(delta_rows);
    require<std::uint8_t>("delta_rows", newer, {kAnySize, static_cast<py::ssize_t>(row_bytes)});
    parts.delta_rows = static_cast<const std::byte*>(newer.data());
    parts.delta_count = static_cast<std::size_t>(newer.shape(0));
    parts.delta = buckets_of(delta_buckets);
  }
  return std::make_shared<BoundTable>(std::vector<py::object>{rows, map, missing_row, delta_rows, delta_buckets},
                                      std::make_unique<EmbeddingTable>(parts));
}

// Every run of `dim` neighbouring values of one array is a row.
TablePtr overlapping(const std::string& dtype, std::size_t dim, const py::array& values) {
  const TableFormat format = format_of(dtype);
  if (kernels::has_row_head(format))
    throw ArgumentError(expected("dtype", "'f32', 'f16' or 'bf16'", "'" + dtype + "'"));
  const std::size_t bytes = kernels::table_row_bytes(format, 1);
  require<std::uint8_t>("values", values, {kAnySize, static_cast<py::ssize_t>(bytes)});
  TableParts parts;
  parts.format = format;
  parts.dim = checked_dim(dim);
  const auto count = static_cast<std::size_t>(values.shape(0));
  if (count < dim) throw ArgumentError(expected("values", "at least " + std::to_string(dim), std::to_string(count)));
  parts.rows = static_cast<const std::byte*>(values.data());
  parts.row_count = count - dim + 1;
  parts.row_step = bytes;
  return std::make_shared<BoundTable>(std::vector<py::object>{values}, std::make_unique<EmbeddingTable>(parts));
}

// How keys reach a made table: (rows or None, buckets or None, missing, missing row f32 or None, padding or None).
using KeyTuple =
    std::tuple<std::optional<std::size_t>, py::object, std::string, py::object, std::optional<std::int64_t>>;

TablePtr made(std::vector<py::object> owners, std::unique_ptr<RowSource> source, const KeyTuple& tuple) {
  const auto& [rows, buckets, missing, missing_row, padding] = tuple;
  checked_dim(source->dim());
  MadeKeys keys;
  keys.rows = rows.value_or(Table::kAnyKey);
  if (!buckets.is_none()) keys.buckets = buckets_of(buckets);
  keys.policy = {missing_of(missing), row_of("missing_row", missing_row, source->dim() * sizeof(float)), padding};
  owners.insert(owners.end(), {buckets, missing_row});
  return std::make_shared<BoundTable>(std::move(owners), std::make_unique<MadeTable>(std::move(source), keys));
}

PartRule rule_of(const std::string& name) {
  if (name == "row") return PartRule::row;
  if (name == "quotient") return PartRule::quotient;
  if (name == "remainder") return PartRule::remainder;
  if (name == "hash") return PartRule::hash;
  if (name == "codes") return PartRule::codes;
  throw ArgumentError(expected("rule", "'row', 'quotient', 'remainder', 'hash' or 'codes'", "'" + name + "'"));
}

Combine combine_of(const std::string& name) {
  if (name == "concat") return Combine::concat;
  if (name == "sum") return Combine::sum;
  if (name == "multiply") return Combine::multiply;
  throw ArgumentError(expected("combine", "'concat', 'sum' or 'multiply'", "'" + name + "'"));
}

CodeColumn column_of(const py::array& codes, std::size_t column) {
  const std::size_t bytes = has_type<std::uint8_t>(codes) ? 1 : 2;
  if (bytes == 2) require<std::uint16_t>("codes", codes, {kAnySize, kAnySize});
  if (codes.ndim() != 2 || column >= static_cast<std::size_t>(codes.shape(1)))
    throw ArgumentError(expected("codes", "shape (n, parts)", describe(codes)));
  return {static_cast<const std::byte*>(codes.data()) + column * bytes,
          static_cast<std::size_t>(codes.shape(1)) * bytes, bytes};
}

// One part: (table, rule, divisor, salt or column of the codes).
using PartTuple = std::tuple<TablePtr, std::string, std::uint64_t>;

void require_rows(const Part& part, std::size_t rows, const py::object& codes) {
  const std::size_t size = part.table->size();
  const auto refuse = [&](std::size_t needed) {
    throw ArgumentError(
        expected("parts", "a part of at least " + std::to_string(needed) + " rows", std::to_string(size)));
  };
  const bool bounded = rows != Table::kAnyKey;
  if (part.rule == PartRule::hash) {
    if (size == 0 || size == Table::kAnyKey) throw ArgumentError(expected("parts", "a part with rows", "none"));
    return;
  }
  if (!bounded) throw ArgumentError(expected("rows", "a number, since not all parts are hashed", "None"));
  if (part.rule == PartRule::codes) {
    if (codes.is_none() || static_cast<std::size_t>(py::array(codes).shape(0)) < rows)
      throw ArgumentError(expected("codes", "codes of " + std::to_string(rows) + " rows", "fewer"));
    return;
  }
  if (part.rule != PartRule::row && part.parameter == 0)
    throw ArgumentError(expected("parts", "a divisor above 0", "0"));
  if (rows == 0) return;
  const std::size_t most = part.rule == PartRule::row        ? rows
                           : part.rule == PartRule::quotient ? (rows - 1) / part.parameter + 1
                                                             : std::min<std::size_t>(rows, part.parameter);
  if (size < most) refuse(most);
}

TablePtr composed(const std::vector<PartTuple>& tuples, const std::string& combine, const py::object& codes,
                  const KeyTuple& keys) {
  std::vector<Part> parts;
  std::vector<py::object> owners{codes};
  const std::size_t rows = std::get<0>(keys).value_or(Table::kAnyKey);
  const Combine how = combine_of(combine);
  std::size_t widest = 0, total = 0;
  for (const auto& [table, rule, parameter] : tuples) {
    Part part{&table->table(), rule_of(rule), parameter};
    if (part.rule == PartRule::codes) part.codes = column_of(py::array(codes), parameter);
    require_rows(part, rows, codes);
    widest = std::max(widest, part.table->dim());
    total += part.table->dim();
    parts.push_back(part);
    owners.push_back(py::cast(table));
  }
  if (parts.empty() || total > kMaxDim)
    throw ArgumentError(expected("parts", "1 to 2^20 columns", std::to_string(total)));
  for (const Part& part : parts)
    if (how != Combine::concat && part.table->dim() != widest && part.table->dim() != 1)
      throw ArgumentError(expected("parts", "parts of " + std::to_string(widest) + " columns or one",
                                   std::to_string(part.table->dim())));
  return made(std::move(owners), composed_rows(std::move(parts), how), keys);
}

TablePtr mixed(const std::vector<TablePtr>& tables, const KeyTuple& keys) {
  std::vector<const Table*> parts;
  std::vector<std::int64_t> starts{0};
  std::vector<py::object> owners;
  for (const TablePtr& table : tables) {
    if (table->table().size() >= (std::size_t{1} << 62))
      throw ArgumentError(expected("parts", "tables with a number of rows", "one where every key has a row"));
    parts.push_back(&table->table());
    starts.push_back(starts.back() + static_cast<std::int64_t>(table->table().size()));
    owners.push_back(py::cast(table));
  }
  if (parts.empty()) throw ArgumentError(expected("parts", "at least one table", "none"));
  if (std::get<0>(keys) != static_cast<std::size_t>(starts.back()))
    throw ArgumentError(expected("rows", std::to_string(starts.back()), "another number"));
  return made(std::move(owners), mixed_rows(std::move(parts), std::move(starts)), keys);
}

TablePtr seeded(std::size_t dim, std::uint64_t seed, float deviation, const std::string& distribution,
                const KeyTuple& keys) {
  if (distribution != "normal" && distribution != "uniform")
    throw ArgumentError(expected("distribution", "'normal' or 'uniform'", "'" + distribution + "'"));
  if (!(deviation > 0) || !std::isfinite(deviation))
    throw ArgumentError(expected("deviation", "a finite number above 0", std::to_string(deviation)));
  const Seeded parameters{checked_dim(dim), seed, deviation,
                          distribution == "normal" ? Distribution::normal : Distribution::uniform};
  return made({}, seeded_rows(parameters), keys);
}

py::array_t<std::int64_t> hash_rows(const py::array& keys, std::uint64_t salt, std::uint64_t rows) {
  const auto all = vector_of<std::int64_t>("keys", keys);
  py::array_t<std::int64_t> out(keys.size());
  std::int64_t* numbers = out.mutable_data();
  for (std::size_t i = 0; i < all.size(); ++i) numbers[i] = static_cast<std::int64_t>(hashed_row(all[i], salt, rows));
  return out;
}

py::tuple kmeans(const py::array& rows, std::size_t centroids, std::size_t iterations, std::size_t sample,
                 std::uint64_t seed, std::size_t threads, const py::object& progress) {
  require<float>("rows", rows, {kAnySize, kAnySize});
  const Matrix<const float> data{static_cast<const float*>(rows.data()), static_cast<std::size_t>(rows.shape(0)),
                                 static_cast<std::size_t>(rows.shape(1))};
  if (centroids == 0 || centroids > 65536 || centroids > data.rows)
    throw ArgumentError(expected("codewords", "1 to 65536, and no more than rows", std::to_string(centroids)));
  py::array_t<float> centres({static_cast<py::ssize_t>(centroids), rows.shape(1)});
  py::array_t<std::uint16_t> codes(rows.shape(0));
  float* to = centres.mutable_data();
  std::uint16_t* nearest = codes.mutable_data();
  monitored(progress, [&](Monitor* monitor) {
    const KMeans options{centroids, iterations, sample, seed, threads};
    train_centroids(data, options, to, monitor);
    assign_centroids(data, {to, centroids, data.cols}, nearest, threads, monitor);
  });
  return py::make_tuple(centres, codes);
}

}  // namespace

void register_table_makers(py::module_& m) {
  m.def("stored", stored, py::arg("dtype"), py::arg("dim"), py::arg("rows"), py::arg("map"), py::arg("missing"),
        py::arg("missing_row"), py::arg("padding"), py::arg("delta_rows"), py::arg("delta_buckets"));
  m.def("overlapping", overlapping, py::arg("dtype"), py::arg("dim"), py::arg("values"));
  m.def("composed", composed, py::arg("parts"), py::arg("combine"), py::arg("codes"), py::arg("keys"));
  m.def("mixed", mixed, py::arg("parts"), py::arg("keys"));
  m.def("seeded", seeded, py::arg("dim"), py::arg("seed"), py::arg("deviation"), py::arg("distribution"),
        py::arg("keys"));
  m.def("hash_rows", hash_rows, py::arg("keys"), py::arg("salt"), py::arg("rows"));
  m.def("kmeans", kmeans, py::arg("rows"), py::arg("centroids"), py::arg("iterations"), py::arg("sample"),
        py::arg("seed"), py::arg("threads"), py::arg("progress"));
}

}  // namespace semblance::bind
