#include "table/table_memory.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <mutex>
#include <new>

#include "core/aligned.hpp"

namespace semblance {
namespace {

constexpr std::size_t kHugePage = std::size_t{1} << 21;
constexpr std::size_t kSharedFrom = kHugePage / 8;  // less: a block alone would keep too much of its neighbours' memory
constexpr std::size_t kOwnFrom = kHugePage / 4 * 3;  // filled well enough
constexpr std::size_t kByOthers = 2 * kHugePage;     // from here on NumPy asks for huge pages too
constexpr std::size_t kSlabBytes = 2 * kHugePage;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

std::shared_ptr<std::byte> allocate(std::size_t bytes, std::size_t alignment) {
  void* memory = std::aligned_alloc(alignment, round_up(bytes, alignment));
  if (memory == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); }};
}

// A last page stays one of small ones where more than a quarter of all would be empty.
std::shared_ptr<std::byte> huge(std::size_t bytes) {
  std::shared_ptr<std::byte> memory = allocate(bytes, kHugePage);
#if defined(__linux__)
  const std::size_t room = round_up(bytes, kHugePage);
  madvise(memory.get(), bytes >= room / 4 * 3 ? room : room - kHugePage, MADV_HUGEPAGE);
#endif
  return memory;
}

struct Slab {
  std::shared_ptr<std::byte> memory = huge(kSlabBytes);
  std::size_t used = 0;
};

std::shared_ptr<std::byte> shared(std::size_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Slab> open;
  const std::lock_guard lock(mutex);
  std::shared_ptr<Slab> slab = open.lock();
  if (!slab || slab->used + bytes > kSlabBytes) open = slab = std::make_shared<Slab>();
  std::byte* const block = slab->memory.get() + slab->used;
  slab->used += round_up(bytes, kAlignment);
  return {slab, block};
}

}  // namespace

std::shared_ptr<std::byte> table_memory(std::size_t bytes) {
  if (bytes < kSharedFrom) return allocate(bytes, kAlignment);
  return bytes < kOwnFrom ? shared(bytes) : huge(bytes);
}

bool needs_table_memory(std::size_t bytes) { return bytes >= kSharedFrom && bytes < kByOthers; }

}  // namespace semblance
