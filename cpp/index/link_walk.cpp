#include "index/link_walk.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace semblance {

using kernels::kLinkLanes;

namespace {
constexpr std::size_t kEntries = 32, kRowsAnEntry = 64;
}

void LinkWalk::start(const Task& task) {
  task_ = task;
  visits_ = passed_ = 0;
  // A node may be in line twice: a pool of k might name fewer than k.
  pool_.reset(task.stop.ends() ? std::max(task.ef, 2 * task.k) : task.ef);
  visited_.reset(task.nodes);
  best_.reset(task.k);
  enter();
  choose_next();
}

// Begins at the graph's entry and at the closest of a few rows that lie all over the index; they stay in cache from
// query to query, and save the first visits.
void LinkWalk::enter() {
  std::array<std::uint32_t, kEntries> ids;
  std::array<float, kEntries> scores;
  const std::size_t count = task_.spread < kEntries * kRowsAnEntry ? 1 : kEntries;
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::uint32_t>(i * task_.spread / kEntries);
  ids[0] = task_.entry;
  task_.own(ids.data(), count, scores.data());
  // Visited whatever it scores: the pool takes no infinite distance and no NaN, which far rows may have.
  pool_.offer(std::isfinite(scores[0]) ? scores[0] : std::numeric_limits<float>::max(), ids[0]);
  const auto end = scores.begin() + static_cast<std::ptrdiff_t>(count);
  const auto closest = static_cast<std::size_t>(std::min_element(scores.begin(), end) - scores.begin());
  if (ids[closest] != task_.entry) pool_.offer(scores[closest], ids[closest]);
}

// A node may be in line twice, estimated from two of its neighbours: the better estimate counts.
void LinkWalk::choose_next() {
  Neighbour candidate{};
  while (visits_ < task_.stop.most && pool_.pop(candidate) &&
         !(may_stop() && candidate.distance > task_.stop.limit(best_.worst()))) {
    if (!visited_.insert(candidate.id)) continue;
    ++visits_;
    next_ = candidate.id;
    task_.own.prefetch(next_);
    task_.links->prefetch(next_);
    return;
  }
  next_ = kNoSlot;
}

std::uint32_t LinkWalk::ask_for_second() const {
  std::uint32_t id = next_;
  if (!pool_.peek(id)) return id;
  task_.own.prefetch(id);
  task_.links->prefetch(id);
  return id;
}

void LinkWalk::step(std::uint32_t ahead) {
  const std::uint32_t node = next_;
  const LinkCodes& links = *task_.links;
  const float own = task_.own(node);
  if (task_.filter.test(node)) {
    best_.offer({own, node});
    ++passed_;
  }
  alignas(64) float estimates[kLinkLanes];
  for (std::size_t lane = 0; lane < links.lanes(); ++lane) {
    links.score(task_.query, node, lane, own, ahead, estimates);
    line_up(node, lane, estimates);
  }
  choose_next();
}

// Estimates beyond this are not put in line. The k-th estimate nearly always says more than the k-th score; not so
// where many of the estimated nodes do not count.
float LinkWalk::farthest() {
  if (!may_stop()) return pool_.worst();
  if (visits_ == task_.stop.after) pool_.widen(task_.room);
  float bound = task_.stop.limit(best_.worst());
  if (task_.whole && pool_.size() >= task_.k)
    bound = std::min(bound, task_.stop.estimated_limit(pool_[task_.k - 1].distance));
  pool_.drop_beyond(bound);
  return std::min(bound, pool_.worst());
}

void LinkWalk::line_up(std::uint32_t node, std::size_t lane, const float* estimates) {
  const float worst = farthest();
  std::uint8_t close[kLinkLanes];
  std::size_t count = 0;
  for (std::size_t i = 0; i < kLinkLanes; ++i) {  // no branch: which ones are close enough cannot be foretold
    close[count] = static_cast<std::uint8_t>(i);
    count += estimates[i] < worst;
  }
  Neighbour fresh[kLinkLanes];
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t id = task_.links->id(node, lane * kLinkLanes + close[i]);
    fresh[kept] = {estimates[close[i]], id};
    kept += !visited_.seen(id);
  }
  if (task_.detour > 1.0F) kept = keep_near(fresh, kept, worst);
  pool_.merge(fresh, kept);
}

// Moves what is not allowed farther away, and drops what is then too far.
std::size_t LinkWalk::keep_near(Neighbour* fresh, std::size_t count, float worst) const {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Neighbour candidate = fresh[i];
    const bool allowed = task_.filter.allowed->test(candidate.id);
    candidate.distance =
        allowed ? candidate.distance : task_.detour * (candidate.distance + task_.origin) - task_.origin;
    fresh[kept] = candidate;
    kept += candidate.distance < worst;
  }
  return kept;
}

bool search_filtered_links(const LinkWalk::Task& task, std::size_t budget, WalkScratch& scratch) {
  const auto farther = [](const Neighbour& a, const Neighbour& b) { return b < a; };
  std::vector<Neighbour>& frontier = scratch.frontier;
  TopK& best = scratch.best;
  best.reset(task.ef);
  frontier.assign(1, {-std::numeric_limits<float>::infinity(), task.entry});
  alignas(64) float estimates[kLinkLanes];
  for (std::size_t visits = 0; !frontier.empty() && frontier.front().distance <= best.worst();) {
    const std::uint32_t node = frontier.front().id;
    std::pop_heap(frontier.begin(), frontier.end(), farther);
    frontier.pop_back();
    const std::uint32_t ahead = frontier.empty() ? node : frontier.front().id;
    if (!scratch.visited.insert(node)) continue;
    if (++visits > budget) return false;
    const float own = task.own(node);
    if (task.filter.test(node)) best.offer({own, node});
    for (std::size_t lane = 0; lane < task.links->lanes(); ++lane) {
      task.links->score(task.query, node, lane, own, ahead, estimates);
      const float worst = best.worst();
      for (std::size_t i = 0; i < kLinkLanes; ++i) {
        if (!(estimates[i] < worst)) continue;
        const std::uint32_t id = task.links->id(node, lane * kLinkLanes + i);
        if (scratch.visited.seen(id)) continue;
        frontier.push_back({estimates[i], id});
        std::push_heap(frontier.begin(), frontier.end(), farther);
      }
    }
    if (!frontier.empty()) task.own.prefetch(frontier.front().id);
  }
  return true;
}

}  // namespace semblance
