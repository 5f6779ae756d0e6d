// A value that readers pin and a writer swaps whole. The lock is held for one pointer copy.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace semblance {

template <class T>
class Pinned {
 public:
  explicit Pinned(std::shared_ptr<T> value) : value_(std::move(value)) {}
  std::shared_ptr<T> pin() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void swap(std::shared_ptr<T> value) {
    const std::lock_guard lock(mutex_);
    value_.swap(value);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<T> value_;
};

}  // namespace semblance
