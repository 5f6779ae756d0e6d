#include <algorithm>
#include <array>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/sort.hpp"
#include "index/hnsw.hpp"
#include "index/meetings.hpp"
#include "index/pruning.hpp"

namespace semblance {
namespace {

constexpr std::size_t kSearchGrain = 4, kRegionGrain = 16, kMergeGrain = 16;
constexpr std::size_t kLeastOrdered = 512;  // rows of a round whose places are worth finding
// Rounds double until they are a part of all rows, or so many that what their walks found takes too much memory.
constexpr std::size_t kLeastRound = 16, kRoundPart = 8, kMostARound = 1 << 16;
constexpr std::size_t kMeetingPlaces = 32;  // rows of one round meet where they share one of so many closest nodes
constexpr std::size_t kSmallGraph = 1024;   // of nodes, a pass over which is little beside linking a row

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

bool nearer(const Neighbour& a, const Neighbour& b) { return a.distance < b.distance; }

// Where a node lies: the closest nodes known on the levels 3, 2 and 1.
struct Region {
  std::array<std::uint32_t, 3> closest;
  std::uint32_t node;
  friend auto operator<=>(const Region&, const Region&) = default;
};

class Builder {
 public:
  Builder(Graph& graph, RowScorers& rows, const BuildOptions& options, Monitor* monitor)
      : graph_(graph), rows_(rows), options_(options), monitor_(monitor) {
    for (std::size_t i = 0; i < resolve_threads(options.threads); ++i) workers_.push_back({Pruner(rows, options_, i)});
  }

  void link(std::size_t first, std::size_t last) {
    if (first == last) return;
    const Watched watched(monitor_);  // rounds may be shorter than the time between two polls
    const bool torn = graph_.torn();
    first_ = first;
    total_ = last - first;
    shuffle(first, last);
    std::size_t at = first;
    if (graph_.entry() == kNoSlot) graph_.set_entry(turns_[at++ - first]);
    const std::size_t most = std::clamp(last / kRoundPart, kLeastRound, kMostARound);
    while (at < last) {
      const std::size_t round = std::min({last - at, at, most});
      done_ = at - first;
      run_round(at, at + round);
      at += round;
    }
    // One pass over the graph is little beside linking a large part of it, and much beside adding a few rows to many.
    if ((last - first) * 8 >= last || last <= kSmallGraph || torn) attach_unreachable(graph_);
    graph_.set_torn(false);
  }

 private:
  struct Worker {
    Pruner pruner;
    WalkScratch scratch{};
    std::vector<Neighbour> candidates{}, met{};
    std::vector<std::uint32_t> ids{}, before{};
    std::vector<float> distances{};
    std::vector<Edge> edges{};
    std::vector<std::uint32_t> dropped{};  // nodes that lost a link that led to them
  };

  // Rows often come in an order that means something, one cluster after the other: a graph of the first ones would know
  // nothing of the others.
  void shuffle(std::size_t first, std::size_t last) {
    turns_.resize(last - first);
    std::iota(turns_.begin(), turns_.end(), static_cast<std::uint32_t>(first));
    for (std::size_t left = turns_.size(); left > 1; --left) {
      stop_if_asked(left);
      std::swap(turns_[left - 1], turns_[mix64(first + left) % left]);
    }
    ages_.resize(turns_.size());
    for (std::size_t i = 0; i < turns_.size(); ++i) ages_[turns_[i] - first] = static_cast<std::uint32_t>(first + i);
  }

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
           for (std::size_t i = from; i < to; ++i) place(order_[i].node, found_[i], worker);
         });
    done_ += end - begin;
    arrange_meetings();
    each(end - begin, kRegionGrain, false, [&](std::size_t from, std::size_t to, std::size_t worker) {
      for (std::size_t i = from; i < to; ++i) meet(order_[i].node, found_[i], worker);
    });
    const bool torn = graph_.torn();
    graph_.set_torn(true);
    try {
      merge(gather_edges());
    } catch (...) {  // the rows of this batch are given up, those before must stay within reach
      std::vector<std::uint32_t> nodes = nodes_at_risk(false);
      std::erase_if(nodes, [&](std::uint32_t node) { return node >= first_; });
      link_back(graph_, nodes, first_);
      graph_.set_torn(torn);
      throw;
    }
    link_back(graph_, nodes_at_risk(true), first_);
    graph_.set_torn(torn);
    for (const Region& region : order_)
      if (graph_.level(region.node) > graph_.level(graph_.entry())) graph_.set_entry(region.node);
  }

  // Puts a round's nodes in the order of where they lie, by the closest nodes of the upper levels: rows that one walk
  // has brought to the caches serve the next. What is found does not depend on the order.
  void choose_order(std::size_t begin, std::size_t end) {
    order_.resize(end - begin);
    found_.resize(std::max(found_.size(), order_.size()));
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = {{}, turns_[begin - first_ + i]};
    if (end - begin < kLeastOrdered) return;
    each(end - begin, kRegionGrain, false, [&](std::size_t from, std::size_t to, std::size_t worker) {
      for (std::size_t i = from; i < to; ++i) find_region(order_[i], worker);
    });
    std::sort(order_.begin(), order_.end());
  }

  void find_region(Region& region, std::size_t worker) {
    WalkScratch& scratch = workers_[worker].scratch;
    const Scorer scorer = rows_.leading(region.node, worker);
    scratch.begin(graph_.size(), graph_.degree(0));
    for (std::size_t l = 0; l < region.closest.size(); ++l)
      region.closest[l] = descend(graph_, scorer, region.closest.size() - 1 - l, scratch).id;
  }

  // Finds what is close to a new node, and its lists on the upper levels; nothing leads to it yet.
  void place(std::uint32_t node, std::vector<Neighbour>& near, std::size_t worker) {
    Worker& own = workers_[worker];
    const Scorer leading = rows_.leading(node, worker);
    const std::size_t top = graph_.level(graph_.entry());
    const std::size_t level = std::min(graph_.level(node), top);
    own.scratch.begin(graph_.size(), graph_.degree(0));
    Neighbour start = descend(graph_, leading, level, own.scratch);
    std::array<std::vector<Neighbour>, kMaxLevel + 1> above;
    for (std::size_t l = level + 1; l-- > 0;) {
      own.scratch.begin(graph_.size(), graph_.degree(0));
      search_level(graph_, leading, start, l, options_.ef_construction, own.scratch);
      std::vector<Neighbour>& found = l > 0 ? above[l] : near;
      found.swap(own.scratch.closest);
      if (!found.empty()) start = found.front();
    }
    const Scorer exact = rows_.of(node, worker);
    const bool roughly = exact.rows.data != leading.rows.data || exact.score != leading.score;
    for (std::size_t l = 0; l <= level; ++l) {
      std::vector<Neighbour>& found = l > 0 ? above[l] : near;
      if (roughly) rescore(exact, found, own);
      sort_by_age(found);
    }
    // Pruning scores other rows, which ends the life of `exact`.
    for (std::size_t l = 1; l <= level; ++l) choose_links(l, node, above[l], own);
  }

  static void rescore(const Scorer& exact, std::vector<Neighbour>& found, Worker& own) {
    own.ids.clear();
    for (const Neighbour& n : found) own.ids.push_back(n.id);
    own.distances.resize(found.size());
    exact(own.ids.data(), own.ids.size(), own.distances.data());
    for (std::size_t i = 0; i < found.size(); ++i) found[i].distance = own.distances[i];
  }

  // The rows of a round do not see each other in the graph.
  void arrange_meetings() {
    meetings_.clear();
    for (std::size_t i = 0; i < order_.size(); ++i)
      for (std::size_t p = 0; p < std::min(kMeetingPlaces, found_[i].size()); ++p)
        meetings_.add({found_[i][p].id, order_[i].node});
    meetings_.arrange();
  }

  // Chooses a new node's base-level list from what its walk found (sorted) and the rows that it meets there.
  void meet(std::uint32_t node, const std::vector<Neighbour>& near, std::size_t worker) {
    Worker& own = workers_[worker];
    own.scratch.visited.reset(graph_.size());
    own.scratch.visited.insert(node);
    own.ids.clear();
    for (std::size_t p = 0; p < std::min(kMeetingPlaces, near.size()); ++p) {
      meetings_.each(near[p].id, [&](std::uint32_t row) {
        if (own.scratch.visited.insert(row)) own.ids.push_back(row);
      });
    }
    own.distances.resize(own.ids.size());
    rows_.of(node, worker)(own.ids.data(), own.ids.size(), own.distances.data());
    own.met.clear();
    const bool full = near.size() >= options_.ef_construction;
    for (std::size_t i = 0; i < own.ids.size(); ++i)
      if (const Neighbour n{own.distances[i], own.ids[i]}; !full || n < near.back()) own.met.push_back(n);
    sort_by_age(own.met);
    own.candidates.resize(near.size() + own.met.size());
    std::merge(near.begin(), near.end(), own.met.begin(), own.met.end(), own.candidates.begin(), nearer);
    choose_links(0, node, own.candidates, own);
  }

  // candidates -> the node's list, and the edges back.
  void choose_links(std::size_t level, std::uint32_t node, const std::vector<Neighbour>& candidates, Worker& own) {
    const std::vector<Neighbour>& kept = own.pruner.choose(candidates, graph_.degree(level));
    store(level, node, kept, own);
    for (const Neighbour& n : kept) own.edges.push_back({static_cast<std::uint32_t>(level), n.id, node, n.distance});
  }

  void store(std::size_t level, std::uint32_t node, const std::vector<Neighbour>& kept, Worker& own) {
    own.ids.clear();
    for (const Neighbour& n : kept) own.ids.push_back(n.id);
    graph_.replace(level, node, own.ids.data(), own.ids.size());
  }

  // Closest first; of equally distant nodes, copies mostly, those that were linked first: they have the longest links.
  void sort_by_age(std::vector<Neighbour>& nodes) const {
    const auto age = [&](std::uint32_t node) { return node < first_ ? node : ages_[node - first_]; };
    std::sort(nodes.begin(), nodes.end(), [&](const Neighbour& a, const Neighbour& b) {
      return a.distance < b.distance || (a.distance == b.distance && age(a.id) < age(b.id));
    });
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

  // The nodes that lost a link in this round, and with `placed` the round's own, in order.
  std::vector<std::uint32_t> nodes_at_risk(bool placed) {
    std::vector<std::uint32_t> nodes;
    if (placed)
      for (const Region& region : order_) nodes.push_back(region.node);
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
    const std::size_t linked = own.ids.size();
    own.met.clear();
    for (std::size_t i = 0; i < count; ++i) {  // rows that met may have chosen each other
      if (std::find(own.ids.begin(), own.ids.end(), edges[i].from) == own.ids.end())
        own.met.push_back({edges[i].distance, edges[i].from});
    }
    if (linked + own.met.size() <= degree) {
      for (const Neighbour& n : own.met) own.ids.push_back(n.id);
      graph_.replace(level, edges->to, own.ids.data(), own.ids.size());
      return;
    }
    own.distances.resize(linked);
    rows_.of(edges->to, worker)(own.ids.data(), linked, own.distances.data());
    own.candidates.clear();
    for (std::size_t i = 0; i < linked; ++i) own.candidates.push_back({own.distances[i], own.ids[i]});
    own.candidates.insert(own.candidates.end(), own.met.begin(), own.met.end());  // behind copies that are linked
    own.before.assign(own.ids.begin(), own.ids.end());
    store(level, edges->to, own.pruner.choose(own.candidates, degree), own);
    if (level > 0) return;
    for (const std::uint32_t id : own.before)
      if (std::find(own.ids.begin(), own.ids.end(), id) == own.ids.end()) own.dropped.push_back(id);
  }

  Graph& graph_;
  RowScorers& rows_;
  const BuildOptions options_;
  Monitor* monitor_;
  std::vector<Worker> workers_;
  std::vector<std::uint32_t> turns_;           // the new nodes, in the order in which they are linked
  std::vector<std::uint32_t> ages_;            // the place of each in that order, behind the nodes that were there
  std::vector<Region> order_;                  // of a round's nodes
  std::vector<std::vector<Neighbour>> found_;  // by their walks, in that order
  Meetings meetings_;
  std::size_t first_ = 0, done_ = 0, total_ = 0;
};

}  // namespace

void link_nodes(Graph& graph, RowScorers& rows, std::size_t first, std::size_t last, const BuildOptions& options,
                Monitor* monitor) {
  Builder(graph, rows, options, monitor).link(first, last);
}

}  // namespace semblance
