// Memory whose end touches a page that faults: one byte read or written beyond it ends the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "check.hpp"

namespace semblance::test {

class Guarded {
 public:
  explicit Guarded(std::size_t capacity) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (capacity + page - 1) / page * page + page;
    void* map = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    begin_ = static_cast<std::byte*>(map);
    end_ = begin_ + mapped_ - page;
    CHECK(mprotect(end_, page, PROT_NONE) == 0);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(begin_, mapped_); }

  // The last `bytes` bytes before the guard; alignment is whatever that gives.
  std::byte* tail(std::size_t bytes) const {
    CHECK(bytes <= static_cast<std::size_t>(end_ - begin_));
    return end_ - bytes;
  }
  template <class T>
  T* tail_of(std::size_t count) const {
    return reinterpret_cast<T*>(tail(count * sizeof(T)));
  }
  std::byte* copy(const void* from, std::size_t bytes) const {
    if (bytes != 0) std::memcpy(tail(bytes), from, bytes);
    return tail(bytes);
  }

 private:
  std::byte* begin_;
  std::byte* end_;
  std::size_t mapped_;
};

}  // namespace semblance::test
