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
  for (std::size_t i = 0; i < count; ++i) {  // no branch: which ones are new cannot be foretold
    const std::uint32_t id = fresh[i];
    fresh[kept] = id;
    kept += scratch.visited.insert(id);
  }
  scorer(fresh, kept, scratch.distances.data());
  scratch.scored += kept;
  return kept;
}

void begin_walk(Neighbour start, std::size_t ef, WalkScratch& scratch) {
  scratch.line.reset(ef);
  scratch.closest.clear();
  scratch.visited.insert(start.id);
  if (std::isfinite(start.distance)) scratch.line.add(start);
}

// A walk for the closest `ef` ends where so many visited nodes are closer than the next, the closest in line.
bool ends_before(Neighbour next, std::size_t ef, const std::vector<Neighbour>& visited) {
  if (visited.size() < ef) return false;
  const auto closer = [&](const Neighbour& n) { return n.distance < next.distance; };
  return static_cast<std::size_t>(std::count_if(visited.begin(), visited.end(), closer)) >= ef;
}

// Scores the unseen neighbours of a node and puts them in line; returns how many.
std::size_t visit(const Graph& graph, const Scorer& scorer, std::size_t level, Neighbour node, WalkScratch& scratch) {
  scratch.closest.push_back(node);
  std::uint32_t ahead = 0;
  if (level == 0 && scratch.line.peek(ahead)) graph.prefetch(ahead);
  const std::size_t count = score_fresh(graph, scorer, level, node.id, scratch);
  scratch.line.add(scratch.distances.data(), scratch.fresh.data(), count);
  return count;
}

void keep_closest(std::size_t count, std::vector<Neighbour>& nodes) {
  std::sort(nodes.begin(), nodes.end());
  if (nodes.size() > count) nodes.resize(count);
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
  begin_walk(start, ef, scratch);
  Neighbour current{};
  while (scratch.line.pop(current) && !ends_before(current, ef, scratch.closest)) {
    visit(graph, scorer, level, current, scratch);
  }
  keep_closest(ef, scratch.closest);
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
  std::vector<Neighbour>& found = scratch.frontier;
  found.clear();
  const auto take = [&](Neighbour n) {
    if (n.distance <= walk.radius) found.push_back(n);
  };
  const auto take_fresh = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) take({scratch.distances[i], scratch.fresh[i]});
  };
  begin_walk(start, walk.ef, scratch);
  take(start);
  // Every node is within reach of the entry; from where the descent ended some may not be.
  if (const std::uint32_t entry = graph.entry(); scratch.visited.insert(entry)) {
    scorer(&entry, 1, scratch.distances.data());
    scratch.line.add(scratch.distances.data(), &entry, 1);
    take({scratch.distances[0], entry});
  }
  Neighbour current{};
  while (scratch.line.pop(current) && !ends_before(current, walk.ef, scratch.closest))
    take_fresh(visit(graph, scorer, 0, current, scratch));
  for (std::size_t next = 0; next < found.size(); ++next)
    take_fresh(score_fresh(graph, scorer, 0, found[next].id, scratch));
}

}  // namespace semblance
