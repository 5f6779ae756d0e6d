// Range search: everything within a distance.
#include <algorithm>
#include <cmath>

#include "core/sort.hpp"
#include "index/passing.hpp"
#include "index/search_scratch.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr float kRangeSlack = 0.01F;  // codes find what lies this much beyond a radius; finer codes then decide

}  // namespace

// Leaves in scratch.found every row that passes the filter and scores within the limit.
void VectorIndex::scan_within(const Snapshot& snapshot, const Scorer& scorer, float limit,
                              IndexSearchScratch& scratch) const {
  float scores[kMostPassing];
  for_each_passing(snapshot.filter(), [&](const std::uint32_t* slots, std::size_t count) {
    scorer(slots, count, scores);
    for (std::size_t i = 0; i < count; ++i)
      if (scores[i] <= limit) scratch.found.push_back({scores[i], slots[i]});
  });
}

// As scan_within, by the graph, and a little beyond the limit where finer codes will decide.
void VectorIndex::walk_within(const Snapshot& snapshot, const Scorer& scorer, float limit, std::size_t ef,
                              IndexSearchScratch& scratch) const {
  const RowSet& rows = snapshot.rows();
  const Graph& graph = *rows.graph;
  const std::size_t n = rows.count.load();
  if (n == 0) return;
  const float size = params_.metric == Metric::cosine ? 1.0F : std::abs(limit);
  const float slack = rows.fine ? kRangeSlack * size : 0.0F;
  WalkScratch& own = scratch.walk;
  own.begin(n, std::max(graph.degree(0), graph.degree(1)));
  search_within(graph, scorer, descend(graph, scorer, 0, own), {ef, limit + slack}, own);
  const Filter filter = snapshot.filter();
  for (const Neighbour& c : own.frontier)
    if (filter.test(c.id)) scratch.found.push_back(c);
}

// What one query finds, closest first.
void VectorIndex::within_one(const std::byte* query, float limit, const Snapshot& snapshot,
                             const SearchOptions& options, RangeResult& out) const {
  const RowSet& rows = snapshot.rows();
  const bool exact = options.exact || !rows.graph;
  const CodeRows& first = exact ? rows.finest() : rows.precise();
  std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
  const std::byte* input = as_unit(query, params_, scratch->unit);
  first.codec->prepare(input, scratch->query);
  const Scorer scorer = first.scorer(scratch->query.query);
  scratch->found.clear();
  if (exact) {
    scan_within(snapshot, scorer, limit, *scratch);
  } else {
    if (rows.fine) rows.fine->codec->prepare(input, scratch->fine_query);
    walk_within(snapshot, scorer, limit, options.ef, *scratch);
    rerank(rows, *scratch);
  }
  std::erase_if(scratch->found, [&](const Neighbour& c) { return !(c.distance <= limit); });
  sort_in_parts(scratch->found);
  drop_removed(snapshot, scratch->found);
  for (const Neighbour& c : scratch->found) {
    out.ids.push_back(rows.id(c.id));
    out.distances.push_back(to_distance(c.distance));
  }
  give_scratch(std::move(scratch));
}

RangeResult VectorIndex::within(Queries queries, float radius, const SearchOptions& options, Monitor* monitor) const {
  const Snapshot shared = snapshot(queries.allowed == nullptr ? options.allowed : nullptr);
  const std::size_t row_bytes = shared.rows().codes.codec->input_bytes();
  const float limit = to_score(radius);
  std::vector<RangeResult> found(queries.n);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t q = begin; q < end; ++q) {
      AllowedIds* own = queries.allowed == nullptr ? nullptr : queries.allowed[q];
      within_one(queries.data + q * row_bytes, limit, own == nullptr ? shared : snapshot(own), options, found[q]);
    }
  };
  parallel_for(queries.n, options.threads, 1, body, monitor);
  RangeResult result;
  result.offsets.push_back(0);
  for (const RangeResult& one : found) {
    stop_if_asked();
    result.ids.insert(result.ids.end(), one.ids.begin(), one.ids.end());
    result.distances.insert(result.distances.end(), one.distances.begin(), one.distances.end());
    result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
  }
  return result;
}

}  // namespace semblance
