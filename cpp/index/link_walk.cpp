#include "index/link_walk.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace semblance {

using kernels::kLinkLanes;

namespace {
constexpr std::size_t kEntries = 32, kEntryBytes = 24576, kRowsAnEntry = 64;
constexpr std::size_t kLeastLook = 4;  // visits after which a walk knows what is allowed around it
constexpr double kMoreAllowed = 1.5;
constexpr std::size_t kLeastLine = 512;  // candidates: looking through so many costs nothing beside a visit
}  // namespace

void LinkWalk::start(const Task& task) {
  task_ = task;
  passed_ = seen_ = allowed_ = 0;
  detour_ = 1.0F;
  if (task_.profile != nullptr) expect(task_.share);
  behind_.clear();
  line_.reset(std::max(kLeastLine, 2 * std::max(task_.ef, task_.k)));
  visited_.reset(task_.nodes);
  best_.reset(task_.k);
  enter();
  choose_next();
}

// A rank among the rows that are allowed is a larger one among all.
void LinkWalk::expect(double share) {
  const auto among_all = [share](std::size_t rank) {
    return static_cast<std::size_t>(std::ceil(static_cast<double>(rank) / share - 1e-6));
  };
  task_.share = share;
  task_.ef = among_all(task_.wanted);
  task_.stop = task_.profile->rule(task_.ef, among_all(task_.k), task_.origin);
  // What is not allowed is worth a visit among the first few, for what it leads to.
  detour_ = task_.profile->growth(task_.wanted, task_.ef);
}

// Where surely more of the rows around the query are allowed than of all, it need not look as far.
void LinkWalk::look_around() {
  if (visits() < kLeastLook) return;
  const auto seen = static_cast<double>(seen_), share = static_cast<double>(allowed_) / seen;
  const double surely = share - 2.0 * std::sqrt(share * (1.0 - share) / seen);
  if (surely > kMoreAllowed * task_.share) expect(surely);
}

// Begins at the graph's entry and at the closest of a few rows that lie all over the index; they are so few that they
// stay in cache from query to query, and save the first visits.
void LinkWalk::enter() {
  std::array<std::uint32_t, kEntries> ids;
  std::array<float, kEntries> scores;
  const std::size_t most = std::clamp<std::size_t>(kEntryBytes / task_.own.rows.stride, 1, kEntries);
  const std::size_t count = task_.spread < kEntries * kRowsAnEntry ? 1 : most;
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::uint32_t>(i * task_.spread / count);
  ids[0] = task_.entry;
  task_.own(ids.data(), count, scores.data());
  // Visited whatever it scores: no infinite distance and no NaN, which far rows may have, stands in line.
  line_.add({std::isfinite(scores[0]) ? scores[0] : std::numeric_limits<float>::max(), ids[0]});
  const auto end = scores.begin() + static_cast<std::ptrdiff_t>(count);
  const auto closest = static_cast<std::size_t>(std::min_element(scores.begin(), end) - scores.begin());
  if (ids[closest] != task_.entry && std::isfinite(scores[closest])) line_.add({scores[closest], ids[closest]});
}

// A node may be in line twice, estimated from two of its neighbours: the better estimate counts.
void LinkWalk::choose_next() {
  Neighbour candidate{};
  while (visits() < task_.stop.most && line_.pop(candidate) && !ends_before(candidate.distance)) {
    if (!visited_.insert(candidate.id)) continue;
    behind_.push_back(candidate);
    next_ = candidate.id;
    task_.own.prefetch(next_);
    task_.links->prefetch(next_);
    return;
  }
  next_ = kNoSlot;
}

// Without a rule a walk ends where ef visited nodes were estimated closer than the next.
bool LinkWalk::ends_before(float estimate) const {
  if (task_.stop.ends()) return estimate > farthest();
  if (visits() < task_.ef) return false;
  const auto closer = [&](const Neighbour& visited) { return visited.distance < estimate; };
  return static_cast<std::size_t>(std::count_if(behind_.begin(), behind_.end(), closer)) >= task_.ef;
}

std::uint32_t LinkWalk::ask_for_second() const {
  std::uint32_t id = next_;
  if (!line_.peek(id)) return id;
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
  if (detour_ > 1.0F) look_around();
  choose_next();
}

// Estimates beyond this are not worth a visit.
float LinkWalk::farthest() const {
  return visits() < task_.stop.after ? std::numeric_limits<float>::infinity() : task_.stop.limit(best_.worst());
}

void LinkWalk::line_up(std::uint32_t node, std::size_t lane, float* estimates) {
  if (detour_ > 1.0F) move_away(node, lane, estimates);
  line_.add(estimates, task_.links->ids(node) + lane * kLinkLanes, visited_.view(), farthest());
}

// Puts what is not allowed farther away, without branches: nobody can foretell what is.
void LinkWalk::move_away(std::uint32_t node, std::size_t lane, float* estimates) {
  const std::uint32_t* ids = task_.links->ids(node) + lane * kLinkLanes;
  const Bitset& allowed = *task_.filter.allowed;
  std::size_t seen = 0, kept = 0;
  for (std::size_t i = 0; i < kLinkLanes; ++i) {
    const std::uint32_t id = load_acquire(ids + i);
    const bool exists = id < task_.nodes, known = id < allowed.size();
    const std::size_t at = known ? id : 0;
    const bool keeps = ((allowed.word(at / kWordBits) >> (at % kWordBits)) & std::uint64_t{known}) != 0;
    const float away = detour_ * (estimates[i] + task_.origin) - task_.origin;
    estimates[i] = keeps ? estimates[i] : away;
    seen += exists;
    kept += keeps;
  }
  seen_ += seen;
  allowed_ += kept;
}

std::vector<Neighbour> LinkWalk::estimates() const {
  std::vector<Neighbour> out = behind_;
  for (std::size_t i = 0; i < line_.size(); ++i) out.push_back(line_[i]);
  std::sort(out.begin(), out.end());
  return out;
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
