// Graph search on the card: uploads, checks, and results on the host or on the card.
#include <algorithm>
#include <optional>
#include <tuple>

#include "bind/cuda_arrays.hpp"
#include "bind/table_arrays.hpp"
#include "graph_api.hpp"
#include "index/input.hpp"

namespace semblance::bind {
namespace {

using cuda::Memory;
using cuda::Stream;

constexpr std::size_t kCheckedRows = 1024;  // between two looks at Ctrl-C

cuda::GraphCodes graph_codes_of(const std::string& name) {
  if (name == "f32") return cuda::GraphCodes::f32;
  if (name == "f16") return cuda::GraphCodes::f16;
  return name == "i8" ? cuda::GraphCodes::i8 : cuda::GraphCodes::bits;
}

cuda::GraphScore graph_score_of(Metric metric, cuda::GraphCodes codes) {
  if (metric == Metric::jaccard) return cuda::GraphScore::jaccard;
  if (codes == cuda::GraphCodes::bits) return cuda::GraphScore::hamming;
  return metric == Metric::l2 ? cuda::GraphScore::squares : cuda::GraphScore::product;
}

Memory to_card(const void* data, std::size_t bytes) {
  Memory out(bytes);
  cuda::copy(out.data(), data, bytes, nullptr);
  return out;
}

// Codes on the card. From Python: (name, rows uint8 (n, bytes of a row), scales f32 (n,) or None, centre f32 (dim,) or
// None).
using CodesTuple = std::tuple<std::string, py::array, py::object, py::object>;

struct CardCodes {
  cuda::GraphRows rows{};
  Memory data, scales, centre;

  CardCodes() = default;
  CardCodes(const CodesTuple& tuple, std::size_t n, std::size_t dim, Metric metric) {
    const auto& [name, codes, scale, middle] = tuple;
    rows.codes = graph_codes_of(name);
    rows.score = graph_score_of(metric, rows.codes);
    rows.dim = static_cast<std::uint32_t>(dim);
    const std::size_t stride = cuda::graph_row_bytes(rows.codes, dim);
    require<std::uint8_t>("rows", codes, {static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(stride)});
    data = to_card(codes.data(), n * stride);
    rows.data = data.data();
    const auto floats = [](const char* where, const py::object& object, std::size_t size, Memory& memory) {
      if (object.is_none()) return static_cast<const float*>(nullptr);
      const auto values = vector_of<float>(where, py::array(object), static_cast<py::ssize_t>(size));
      memory = to_card(values.data(), values.size_bytes());
      return static_cast<const float*>(memory.as<float>());
    };
    rows.scales = floats("scales", scale, n, scales);
    rows.centre = floats("centre", middle, dim, centre);
    if (rows.codes == cuda::GraphCodes::i8 && rows.scales == nullptr)
      throw ArgumentError(expected("scales", "one a row of i8", "None"));
  }
  std::size_t bytes() const { return data.bytes() + scales.bytes() + centre.bytes(); }
};

// Which rows may be returned: bits for walks, a list for scans.
struct GraphAllowed {
  Memory bits, rows;
  std::size_t count = 0;
};

class BoundGraph {
 public:
  BoundGraph(const std::string& metric, std::size_t dim, const CodesTuple& walk, const std::optional<CodesTuple>& fine,
             const py::array& links, const py::array& ids, std::uint32_t entry)
      : metric_(parse_metric(metric)), n_(static_cast<std::size_t>(ids.shape(0))) {
    require<std::uint32_t>("links", links, {static_cast<py::ssize_t>(n_), kAnySize});
    const auto names = vector_of<std::int64_t>("ids", ids);
    const auto degree = static_cast<std::uint32_t>(links.shape(1));
    check_links({static_cast<const std::uint32_t*>(links.data()), n_ * degree}, entry);
    walk_ = CardCodes(walk, n_, dim, metric_);
    if (fine) fine_ = CardCodes(*fine, n_, dim, metric_);
    links_ = to_card(links.data(), n_ * degree * sizeof(std::uint32_t));
    ids_ = to_card(names.data(), names.size_bytes());
    cuda::synchronize(nullptr);
    view_ = {
        walk_.rows, fine_.rows, links_.as<std::uint32_t>(), ids_.as<std::int64_t>(), static_cast<std::uint32_t>(n_),
        degree,     entry};
  }

  std::size_t size() const { return n_; }
  std::size_t bytes() const { return walk_.bytes() + fine_.bytes() + links_.bytes() + ids_.bytes(); }

  // Of the numbers of rows, sorted.
  std::shared_ptr<GraphAllowed> allow(const py::array& numbers) const {
    const auto rows = vector_of<std::uint32_t>("rows", numbers);
    std::vector<std::uint32_t> bits((n_ + 31) / 32);
    for (const std::uint32_t row : rows) {
      if (row >= n_) throw ArgumentError(expected("rows", "rows below " + std::to_string(n_), std::to_string(row)));
      bits[row / 32] |= 1U << row % 32;
    }
    auto out = std::make_shared<GraphAllowed>();
    out->count = rows.size();
    out->bits = to_card(bits.data(), bits.size() * sizeof bits[0]);
    out->rows = to_card(rows.data(), rows.size_bytes());
    cuda::synchronize(nullptr);
    return out;
  }

  // (k, ef, walks, width, seeds, scans); a scan looks at every allowed row, with `walks` blocks a query.
  using Numbers = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, bool>;

  py::tuple search(const py::object& queries, const Numbers& numbers, const std::shared_ptr<GraphAllowed>& allowed,
                   const py::object& out, bool on_device, std::uintptr_t stream_handle) const {
    const auto [k, ef, walks, width, seeds, scans] = numbers;
    const Stream stream = stream_from(stream_handle);
    const GivenArray given = checked_queries(queries, stream);
    if (k < 1 || ef < k || ef > cuda::kMaxPool || walks < 1 || width < 1 || width > 16 || seeds < 1 || seeds > 1024)
      throw ArgumentError(expected("k, ef", "1 <= k <= ef <= " + std::to_string(cuda::kMaxPool),
                                   std::to_string(k) + ", " + std::to_string(ef)));
    if (scans && !allowed) throw ArgumentError(expected("allowed", "the rows to scan", "None"));
    const auto n = static_cast<std::size_t>(given.shape[0]);
    HitArrays found(out, {given.shape[0], k}, stream);
    monitored(py::none(), [&](Monitor* monitor) {
      if (!given.on_device) check(given, monitor);
      found.allocate();
      const Memory upload(given.on_device ? 0 : n * query_bytes(), stream);
      if (!given.on_device) cuda::copy(upload.data(), given.data, upload.bytes(), stream);
      const void* values = given.on_device ? given.data : upload.data();
      const cuda::GraphQueries asked{values, n, metric_ == Metric::cosine};
      const bool from_one = metric_ == Metric::cosine || metric_ == Metric::ip;
      const cuda::GraphHits hits{found.ids(), found.distances(), from_one ? 1.0F : 0.0F, metric_ == Metric::cosine};
      if (scans) {
        const cuda::GraphScan scan{k, ef, allowed->rows.as<std::uint32_t>(), static_cast<std::uint32_t>(allowed->count),
                                   walks};
        return cuda::scan_rows(view_, asked, scan, hits, stream);
      }
      const std::uint32_t* bits = allowed ? allowed->bits.as<std::uint32_t>() : nullptr;
      cuda::search_graph(view_, asked, {k, ef, walks, width, seeds, bits}, hits, stream);
    });
    return found.results(on_device);
  }

 private:
  std::size_t query_bytes() const { return is_binary(metric_) ? walk_.rows.dim / 8 : walk_.rows.dim * sizeof(float); }

  void check_links(std::span<const std::uint32_t> links, std::uint32_t entry) const {
    const bool sound =
        std::all_of(links.begin(), links.end(), [&](std::uint32_t row) { return row < n_ || row == cuda::kNoLink; });
    if (!sound || entry >= n_ || n_ >= (std::size_t{1} << 31))
      throw ArgumentError(expected("links", "rows below " + std::to_string(n_), "others"));
  }

  GivenArray checked_queries(const py::object& queries, Stream stream) const {
    GivenArray given = given_array(queries, "queries", stream);
    const bool packed = is_binary(metric_);
    const auto width = static_cast<std::int64_t>(packed ? walk_.rows.dim / 8 : walk_.rows.dim);
    const bool typed = packed ? given.typestr == "|u1" || given.typestr == "<u1" : given.typestr == "<f4";
    if (!typed || given.shape.size() != 2 || given.shape[1] != width)
      throw ArgumentError(expected("queries",
                                   (packed ? "uint8" : "float32") + (" of shape (n, " + std::to_string(width)) + ")",
                                   given.typestr + " of another shape or type"));
    return given;
  }

  void check(const GivenArray& given, Monitor* monitor) const {
    if (is_binary(metric_) || given.shape[0] == 0) return;
    const Matrix<const float> all{static_cast<const float*>(given.data), static_cast<std::size_t>(given.shape[0]),
                                  walk_.rows.dim};
    StillMonitor still(monitor, 0, all.rows);
    parallel_for(
        all.rows, 1, kCheckedRows,
        [&](std::size_t begin, std::size_t end, std::size_t) {
          check_vectors(all, begin, end, {metric_, kNoLimit, "queries"});
        },
        &still);
  }

  const Metric metric_;
  const std::size_t n_;
  CardCodes walk_, fine_;
  Memory links_, ids_;
  cuda::GraphView view_{};
};

}  // namespace

void register_cuda_graph(py::module_& m) {
  m.attr("MAX_GRAPH_POOL") = cuda::kMaxPool;
  m.def("graph_row_bytes",
        [](const std::string& codes, std::size_t dim) { return cuda::graph_row_bytes(graph_codes_of(codes), dim); });
  py::class_<GraphAllowed, std::shared_ptr<GraphAllowed>>(m, "GraphAllowed").def("__len__", [](const GraphAllowed& a) {
    return a.count;
  });
  py::class_<BoundGraph>(m, "GraphIndex")
      .def(py::init<const std::string&, std::size_t, const CodesTuple&, const std::optional<CodesTuple>&,
                    const py::array&, const py::array&, std::uint32_t>(),
           py::arg("metric"), py::arg("dim"), py::arg("walk"), py::arg("fine"), py::arg("links"), py::arg("ids"),
           py::arg("entry"))
      .def("__len__", &BoundGraph::size)
      .def("nbytes", &BoundGraph::bytes)
      .def("allow", &BoundGraph::allow, py::arg("rows"))
      .def("search", &BoundGraph::search, py::arg("queries"), py::arg("numbers"), py::arg("allowed"), py::arg("out"),
           py::arg("on_device"), py::arg("stream"));
}

}  // namespace semblance::bind
