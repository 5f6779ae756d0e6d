// A small value that readers copy and a writer replaces whole. The lock is held for one copy.
#pragma once

#include <mutex>
#include <utility>

namespace semblance {

template <class T>
class Pinned {
 public:
  explicit Pinned(T value) : value_(std::move(value)) {}
  T pin() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void swap(T value) {
    const std::lock_guard lock(mutex_);
    std::swap(value_, value);
  }

 private:
  mutable std::mutex mutex_;
  T value_;
};

}  // namespace semblance
