// How rows get into the graph, and neighbour codes into its nodes.
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "index/linking_rows.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr std::size_t kLinkGrain = 16;
constexpr std::size_t kDraftShare = 128;  // rows are linked by quick codes where they are this share of all or more
constexpr std::size_t kPlacedShare = 8;   // rows are placed once for all lists where those of this share changed
constexpr std::size_t kBulkShare = 4;  // and fill their lists where they are this one: it costs where rows trickle in
constexpr float kAlpha = 1.2F;
// Axes are learned of as many differences, of rows enough to be worth it.
constexpr std::size_t kSampled = 2560, kLeastSampled = 640, kLeastLearned = 4096, kLearnedRowsADim = 16, kLeastDim = 64;

// Adds the difference, of length 1, between a row and a neighbour; whether there is one.
bool add_difference(const float* node, const float* neighbour, std::size_t dim, AlignedVector<float>& out) {
  const std::size_t at = out.size();
  double square = 0.0;
  for (std::size_t i = 0; i < dim; ++i) {
    out.push_back(neighbour[i] - node[i]);
    square += double{out.back()} * out.back();
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(square));
  if (!(square > 0.0) || !std::isfinite(scale) || !(scale > 0.0F)) {
    out.resize(at);
    return false;
  }
  for (std::size_t i = at; i < out.size(); ++i) out[i] *= scale;
  return true;
}

DifferenceSample sample_differences(const RowSet& rows, const IndexParams& params) {
  DifferenceSample sample{params.dim, 0, {}, {}, AlignedVector<float>(params.dim)};
  const std::size_t n = rows.graph->size();
  std::vector<std::uint32_t> list(rows.graph->degree(0));
  AlignedVector<float> node(params.dim), first(params.dim), second(params.dim);
  std::vector<double> sums(params.dim);
  const auto decode = [&](std::size_t row, AlignedVector<float>& out) {
    rows.codes.codec->decode(rows.codes.arena.row(row), 1, reinterpret_cast<std::byte*>(out.data()));
  };
  for (std::size_t i = 0; i < kSampled; ++i) {
    stop_if_asked(i);
    const std::uint64_t chance = mix64(params.seed ^ mix64(i));
    const auto at = static_cast<std::uint32_t>(chance % n);
    const std::size_t count = rows.graph->neighbours(0, at, list.data());
    if (count < 2) continue;
    const std::size_t one = (chance >> 32U) % count, other = (one + 1 + (chance >> 48U) % (count - 1)) % count;
    decode(at, node);
    decode(list[one], first);
    decode(list[other], second);
    if (!add_difference(node.data(), first.data(), params.dim, sample.first)) continue;
    if (!add_difference(node.data(), second.data(), params.dim, sample.second)) {
      sample.first.resize(sample.second.size());
      continue;
    }
    ++sample.count;
    for (std::size_t d = 0; d < params.dim; ++d) sums[d] += node[d];
  }
  for (std::size_t d = 0; d < params.dim; ++d)
    sample.mean[d] = static_cast<float>(sums[d] / static_cast<double>(std::max<std::size_t>(1, sample.count)));
  return sample;
}

// Axes learned of the rows of a graph that nobody walks yet; null where signs do.
std::unique_ptr<LevelCodec> learn_axes(const RowSet& rows, const IndexParams& params, std::size_t threads,
                                       Monitor* monitor) {
  const std::size_t n = rows.graph->size();
  if (params.metric == Metric::ip || params.dim < kLeastDim) return nullptr;
  if (n < kLeastLearned || n < kLearnedRowsADim * params.dim) return nullptr;
  const DifferenceSample sample = sample_differences(rows, params);
  if (sample.count < kLeastSampled) return nullptr;
  return learn_levels(sample, SignCodec(params.dim, params.seed),
                      rows.links->lines_beside(rows.codes.arena.row_bytes()), threads, monitor);
}

}  // namespace

// Gives the neighbour codes of a graph whose first rows are linked the form that tells them apart best.
void VectorIndex::begin_links(RowSet& rows, std::size_t threads, Monitor* monitor) const {
  if (auto levels = learn_axes(rows, params_, threads, monitor))
    rows.links = make_link_codes(params_, std::move(levels));
  rows.links->grow(rows.graph->size());
}

// Brings the neighbour codes of all nodes up to date whose links changed.
void VectorIndex::encode_links(RowSet& rows, std::size_t threads, Monitor* monitor) const {
  std::vector<LinkCodes::EncodeScratch> scratch(resolve_threads(threads));
  std::vector<std::uint32_t> nodes = rows.graph->take_changed();
  PlacedRows placed = rows.links->placed(*rows.codes.codec, rows.codes.arena);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t worker) {
    std::vector<std::uint32_t> list(rows.graph->degree(0));
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t count = rows.graph->neighbours(0, nodes[i], list.data());
      rows.links->encode(nodes[i], list.data(), count, placed, scratch[worker]);
    }
  };
  try {
    if (nodes.size() * kPlacedShare >= rows.graph->size()) placed.make_ahead(rows.graph->size(), threads, monitor);
    parallel_for(nodes.size(), threads, kLinkGrain, body, monitor);
  } catch (...) {
    rows.graph->give_back_changed(std::move(nodes));
    throw;
  }
}

void VectorIndex::link(RowSet& rows, std::size_t first, std::size_t last, std::size_t threads, Monitor* monitor) const {
  if (!rows.graph) return;
  StillMonitor before(monitor, 0, last - first), after(monitor, last - first, last - first);
  // Inner products are no distances that a factor could stretch: they are compared as they are.
  // Walks by neighbour codes do better with links that differ more, and score whole lists anyway: bulk builds leave no
  // place empty (decision 7).
  const float alpha = params_.metric == Metric::ip || rows.links ? 1.0F : kAlpha;
  const float least = params_.metric == Metric::ip       ? -std::numeric_limits<float>::infinity()
                      : params_.metric == Metric::cosine ? -1.0F
                                                         : 0.0F;
  const bool fill = rows.links && params_.metric != Metric::ip && (last - first) * kBulkShare >= last;
  {
    LinkingRows linking(rows, last, (last - first) * kDraftShare >= last, params_, threads, &before);
    link_nodes(*rows.graph, linking, first, last, {params_.ef_construction, alpha, least, fill, threads}, monitor);
  }
  if (!rows.links) return;
  if (first == 0) begin_links(rows, threads, &after);
  encode_links(rows, threads, &after);
}

void VectorIndex::adopt_links(RowSet& rows, const std::vector<LevelLists>& levels, std::size_t threads,
                              Monitor* monitor) const {
  Graph& graph = *rows.graph;
  graph.set_entry(0);
  for (std::uint32_t node = 1; node < graph.size(); ++node)
    if (graph.level(node) > graph.level(graph.entry())) graph.set_entry(node);
  for (std::size_t level = 0; level < levels.size(); ++level) {
    const LevelLists& given = levels[level];
    const std::size_t degree = graph.degree(level);
    for (std::size_t i = 0; i < given.count; ++i) {
      stop_if_asked(i);
      const std::uint32_t* list = given.lists + i * degree;
      const auto filled = static_cast<std::size_t>(std::find(list, list + degree, kNoSlot) - list);
      graph.replace(level, given.nodes != nullptr ? given.nodes[i] : static_cast<std::uint32_t>(i), list, filled);
    }
  }
  attach_unreachable(graph);
  StillMonitor after(monitor, graph.size(), graph.size());
  if (!rows.links) return;
  begin_links(rows, threads, &after);
  encode_links(rows, threads, &after);
}

}  // namespace semblance
