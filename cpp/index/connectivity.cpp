// Pruning may drop the last link that leads to a node: such nodes are found and linked again.
#include <algorithm>
#include <vector>

#include "index/hnsw.hpp"

namespace semblance {
namespace {

constexpr std::size_t kLookNear = 256, kLookAround = 4096;  // nodes looked at for one that can take another link

// A tree of base-level links from the entry: who leads to whom. Its links are the ones that must not be given up.
class ReachTree {
 public:
  explicit ReachTree(Graph& graph) : graph_(graph), parent_(graph.size(), kNoSlot), list_(graph.degree(0)) {
    if (graph.entry() == kNoSlot) return;
    parent_[graph.entry()] = graph.entry();
    spread(graph.entry());
  }

  std::size_t reached() const { return reached_; }
  bool holds(std::uint32_t node) const { return parent_[node] != kNoSlot; }

  // Links `node` from the nearest place that has room or a link to spare, and takes in what it leads to.
  bool attach(std::uint32_t node) {
    std::vector<std::uint32_t> queue{node};
    Bitset seen(graph_.size());
    seen.set(node);
    for (std::size_t at = 0; at < queue.size() && at < kLookAround; ++at) {
      if (holds(queue[at]) && give_link(queue[at], node)) {
        parent_[node] = queue[at];
        spread(node);
        return true;
      }
      const std::size_t count = graph_.neighbours(0, queue[at], list_.data());
      for (std::size_t i = 0; i < count; ++i) {
        if (seen.test(list_[i])) continue;
        seen.set(list_[i]);
        queue.push_back(list_[i]);
      }
    }
    return attach_anywhere(node);
  }

 private:
  // From any node that can take it, beginning where the last one was found.
  bool attach_anywhere(std::uint32_t node) {
    for (std::size_t turn = 0; turn < graph_.size(); ++turn, spare_ = (spare_ + 1) % graph_.size()) {
      stop_if_asked(turn);
      const auto from = static_cast<std::uint32_t>(spare_);
      if (!holds(from) || !give_link(from, node)) continue;
      parent_[node] = from;
      spread(node);
      return true;
    }
    return false;
  }
  void spread(std::uint32_t from) {
    std::vector<std::uint32_t> queue{from};
    while (!queue.empty()) {
      const std::uint32_t node = queue.back();
      queue.pop_back();
      stop_if_asked(++reached_);
      const std::size_t count = graph_.neighbours(0, node, list_.data());
      for (std::size_t i = 0; i < count; ++i) {
        if (parent_[list_[i]] != kNoSlot) continue;
        parent_[list_[i]] = node;
        queue.push_back(list_[i]);
      }
    }
  }

  bool give_link(std::uint32_t from, std::uint32_t to) {
    std::size_t count = graph_.neighbours(0, from, list_.data());
    std::size_t place = count;
    if (count == list_.size()) {
      while (place > 0 && parent_[list_[place - 1]] == from) --place;
      if (place == 0) return false;
      --place;
    } else {
      ++count;
    }
    list_[place] = to;
    graph_.replace(0, from, list_.data(), count);
    return true;
  }

  Graph& graph_;
  std::vector<std::uint32_t> parent_, list_;
  std::size_t reached_ = 0, spare_ = 0;
};

// Whether one of the node's own neighbours, other than `except`, links to it.
bool is_linked_back(const Graph& graph, std::uint32_t node, std::uint32_t except) {
  std::uint32_t own[kMaxDegree], list[kMaxDegree];
  const std::size_t count = graph.neighbours(0, node, own);
  for (std::size_t i = 0; i < count; ++i) {
    if (own[i] == except) continue;
    const std::size_t links = graph.neighbours(0, own[i], list);
    if (std::find(list, list + links, node) != list + links) return true;
  }
  return false;
}

// Links `to` from `from`, unless it is, in the place of a link that its end can do without where there is no room.
bool give_spare_link(Graph& graph, std::uint32_t from, std::uint32_t to) {
  std::uint32_t list[kMaxDegree];
  const std::size_t filled = graph.neighbours(0, from, list);
  if (std::find(list, list + filled, to) != list + filled) return true;
  std::size_t place = filled;
  if (filled == graph.degree(0)) {
    while (place > 0 && !is_linked_back(graph, list[place - 1], from)) --place;
    if (place == 0) return false;
    --place;
  }
  list[place] = to;
  graph.replace(0, from, list, std::max(filled, place + 1));
  return true;
}

}  // namespace

std::size_t count_reachable(const Graph& graph) { return ReachTree(const_cast<Graph&>(graph)).reached(); }

void attach_unreachable(Graph& graph) {
  ReachTree tree(graph);
  if (tree.reached() == graph.size()) return;
  for (std::uint32_t node = 0; node < graph.size(); ++node) {
    if (tree.holds(node)) continue;
    stop_if_asked();
    tree.attach(node);
  }
}

void link_back(Graph& graph, const std::vector<std::uint32_t>& nodes, std::size_t first) {
  std::vector<std::uint32_t> queue, list(graph.degree(0));
  std::size_t looked = 0;
  for (const std::uint32_t node : nodes) {
    if (node >= first) stop_if_asked(++looked);
    if (is_linked_back(graph, node, kNoSlot)) continue;
    // Outwards from the node, the first that has room or a link to spare.
    queue.assign(1, node);
    for (std::size_t at = 0; at < queue.size() && at < kLookNear; ++at) {
      if (at > 0 && give_spare_link(graph, queue[at], node)) break;
      const std::size_t count = graph.neighbours(0, queue[at], list.data());
      for (std::size_t i = 0; i < count; ++i)
        if (std::find(queue.begin(), queue.end(), list[i]) == queue.end()) queue.push_back(list[i]);
    }
  }
}

}  // namespace semblance
