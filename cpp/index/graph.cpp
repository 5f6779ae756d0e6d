#include "index/graph.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/rng.hpp"

namespace semblance {
namespace {

constexpr std::size_t kWord = sizeof(std::uint32_t);

[[noreturn]] void damaged(const std::string& part, const std::string& want, std::size_t got) {
  throw FormatError(expected("graph." + part, want, std::to_string(got)));
}

}  // namespace

Graph::Graph(std::size_t degree, std::uint64_t seed)
    : degree_(degree),
      upper_degree_(std::max<std::size_t>(degree / 2, 1)),
      seed_(seed),
      links_(kWord),
      upper_(kWord),
      upper_start_(kWord),
      levels_(1) {}

// Malkov, Yashunin: "Efficient and robust approximate nearest neighbor search using HNSW graphs" (TPAMI 2020),
// section 4.1: an exponential distribution with mean 1 / ln(upper degree).
std::uint8_t Graph::draw_level(std::size_t node) const {
  const double scale = 1.0 / std::log(static_cast<double>(std::max<std::size_t>(upper_degree_, 2)));
  const double level = -std::log(uniform(seed_, node)) * scale;
  return static_cast<std::uint8_t>(std::min(level, static_cast<double>(kMaxLevel)));
}

void Graph::index_blocks(std::size_t from, std::size_t to) {
  for (std::size_t node = from; node < to; ++node) {
    *upper_start_.as<std::uint32_t>(node) = static_cast<std::uint32_t>(blocks_);
    blocks_ += level(static_cast<std::uint32_t>(node));
  }
}

void Graph::grow(std::size_t nodes) {
  const std::size_t old_size = size_, old_blocks = blocks_;
  links_.grow(nodes * degree_);
  levels_.grow(nodes);
  upper_start_.grow(nodes);
  std::size_t blocks = blocks_;
  for (std::size_t node = old_size; node < nodes; ++node) blocks += *levels_.as<std::uint8_t>(node) = draw_level(node);
  upper_.grow(blocks * upper_degree_);
  std::memset(links_.row(old_size * degree_), 0xFF, (nodes - old_size) * degree_ * kWord);
  std::memset(upper_.row(old_blocks * upper_degree_), 0xFF, (blocks - old_blocks) * upper_degree_ * kWord);
  index_blocks(old_size, nodes);
  size_ = nodes;
}

void Graph::replace(std::size_t level, std::uint32_t node, const std::uint32_t* ids, std::size_t count) {
  if (level == 0 && tracking_) note_changed(node);  // first: it needs memory
  auto* list = const_cast<std::uint32_t*>(slots(level, node));
  for (std::size_t i = 0; i < degree(level); ++i) store_release(list + i, i < count ? ids[i] : kNoSlot);
}

void Graph::note_changed(std::uint32_t node) {
  const std::lock_guard lock(changed_mutex_);
  changed_.push_back(node);
}

std::vector<std::uint32_t> Graph::take_changed() {
  const std::lock_guard lock(changed_mutex_);
  std::vector<std::uint32_t> nodes;
  nodes.swap(changed_);
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

void Graph::give_back_changed(std::vector<std::uint32_t> nodes) noexcept {
  const std::lock_guard lock(changed_mutex_);
  changed_.swap(nodes);
}

Graph::Parts Graph::parts() const {
  return {links_.as<std::uint32_t>(), levels_.as<std::uint8_t>(), upper_.as<std::uint32_t>(), size_, blocks_, entry_};
}

void Graph::check_links(const Parts& parts) const {
  std::size_t blocks = 0;
  for (std::size_t i = 0; i < parts.nodes; ++i) {
    if (parts.levels[i] > kMaxLevel) damaged("levels", "at most " + std::to_string(kMaxLevel), parts.levels[i]);
    blocks += parts.levels[i];
  }
  if (blocks != parts.blocks) damaged("upper", std::to_string(blocks) + " lists", parts.blocks);
  const auto check = [&](const char* part, const std::uint32_t* links, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      stop_if_asked(i);
      if (links[i] >= parts.nodes && links[i] != kNoSlot) damaged(part, "links to rows that exist", links[i]);
    }
  };
  check("links", parts.links, parts.nodes * degree_);
  check("upper", parts.upper, parts.blocks * upper_degree_);
  if (parts.nodes > 0 && parts.entry >= parts.nodes) damaged("entry", "a row that exists", parts.entry);
}

void Graph::borrow(const Parts& parts) {
  check_links(parts);
  // An upper link leads to a node that has a list on that level: otherwise the walk would read past its block.
  std::vector<std::uint32_t> start(parts.nodes);
  std::size_t block = 0;
  for (std::size_t node = 0; node < parts.nodes; ++node) {
    stop_if_asked(node);
    start[node] = static_cast<std::uint32_t>(block);
    for (std::size_t level = 1; level <= parts.levels[node]; ++level, ++block) {
      for (std::size_t i = 0; i < upper_degree_; ++i) {
        const std::uint32_t to = parts.upper[block * upper_degree_ + i];
        if (to != kNoSlot && parts.levels[to] < level) damaged("upper", "links between rows of a level", to);
      }
    }
  }
  links_.borrow(reinterpret_cast<const std::byte*>(parts.links), parts.nodes * degree_);
  levels_.borrow(reinterpret_cast<const std::byte*>(parts.levels), parts.nodes);
  upper_.borrow(reinterpret_cast<const std::byte*>(parts.upper), parts.blocks * upper_degree_);
  upper_start_.grow(parts.nodes);
  std::copy(start.begin(), start.end(), upper_start_.as<std::uint32_t>());
  size_ = parts.nodes;
  blocks_ = parts.blocks;
  entry_ = parts.nodes > 0 ? parts.entry : kNoSlot;
}

std::size_t Graph::bytes() const { return size_ * (degree_ * kWord + 1 + kWord) + blocks_ * upper_degree_ * kWord; }

}  // namespace semblance
