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

// Copies what lies at `data` to memory of the card, and has `data` point there.
template <class T>
void to_card(Memory& memory, const T*& data, std::size_t count) {
  memory = Memory(count * sizeof(T));
  cuda::copy(memory.data(), data, memory.bytes(), nullptr);
  data = memory.as<T>();
}

// Codes on the card. From Python: (name, rows uint8 (n, bytes of a row), scales f32 (n,) or None, centre f32 (dim,) or
// None).
using CodesTuple = std::tuple<std::string, py::array, std::optional<py::array>, std::optional<py::array>>;

struct CardCodes {
  cuda::GraphRows rows{};  // of the host until they are sent
  std::size_t count = 0;
  Memory data, scales, centre;

  CardCodes() = default;
  CardCodes(const CodesTuple& tuple, std::size_t n, std::size_t dim, Metric metric) : count(n) {
    const auto& [name, codes, scale, middle] = tuple;
    rows.codes = graph_codes_of(name);
    rows.score = graph_score_of(metric, rows.codes);
    rows.dim = static_cast<std::uint32_t>(dim);
    require<std::uint8_t>("rows", codes, {static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(stride())});
    rows.data = static_cast<const std::byte*>(codes.data());
    const auto floats = [](const char* where, const std::optional<py::array>& values, std::size_t size) {
      return values ? vector_of<float>(where, *values, static_cast<py::ssize_t>(size)).data() : nullptr;
    };
    rows.scales = floats("scales", scale, n);
    rows.centre = floats("centre", middle, dim);
    if (rows.codes == cuda::GraphCodes::i8 && rows.scales == nullptr)
      throw ArgumentError(expected("scales", "one a row of i8", "None"));
  }
  void send() {
    to_card(data, rows.data, count * stride());
    if (rows.scales != nullptr) to_card(scales, rows.scales, count);
    if (rows.centre != nullptr) to_card(centre, rows.centre, rows.dim);
  }
  std::size_t stride() const { return cuda::graph_row_bytes(rows.codes, rows.dim); }
  std::size_t bytes() const { return data.bytes() + scales.bytes() + centre.bytes(); }
};

// Which rows may be returned: bits for walks, a list for scans.
struct GraphAllowed {
  std::shared_ptr<std::byte> bits, rows;
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
    walk_ = CardCodes(walk, n_, dim, metric_);
    if (fine) fine_ = CardCodes(*fine, n_, dim, metric_);
    view_ = {
        {},     {},   static_cast<const std::uint32_t*>(links.data()), names.data(), static_cast<std::uint32_t>(n_),
        degree, entry};
    without_gil([&] {
      check_links({view_.links, n_ * degree}, entry);
      walk_.send();
      if (fine) fine_.send();
      to_card(links_, view_.links, n_ * degree);
      to_card(ids_, view_.ids, n_);
      cuda::synchronize(nullptr);
    });
    view_.walk = walk_.rows;
    view_.fine = fine_.rows;
  }

  std::size_t size() const { return n_; }
  std::size_t bytes() const { return walk_.bytes() + fine_.bytes() + links_.bytes() + ids_.bytes(); }

  // Of the numbers of rows, sorted; in the order of a stream, or lasting.
  std::shared_ptr<GraphAllowed> allow(const py::array& numbers, const std::optional<GivenStream>& stream) const {
    const cuda::DeviceGuard guard(device_);
    const auto rows = vector_of<std::uint32_t>("rows", numbers);
    return without_gil([&] {
      std::vector<std::uint32_t> bits((n_ + 31) / 32);
      for (const std::uint32_t row : rows) {
        if (row >= n_) throw ArgumentError(expected("rows", "rows below " + std::to_string(n_), std::to_string(row)));
        bits[row / 32] |= 1U << row % 32;
      }
      return std::make_shared<GraphAllowed>(GraphAllowed{device_copy(bits.data(), bits.size() * sizeof bits[0], stream),
                                                         device_copy(rows.data(), rows.size_bytes(), stream),
                                                         rows.size()});
    });
  }

  // (k, ef, walks, width, seeds, scans); a scan looks at every allowed row, with `walks` blocks a query.
  using Numbers = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, bool>;

  py::tuple search(const py::object& queries, const Numbers& numbers, const std::shared_ptr<GraphAllowed>& allowed,
                   const py::object& out, bool on_device, const py::object& on) const {
    const cuda::DeviceGuard guard(device_);
    const auto [k, ef, walks, width, seeds, scans] = numbers;
    const GivenStream given_on = given_stream(on);
    const Stream stream = given_on.handle;
    const GivenArray given = checked_queries(queries, stream);
    if (k < 1 || ef < k || ef > cuda::kMaxPool || walks < 1 || width < 1 || width > 16 || seeds < 1 || seeds > 1024)
      throw ArgumentError(expected("k, ef", "1 <= k <= ef <= " + std::to_string(cuda::kMaxPool),
                                   std::to_string(k) + ", " + std::to_string(ef)));
    if (scans && !allowed) throw ArgumentError(expected("allowed", "the rows to scan", "None"));
    const auto n = static_cast<std::size_t>(given.shape[0]);
    HitArrays found(out, {given.shape[0], k}, given_on, on_device);
    monitored(py::none(), [&](Monitor* monitor) {
      if (!given.on_device) check(given, monitor);
      found.allocate();
      const Memory upload =
          given.on_device ? Memory() : uploaded(given.data, n * query_bytes(), stream, found.returns_early());
      const void* values = given.on_device ? given.data : upload.data();
      const cuda::GraphQueries asked{values, n, metric_ == Metric::cosine};
      const bool from_one = metric_ == Metric::cosine || metric_ == Metric::ip;
      const cuda::GraphHits hits{found.ids(), found.distances(), from_one ? 1.0F : 0.0F, metric_ == Metric::cosine};
      if (scans) {
        const cuda::GraphScan scan{k, ef, reinterpret_cast<const std::uint32_t*>(allowed->rows.get()),
                                   static_cast<std::uint32_t>(allowed->count), walks};
        return cuda::scan_rows(view_, asked, scan, hits, stream);
      }
      const auto* bits = allowed ? reinterpret_cast<const std::uint32_t*>(allowed->bits.get()) : nullptr;
      cuda::search_graph(view_, asked, {k, ef, walks, width, seeds, bits}, hits, stream);
    });
    return found.results();
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
    check_vectors({static_cast<const float*>(given.data), static_cast<std::size_t>(given.shape[0]), walk_.rows.dim},
                  {metric_, kNoLimit, "queries"}, 0, monitor);
  }

  const int device_ = cuda::device_number();
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
      .def(
          "allow", [](const BoundGraph& self, const py::array& rows) { return self.allow(rows, {}); }, py::arg("rows"))
      .def(
          "allow_for",
          [](const BoundGraph& self, const py::array& rows, const py::object& stream) {
            return self.allow(rows, given_stream(stream));
          },
          py::arg("rows"), py::arg("stream"))
      .def("search", &BoundGraph::search, py::arg("queries"), py::arg("numbers"), py::arg("allowed"), py::arg("out"),
           py::arg("on_device"), py::arg("stream"));
}

}  // namespace semblance::bind
