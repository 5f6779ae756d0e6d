// The words of kernels/cuda/warpgroup.cuh on the CPU. Products happen when they are waited for, no earlier; bulk copies
// at once or when no thread can go on, by the schedule: who reads without waiting, or lets go too early, shows.
#pragma once

#include <cuda_runtime.h>

#include "cuda_words.hpp"

namespace semblance::cuda {

inline constexpr bool kWarpgroups = true;

using Barrier = std::uint64_t;

inline unsigned shared_address(const void* p) { return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(p)); }

struct BarrierState {
  std::int32_t bytes;
  std::uint16_t arrivals;
  std::uint16_t left : 15, phase : 1;
};
static_assert(sizeof(BarrierState) == sizeof(Barrier));

// Reads a barrier's state, lets `change` change it, ends the phase if nothing is missing any more.
template <class Change>
void change_barrier(Barrier* barrier, Change change) {
  const emulated::races::Unseen unseen;
  BarrierState state;
  std::memcpy(&state, barrier, sizeof state);
  change(state);
  if (state.left == 0 && state.bytes == 0) {
    state.left = state.arrivals & 0x7FFFU;
    state.phase ^= 1U;
    emulated::machine().wake(barrier);
  }
  std::memcpy(barrier, &state, sizeof state);
}
// Where what was before a phase ended is to be observed.
inline const void* phase_place(const Barrier* barrier, unsigned parity) {
  return reinterpret_cast<const std::byte*>(barrier) + 1 + parity;
}
inline unsigned phase_of(const Barrier* barrier) {
  const emulated::races::Unseen unseen;
  BarrierState state;
  std::memcpy(&state, barrier, sizeof state);
  return state.phase;
}
inline void publish_phase(const Barrier* barrier) { emulated::races::publish(phase_place(barrier, phase_of(barrier))); }
inline void barrier_open(Barrier* barrier, unsigned arrivals) {
  const BarrierState state{0, static_cast<std::uint16_t>(arrivals), static_cast<std::uint16_t>(arrivals & 0x7FFFU), 0};
  std::memcpy(barrier, &state, sizeof state);
}
inline void barriers_opened() {}
inline void barrier_arrive(Barrier* barrier) {
  publish_phase(barrier);
  change_barrier(barrier, [](BarrierState& state) {
    if (state.left == 0) emulated::machine().leave_with("more threads arrive at a barrier than it waits for");
    state.left -= 1;
  });
}
inline void barrier_expect(Barrier* barrier, unsigned bytes) {
  publish_phase(barrier);
  change_barrier(barrier, [=](BarrierState& state) {
    state.bytes += static_cast<std::int32_t>(bytes);
    state.left -= 1;
  });
}
inline void barrier_wait(Barrier* barrier, unsigned parity, unsigned line = __builtin_LINE()) {
  while (phase_of(barrier) == parity) emulated::machine().wait_at("barrier_wait", barrier, line);
  emulated::races::observe(phase_place(barrier, parity));
}

inline void copy_bulk(void* shared, const void* from, unsigned bytes, Barrier* barrier) {
  if ((reinterpret_cast<std::uintptr_t>(shared) | reinterpret_cast<std::uintptr_t>(from) | bytes) % 16 != 0)
    emulated::machine().leave_with("a bulk copy is misaligned");
  emulated::races::reads(from, bytes);
  emulated::races::writes(shared, bytes);  // from now on
  publish_phase(barrier);
  emulated::machine().later([=] {
    std::memcpy(shared, from, bytes);
    change_barrier(barrier, [=](BarrierState& state) { state.bytes -= static_cast<std::int32_t>(bytes); });
  });
}

inline void group_sync(unsigned group, unsigned line = __builtin_LINE()) {
  emulated::Machine& machine = emulated::machine();
  constexpr unsigned kThreads = 128;
  if (machine.thread_index.x / kThreads != group) machine.leave_with("group_sync names another warpgroup");
  machine.meet({.name = "group_sync", .line = line, .threads = kThreads, .orders = true}, 0);
}

inline void group_begin() {}
inline void group_commit() { emulated::machine().current->product_group += 1; }
template <int kUnderWay>
void group_wait(unsigned line = __builtin_LINE()) {
  emulated::machine().finish_products(kUnderWay);
  // A warp waits as one: then any of its lanes may let go of what all have read.
  emulated::machine().meet({.name = "group_wait", .mask = ~0U, .line = line, .orders = true}, 0);
}
template <class Sum, unsigned kCount>
void group_hold(Sum (&)[kCount]) {}

struct GroupRows {
  const std::byte* at;
};
inline GroupRows group_rows(const std::byte* first) {
  if (reinterpret_cast<std::uintptr_t>(first) % 1024 != 0)
    emulated::machine().leave_with("rows for a warpgroup are not aligned to 1024 bytes");
  return {first};
}
inline GroupRows from(GroupRows rows, unsigned bytes) { return {rows.at + bytes}; }

inline std::uint32_t swizzled_word(GroupRows rows, unsigned row, unsigned word) {
  const std::uintptr_t within = reinterpret_cast<std::uintptr_t>(rows.at) % 1024;
  const std::size_t byte = within + 4 * word;
  std::uint32_t out;
  std::memcpy(&out, rows.at - within + row * 128 + (byte / 16 ^ row % 8) * 16 + byte % 16, sizeof out);
  return out;
}

template <class Words, unsigned kColumns, class Sum>
void group_multiply(Sum* sums, GroupRows a, GroupRows b) {
  const unsigned thread = emulated::machine().thread_index.x, g = thread % 32 / 4, t = thread % 4;
  emulated::Thread& self = *emulated::machine().current;
  self.products.push_back({[=] {
                             for (unsigned s = 0; s < kColumns / 2; ++s) {
                               const unsigned row = thread % 128 / 32 * 16 + g + s % 4 / 2 * 8;
                               const unsigned column = s / 4 * 8 + 2 * t + s % 2;
                               for (unsigned word = 0; word < 8; ++word)
                                 sums[s] =
                                     Words::add(sums[s], swizzled_word(a, row, word), swizzled_word(b, column, word));
                             }
                           },
                           self.product_group});
}
template <unsigned kColumns>
void group_multiply_bf16(float (&sums)[kColumns / 2], GroupRows a, GroupRows b) {
  group_multiply<Bf16, kColumns>(&sums[0], a, b);
}
template <unsigned kColumns>
void group_multiply_i8(std::int32_t (&sums)[kColumns / 2], GroupRows a, GroupRows b) {
  group_multiply<Int8, kColumns>(&sums[0], a, b);
}

}  // namespace semblance::cuda
