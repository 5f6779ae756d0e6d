#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "index/hnsw.hpp"

namespace semblance {
namespace {

constexpr std::size_t kSearchGrain = 4, kMergeGrain = 16;
constexpr std::size_t kPruneBlock = 8;  // kept neighbours a candidate is scored against at a time
constexpr std::size_t kLeastRound = 16;

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

class Builder {
 public:
  Builder(Graph& graph, RowScorers& rows, const BuildOptions& options, Monitor* monitor)
      : graph_(graph), rows_(rows), options_(options), monitor_(monitor), workers_(resolve_threads(options.threads)) {}

  void link(std::size_t first, std::size_t last) {
    if (first == last) return;
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
    if ((last - first) * 8 >= last) {
      attach_unreachable(graph_);
    } else {
      link_back(graph_, static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last));
    }
  }

 private:
  struct Worker {
    WalkScratch scratch;
    std::vector<Neighbour> candidates, kept;
    std::vector<std::uint32_t> ids;
    std::vector<float> distances;
    std::vector<Edge> edges;
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

  void each(std::size_t n, std::size_t grain, bool counts, const ChunkBody& body) {
    RoundMonitor counting(*this);
    // Merging counts nothing new, so it is polled at the round's start.
    struct Still : Monitor {
      explicit Still(RoundMonitor& m) : monitor(m) {}
      bool poll(std::size_t, std::size_t) override { return monitor.poll(0, 0); }
      RoundMonitor& monitor;
    } still(counting);
    Monitor* monitor = monitor_ == nullptr ? nullptr : counts ? static_cast<Monitor*>(&counting) : &still;
    parallel_for(n, options_.threads, grain, body, monitor);
  }

  void run_round(std::size_t begin, std::size_t end) {
    each(end - begin, kSearchGrain, true, [&](std::size_t from, std::size_t to, std::size_t worker) {
      for (std::size_t i = from; i < to; ++i) place(static_cast<std::uint32_t>(begin + i), worker);
    });
    done_ += end - begin;
    merge(gather_edges());
    for (std::size_t node = begin; node < end; ++node) {
      const auto id = static_cast<std::uint32_t>(node);
      if (graph_.level(id) > graph_.level(graph_.entry())) graph_.set_entry(id);
    }
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
      start = own.scratch.pool[0];
      for (std::size_t i = 0; i < own.scratch.pool.size(); ++i) found[l].push_back(own.scratch.pool[i]);
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
  // factor alpha (HNSW's heuristic, its algorithm 4; alpha as in Subramanya et al., DiskANN, NeurIPS 2019).
  void prune(std::size_t degree, std::size_t worker) {
    Worker& own = workers_[worker];
    own.kept.clear();
    for (const Neighbour& candidate : own.candidates) {
      if (own.kept.size() == degree) break;
      if (!covered(candidate, worker)) own.kept.push_back(candidate);
    }
  }

  bool covered(const Neighbour& candidate, std::size_t worker) {
    Worker& own = workers_[worker];
    if (own.kept.empty()) return false;
    const Scorer scorer = rows_.of(candidate.id, worker);
    std::uint32_t ids[kPruneBlock];
    float distances[kPruneBlock];
    for (std::size_t from = 0; from < own.kept.size(); from += kPruneBlock) {
      const std::size_t count = std::min(kPruneBlock, own.kept.size() - from);
      for (std::size_t i = 0; i < count; ++i) ids[i] = own.kept[from + i].id;
      scorer(ids, count, distances);
      for (std::size_t i = 0; i < count; ++i)
        if (closer(distances[i], candidate.distance)) return true;
    }
    return false;
  }

  bool closer(float to_kept, float to_node) const {
    return options_.alpha * (to_kept + options_.offset) < to_node + options_.offset;
  }

  std::vector<Edge> gather_edges() {
    std::vector<Edge> edges;
    for (Worker& own : workers_) {
      edges.insert(edges.end(), own.edges.begin(), own.edges.end());
      own.edges.clear();
    }
    std::sort(edges.begin(), edges.end());
    return edges;
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
    prune(degree, worker);
    store(level, edges->to, own);
  }

  Graph& graph_;
  RowScorers& rows_;
  const BuildOptions options_;
  Monitor* monitor_;
  std::vector<Worker> workers_;
  std::size_t done_ = 0, total_ = 0;
};

}  // namespace

void link_nodes(Graph& graph, RowScorers& rows, std::size_t first, std::size_t last, const BuildOptions& options,
                Monitor* monitor) {
  Builder(graph, rows, options, monitor).link(first, last);
}

}  // namespace semblance
