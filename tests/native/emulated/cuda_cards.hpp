// What the emulated runtime knows beyond one card that does everything at once: several cards, the one that each thread
// uses, what an address belongs to, and which calls were made, for tests of who waits for whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace semblance::emulated {

inline int cards = 1;  // tests set this
inline thread_local int current_card = 0;

enum class Owner : std::uint8_t { pageable, pinned, card };  // pageable: memory that the runtime does not know
struct Place {
  Owner owner = Owner::pageable;
  int card = 0;
};

class Addresses {
 public:
  void add(const void* begin, std::size_t bytes, Owner owner) {
    const std::lock_guard lock(mutex_);
    blocks_[reinterpret_cast<std::uintptr_t>(begin)] = {bytes, {owner, current_card}};
  }
  void remove(const void* begin) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(reinterpret_cast<std::uintptr_t>(begin));
  }
  Place find(const void* address) const {
    const std::lock_guard lock(mutex_);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    auto next = blocks_.upper_bound(at);
    if (next == blocks_.begin()) return {};
    const auto& [begin, block] = *--next;
    return at - begin < block.bytes ? block.place : Place{};
  }

 private:
  struct Block {
    std::size_t bytes;
    Place place;
  };
  mutable std::mutex mutex_;
  std::map<std::uintptr_t, Block> blocks_;
};
inline Addresses addresses;

// `other`: the stream that a wait is for.
struct Call {
  const char* name;
  const void *stream, *other;
  int card;
  bool with_gil;
};

class CallLog {
 public:
  bool (*holds_gil)() = nullptr;  // a Python module sets this

  void add(const char* name, const void* stream = nullptr, const void* other = nullptr) {
    const std::lock_guard lock(mutex_);
    if (on_) calls_.push_back({name, stream, other, current_card, holds_gil != nullptr && holds_gil()});
  }
  void start() {
    const std::lock_guard lock(mutex_);
    on_ = true;
    calls_.clear();
  }
  std::vector<Call> take() {
    const std::lock_guard lock(mutex_);
    on_ = false;
    return std::exchange(calls_, {});
  }

 private:
  std::mutex mutex_;
  bool on_ = false;
  std::vector<Call> calls_;
};
inline CallLog calls;

}  // namespace semblance::emulated
