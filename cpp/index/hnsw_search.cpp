#include <algorithm>
#include <cmath>

#include "index/hnsw.hpp"

namespace semblance {
namespace {

// Copies the unseen neighbours of a node to scratch.fresh, scores them, and returns how many there are.
std::size_t score_fresh(const Graph& graph, const Scorer& scorer, std::size_t level, std::uint32_t node,
                        WalkScratch& scratch) {
  stop_if_asked(++scratch.walked);
  std::uint32_t* fresh = scratch.fresh.data();
  const std::size_t count = graph.neighbours(level, node, fresh);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (scratch.visited.insert(fresh[i])) fresh[kept++] = fresh[i];
  }
  scorer(fresh, kept, scratch.distances.data());
  scratch.scored += kept;
  return kept;
}

}  // namespace

Neighbour descend(const Graph& graph, const Scorer& scorer, std::size_t level, WalkScratch& scratch) {
  const std::uint32_t entry = graph.entry();
  Neighbour best{scorer(entry), entry};
  for (std::size_t l = graph.level(entry); l > level; --l) {
    for (bool moved = true; moved;) {
      moved = false;
      const std::size_t count = graph.neighbours(l, best.id, scratch.fresh.data());
      scorer(scratch.fresh.data(), count, scratch.distances.data());
      scratch.scored += count;
      for (std::size_t i = 0; i < count; ++i) {
        const Neighbour next{scratch.distances[i], scratch.fresh[i]};
        if (next < best) {
          best = next;
          moved = true;
        }
      }
    }
  }
  return best;
}

void search_level(const Graph& graph, const Scorer& scorer, Neighbour start, std::size_t level, std::size_t ef,
                  WalkScratch& scratch) {
  CandidatePool& pool = scratch.pool;
  pool.reset(ef);
  scratch.visited.insert(start.id);
  pool.offer(start.distance, start.id);
  Neighbour current{};
  while (pool.pop(current)) {
    const std::size_t count = score_fresh(graph, scorer, level, current.id, scratch);
    pool.offer(scratch.distances.data(), scratch.fresh.data(), count);
    std::uint32_t next = 0;
    if (level == 0 && pool.peek(next)) graph.prefetch(next);
  }
}

bool search_filtered(const Graph& graph, const Scorer& scorer, Neighbour start, const FilteredWalk& walk,
                     WalkScratch& scratch) {
  const auto farther = [](const Neighbour& a, const Neighbour& b) { return b < a; };
  std::vector<Neighbour>& frontier = scratch.frontier;
  TopK& best = scratch.best;
  best.reset(walk.ef);
  frontier.assign(1, start);
  scratch.visited.insert(start.id);
  if (walk.filter.test(start.id)) best.offer(start);
  while (!frontier.empty() && frontier.front().distance <= best.worst()) {
    if (scratch.scored > walk.budget) return false;
    const Neighbour current = frontier.front();
    std::pop_heap(frontier.begin(), frontier.end(), farther);
    frontier.pop_back();
    const std::size_t count = score_fresh(graph, scorer, 0, current.id, scratch);
    for (std::size_t i = 0; i < count; ++i) {
      const Neighbour next{scratch.distances[i], scratch.fresh[i]};
      if (!(next.distance <= best.worst())) continue;
      frontier.push_back(next);
      std::push_heap(frontier.begin(), frontier.end(), farther);
      if (walk.filter.test(next.id)) best.offer(next);
    }
    if (!frontier.empty()) graph.prefetch(frontier.front().id);
  }
  return true;
}

void search_within(const Graph& graph, const Scorer& scorer, Neighbour start, const RangeWalk& walk,
                   WalkScratch& scratch) {
  CandidatePool& pool = scratch.pool;
  std::vector<Neighbour>& found = scratch.frontier;
  found.clear();
  const auto take = [&](Neighbour n) {
    if (n.distance <= walk.radius) found.push_back(n);
  };
  pool.reset(walk.ef);
  scratch.visited.insert(start.id);
  pool.offer(start.distance, start.id);
  take(start);
  Neighbour current{};
  while (pool.pop(current)) {
    const std::size_t count = score_fresh(graph, scorer, 0, current.id, scratch);
    for (std::size_t i = 0; i < count; ++i) {
      pool.offer(scratch.distances[i], scratch.fresh[i]);
      take({scratch.distances[i], scratch.fresh[i]});
    }
  }
  for (std::size_t next = 0; next < found.size(); ++next) {
    const std::size_t count = score_fresh(graph, scorer, 0, found[next].id, scratch);
    for (std::size_t i = 0; i < count; ++i) take({scratch.distances[i], scratch.fresh[i]});
  }
}

}  // namespace semblance
