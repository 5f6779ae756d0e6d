#include "core/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "core/limits.hpp"

namespace semblance {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{1} << 21;
constexpr std::size_t kHugePagesFrom = 16 * kHugePage;     // below it, huge pages would mostly be air
constexpr std::size_t kMaxReserve = std::size_t{1} << 38;  // 256 GiB of addresses an arena

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

Arena::~Arena() {
  if (region_ != nullptr) munmap(region_, reserved_);
}

void Arena::reserve(std::size_t at_least) {
  // Addresses cost nothing, but a process with thousands of indexes can run out of them: settle for less when refused.
  const std::size_t least = std::max(at_least, kHugePage);
  for (std::size_t bytes = std::max(least, std::min(kMaxReserve, row_bytes_ * kMaxRows)); bytes >= least; bytes /= 2) {
    bytes = round_up(bytes, kPage);
    void* region = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) continue;
    region_ = static_cast<std::byte*>(region);
    reserved_ = bytes;
    return;
  }
  throw CapacityError(expected("memory", "address space for an index", "a refusal by the operating system"));
}

void Arena::grow(std::size_t rows) {
  const std::size_t needed = rows * row_bytes_;
  if (region_ == nullptr) reserve(needed);
  if (needed > committed_) {
    // A sixteenth more than asked for, so that single rows do not each cost a system call.
    std::size_t target = round_up(std::max(needed + committed_ / 16, kPage), kPage);
    target = std::min(target, reserved_ / kPage * kPage);
    const bool fits = needed <= target;
    if (!fits || mprotect(region_ + committed_, target - committed_, PROT_READ | PROT_WRITE) != 0) {
      throw CapacityError(expected("memory", "room for " + std::to_string(needed) + " bytes of rows",
                                   fits ? "a refusal by the operating system" : "a full arena"));
    }
#ifdef MADV_HUGEPAGE
    if (target >= kHugePagesFrom) madvise(region_, target, MADV_HUGEPAGE);
#endif
    committed_ = target;
  }
  if (borrowed()) {
    std::memcpy(region_, data(), std::min(borrowed_rows_, rows) * row_bytes_);
    borrowed_rows_ = 0;
  }
  data_.store(region_, std::memory_order_release);
}

void Arena::borrow(const std::byte* data, std::size_t rows) {
  data_.store(const_cast<std::byte*>(data), std::memory_order_release);
  borrowed_rows_ = rows;
}

}  // namespace semblance
