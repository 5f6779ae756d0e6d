// What walks find: nodes with their distances, and the closest of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
