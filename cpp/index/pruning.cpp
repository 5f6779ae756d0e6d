#include "index/pruning.hpp"

#include <algorithm>

namespace semblance {
namespace {

constexpr std::size_t kCandidatesALink = 8;  // the closest so many a link are enough to choose from
constexpr std::size_t kCopiesPart = 4;       // a list may hold copies of its node in one place of so many

}  // namespace

const std::vector<Neighbour>& Pruner::choose(const std::vector<Neighbour>& candidates, std::size_t degree) {
  names_.resize(candidates.size());
  open_.resize(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    names_[i] = candidates[i].id;
    open_[i] = {candidates[i].distance, static_cast<std::uint32_t>(i)};
  }
  if (!std::is_sorted(open_.begin(), open_.end())) std::sort(open_.begin(), open_.end());
  if (open_.size() > kCandidatesALink * degree) open_.resize(kCandidatesALink * degree);
  kept_.clear();
  covered_.clear();
  for (std::size_t first = 0; first < open_.size() && kept_.size() < degree;) {
    kept_.push_back(open_[first++]);
    if (kept_.size() < degree) strike_out(kept_.back(), first, kept_.size() * kCopiesPart >= degree);
  }
  fill_up(degree);
  for (Neighbour& n : kept_) n.id = names_[n.id];
  return kept_;
}

// Keeps of open_[first..] what `kept` does not cover, in order. With `and_copies` its copies are covered too, which
// among copies of the node nothing else does: links must lead away from them.
void Pruner::strike_out(Neighbour kept, std::size_t first, bool and_copies) {
  const std::size_t count = open_.size() - first;
  ids_.resize(count + 1);
  distances_.resize(count + 1);
  for (std::size_t i = 0; i < count; ++i) ids_[i] = names_[open_[first + i].id];
  ids_[count] = names_[kept.id];
  rows_.of(ids_[count], worker_)(ids_.data(), count + 1, distances_.data());
  const float same = distances_[count], least = options_.least_score;
  std::size_t end = first;
  for (std::size_t i = 0; i < count; ++i) {
    const Neighbour candidate = open_[first + i];
    const bool copy = and_copies && distances_[i] <= same;
    if (!copy && !closer(distances_[i], candidate.distance)) {
      open_[end++] = candidate;
    } else if (options_.fill || copy) {  // copies take what is left, and hold each other within reach
      covered_.push_back({copy ? 0.0F : (distances_[i] - least) / (candidate.distance - least), candidate});
    }
  }
  open_.resize(end);
}

// Places that are left go to the candidates that are covered least.
void Pruner::fill_up(std::size_t degree) {
  if (kept_.size() == degree) return;
  std::sort(covered_.begin(), covered_.end());
  const std::size_t places = std::min(degree - kept_.size(), covered_.size());
  for (std::size_t i = 0; i < places; ++i) kept_.push_back(covered_[i].candidate);
}

// Whether a candidate at `to_node` from the node is covered by a kept one at `to_kept` from it. Alpha stretches
// distances from the least score there is; rounding may push equal rows below it.
bool Pruner::closer(float to_kept, float to_node) const {
  if (options_.alpha == 1.0F) return to_kept < to_node;
  const float least = options_.least_score;
  return options_.alpha * std::max(0.0F, to_kept - least) < std::max(0.0F, to_node - least);
}

}  // namespace semblance
