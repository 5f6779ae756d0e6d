// The kernels one by one, with a chosen instruction set: what the tests and benchmarks of python/ compare.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "core/active_kernels.hpp"
#include "core/limits.hpp"

namespace semblance::bind {
namespace {

using kernels::KernelTable;
using kernels::RowFormat;
using kernels::Score;
using Floats = py::array_t<float>;
using Bytes = py::array_t<std::uint8_t>;

const KernelTable& table_named(const std::string& isa) {
  return isa.empty() ? require_table() : require_table("isa", isa);
}

std::vector<std::string> available() {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kernels::kIsas; ++i)
    if (const KernelTable* table = kernels::table_for(static_cast<kernels::Isa>(i))) names.emplace_back(table->name);
  return names;
}

std::size_t index_of(const char* where, const std::string& name, const std::vector<std::string>& known) {
  const auto found = std::find(known.begin(), known.end(), name);
  if (found != known.end()) return static_cast<std::size_t>(found - known.begin());
  std::string all;
  for (const std::string& each : known) all += (all.empty() ? "" : ", ") + each;
  throw ArgumentError(expected(where, "one of " + all, "'" + name + "'"));
}

RowFormat format_named(const std::string& name) {
  return static_cast<RowFormat>(index_of("format", name, {"f32", "f16", "bf16", "i8", "i4", "i4x2", "bits"}));
}
Score score_named(const std::string& name) {
  return static_cast<Score>(index_of("score", name, {"ip", "l2", "hamming", "jaccard"}));
}

std::size_t row_bytes(RowFormat format, std::size_t dim) {
  if (format == RowFormat::f32) return 4 * dim;
  if (format == RowFormat::i8) return kernels::i8_row_bytes(dim);
  if (format == RowFormat::i4) return kernels::i4_row_bytes(dim);
  if (format == RowFormat::i4x2) return kernels::i4x2_row_bytes(dim);
  return format == RowFormat::bits ? dim / 8 : 2 * dim;
}

void check_dim(const char* where, std::size_t dim) {
  static_assert(kMaxDim <= kernels::kMaxDimI8);
  if (dim > kMaxDim)
    throw ArgumentError(expected(where, "at most " + std::to_string(kMaxDim) + " values a row", std::to_string(dim)));
}

void check_finite(const char* where, const float* values, std::size_t n) {
  if (!std::all_of(values, values + n, [](float x) { return std::isfinite(x); }))
    throw ArgumentError(expected(where, "finite values", "NaN or inf"));
}

// Rows as uint8 (n, stride), each with `needed` bytes at its start.
kernels::Rows rows_of(const py::array& rows, const char* name, std::size_t dim, std::size_t needed) {
  const auto* data = reinterpret_cast<const std::byte*>(require_array<std::uint8_t>(rows, name, 2));
  const auto stride = static_cast<std::size_t>(rows.shape(1));
  if (stride < needed)
    throw ArgumentError(expected(name, "at least " + std::to_string(needed) + " bytes a row", std::to_string(stride)));
  return {data, stride, dim};
}

const std::uint32_t* ids_of(const std::optional<py::array>& ids, std::size_t n_rows) {
  if (!ids) return nullptr;
  const auto* values = require_array<std::uint32_t>(*ids, "ids", 1);
  const bool inside = std::all_of(values, values + ids->size(), [&](std::uint32_t id) { return id < n_rows; });
  if (!inside) throw ArgumentError(expected("ids", "row numbers below " + std::to_string(n_rows), "a larger one"));
  return values;
}

// A query in the form that its row format is scored against; owns what it had to make.
struct PreparedQuery {
  kernels::Query query{};
  std::size_t dim = 0;
  std::vector<std::byte> code;

  PreparedQuery(RowFormat format, const py::array& from) {
    if (format == RowFormat::bits) {
      query.values = require_array<std::uint8_t>(from, "query", 1);
      dim = 8 * static_cast<std::size_t>(from.size());
    } else {
      query.values = require_array<float>(from, "query", 1);
      dim = static_cast<std::size_t>(from.size());
    }
    check_dim("query", format == RowFormat::bits ? dim / 8 : dim);
    if (format >= RowFormat::i8 && format <= RowFormat::i4x2) encode();
  }

  void encode() {
    const auto* values = static_cast<const float*>(query.values);
    check_finite("query", values, dim);
    code.resize(kernels::i8_row_bytes(dim));
    require_table().encode_rows[static_cast<int>(RowFormat::i8)](values, 1, dim, code.data(), code.size());
    std::memcpy(&query.scale, code.data() + kernels::i8_tail_offset(dim), sizeof query.scale);
    std::memcpy(&query.squared_norm, code.data() + kernels::i8_tail_offset(dim) + sizeof query.scale,
                sizeof query.squared_norm);
    for (std::size_t j = 0; j < dim; ++j) {
      query.sum += std::to_integer<std::int32_t>(code[j]) - 128;
      code[j] ^= std::byte{128};  // code + 128 as u8 -> code as i8
    }
    code.resize(std::max(code.size(), 2 * kernels::i4_plane_bytes(dim)));
    std::fill(code.begin() + static_cast<std::ptrdiff_t>(dim), code.end(), std::byte{0});
    query.values = code.data();
  }
};

Floats score_rows(const std::string& format_name, const std::string& score_name, const py::array& query,
                  const py::array& rows, const std::optional<py::array>& ids, const std::string& isa) {
  const RowFormat format = format_named(format_name);
  const Score score = score_named(score_name);
  const auto kernel = table_named(isa).score_rows[static_cast<int>(format)][static_cast<int>(score)];
  if (kernel == nullptr) throw ArgumentError(expected("score", "one that " + format_name + " rows have", score_name));
  const PreparedQuery prepared(format, query);
  const kernels::Rows from = rows_of(rows, "rows", prepared.dim, row_bytes(format, prepared.dim));
  const std::uint32_t* chosen = ids_of(ids, static_cast<std::size_t>(rows.shape(0)));
  Floats out(ids ? ids->size() : rows.shape(0));
  float* to = out.mutable_data();
  const auto count = static_cast<std::size_t>(out.size());
  without_gil([&] { kernel(prepared.query, from, chosen, count, to); });
  return out;
}

Floats score_tile(const std::string& score_name, const py::array& queries, const py::array& rows,
                  const std::string& isa) {
  const auto score = index_of("score", score_name, {"ip", "l2"});
  const KernelTable& table = table_named(isa);
  const float* left = require_array<float>(queries, "queries", 2);
  const auto dim = static_cast<std::size_t>(queries.shape(1));
  const float* right = require_array<float>(rows, "rows", 2);
  if (rows.shape(1) != queries.shape(1))
    throw ArgumentError(expected("rows", "float32 of shape (n, " + std::to_string(dim) + ")", describe(rows)));
  check_dim("queries", dim);
  const auto n = static_cast<std::size_t>(queries.shape(0)), m = static_cast<std::size_t>(rows.shape(0));
  Floats out({n, m});
  float* to = out.mutable_data();
  without_gil([&] { table.score_tile[score](left, n, right, m, dim, to); });
  return out;
}

RowFormat numeric_format(const std::string& name) {
  const RowFormat format = format_named(name);
  if (format == RowFormat::bits)
    throw ArgumentError(expected("format", "one of f32, f16, bf16, i8, i4, i4x2", "'bits'"));
  return format;
}

Bytes encode_rows(const std::string& format_name, const py::array& rows, const std::string& isa) {
  const RowFormat format = numeric_format(format_name);
  const auto kernel = table_named(isa).encode_rows[static_cast<int>(format)];
  const float* from = require_array<float>(rows, "rows", 2);
  const auto n = static_cast<std::size_t>(rows.shape(0)), dim = static_cast<std::size_t>(rows.shape(1));
  check_dim("rows", dim);
  if (format >= RowFormat::i8) check_finite("rows", from, n * dim);
  const std::size_t stride = row_bytes(format, dim);
  Bytes out({n, stride});
  auto* to = reinterpret_cast<std::byte*>(out.mutable_data());
  without_gil([&] { kernel(from, n, dim, to, stride); });
  return out;
}

Floats decode_rows(const std::string& format_name, const py::array& codes, std::size_t dim, const std::string& isa) {
  const RowFormat format = numeric_format(format_name);
  const auto kernel = table_named(isa).decode_rows[static_cast<int>(format)];
  check_dim("dim", dim);
  const kernels::Rows from = rows_of(codes, "codes", dim, row_bytes(format, dim));
  const auto n = static_cast<std::size_t>(codes.shape(0));
  Floats out({n, dim});
  float* to = out.mutable_data();
  without_gil([&] { kernel(from, n, to); });
  return out;
}

}  // namespace

void register_kernels(py::module_& m) {
  py::module_ k = m.def_submodule("kernels");
  k.def("available", &available);
  k.def("active", [] { return require_table().name; });
  k.def("score_rows", &score_rows, py::arg("format"), py::arg("score"), py::arg("query"), py::arg("rows"),
        py::arg("ids") = py::none(), py::arg("isa") = "");
  k.def("score_tile", &score_tile, py::arg("score"), py::arg("queries"), py::arg("rows"), py::arg("isa") = "");
  k.def("encode_rows", &encode_rows, py::arg("format"), py::arg("rows"), py::arg("isa") = "");
  k.def("decode_rows", &decode_rows, py::arg("format"), py::arg("codes"), py::arg("dim"), py::arg("isa") = "");
}

}  // namespace semblance::bind
