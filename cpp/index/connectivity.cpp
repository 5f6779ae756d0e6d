// Pruning may drop the last link that leads to a node; a bulk build ends by finding such nodes and linking them again.
#include <algorithm>
#include <vector>

#include "index/hnsw.hpp"

namespace semblance {
namespace {

constexpr int kPasses = 4;  // a forced link may push out another node's last one

// Marks everything that is linked to `from`, itself included.
void spread(const Graph& graph, std::uint32_t from, Bitset& seen) {
  std::vector<std::uint32_t> queue{from};
  std::vector<std::uint32_t> list(std::max(graph.degree(0), graph.degree(1)));
  seen.set(from);
  while (!queue.empty()) {
    const std::uint32_t node = queue.back();
    queue.pop_back();
    for (std::size_t level = 0; level <= graph.level(node); ++level) {
      const std::size_t count = graph.neighbours(level, node, list.data());
      for (std::size_t i = 0; i < count; ++i) {
        if (list[i] >= seen.size() || seen.test(list[i])) continue;
        seen.set(list[i]);
        queue.push_back(list[i]);
      }
    }
  }
}

// Links `node` from its nearest neighbour that is in reach, in the place of that one's last link where its list is
// full.
bool attach(Graph& graph, std::uint32_t node, const Bitset& seen) {
  std::vector<std::uint32_t> own(graph.degree(0)), list(graph.degree(0));
  own.resize(graph.neighbours(0, node, own.data()));
  for (const std::uint32_t near : own) {
    if (!seen.test(near)) continue;
    std::size_t count = graph.neighbours(0, near, list.data());
    count = std::min(count, list.size() - 1);
    list[count] = node;
    graph.replace(0, near, list.data(), count + 1);
    return true;
  }
  return false;
}

}  // namespace

Bitset reachable(const Graph& graph) {
  Bitset seen(graph.size());
  if (graph.entry() != kNoSlot) spread(graph, graph.entry(), seen);
  return seen;
}

std::size_t attach_unreachable(Graph& graph) {
  std::size_t missing = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    Bitset seen = reachable(graph);
    missing = graph.size() - seen.count();
    if (missing == 0) break;
    for (std::uint32_t node = 0; node < graph.size(); ++node)
      if (!seen.test(node) && attach(graph, node, seen)) spread(graph, node, seen);
  }
  return missing;
}

}  // namespace semblance
