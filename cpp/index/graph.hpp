// Adjacency only: a fixed-width list a node on the base level, half as wide on the upper levels that route to it.
//
// Lists are read while one writer changes them. Every slot is an atomic word, so a reader sees some mixture of the old
// and the new list, each entry of which names a node that was complete before it was linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/arena.hpp"
#include "core/atomic_word.hpp"
#include "core/limits.hpp"

namespace semblance {

class Graph {
 public:
  Graph(std::size_t degree, std::uint64_t seed);

  // Appends nodes up to `nodes` in all, with empty lists and levels drawn from (seed, node).
  void grow(std::size_t nodes);
  std::size_t size() const { return size_; }
  std::size_t degree(std::size_t level) const { return level == 0 ? degree_ : upper_degree_; }
  std::size_t level(std::uint32_t node) const { return *levels_.as<std::uint8_t>(node); }

  // Copies the list into `out` (room for degree(level)) and returns its length.
  std::size_t neighbours(std::size_t level, std::uint32_t node, std::uint32_t* out) const {
    const std::uint32_t* list = slots(level, node);
    const std::size_t degree = this->degree(level);
    std::size_t count = 0;
    for (; count < degree; ++count) {
      out[count] = load_acquire(list + count);
      if (out[count] == kNoSlot) break;
    }
    return count;
  }
  void replace(std::size_t level, std::uint32_t node, const std::uint32_t* ids, std::size_t count);
  // From now on remembers which base-level lists change, until they are taken: each node once, in order.
  void track_changes() { tracking_ = true; }
  void note_changed(std::uint32_t node);
  std::vector<std::uint32_t> take_changed();
  void give_back_changed(std::vector<std::uint32_t> nodes) noexcept;  // before any list changes again
  // Whether links were given up for others that may not lead everywhere yet: so after memory ran out between the two.
  bool torn() const { return torn_; }
  void set_torn(bool torn) { torn_ = torn; }
  void prefetch(std::uint32_t node) const {
    const auto* list = reinterpret_cast<const char*>(links_.as<std::uint32_t>(node * degree_));
    for (std::size_t b = 0; b < degree_ * sizeof(std::uint32_t); b += 64) __builtin_prefetch(list + b);
  }

  // Where a walk starts: the node of the highest level. kNoSlot while there is none.
  std::uint32_t entry() const { return load_acquire(&entry_); }
  void set_entry(std::uint32_t node) { store_release(&entry_, node); }

  // The parts as they are written to a file, and the same parts served from somebody else's memory.
  struct Parts {
    const std::uint32_t* links;  // (nodes, degree)
    const std::uint8_t* levels;  // (nodes,)
    const std::uint32_t* upper;  // (blocks, upper degree), blocks in node order, level 1 first
    std::size_t nodes, blocks;
    std::uint32_t entry;
  };
  Parts parts() const;
  void borrow(const Parts& parts);  // FormatError where a link, level or count is out of range
  std::size_t bytes() const;

 private:
  const std::uint32_t* slots(std::size_t level, std::uint32_t node) const {
    if (level == 0) return links_.as<std::uint32_t>(node * degree_);
    return upper_.as<std::uint32_t>((*upper_start_.as<std::uint32_t>(node) + level - 1) * upper_degree_);
  }
  std::uint8_t draw_level(std::size_t node) const;
  void check_links(const Parts& parts) const;
  void index_blocks(std::size_t from, std::size_t to);

  const std::size_t degree_, upper_degree_;
  const std::uint64_t seed_;
  Arena links_, upper_, upper_start_, levels_;  // all in 4-byte rows but levels_, which has 1-byte rows
  std::size_t size_ = 0, blocks_ = 0;
  std::uint32_t entry_ = kNoSlot;
  bool tracking_ = false, torn_ = false;
  std::mutex changed_mutex_;
  std::vector<std::uint32_t> changed_;
};

}  // namespace semblance
