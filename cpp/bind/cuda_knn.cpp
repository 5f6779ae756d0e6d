// Neighbour lists made on the card: rows, candidates from any number of places, links.
#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <optional>
#include <span>

#include "bind/cuda_arrays.hpp"
#include "index/input.hpp"

namespace semblance::bind {
namespace {

using Numbers = std::optional<py::array_t<std::uint32_t>>;

// Rows of one level of a graph. Used by one thread.
struct GraphRows {
  GraphRows(std::size_t dim, const std::string& metric_name, bool exact)
      : metric(parse_metric(metric_name)),
        device(cuda::device_number()),
        rows({exact ? kernels::RowFormat::f32 : kernels::RowFormat::bf16, score_of(metric), dim,
              metric == Metric::cosine}) {}

  Metric metric;
  int device;
  cuda::FlatRows rows;
};

void add(GraphRows& self, const py::object& vectors) {
  const cuda::DeviceGuard guard(self.device);
  const cuda::Floats rows = given_rows(given_array(vectors, "vectors", nullptr), "vectors", self.rows.shape().dim);
  if (rows.on_device) throw ArgumentError(expected("vectors", "an array of the host", "one of the card"));
  monitored(py::none(), [&](Monitor* monitor) {
    check_vectors({rows.data, rows.n, self.rows.shape().dim}, {self.metric, kNoLimit, "vectors"}, 0, monitor);
    self.rows.append(rows, nullptr);
  });
}

// Numbers of rows, each checked to be one of `count`; `send` copies them to the card and needs no GIL.
class RowNumbers {
 public:
  RowNumbers(const Numbers& numbers, const GraphRows& rows, std::size_t count, const char* name) {
    const std::string want = std::to_string(rows.rows.size()) + " numbers below " + std::to_string(count);
    if (!numbers) {
      if (rows.rows.size() > count) throw ArgumentError(expected(name, want, "none"));
      return;
    }
    const std::uint32_t* values = require_array<std::uint32_t>(*numbers, name, 1);
    numbers_ = {values, static_cast<std::size_t>(numbers->shape(0))};
    if (numbers_.size() != rows.rows.size()) throw ArgumentError(expected(name, want, std::to_string(numbers_.size())));
    for (const std::uint32_t number : numbers_)
      if (number >= count) throw ArgumentError(expected(name, want, std::to_string(number)));
  }
  const std::uint32_t* send() {
    memory_ = uploaded(numbers_.data(), numbers_.size_bytes(), nullptr, false);
    return memory_.as<std::uint32_t>();
  }

 private:
  std::span<const std::uint32_t> numbers_;
  cuda::Memory memory_;
};

void find(cuda::Candidates& self, const GraphRows& queries, const Numbers& query_numbers, const GraphRows& source,
          const Numbers& numbers, std::size_t nearest, std::size_t column) {
  const cuda::DeviceGuard guard(queries.device);
  if (column + nearest > self.width() || nearest == 0 || nearest >= cuda::kMaxFlatK)
    throw ArgumentError(expected("nearest", "places within " + std::to_string(self.width()), std::to_string(nearest)));
  const cuda::FlatShape &a = queries.rows.shape(), &b = source.rows.shape();
  if (a.dim != b.dim || a.format != b.format || a.score != b.score)
    throw ArgumentError(expected("source", "rows like the queries", "others"));
  RowNumbers from(numbers, source, self.rows(), "numbers");
  RowNumbers to(query_numbers, queries, self.rows(), "query_numbers");
  monitored(py::none(), [&](Monitor*) {
    self.find(queries.rows, to.send(), {source.rows, from.send(), nearest, column, [] { stop_if_asked(); }}, nullptr);
  });
}

py::array_t<std::uint32_t> link(const GraphRows& rows, const cuda::Candidates& candidates, std::size_t degree,
                                float alpha, float least_score, bool fill) {
  const cuda::DeviceGuard guard(rows.device);
  if (candidates.rows() != rows.rows.size() || degree == 0 || degree > candidates.width())
    throw ArgumentError(expected("candidates", "those of the rows, at least degree of them", "others"));
  if (rows.rows.size() > std::numeric_limits<std::uint32_t>::max() / degree)
    throw CapacityError(
        expected("vectors", "fewer than 2^32 links in all", std::to_string(rows.rows.size()) + " rows"));
  py::array_t<std::uint32_t> out({rows.rows.size(), degree});
  std::uint32_t* links = out.mutable_data();
  monitored(py::none(), [&](Monitor*) {
    cuda::link_rows(rows.rows, candidates, {degree, alpha, least_score, fill}, links, nullptr);
  });
  return out;
}

}  // namespace

void register_cuda_knn(py::module_& m) {
  m.attr("MAX_CANDIDATES") = cuda::kMaxCandidates;
  py::class_<GraphRows>(m, "GraphRows")
      .def(py::init<std::size_t, std::string, bool>(), py::arg("dim"), py::arg("metric"), py::arg("exact"))
      .def("__len__", [](const GraphRows& self) { return self.rows.size(); })
      .def("add", &add, py::arg("vectors"));
  py::class_<cuda::Candidates>(m, "Candidates")
      .def(py::init([](std::size_t rows, std::size_t width) {
             if (width == 0 || width > cuda::kMaxCandidates)
               throw ArgumentError(expected("width", "1 to 256", std::to_string(width)));
             return without_gil([&] { return std::make_unique<cuda::Candidates>(rows, width, nullptr); });
           }),
           py::arg("rows"), py::arg("width"))
      .def("find", &find, py::arg("queries"), py::arg("query_numbers"), py::arg("source"), py::arg("numbers"),
           py::arg("nearest"), py::arg("column"));
  m.def("link_rows", &link, py::arg("rows"), py::arg("candidates"), py::arg("degree"), py::arg("alpha"),
        py::arg("least_score"), py::arg("fill"));
}

}  // namespace semblance::bind
