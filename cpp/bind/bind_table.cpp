#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/bind.hpp"
#include "bind/bound_table.hpp"
#include "table/string_keys.hpp"
#include "table/table_memory.hpp"

namespace semblance::bind {
namespace {

std::size_t width(const BoundTable& self) { return self.table().dim(); }

void lookup(const BoundTable& self, const py::array& keys, py::array out, std::size_t threads) {
  const auto all = elements<std::int64_t>("keys", keys);
  Shape shape(keys.shape(), keys.shape() + keys.ndim());
  shape.push_back(static_cast<py::ssize_t>(width(self)));
  float* data = writable("out", out, shape);
  monitored(py::none(), [&](Monitor* monitor) {
    self.table().check_keys(all);
    self.table().lookup(all, {data, width(self)}, threads, monitor);
  });
}

void pool(const BoundTable& self, const py::array& values, const py::array& offsets, const py::object& weights,
          const std::string& mode, py::array out, std::size_t threads) {
  const auto keys = vector_of<std::int64_t>("values", values);
  BagValues bags{keys.data(), nullptr, vector_of<std::int64_t>("offsets", offsets), pooling_of(mode)};
  check_offsets(bags.offsets, keys.size());
  if (!weights.is_none()) {
    if (bags.pooling == Pooling::max) throw ArgumentError(expected("weights", "None with mode 'max'", "an array"));
    const auto each = vector_of<float>("weights", py::array(weights), static_cast<py::ssize_t>(keys.size()));
    require_finite("weights", each);
    bags.weights = each.data();
  }
  const auto count = static_cast<py::ssize_t>(bags.offsets.size() - 1);
  float* data = writable("out", out, {count, static_cast<py::ssize_t>(width(self))});
  monitored(py::none(), [&](Monitor* monitor) {
    self.table().check_keys(keys);
    self.table().pool(bags, {data, width(self)}, threads, monitor);
  });
}

void score(const BoundTable& self, const py::array& query, const py::array& keys, py::array out, std::size_t threads) {
  const auto q = vector_of<float>("query", query, static_cast<py::ssize_t>(width(self)));
  require_finite("query", q);
  const auto all = elements<std::int64_t>("keys", keys);
  float* data = writable("out", out, Shape(keys.shape(), keys.shape() + keys.ndim()));
  monitored(py::none(), [&](Monitor* monitor) {
    self.table().check_keys(all);
    self.table().score(q.data(), all, data, threads, monitor);
  });
}

py::array_t<bool> find(const BoundTable& self, const py::array& keys) {
  const auto all = vector_of<std::int64_t>("keys", keys);
  py::array_t<bool> out(keys.size());
  bool* found = out.mutable_data();
  without_gil([&] {
    for (std::size_t i = 0; i < all.size(); ++i) found[i] = self.table().contains(all[i]);
  });
  return out;
}

py::array_t<std::int64_t> row_numbers(const BoundTable& self, const py::array& keys) {
  const auto all = elements<std::int64_t>("keys", keys);
  const auto* table = dynamic_cast<const EmbeddingTable*>(&self.table());
  if (table == nullptr)
    throw UnsupportedError(expected("table", "stored rows", "rows that are made when they are read"));
  py::array_t<std::int64_t> out(keys.size());
  std::int64_t* numbers = out.mutable_data();
  without_gil([&] {
    table->check_keys(all);
    table->row_numbers(all, numbers);
  });
  return out;
}

py::array_t<std::uint8_t> table_array(py::ssize_t rows, py::ssize_t row_bytes) {
  const auto bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(row_bytes);
  auto memory = std::make_unique<std::shared_ptr<std::byte>>(table_memory(bytes));
  auto* const data = reinterpret_cast<std::uint8_t*>(memory->get());
  const py::capsule owner(memory.get(), [](void* p) { delete static_cast<std::shared_ptr<std::byte>*>(p); });
  memory.release();
  return py::array_t<std::uint8_t>({rows, row_bytes}, data, owner);
}

// The rows, or a copy in memory that suits them better.
py::array settled(const py::array& rows) {
  require<std::uint8_t>("rows", rows, {kAnySize, kAnySize});
  const auto bytes = static_cast<std::size_t>(rows.nbytes());
  if (!needs_table_memory(bytes)) return rows;
  py::array_t<std::uint8_t> out = table_array(rows.shape(0), rows.shape(1));
  std::memcpy(out.mutable_data(), rows.data(), bytes);
  return out;
}

py::array_t<std::uint8_t> encode(const py::array& weights, const std::string& dtype, std::size_t threads,
                                 const py::object& progress) {
  require<float>("weights", weights, {kAnySize, kAnySize});
  const TableFormat format = format_of(dtype);
  const Matrix<const float> rows{static_cast<const float*>(weights.data()), static_cast<std::size_t>(weights.shape(0)),
                                 static_cast<std::size_t>(weights.shape(1))};
  const auto row_bytes = static_cast<py::ssize_t>(kernels::table_row_bytes(format, rows.cols));
  py::array_t<std::uint8_t> out = table_array(weights.shape(0), row_bytes);
  auto* bytes = reinterpret_cast<std::byte*>(out.mutable_data());
  monitored(progress, [&](Monitor* monitor) { encode_table_rows(format, rows, bytes, threads, monitor); });
  return out;
}

py::array_t<std::uint8_t> build_buckets(const py::array& keys, const py::object& progress) {
  const auto all = vector_of<std::int64_t>("keys", keys);
  if (all.size() >= kNoRow) throw CapacityError(expected("keys", "fewer than 2^32 - 1", std::to_string(all.size())));
  const std::size_t count = buckets_for(all.size());
  py::array_t<std::uint8_t> out = table_array(static_cast<py::ssize_t>(count), sizeof(KeyBucket));
  const std::span<KeyBucket> buckets{reinterpret_cast<KeyBucket*>(out.mutable_data()), count};
  monitored(progress, [&](Monitor* monitor) { build_key_map(all, buckets, monitor); });
  return out;
}

py::array_t<std::int64_t> string_keys(const py::sequence& strings, std::uint64_t seed) {
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(strings.size()));
  std::int64_t* keys = out.mutable_data();
  for (std::size_t i = 0; i < strings.size(); ++i) {
    if (i % 4096 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
    const py::object item = strings[i];
    py::ssize_t size = 0;
    const char* text = PyUnicode_Check(item.ptr()) ? PyUnicode_AsUTF8AndSize(item.ptr(), &size) : nullptr;
    if (text == nullptr) {
      PyErr_Clear();
      throw ArgumentError(expected("keys", "strings that UTF-8 can hold",
                                   py::repr(item).cast<std::string>() + " at position " + std::to_string(i)));
    }
    keys[i] = string_key({text, static_cast<std::size_t>(size)}, seed);
  }
  return out;
}

}  // namespace

void register_table(py::module_& root) {
  py::module_ m = root.def_submodule("table");
  py::class_<BoundTable, std::shared_ptr<BoundTable>>(m, "Table")
      .def("__contains__", [](const BoundTable& t, std::int64_t key) { return t.table().contains(key); })
      .def("find", find, py::arg("keys"))
      .def("row_numbers", row_numbers, py::arg("keys"))
      .def("__len__", [](const BoundTable& t) { return t.table().size(); })
      .def_property_readonly("dim", width)
      .def_property_readonly("looked_up", [](const BoundTable& t) { return t.table().looked_up(); })
      .def_property_readonly("unknown", [](const BoundTable& t) { return t.table().unknown(); })
      .def("lookup", lookup, py::arg("keys"), py::arg("out"), py::arg("threads"))
      .def("pool", pool, py::arg("values"), py::arg("offsets"), py::arg("weights"), py::arg("mode"), py::arg("out"),
           py::arg("threads"))
      .def("score", score, py::arg("query"), py::arg("keys"), py::arg("out"), py::arg("threads"));
  register_table_makers(m);
  register_table_group(m);
  m.def("encode", encode, py::arg("weights"), py::arg("dtype"), py::arg("threads"), py::arg("progress"));
  m.def("settled", settled, py::arg("rows"));
  m.def("build_buckets", build_buckets, py::arg("keys"), py::arg("progress"));
  m.def("string_keys", string_keys, py::arg("strings"), py::arg("seed"));
  m.def(
      "row_bytes",
      [](const std::string& dtype, std::size_t dim) { return kernels::table_row_bytes(format_of(dtype), dim); },
      py::arg("dtype"), py::arg("dim"));
}

}  // namespace semblance::bind
