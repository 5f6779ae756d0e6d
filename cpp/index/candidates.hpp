// The walk's pool: the closest nodes seen so far, sorted, each with a flag that says whether its neighbours were
// visited.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace semblance {

struct Neighbour {
  float distance;
  std::uint32_t id;
  // Ties go to the smaller id, so that results do not depend on the order of discovery.
  friend bool operator<(const Neighbour& a, const Neighbour& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
  }
};

// A linear array beats two heaps at the sizes that searches use: one comparison rejects most candidates, the rest is a
// short move within a few cache lines.
class CandidatePool {
 public:
  void reset(std::size_t capacity) {
    entries_.resize(capacity + kMostAtOnce);
    capacity_ = capacity;
    size_ = next_ = 0;
  }
  std::size_t size() const { return size_; }
  float worst() const {
    return size_ < capacity_ ? std::numeric_limits<float>::infinity() : entries_[size_ - 1].distance;
  }

  // Keeps the candidate if it is among the closest; the caller offers each id once. NaN is never kept.
  void offer(float distance, std::uint32_t id) {
    if (!(distance < worst())) return;
    const Neighbour fresh{distance, id};
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(size_);
    const auto at = std::lower_bound(entries_.begin(), end, fresh,
                                     [](const Neighbour& a, const Neighbour& b) { return plain(a) < b; });
    std::move_backward(at, end, end + 1);
    *at = fresh;
    size_ = std::min(size_ + 1, capacity_);
    next_ = std::min(next_, static_cast<std::size_t>(at - entries_.begin()));
  }
  // Offers many at once; ids as for `offer`.
  void offer(const float* distances, const std::uint32_t* ids, std::size_t count) {
    Neighbour fresh[kMostAtOnce];
    for (std::size_t first = 0; first < count; first += kMostAtOnce) {
      const std::size_t end = std::min(count, first + kMostAtOnce);
      const float farthest = worst();
      std::size_t kept = 0;
      for (std::size_t i = first; i < end; ++i) {  // no branch: which ones are close enough cannot be foretold
        fresh[kept] = {distances[i], ids[i]};
        kept += distances[i] < farthest;
      }
      merge(fresh, kept);
    }
  }
  // Takes up to kMostAtOnce candidates that are close enough, and sorts them on the way. The pool is gone through once
  // for all of them.
  void merge(Neighbour* fresh, std::size_t count) {
    if (count == 0) return;
    insertion_sort(fresh, count);
    std::size_t end = size_;
    for (std::size_t i = count; i-- > 0;) {
      std::size_t at = position(fresh[i].distance);
      while (at < end && plain(entries_[at]) < fresh[i]) ++at;
      move_up(at, end, i + 1);
      entries_[at + i] = fresh[i];
      end = at;
    }
    size_ = std::min(size_ + count, capacity_);
    next_ = std::min(next_, end);
  }
  // The closest unvisited node, marked visited; false when all were.
  bool pop(Neighbour& out) {
    while (next_ < size_ && (entries_[next_].id & kVisited)) ++next_;
    if (next_ == size_) return false;
    out = entries_[next_];
    entries_[next_++].id |= kVisited;
    return true;
  }
  // The node that pop would return, for prefetching; false where there is none.
  bool peek(std::uint32_t& id) const {
    for (std::size_t i = next_; i < size_; ++i)
      if (!(entries_[i].id & kVisited)) return id = entries_[i].id, true;
    return false;
  }
  Neighbour operator[](std::size_t i) const { return plain(entries_[i]); }

 private:
  static constexpr std::uint32_t kVisited = 0x80000000U;
  static constexpr std::size_t kMostAtOnce = 32;

  static void insertion_sort(Neighbour* values, std::size_t count) {
    for (std::size_t i = 1; i < count; ++i) {
      const Neighbour value = values[i];
      std::size_t at = i;
      for (; at > 0 && value < values[at - 1]; --at) values[at] = values[at - 1];
      values[at] = value;
    }
  }
  // How many entries are closer. Halves without branching: the outcome of a comparison cannot be foretold.
  std::size_t position(float distance) const {
    const Neighbour* base = entries_.data();
    std::size_t length = size_;
    while (length > 1) {
      const std::size_t half = length / 2;
      base += base[half - 1].distance < distance ? half : 0;
      length -= half;
    }
    const auto at = static_cast<std::size_t>(base - entries_.data());
    return at + (length == 1 && base->distance < distance ? 1 : 0);
  }
  // Moves entries [from, to) up by a few places, from the back in pieces that fit in registers.
  void move_up(std::size_t from, std::size_t to, std::size_t by) {
    constexpr std::size_t kPiece = 4;
    Neighbour* data = entries_.data();
    for (; to - from >= kPiece; to -= kPiece) {
      Neighbour piece[kPiece];
      std::memcpy(piece, data + to - kPiece, sizeof piece);
      std::memcpy(data + to - kPiece + by, piece, sizeof piece);
    }
    for (; to > from; --to) data[to - 1 + by] = data[to - 1];
  }
  static Neighbour plain(const Neighbour& n) { return {n.distance, n.id & ~kVisited}; }

  std::vector<Neighbour> entries_;
  std::size_t capacity_ = 0, size_ = 0, next_ = 0;
};

// The k smallest of a stream, as a binary heap with the worst on top.
class TopK {
 public:
  void reset(std::size_t k) {
    k_ = k;
    heap_.clear();
  }
  bool full() const { return heap_.size() >= k_; }
  float worst() const { return full() ? heap_.front().distance : std::numeric_limits<float>::infinity(); }
  std::size_t size() const { return heap_.size(); }

  void offer(Neighbour n) {
    if (full()) {
      if (!(n < heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.back() = n;
    } else if (n.distance < std::numeric_limits<float>::infinity()) {
      heap_.push_back(n);
    } else {
      return;  // NaN and infinity are no distance
    }
    std::push_heap(heap_.begin(), heap_.end());
  }
  // Closest first; the stream is over.
  std::vector<Neighbour>& sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    return heap_;
  }

 private:
  std::vector<Neighbour> heap_;
  std::size_t k_ = 0;
};

}  // namespace semblance
