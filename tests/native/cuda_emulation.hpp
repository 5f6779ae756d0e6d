// Runs CUDA kernels on the CPU, compiled as plain C++: a thread of a block is a fiber, blocks run one after the other
// on the calling thread. `emulated/cuda_runtime.h` puts CUDA's names on top, so that a .cu file compiles unchanged.
//
// A launch throws Fault where no thread can go on: some wait at __syncthreads (or at a shuffle, or anywhere else) for
// threads that left or that wait elsewhere. Reads and writes out of bounds are AddressSanitizer's; dynamic shared
// memory has exactly the launch's bytes and starts as garbage, and __shared__ arrays are static. A missing barrier
// shows as results that change with the `schedule`: `every_schedule` runs a check under several. ThreadSanitizer finds
// it whatever the results are (races.hpp).
//
// Not here: blocks that wait for each other, clocks, textures. Static __shared__ keeps what the block before left in
// it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fiber.hpp"

namespace semblance::emulated {

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr unsigned volume() const { return x * y * z; }
};

// The order in which threads that can run are run, a step each. 0: by number; 1 and 2: warp by warp, each as far as it
// can go, backwards or by number; others: shuffled before each round.
inline unsigned schedule = 0;

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kMaxThreads = 1024;

class Arrivals;
// What one member of a complete group gets: called once a member while all of them wait.
using Resolve = std::uint64_t (*)(const Arrivals&);

// A meeting of the threads of a block, of a part of it, or of the lanes that a mask names.
struct Meeting {
  const char* name = "";
  unsigned mask = 0;  // 0: the whole block
  unsigned line = 0;
  Resolve resolve = nullptr;
  unsigned threads = 0;         // not 0: that many, from a multiple of them on
  const void* place = nullptr;  // no meeting: the thread waits until somebody wakes those at the place
  bool orders = false;          // what members wrote before it, all see after it
  bool operator==(const Meeting&) const = default;
};

struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes, group;
};

struct PendingProduct {
  std::function<void()> run;
  std::size_t group;
};

struct Thread {
  enum class State : std::uint8_t { ready, waiting, done } state = State::ready;
  Fiber fiber;
  Dim3 index;
  Meeting meeting;
  std::uint64_t value = 0, argument = 0, result = 0;
  const void* ordered = nullptr;  // where what was before the meeting can be observed
  std::size_t copy_group = 0;
  std::vector<PendingCopy> copies;  // asynchronous ones happen when they are waited for, no earlier
  std::size_t product_group = 0;
  std::vector<PendingProduct> products;  // and so do these
};

// The group as `resolve` sees it. Members are numbered as lanes of the warp or as threads of the block.
class Arrivals {
 public:
  Arrivals(const Thread* threads, unsigned count, unsigned mask) : threads_(threads), count_(count), mask_(mask) {}
  unsigned size() const { return count_; }
  unsigned mask() const { return mask_; }
  unsigned self = 0;
  bool has(unsigned i) const { return i < count_ && (mask_ == 0 || (mask_ >> i & 1U) != 0); }
  std::uint64_t value(unsigned i) const { return threads_[i].value; }
  std::uint64_t own() const { return threads_[self].value; }
  std::uint64_t argument() const { return threads_[self].argument; }

 private:
  const Thread* threads_;
  unsigned count_, mask_;
};

class Machine;
inline Machine& machine();

// One block at a time.
class Machine {
 public:
  Dim3 grid, block, block_index, thread_index;
  Thread* current = nullptr;
  std::byte* shared = nullptr;
  std::mutex busy;

  void run(const std::function<void()>& kernel, Dim3 grid_dim, Dim3 block_dim, std::size_t shared_bytes) {
    const races::Unseen unseen;
    grid = grid_dim;
    block = block_dim;
    if (block.volume() == 0 || block.volume() > kMaxThreads) throw Fault("a block of " + count_text() + " threads");
    kernel_ = &kernel;
    std::vector<unsigned> blocks(grid.volume());
    std::iota(blocks.begin(), blocks.end(), 0U);
    arrange(blocks);
    for (const unsigned b : blocks) {
      block_index = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
      run_block(shared_bytes);
    }
  }

  // Waits for the others of the meeting; returns what `resolve` answers for this thread.
  std::uint64_t meet(const Meeting& meeting, std::uint64_t value, std::uint64_t argument = 0) {
    if (meeting.orders) races::publish(arrived_of(meeting));
    if (!arrive(meeting, value, argument)) switch_fiber(current->fiber, main_);
    const races::Unseen unseen;
    if (meeting.orders) races::observe(current->ordered);
    return current->result;
  }

  // The threads' frames are never unwound: they must own nothing.
  [[noreturn]] void leave_with(std::string&& message) {
    set_fault(std::move(message));
    switch_fiber(current->fiber, main_);
    std::abort();  // a faulty block's threads never run again
  }

  void finish_copies(std::size_t groups_left) {
    std::vector<PendingCopy>& copies = current->copies;
    const auto finished = [&](const PendingCopy& c) { return c.group + groups_left < current->copy_group; };
    for (const PendingCopy& c : copies)
      if (finished(c)) std::memcpy(c.to, c.from, c.bytes);
    std::erase_if(copies, finished);
  }

  void finish_products(std::size_t groups_left) {
    std::vector<PendingProduct>& products = current->products;
    const auto finished = [&](const PendingProduct& p) { return p.group + groups_left < current->product_group; };
    for (const PendingProduct& p : products)
      if (finished(p)) p.run();
    std::erase_if(products, finished);
  }

  // Returns when another thread, or what happens later, wakes those who wait at the place.
  void wait_at(const char* name, const void* place, unsigned line) {
    wait({.name = name, .line = line, .place = place});
    switch_fiber(current->fiber, main_);
  }
  void wake(const void* place) {
    const races::Unseen unseen;
    for (Thread& t : threads_)
      if (t.state == Thread::State::waiting && t.meeting.place == place) t.state = Thread::State::ready;
  }
  // Does it now or, in even schedules, when no thread can go on.
  void later(std::function<void()>&& what) {
    const races::Unseen unseen;
    if (schedule % 2 == 1) return what();
    later_.push_back(std::move(what));
  }

 private:
  std::string count_text() const { return std::to_string(block.volume()); }
  unsigned number(const Thread& t) const { return static_cast<unsigned>(&t - threads_.data()); }

  std::string describe(const Thread& t) const {
    std::string text = "thread " + std::to_string(number(t)) + " of block " + std::to_string(block_index.x);
    if (t.state == Thread::State::done) return text + ", which left";
    if (t.state == Thread::State::ready) return text;
    char mask[24] = "";
    if (t.meeting.mask != 0) std::snprintf(mask, sizeof mask, " (mask %#x)", t.meeting.mask);
    return text + " at " + t.meeting.name + mask + " in line " + std::to_string(t.meeting.line);
  }

  template <class T>
  void arrange(std::vector<T>& order) {
    if (schedule == 1) std::reverse(order.begin(), order.end());
    if (schedule > 2) std::shuffle(order.begin(), order.end(), random_);
  }

  void run_block(std::size_t shared_bytes) {
    constexpr std::align_val_t kAlign{128};
    const std::unique_ptr<std::byte[], void (*)(std::byte*)> memory(new (kAlign) std::byte[shared_bytes],
                                                                    [](std::byte* p) { operator delete[](p, kAlign); });
    std::memset(memory.get(), 0xCD, shared_bytes);
    shared = memory.get();
    threads_.assign(block.volume(), {});
    later_.clear();
    for (; stacks_.size() < threads_.size(); racers_.push_back(races::new_thread()))
      stacks_.push_back(std::make_unique<Stack>());
    main_.racer = races::this_thread();
    races::publish(&block_index);
    std::vector<unsigned> order(threads_.size());
    std::iota(order.begin(), order.end(), 0U);
    for (const unsigned i : order) {
      threads_[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
      threads_[i].fiber.racer = racers_[i];
      start_fiber(threads_[i].fiber, *stacks_[i], [] { machine().thread_main(); });
    }
    arrange(order);
    const std::unique_ptr<Machine, void (*)(Machine*)> at_end(this, [](Machine* m) { m->observe_threads(); });
    while (run_round(order))
      if (schedule > 2) arrange(order);
  }

  // What the block's threads did is before what comes, that of a faulty one too.
  SEMBLANCE_UNSEEN void observe_threads() {
    void* const* racers = racers_.data();
    const auto end = racers + threads_.size();
    void* const own = main_.racer;
    for (; racers != end; ++racers) {
      races::become(*racers);
      races::publish(&threads_);
    }
    races::become(own);
    races::observe(&threads_);
  }

  SEMBLANCE_UNSEEN void thread_main() {
    arrived(nullptr);
    races::observe(&block_index);
    (*kernel_)();
    current->copy_group += 1;
    finish_copies(0);
    current->state = Thread::State::done;
    leave_fiber(main_);
  }

  void set_fault(std::string&& message) {
    const races::Unseen unseen;
    fault_ = std::move(message);
  }

  void wait(const Meeting& meeting) {
    const races::Unseen unseen;
    current->meeting = meeting;
    current->state = Thread::State::waiting;
  }

  // True when the meeting is complete.
  bool arrive(const Meeting& meeting, std::uint64_t value, std::uint64_t argument) {
    wait(meeting);
    const races::Unseen unseen;
    current->value = value;
    current->argument = argument;
    if (meeting.mask != 0 && (meeting.mask >> (number(*current) % kWarp) & 1U) == 0) {
      fault_ = "the mask of " + describe(*current) + " does not name the lane itself";
      return false;
    }
    return complete(meeting);
  }

  // Lets every thread that can go on. False when all are done.
  bool run_round(const std::vector<unsigned>& order) {
    const bool warp_by_warp = schedule == 1 || schedule == 2;
    bool moved = false;
    for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
      const auto in_turn = [&](unsigned i) { return !warp_by_warp || i / kWarp == order[first] / kWarp; };
      for (end = first; end < order.size() && in_turn(order[end]);) ++end;
      while (run_ready({&order[first], end - first})) {
        moved = true;
        if (!warp_by_warp) break;  // else the warp goes as far as it can before another moves
      }
    }
    const bool left =
        std::any_of(threads_.begin(), threads_.end(), [](const Thread& t) { return t.state != Thread::State::done; });
    if (left && !moved && later_.empty()) throw Fault(deadlock());
    if (!moved)
      for (const std::function<void()>& what : std::exchange(later_, {})) what();
    return left;
  }

  bool run_ready(std::span<const unsigned> order) {
    bool moved = false;
    for (const unsigned i : order) {
      if (threads_[i].state != Thread::State::ready) continue;
      moved = true;
      current = &threads_[i];
      thread_index = current->index;
      switch_fiber(main_, current->fiber);
      if (!fault_.empty()) throw Fault(std::exchange(fault_, {}));
    }
    return moved;
  }

  std::string deadlock() const {
    const auto at_place = std::find_if(threads_.begin(), threads_.end(), [](const Thread& t) {
      return t.state == Thread::State::waiting && t.meeting.place != nullptr;
    });
    if (at_place != threads_.end()) return describe(*at_place) + " waits for ever";
    const auto waits = std::find_if(threads_.begin(), threads_.end(),
                                    [](const Thread& t) { return t.state == Thread::State::waiting; });
    const auto [begin, end] = members(waits->meeting, number(*waits));
    for (unsigned i = begin; i < begin + kMaxThreads; ++i) {
      if (waits->meeting.mask != 0 && (i - begin >= kWarp || (waits->meeting.mask >> (i - begin) & 1U) == 0)) continue;
      if (i >= end) return describe(*waits) + " waits for thread " + std::to_string(i) + ", which is not there";
      if (!(threads_[i].meeting == waits->meeting) || threads_[i].state == Thread::State::done)
        return describe(*waits) + " waits for " + describe(threads_[i]);
    }
    return describe(*waits) + " waits for ever";
  }

  struct Range {
    unsigned begin, end;
  };
  Range members(const Meeting& meeting, unsigned thread) const {
    const auto all = static_cast<unsigned>(threads_.size());
    if (meeting.threads != 0) {
      const unsigned begin = thread / meeting.threads * meeting.threads;
      return {begin, std::min(begin + meeting.threads, all)};
    }
    if (meeting.mask == 0) return {0, all};
    const unsigned begin = thread / kWarp * kWarp;
    return {begin, std::min(begin + kWarp, all)};
  }

  // Where members of such a group publish what was before they arrived.
  const void* arrived_of(const Meeting& meeting) const {
    const Thread* first = &threads_[members(meeting, number(*current)).begin];
    return reinterpret_cast<const std::byte*>(first) + (meeting.mask != 0 ? 0 : meeting.threads != 0 ? 1 : 2);
  }

  bool complete(const Meeting& meeting) {
    const auto [begin, end] = members(meeting, number(*current));
    Arrivals arrivals(&threads_[begin], end - begin, meeting.mask);
    if (end - begin < kWarp && meeting.mask >> (end - begin) != 0) return false;
    for (unsigned i = 0; i < arrivals.size(); ++i) {
      const Thread& t = threads_[begin + i];
      if (arrivals.has(i) && (t.state != Thread::State::waiting || !(t.meeting == meeting))) return false;
    }
    // A place of its own for each of the last meetings: who leaves late must not observe what came after.
    const void* ordered = &ordered_[meetings_++ % std::size(ordered_)];
    if (meeting.orders) races::observe(arrived_of(meeting));
    if (meeting.orders) races::publish(ordered);
    for (unsigned i = 0; i < arrivals.size(); ++i) {
      if (!arrivals.has(i)) continue;
      arrivals.self = i;
      threads_[begin + i].ordered = ordered;
      threads_[begin + i].result = meeting.resolve ? meeting.resolve(arrivals) : 0;
    }
    for (unsigned i = 0; i < arrivals.size(); ++i)
      if (arrivals.has(i)) threads_[begin + i].state = Thread::State::ready;
    return true;
  }

  const std::function<void()>* kernel_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::unique_ptr<Stack>> stacks_;
  std::vector<void*> racers_;
  std::uint64_t ordered_[4096] = {};
  std::size_t meetings_ = 0;
  Fiber main_;
  std::string fault_;
  std::vector<std::function<void()>> later_;
  std::mt19937 random_{1};
};

inline Machine& machine() {
  static Machine one;
  return one;
}

// Copies and launches since a stream was waited for: what a card might still be at.
[[gnu::visibility("default")]] inline std::atomic<std::size_t> under_way{0};

// Launches of other host threads wait.
inline void launch(const std::function<void()>& kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes = 0) {
  const std::lock_guard lock(machine().busy);
  ++under_way;
  machine().run(kernel, grid, block, shared_bytes);
}

// Runs `check` once a schedule: a kernel that lacks a barrier gives another answer under one of them. Where races are
// told they are in any.
template <class Check>
void every_schedule(Check check) {
  for (schedule = 0; schedule < (races::kTold ? 1U : 5U); ++schedule) check();
  schedule = 0;
}

}  // namespace semblance::emulated
