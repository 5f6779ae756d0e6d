#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "core/limits.hpp"
#include "index/exact.hpp"
#include "index/input.hpp"
#include "index/vector_index.hpp"

namespace semblance::bind {
namespace {

constexpr std::string_view kLinkCodes = "b1";
constexpr std::size_t kCheckedLists = 1024;  // at a time, and between two looks at Ctrl-C

using Ids = py::array_t<std::int64_t>;
using Floats = py::array_t<float>;

// The index, and the arrays of a file that it may be serving from.
struct BoundIndex {
  explicit BoundIndex(IndexParams params) : index(std::move(params)) {}
  VectorIndex index;
  py::object backing;
};

const std::byte* rows_of(const py::array& rows, const char* name, const IndexParams& params) {
  if (is_binary(params.metric))
    return reinterpret_cast<const std::byte*>(require_array<std::uint8_t>(rows, name, 2, params.dim / 8));
  return reinterpret_cast<const std::byte*>(require_array<float>(rows, name, 2, params.dim));
}

// Many rows take a while: it can be interrupted.
void check_rows(const std::byte* rows, std::size_t n, const IndexParams& params, const char* name, std::size_t threads,
                Monitor* monitor) {
  if (is_binary(params.metric)) return;
  const bool half = params.metric != Metric::cosine && (params.codes == "f16" || params.rerank == "f16");
  check_vectors({reinterpret_cast<const float*>(rows), n, params.dim},
                {params.metric, half ? kMaxHalf : kNoLimit, name}, threads, monitor);
}

Ids add(BoundIndex& self, const py::array& rows, const std::optional<py::array>& ids, bool replace, std::size_t threads,
        const py::object& progress) {
  const std::byte* input = rows_of(rows, "vectors", self.index.params());
  const auto n = static_cast<std::size_t>(rows.shape(0));
  const std::int64_t* wanted = ids ? require_array<std::int64_t>(*ids, "ids", 1) : nullptr;
  if (ids && static_cast<std::size_t>(ids->shape(0)) != n)
    throw ArgumentError(expected("ids", std::to_string(n) + " ids, one a row", describe(*ids)));
  Ids given(static_cast<py::ssize_t>(n));
  std::int64_t* out = given.mutable_data();
  monitored(progress, [&](Monitor* monitor) {
    check_rows(input, n, self.index.params(), "vectors", threads, monitor);
    self.index.add({input, wanted, n}, replace, threads, monitor, out);
  });
  return given;
}

// The levels of the first n rows' nodes, which depend on degree and seed alone.
py::array_t<std::uint8_t> node_levels(std::size_t n, std::size_t degree, std::uint64_t seed) {
  py::array_t<std::uint8_t> out(static_cast<py::ssize_t>(n));
  std::uint8_t* levels = out.mutable_data();
  without_gil([&] {
    Graph graph(degree, seed);
    graph.grow(n);
    std::copy_n(graph.parts().levels, n, levels);
  });
  return out;
}

LevelLists level_lists(const py::array& nodes, const py::array& lists, std::size_t degree) {
  const std::uint32_t* members = require_array<std::uint32_t>(nodes, "nodes", 1);
  const std::uint32_t* links = require_array<std::uint32_t>(lists, "lists", 2, degree);
  const auto count = static_cast<std::size_t>(nodes.shape(0));
  if (static_cast<std::size_t>(lists.shape(0)) != count)
    throw ArgumentError(expected("lists", std::to_string(count) + " lists, one a node", describe(lists)));
  return {members, links, count};
}

// Every node has a place on the level, every link names another node of it.
void check_lists(const LevelLists& lists, std::size_t level, const Graph& graph, std::size_t threads,
                 Monitor* monitor) {
  const std::size_t degree = graph.degree(level);
  const auto belongs = [&](std::uint32_t node) { return node < graph.size() && graph.level(node) >= level; };
  const auto check = [&](std::uint32_t node, const std::uint32_t* list) {
    if (!belongs(node))
      throw ArgumentError(expected("nodes", "nodes of level " + std::to_string(level), std::to_string(node)));
    for (std::size_t j = 0; j < degree && list[j] != kNoSlot; ++j)
      if (!belongs(list[j]) || list[j] == node || std::find(list, list + j, list[j]) != list + j)
        throw ArgumentError(
            expected("lists", "different other nodes of level " + std::to_string(level), std::to_string(list[j])));
  };
  StillMonitor still(monitor, 0, graph.size());
  parallel_for(
      lists.count, threads, kCheckedLists,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t i = begin; i < end; ++i) check(lists.nodes[i], lists.lists + i * degree);
      },
      &still);
}

// Adds the first rows with the graph that was made for them: (nodes, lists) a level, from the base on.
Ids add_linked(BoundIndex& self, const py::array& rows, const std::optional<py::array>& ids,
               const std::vector<std::pair<py::array, py::array>>& levels, std::size_t threads,
               const py::object& progress) {
  const IndexParams& params = self.index.params();
  const std::byte* input = rows_of(rows, "vectors", params);
  const auto n = static_cast<std::size_t>(rows.shape(0));
  const std::int64_t* wanted = ids ? require_array<std::int64_t>(*ids, "ids", 1) : nullptr;
  if (ids && static_cast<std::size_t>(ids->shape(0)) != n)
    throw ArgumentError(expected("ids", std::to_string(n) + " ids, one a row", describe(*ids)));
  if (!params.has_graph || self.index.moment().rows->count.load() > 0)
    throw ArgumentError(expected("index", "an index of kind 'hnsw' without rows", "another"));
  Graph graph(params.max_degree, params.seed);
  std::vector<LevelLists> lists;
  for (const auto& [nodes, links] : levels) lists.push_back(level_lists(nodes, links, graph.degree(lists.size())));
  Ids given(static_cast<py::ssize_t>(n));
  std::int64_t* out = given.mutable_data();
  monitored(progress, [&](Monitor* monitor) {
    graph.grow(n);
    for (std::size_t level = 0; level < lists.size(); ++level)
      check_lists(lists[level], level, graph, threads, monitor);
    check_rows(input, n, params, "vectors", threads, monitor);
    self.index.add({input, wanted, n, &lists}, false, threads, monitor, out);
  });
  return given;
}

SearchOptions options_of(std::size_t k, std::size_t ef, bool exact, AllowedIds* allowed, std::size_t threads) {
  return {k, ef, exact, allowed, threads};
}

// A filter a query, or none at all.
using EachAllowed = std::optional<std::vector<AllowedIds*>>;

VectorIndex::Queries queries_of(const BoundIndex& self, const py::array& queries, const EachAllowed& each) {
  const std::byte* input = rows_of(queries, "queries", self.index.params());
  const auto n = static_cast<std::size_t>(queries.shape(0));
  if (each && each->size() != n)
    throw ArgumentError(expected("allowed", std::to_string(n) + " filters, one a query", std::to_string(each->size())));
  return {input, n, each ? each->data() : nullptr};
}

py::tuple search(const BoundIndex& self, const py::array& rows, std::size_t k, std::size_t ef, bool exact,
                 AllowedIds* allowed, std::size_t threads, const EachAllowed& each) {
  const VectorIndex::Queries queries = queries_of(self, rows, each);
  const std::size_t n = queries.n;
  Ids ids({n, k});
  Floats distances({n, k});
  std::int64_t* out_ids = ids.mutable_data();
  float* out_distances = distances.mutable_data();
  const SearchOptions options = options_of(k, ef, exact, allowed, threads);
  monitored(py::none(), [&](Monitor* monitor) {
    check_rows(queries.data, n, self.index.params(), "queries", threads, monitor);
    self.index.search(queries, options, monitor, {out_ids, out_distances});
  });
  return py::make_tuple(std::move(ids), std::move(distances));
}

py::tuple within(const BoundIndex& self, const py::array& rows, float radius, std::size_t ef, bool exact,
                 AllowedIds* allowed, std::size_t threads, const EachAllowed& each) {
  const VectorIndex::Queries queries = queries_of(self, rows, each);
  const SearchOptions options = options_of(1, ef, exact, allowed, threads);
  RangeResult result = monitored(py::none(), [&](Monitor* monitor) {
    check_rows(queries.data, queries.n, self.index.params(), "queries", threads, monitor);
    return self.index.within(queries, radius, options, monitor);
  });
  return py::make_tuple(take_vector(std::move(result.offsets)), take_vector(std::move(result.ids)),
                        take_vector(std::move(result.distances)));
}

py::array get(const BoundIndex& self, const py::array& ids) {
  const std::int64_t* wanted = require_array<std::int64_t>(ids, "ids", 1);
  const auto n = static_cast<std::size_t>(ids.shape(0));
  const IndexParams& params = self.index.params();
  py::array out = is_binary(params.metric) ? py::array(py::array_t<std::uint8_t>({n, params.dim / 8}))
                                           : py::array(Floats({n, params.dim}));
  auto* data = static_cast<std::byte*>(out.mutable_data());
  monitored(py::none(), [&](Monitor*) { self.index.get(wanted, n, data); });
  return out;
}

py::dict check(const BoundIndex& self) {
  const CheckReport report = monitored(py::none(), [&](Monitor*) { return self.index.check(); });
  py::dict out;
  out["rows"] = report.rows;
  out["live"] = report.live;
  out["reachable"] = report.reachable;
  out["problems"] = report.problems;
  return out;
}

// Bytes by part, and how full the lists of the base level are.
py::dict stats(const BoundIndex& self) {
  const Moment now = self.index.moment();
  const std::shared_ptr<const RowSet> rows = now.rows;
  const std::size_t n = rows->count.load();
  py::dict out, bytes;
  const std::size_t row_bytes = n * rows->codes.arena.row_bytes();
  bytes["codes"] = rows->links ? n * rows->links->row_bytes() : row_bytes;
  bytes["rerank"] = rows->links ? row_bytes : rows->codes.own && rows->fine ? n * rows->fine->arena.row_bytes() : 0;
  bytes["graph"] = rows->graph ? rows->graph->bytes() : 0;
  bytes["ids"] = n * sizeof(std::int64_t) + rows->map.bytes() + n * sizeof(std::uint32_t);
  out["rows"] = n;
  out["live"] = now.live;
  out["bytes"] = bytes;
  if (rows->links) out["code_bits"] = rows->links->differences().groups() * kernels::kLinkGroup;
  if (rows->graph) {
    std::size_t links = 0, most = 0;
    std::vector<std::uint32_t> list(rows->graph->degree(0));
    for (std::uint32_t node = 0; node < n; ++node) {
      const std::size_t degree = rows->graph->neighbours(0, node, list.data());
      links += degree;
      most = std::max(most, degree);
    }
    out["mean_degree"] = n > 0 ? static_cast<double>(links) / static_cast<double>(n) : 0.0;
    out["largest_degree"] = most;
  }
  return out;
}

// Writers wait while it lives; made and dropped by one thread.
struct Frozen {
  std::unique_lock<std::timed_mutex> lock;
  std::shared_ptr<const RowSet> rows;
  DistanceProfile profile;

  py::dict tensors() const {
    const auto n = static_cast<py::ssize_t>(rows->count.load());
    const auto bytes = [&](const CodeRows& codes) {
      return view_of(reinterpret_cast<const std::uint8_t*>(codes.arena.data()),
                     {n, static_cast<py::ssize_t>(codes.arena.row_bytes())}, rows);
    };
    py::dict out;
    out[rows->links ? "rerank" : "codes"] = bytes(rows->codes);
    if (rows->fine && rows->codes.own) out["rerank"] = bytes(*rows->fine);
    if (rows->links) add_link_codes(out, n);
    out["ids"] = view_of(rows->ids.as<std::int64_t>(), {n}, rows);
    std::vector<std::uint64_t> live(words_for(static_cast<std::size_t>(n)));
    for (std::size_t slot = 0; slot < static_cast<std::size_t>(n); ++slot)
      live[slot / kWordBits] |= std::uint64_t{rows->alive(slot)} << (slot % kWordBits);
    out["live"] = take_vector(std::move(live));
    if (!rows->graph) return out;
    const Graph& graph = *rows->graph;
    const Graph::Parts parts = graph.parts();
    out["graph.links"] = view_of(parts.links, {n, static_cast<py::ssize_t>(graph.degree(0))}, rows);
    out["graph.levels"] = view_of(parts.levels, {n}, rows);
    out["graph.upper"] =
        view_of(parts.upper, {static_cast<py::ssize_t>(parts.blocks), static_cast<py::ssize_t>(graph.degree(1))}, rows);
    out["graph.entry"] = py::array_t<std::uint32_t>(1, &parts.entry);
    if (profile.rows() > 0) {
      const auto numbers = profile.numbers();
      out["graph.profile"] = py::array_t<double>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
    }
    return out;
  }

 private:
  void add_link_codes(py::dict& out, py::ssize_t n) const {
    const auto bytes = [&](const std::byte* data, py::ssize_t count, std::size_t each) {
      return view_of(reinterpret_cast<const std::uint8_t*>(data), {count, static_cast<py::ssize_t>(each)}, rows);
    };
    out["codes"] = bytes(rows->links->data(), n, rows->links->row_bytes());
    const LevelCodec* levels = rows->links->levels();
    if (levels == nullptr) return;
    const Axes& axes = levels->axes();
    const auto count = static_cast<py::ssize_t>(levels->values());
    out["axes.words"] = py::array_t<std::uint32_t>(static_cast<py::ssize_t>(axes.words.size()), axes.words.data());
    out["axes.basis"] = bytes(axes.basis.data(), count, levels->basis_row_bytes());
    out["axes.offset"] = py::array_t<float>(count, axes.offset.data());
    out["axes.spread"] = py::array_t<float>(count, axes.spread.data());
  }
};

Frozen freeze(const BoundIndex& self) {
  Frozen frozen;
  frozen.lock = monitored(py::none(), [&](Monitor*) { return self.index.freeze(); });
  const Moment now = self.index.moment();
  frozen.rows = now.rows;
  frozen.profile = now.profile;
  return frozen;
}

template <class T>
const T* tensor(const py::dict& tensors, const char* name, std::vector<std::size_t> shape) {
  if (!tensors.contains(name)) throw FormatError(expected(name, "a tensor of that name", "none"));
  const auto array = py::cast<py::array>(tensors[name]);
  bool fits = py::isinstance<py::array_t<T>>(array) && (array.flags() & py::array::c_style) != 0 &&
              static_cast<std::size_t>(array.ndim()) == shape.size();
  std::string want;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    fits = fits && static_cast<std::size_t>(array.shape(static_cast<py::ssize_t>(i))) == shape[i];
    want += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  if (!fits)
    throw FormatError(
        expected(name, std::string(py::str(py::dtype::of<T>())) + " of shape (" + want + ")", describe(array)));
  return static_cast<const T*>(array.data());
}

std::size_t first_axis(const py::dict& tensors, const char* name) {
  if (!tensors.contains(name)) throw FormatError(expected(name, "a tensor of that name", "none"));
  const auto array = py::cast<py::array>(tensors[name]);
  if (array.ndim() == 0) throw FormatError(expected(name, "at least one axis", "none"));
  return static_cast<std::size_t>(array.shape(0));
}

// The neighbour codes of a file, by levels where it has axes; without blocks.
std::unique_ptr<LinkCodes> link_codes_of(const py::dict& tensors, const IndexParams& params) {
  if (!tensors.contains("axes.words")) return make_link_codes(params, nullptr);
  Axes axes;
  const auto* words = tensor<std::uint32_t>(tensors, "axes.words", {axes.words.size()});
  std::copy_n(words, axes.words.size(), axes.words.data());
  const std::size_t count = first_axis(tensors, "axes.spread"), row_bytes = LevelCodec::basis_row_bytes(params.dim);
  const auto* basis = tensor<std::uint8_t>(tensors, "axes.basis", {count, row_bytes});
  const auto* offset = tensor<float>(tensors, "axes.offset", {count});
  const auto* spread = tensor<float>(tensors, "axes.spread", {count});
  const auto* begin = reinterpret_cast<const std::byte*>(basis);
  axes.basis.assign(begin, begin + count * row_bytes);
  axes.offset.assign(offset, offset + count);
  axes.spread.assign(spread, spread + count);
  return make_link_codes(params, LevelCodec::checked(params.dim, std::move(axes)));
}

// Serves from the arrays, which stay alive with the index.
void restore(BoundIndex& self, const py::dict& tensors) {
  const std::shared_ptr<const RowSet> rows = self.index.moment().rows;
  VectorIndex::Parts parts{};
  parts.n = first_axis(tensors, "ids");
  if (parts.n > kMaxRows) throw FormatError(expected("ids", "at most 2^30 rows", std::to_string(parts.n)));
  const auto codes = [&](const char* name, const CodeRows& part) {
    return reinterpret_cast<const std::byte*>(tensor<std::uint8_t>(tensors, name, {parts.n, part.arena.row_bytes()}));
  };
  parts.codes = codes(rows->links ? "rerank" : "codes", rows->codes);
  if (rows->fine) parts.fine = rows->codes.own ? codes("rerank", *rows->fine) : parts.codes;
  if (rows->links) {
    parts.links = link_codes_of(tensors, self.index.params());
    parts.blocks =
        reinterpret_cast<const std::byte*>(tensor<std::uint8_t>(tensors, "codes", {parts.n, parts.links->row_bytes()}));
  }
  parts.ids = tensor<std::int64_t>(tensors, "ids", {parts.n});
  parts.live = tensor<std::uint64_t>(tensors, "live", {words_for(parts.n)});
  if (rows->graph) {
    Graph::Parts& graph = parts.graph;
    graph.nodes = parts.n;
    graph.blocks = first_axis(tensors, "graph.upper");
    graph.links = tensor<std::uint32_t>(tensors, "graph.links", {parts.n, rows->graph->degree(0)});
    graph.levels = tensor<std::uint8_t>(tensors, "graph.levels", {parts.n});
    graph.upper = tensor<std::uint32_t>(tensors, "graph.upper", {graph.blocks, rows->graph->degree(1)});
    graph.entry = *tensor<std::uint32_t>(tensors, "graph.entry", {1});
    if (tensors.contains("graph.profile"))
      parts.profile = tensor<double>(tensors, "graph.profile", {DistanceProfile::kNumbers});
  }
  monitored(py::none(), [&](Monitor*) { self.index.restore(std::move(parts)); });
  self.backing = tensors;
}

std::unique_ptr<BoundIndex> make_index(std::size_t dim, const std::string& metric, bool has_graph,
                                       const std::string& codes, const std::string& rerank,
                                       const py::tuple& graph_params) {
  IndexParams params;
  params.dim = dim;
  params.metric = parse_metric(metric);
  params.has_graph = has_graph;
  params.codes = codes;
  params.rerank = rerank;
  params.max_degree = graph_params[0].cast<std::size_t>();
  params.ef_construction = graph_params[1].cast<std::size_t>();
  params.seed = graph_params[2].cast<std::uint64_t>();
  params.link_codes = has_graph && codes == kLinkCodes && !is_binary(params.metric);
  if (params.link_codes) {  // walks read the neighbours' bits and the finer copy of the node itself
    params.codes = rerank;
    params.rerank.clear();
  }
  return std::make_unique<BoundIndex>(std::move(params));
}

py::tuple exact(const py::array& vectors, const py::array& queries, std::size_t k, const std::string& metric,
                std::size_t threads) {
  ExactProblem problem{};
  problem.metric = parse_metric(metric);
  const bool binary = is_binary(problem.metric);
  if (vectors.ndim() != 2) throw ArgumentError(expected("vectors", "shape (n, d)", describe(vectors)));
  IndexParams params;
  params.dim = static_cast<std::size_t>(vectors.shape(1)) * (binary ? 8 : 1);
  params.metric = problem.metric;
  problem.dim = params.dim;
  problem.rows = rows_of(vectors, "vectors", params);
  problem.queries = rows_of(queries, "queries", params);
  problem.n_rows = static_cast<std::size_t>(vectors.shape(0));
  problem.n_queries = static_cast<std::size_t>(queries.shape(0));
  problem.k = k;
  problem.threads = threads;
  Ids ids({problem.n_queries, k});
  Floats distances({problem.n_queries, k});
  problem.ids = ids.mutable_data();
  problem.distances = distances.mutable_data();
  monitored(py::none(), [&](Monitor* monitor) {
    check_rows(problem.rows, problem.n_rows, params, "vectors", threads, monitor);
    check_rows(problem.queries, problem.n_queries, params, "queries", threads, monitor);
    search_exactly(problem, monitor);
  });
  return py::make_tuple(std::move(ids), std::move(distances));
}

}  // namespace

void register_index(py::module_& m) {
  py::module_ sub = m.def_submodule("index");
  sub.attr("MAX_DIM") = kMaxDim;
  sub.attr("MAX_K") = kMaxK;
  sub.attr("MAX_DEGREE") = kMaxDegree;
  sub.def("exact", &exact);
  sub.def("node_levels", &node_levels);
  py::class_<AllowedIds>(sub, "Allowed").def(py::init([](const py::array& ids, bool keep) {
    const std::int64_t* values = require_array<std::int64_t>(ids, "allowed", 1);
    auto allowed = std::make_unique<AllowedIds>();
    allowed->keep = keep;
    allowed->ids.assign(values, values + ids.shape(0));
    return allowed;
  }));
  py::class_<Frozen>(sub, "Frozen").def("tensors", &Frozen::tensors).def("release", [](Frozen& self) {
    self.lock = {};
  });
  py::class_<BoundIndex>(sub, "Index")
      .def(py::init(&make_index))
      .def("add", &add)
      .def("add_linked", &add_linked)
      .def("remove",
           [](BoundIndex& self, const py::array& ids) {
             const std::int64_t* wanted = require_array<std::int64_t>(ids, "ids", 1);
             const auto n = static_cast<std::size_t>(ids.shape(0));
             return monitored(py::none(), [&](Monitor*) { return self.index.remove(wanted, n); });
           })
      .def("compact",
           [](BoundIndex& self, std::size_t threads, const py::object& progress) {
             monitored(progress, [&](Monitor* monitor) { self.index.compact(threads, monitor); });
           })
      .def("search", &search)
      .def("within", &within)
      .def("get", &get)
      .def("ids", [](const BoundIndex& self) { return take_vector(self.index.ids()); })
      .def("contains", [](const BoundIndex& self, std::int64_t id) { return self.index.contains(id); })
      .def("__len__", [](const BoundIndex& self) { return self.index.size(); })
      .def("check", &check)
      .def("stats", &stats)
      .def("freeze", &freeze)
      .def("restore", &restore);
}

}  // namespace semblance::bind
