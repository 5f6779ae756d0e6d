#include <algorithm>
#include <array>
#include <numeric>

#include "core/error.hpp"
#include "core/sort.hpp"
#include "index/hnsw.hpp"

namespace semblance {
namespace {

constexpr std::size_t kSearchGrain = 4, kRegionGrain = 16, kMergeGrain = 16;
constexpr std::size_t kLeastOrdered = 512;   // rows of a round whose places are worth finding
constexpr std::size_t kCandidatesALink = 8;  // the closest so many a link are enough to choose from
constexpr std::size_t kCopiesPart = 4;       // a list may hold copies of its node in one place of so many
constexpr std::size_t kLeastRound = 16;

// A candidate that a kept one covers: its distance from that one over its distance from the node.
struct Covered {
  float share;
  Neighbour candidate;
  friend bool operator<(const Covered& a, const Covered& b) {
    return a.share > b.share || (a.share == b.share && a.candidate < b.candidate);
  }
};

// An edge to be merged into the list of `to`.
struct Edge {
  std::uint32_t level, to, from;
  float distance;
  friend bool operator<(const Edge& a, const Edge& b) {
    if (a.level != b.level) return a.level < b.level;
    if (a.to != b.to) return a.to < b.to;
    return a.from < b.from;
  }
};

// Where a node lies: the closest nodes known on the levels 3, 2 and 1.
struct Region {
  std::array<std::uint32_t, 3> closest;
  std::uint32_t node;
  friend auto operator<=>(const Region&, const Region&) = default;
};

class Builder {
 public:
  Builder(Graph& graph, RowScorers& rows, const BuildOptions& options, Monitor* monitor)
      : graph_(graph), rows_(rows), options_(options), monitor_(monitor), workers_(resolve_threads(options.threads)) {}

  void link(std::size_t first, std::size_t last) {
    if (first == last) return;
    const Watched watched(monitor_);  // rounds may be shorter than the time between two polls
    const bool torn = graph_.torn();
    first_ = first;
    total_ = last - first;
    std::size_t at = first;
    if (graph_.entry() == kNoSlot) graph_.set_entry(static_cast<std::uint32_t>(at++));
    // Doubling rounds until a fiftieth of the rows: members of one round do not see each other while they search.
    const std::size_t most = std::max(kLeastRound, last / 50);
    while (at < last) {
      const std::size_t round = std::min({last - at, at, most});
      done_ = at - first;
      run_round(at, at + round);
      at += round;
    }
    // One pass over the graph is little beside linking a large part of it, and much beside adding a few rows.
    if ((last - first) * 8 >= last || torn) attach_unreachable(graph_);
    graph_.set_torn(false);
  }

 private:
  struct Worker {
    WalkScratch scratch;
    std::vector<Neighbour> candidates, kept;
    std::vector<Covered> covered;
    std::vector<std::uint32_t> ids;
    std::vector<float> distances;
    std::vector<Edge> edges;
    std::vector<std::uint32_t> dropped;  // nodes that lost a link that led to them
  };

  // Reports rounds as one long piece of work.
  class RoundMonitor : public Monitor {
   public:
    explicit RoundMonitor(const Builder& builder) : builder_(builder) {}
    bool poll(std::size_t done, std::size_t) override {
      return builder_.monitor_->poll(builder_.done_ + done, builder_.total_);
    }

   private:
    const Builder& builder_;
  };

  // Merging counts nothing new.
  void each(std::size_t n, std::size_t grain, bool counts, const ChunkBody& body) {
    RoundMonitor counting(*this);
    StillMonitor still(monitor_, done_, total_);
    Monitor* monitor = counts ? static_cast<Monitor*>(&counting) : &still;
    parallel_for(n, options_.threads, grain, body, monitor_ == nullptr ? nullptr : monitor);
  }

  void run_round(std::size_t begin, std::size_t end) {
    choose_order(begin, end);
    each(end - begin, end - begin < kLeastOrdered ? kSearchGrain : kRegionGrain, true,
         [&](std::size_t from, std::size_t to, std::size_t worker) {
           for (std::size_t i = from; i < to; ++i) place(order_[i].node, worker);
         });
    done_ += end - begin;
    const bool torn = graph_.torn();
    graph_.set_torn(true);
    try {
      merge(gather_edges());
    } catch (...) {  // the rows of this batch are given up, those before must stay within reach
      std::vector<std::uint32_t> nodes = nodes_at_risk(begin, begin);
      std::erase_if(nodes, [&](std::uint32_t node) { return node >= first_; });
      link_back(graph_, nodes, first_);
      graph_.set_torn(torn);
      throw;
    }
    link_back(graph_, nodes_at_risk(begin, end), first_);
    graph_.set_torn(torn);
    for (std::size_t node = begin; node < end; ++node) {
      const auto id = static_cast<std::uint32_t>(node);
      if (graph_.level(id) > graph_.level(graph_.entry())) graph_.set_entry(id);
    }
  }

  // Puts a round's nodes in the order of where they lie, by the closest nodes of the upper levels: rows that one walk
  // has brought to the caches serve the next. What is found does not depend on the order.
  void choose_order(std::size_t begin, std::size_t end) {
    order_.resize(end - begin);
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = {{}, static_cast<std::uint32_t>(begin + i)};
    if (end - begin < kLeastOrdered) return;
    each(end - begin, kRegionGrain, false, [&](std::size_t from, std::size_t to, std::size_t worker) {
      for (std::size_t i = from; i < to; ++i) find_region(order_[i], worker);
    });
    std::sort(order_.begin(), order_.end());
  }

  void find_region(Region& region, std::size_t worker) {
    WalkScratch& scratch = workers_[worker].scratch;
    const Scorer scorer = rows_.of(region.node, worker);
    scratch.begin(graph_.size(), graph_.degree(0));
    for (std::size_t l = 0; l < region.closest.size(); ++l)
      region.closest[l] = descend(graph_, scorer, region.closest.size() - 1 - l, scratch).id;
  }

  // Finds the lists of a new node; nothing leads to it yet.
  void place(std::uint32_t node, std::size_t worker) {
    Worker& own = workers_[worker];
    const Scorer scorer = rows_.of(node, worker);
    const std::size_t top = graph_.level(graph_.entry());
    const std::size_t level = std::min(graph_.level(node), top);
    own.scratch.begin(graph_.size(), graph_.degree(0));
    Neighbour start = descend(graph_, scorer, level, own.scratch);
    std::array<std::vector<Neighbour>, kMaxLevel + 1> found;
    for (std::size_t l = level + 1; l-- > 0;) {
      own.scratch.begin(graph_.size(), graph_.degree(0));
      search_level(graph_, scorer, start, l, options_.ef_construction, own.scratch);
      found[l].swap(own.scratch.closest);
      if (!found[l].empty()) start = found[l].front();
    }
    // Pruning scores other rows, which ends the life of `scorer`.
    for (std::size_t l = 0; l <= level; ++l) {
      own.candidates.swap(found[l]);
      prune(graph_.degree(l), worker);
      store(l, node, own);
      for (const Neighbour& n : own.kept) {
        own.edges.push_back({static_cast<std::uint32_t>(l), n.id, node, n.distance});
      }
    }
  }

  void store(std::size_t level, std::uint32_t node, Worker& own) {
    own.ids.clear();
    for (const Neighbour& n : own.kept) own.ids.push_back(n.id);
    graph_.replace(level, node, own.ids.data(), own.ids.size());
  }

  // own.candidates (sorted) -> own.kept: a candidate stays unless a kept one is closer to it than the node is, by the
  // factor alpha (HNSW's heuristic, its algorithm 4; alpha as in Subramanya et al., DiskANN, NeurIPS 2019). Each kept
  // one strikes out what it covers, so that a row is prepared as a query once for each link and not for each candidate.
  void prune(std::size_t degree, std::size_t worker) {
    Worker& own = workers_[worker];
    own.kept.clear();
    own.covered.clear();
    std::vector<Neighbour>& open = own.candidates;
    if (open.size() > kCandidatesALink * degree) open.resize(kCandidatesALink * degree);
    std::size_t first = 0;
    while (first < open.size()) {
      const Neighbour kept = open[first++];
      own.kept.push_back(kept);
      if (own.kept.size() == degree) break;
      open.resize(strike_out(kept, first, own.kept.size() * kCopiesPart >= degree, worker));
    }
    if (own.kept.size() == degree) return;
    std::sort(own.covered.begin(), own.covered.end());
    const std::size_t places = std::min(degree - own.kept.size(), own.covered.size());
    for (std::size_t i = 0; i < places; ++i) own.kept.push_back(own.covered[i].candidate);
  }

  // Keeps of own.candidates[first..] what `kept` does not cover, in order; returns the new end. With `and_copies` its
  // copies are covered too, which among copies of the node nothing else does: links must lead away from them.
  std::size_t strike_out(Neighbour kept, std::size_t first, bool and_copies, std::size_t worker) {
    Worker& own = workers_[worker];
    std::vector<Neighbour>& open = own.candidates;
    const std::size_t count = open.size() - first;
    own.ids.resize(count + 1);
    own.distances.resize(count + 1);
    for (std::size_t i = 0; i < count; ++i) own.ids[i] = open[first + i].id;
    own.ids[count] = kept.id;
    rows_.of(kept.id, worker)(own.ids.data(), count + 1, own.distances.data());
    const float same = own.distances[count];
    std::size_t end = first;
    for (std::size_t i = 0; i < count; ++i) {
      const Neighbour candidate = open[first + i];
      const bool copy = and_copies && own.distances[i] <= same;
      if (!copy && !closer(own.distances[i], candidate.distance)) {
        open[end++] = candidate;
      } else if (options_.fill || copy) {  // copies take what is left, and hold each other within reach
        const float least = options_.least_score;
        const float share = copy ? 0.0F : (own.distances[i] - least) / (candidate.distance - least);
        own.covered.push_back({share, candidate});
      }
    }
    return end;
  }

  // Whether a candidate at `to_node` from the node is covered by a kept one at `to_kept` from it. Alpha stretches
  // distances from the least score there is; rounding may push equal rows below it.
  bool closer(float to_kept, float to_node) const {
    if (options_.alpha == 1.0F) return to_kept < to_node;
    const float least = options_.least_score;
    return options_.alpha * std::max(0.0F, to_kept - least) < std::max(0.0F, to_node - least);
  }

  std::vector<Edge> gather_edges() {
    std::vector<Edge> edges;
    for (Worker& own : workers_) {
      edges.insert(edges.end(), own.edges.begin(), own.edges.end());
      own.edges.clear();
    }
    sort_in_parts(edges);
    return edges;
  }

  // The nodes of a round, and those that lost a link in it, in order.
  std::vector<std::uint32_t> nodes_at_risk(std::size_t begin, std::size_t end) {
    std::vector<std::uint32_t> nodes(end - begin);
    std::iota(nodes.begin(), nodes.end(), static_cast<std::uint32_t>(begin));
    for (Worker& own : workers_) {
      nodes.insert(nodes.end(), own.dropped.begin(), own.dropped.end());
      own.dropped.clear();
    }
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    return nodes;
  }

  // Adds the edges to their ends' lists, each list by one thread.
  void merge(const std::vector<Edge>& edges) {
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < edges.size(); ++i)
      if (i == 0 || edges[i].to != edges[i - 1].to || edges[i].level != edges[i - 1].level) starts.push_back(i);
    starts.push_back(edges.size());
    each(starts.size() - 1, kMergeGrain, false, [&](std::size_t from, std::size_t to, std::size_t worker) {
      for (std::size_t group = from; group < to; ++group)
        merge_list(edges.data() + starts[group], starts[group + 1] - starts[group], worker);
    });
  }

  void merge_list(const Edge* edges, std::size_t count, std::size_t worker) {
    Worker& own = workers_[worker];
    const std::size_t level = edges->level, degree = graph_.degree(level);
    own.ids.resize(degree);
    own.ids.resize(graph_.neighbours(level, edges->to, own.ids.data()));
    if (own.ids.size() + count <= degree) {
      for (std::size_t i = 0; i < count; ++i) own.ids.push_back(edges[i].from);
      graph_.replace(level, edges->to, own.ids.data(), own.ids.size());
      return;
    }
    own.distances.resize(own.ids.size());
    rows_.of(edges->to, worker)(own.ids.data(), own.ids.size(), own.distances.data());
    own.candidates.clear();
    for (std::size_t i = 0; i < own.ids.size(); ++i) own.candidates.push_back({own.distances[i], own.ids[i]});
    for (std::size_t i = 0; i < count; ++i) own.candidates.push_back({edges[i].distance, edges[i].from});
    std::sort(own.candidates.begin(), own.candidates.end());
    const std::vector<std::uint32_t> before = own.ids;
    prune(degree, worker);
    store(level, edges->to, own);
    if (level > 0) return;
    for (const std::uint32_t id : before)
      if (std::find(own.ids.begin(), own.ids.end(), id) == own.ids.end()) own.dropped.push_back(id);
  }

  Graph& graph_;
  RowScorers& rows_;
  const BuildOptions options_;
  Monitor* monitor_;
  std::vector<Worker> workers_;
  std::vector<Region> order_;  // of a round's nodes
  std::size_t first_ = 0, done_ = 0, total_ = 0;
};

}  // namespace

void link_nodes(Graph& graph, RowScorers& rows, std::size_t first, std::size_t last, const BuildOptions& options,
                Monitor* monitor) {
  Builder(graph, rows, options, monitor).link(first, last);
}

}  // namespace semblance
