// Best-first search by neighbour codes: a node is scored on its own row when it is visited, its neighbours are put in
// line by estimates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/limits.hpp"
#include "index/candidate_line.hpp"
#include "index/candidates.hpp"
#include "index/distance_profile.hpp"
#include "index/filter.hpp"
#include "index/hnsw.hpp"
#include "index/link_codes.hpp"
#include "index/scorer.hpp"
#include "index/visited.hpp"

namespace semblance {

// One walk over one query, a node at a time, so that a thread can take turns between walks: while one computes, the
// memory that the other will need is on its way.
class LinkWalk {
 public:
  struct Task {
    const LinkCodes* links;
    Scorer own;
    LinkTables query;
    Filter filter;
    std::size_t nodes;  // that may be walked
    std::uint32_t entry;
    std::size_t ef, k;
    StopRule stop{};         // where it never ends a walk, ef does
    std::size_t spread = 0;  // rows [0, spread) are linked, and walks may begin at them
    float origin = 0.0F;     // scores plus this are distances
    // Behind a filter: what says how far to look, for so many rows that are allowed, if they are this share of all.
    const DistanceProfile* profile = nullptr;
    std::size_t wanted = 0;
    double share = 1.0;
  };
  void start(const Task& task);
  bool done() const { return next_ == kNoSlot; }
  std::uint32_t next() const { return next_; }
  // The node that will probably be visited after the next one; its row and the head of its block are on their way.
  std::uint32_t ask_for_second() const;

  // Visits the next node; meanwhile asks for the block of `ahead`.
  void step(std::uint32_t ahead);
  // The closest k of the visited nodes that pass the filter.
  TopK& best() { return best_; }
  std::size_t visits() const { return behind_.size(); }
  std::size_t passed() const { return passed_; }  // of the visits
  // What the nodes that were visited or are in line were estimated at, closest first.
  std::vector<Neighbour> estimates() const;

 private:
  void expect(double share);
  void look_around();
  float farthest() const;
  bool ends_before(float estimate) const;
  void enter();
  void line_up(std::uint32_t node, std::size_t lane, float* estimates);
  void move_away(std::uint32_t node, std::size_t lane, float* estimates);
  void choose_next();

  Task task_{};
  CandidateLine line_;
  VisitedSet visited_;
  std::vector<Neighbour> behind_;  // estimates of the visited nodes
  TopK best_;
  std::size_t passed_ = 0;
  // Nodes that are not allowed only lead to others: they are put in line as if they were this many times as far.
  float detour_ = 1.0F;
  std::size_t seen_ = 0, allowed_ = 0;  // beside visited nodes, and of those
  std::uint32_t next_ = kNoSlot;
};

// Best-first search that keeps only nodes that pass the filter, walking through the others; the closest `task.ef` of
// those it visits are left in `scratch.best`. Returns false once it has visited more than `budget` nodes.
bool search_filtered_links(const LinkWalk::Task& task, std::size_t budget, WalkScratch& scratch);

}  // namespace semblance
