// Walks over the graph. HNSW knows ids and floats: it never asks which codec, metric or instruction set is behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "index/candidate_line.hpp"
#include "index/candidates.hpp"
#include "index/filter.hpp"
#include "index/graph.hpp"
#include "index/scorer.hpp"
#include "index/visited.hpp"

namespace semblance {

// What one thread needs for a walk; kept between searches because its size grows with the index.
struct WalkScratch {
  VisitedSet visited;
  CandidateLine line;
  std::vector<Neighbour> closest;
  TopK best;
  std::vector<Neighbour> frontier;
  std::vector<std::uint32_t> fresh;
  std::vector<float> distances;
  std::size_t walked = 0;  // nodes, by all walks
  std::size_t scored = 0;  // distances computed by the last walk

  void begin(std::size_t nodes, std::size_t degree) {
    visited.reset(nodes);
    fresh.resize(degree);
    distances.resize(degree);
    scored = 0;
  }
};

// Greedy descent from the entry to the closest node that is known on `level`. The graph must not be empty.
Neighbour descend(const Graph& graph, const Scorer& scorer, std::size_t level, WalkScratch& scratch);

// Best-first search on one level; the closest `ef` nodes are left in scratch.closest, in order.
void search_level(const Graph& graph, const Scorer& scorer, Neighbour start, std::size_t level, std::size_t ef,
                  WalkScratch& scratch);

// What a filtered walk looks for, and when it should give up.
struct FilteredWalk {
  const Filter& filter;
  std::size_t ef;
  std::size_t budget;  // nodes it may score: beyond it, a scan of the rows that pass is cheaper
};

// Best-first search on the base level that keeps only nodes that pass the filter, walking through the others; the
// closest `ef` of them are left in scratch.best. Returns false once it is over budget.
bool search_filtered(const Graph& graph, const Scorer& scorer, Neighbour start, const FilteredWalk& walk,
                     WalkScratch& scratch);

// Every node within `radius` that the best-first search with `ef` comes across, and all that are linked to those
// through nodes within it; left in scratch.frontier.
struct RangeWalk {
  std::size_t ef;
  float radius;
};
void search_within(const Graph& graph, const Scorer& scorer, Neighbour start, const RangeWalk& walk,
                   WalkScratch& scratch);

// How many nodes a walk along the base level can come to from the entry.
std::size_t count_reachable(const Graph& graph);

// Gives every node that cannot be reached so a link from near its own neighbours, without cutting off another.
void attach_unreachable(Graph& graph);

// Sees to it that each of the nodes, in order, is linked from one of its own neighbours. Can be stopped from the node
// `first` on.
void link_back(Graph& graph, const std::vector<std::uint32_t>& nodes, std::size_t first);

// Rows as queries: how the builder asks for distances between stored rows.
class RowScorers {
 public:
  virtual ~RowScorers() = default;
  // The scorer of a stored row; `worker` owns what backs it until the worker's next call.
  virtual Scorer of(std::uint32_t row, std::size_t worker) = 0;
  // Another for the same row, exact enough to lead a walk; the same where there is none that reads less.
  virtual Scorer leading(std::uint32_t row, std::size_t worker) { return of(row, worker); }
};

struct BuildOptions {
  std::size_t ef_construction;
  float alpha;  // 1 keeps an edge unless a kept neighbour is closer to its end; more keeps more of the longer edges
  float least_score;  // the score of equal rows, from which alpha stretches
  bool fill;          // give all places of a list away, those that pruning leaves to the candidates it covered least
  std::size_t threads;
};

// Links the nodes [first, last), which the graph has room for and whose rows are stored. Rounds of fixed size search
// the graph as it stood and merge their edges sorted, so the result is the same at any thread count. Subramanya et al.,
// ParlayANN (PPoPP 2024). Throws what the monitor throws; the nodes of finished rounds stay linked.
void link_nodes(Graph& graph, RowScorers& rows, std::size_t first, std::size_t last, const BuildOptions& options,
                Monitor* monitor);

}  // namespace semblance
