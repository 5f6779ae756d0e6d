// CUDA's names as kernels and launchers use them, over the emulator. Found in place of the toolkit's header by sources
// that are compiled as plain C++ with this folder on the include path.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "../cuda_emulation.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __align__(n) alignas(n)

using dim3 = semblance::emulated::Dim3;
inline constexpr int warpSize = 32;

inline const dim3& threadIdx = semblance::emulated::machine().thread_index;
inline const dim3& blockIdx = semblance::emulated::machine().block_index;
inline const dim3& blockDim = semblance::emulated::machine().block;
inline const dim3& gridDim = semblance::emulated::machine().grid;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

using std::max;
using std::min;

// --- Barriers, votes and shuffles ---------------------------------------------------------------------------------

namespace semblance::emulated {

template <class T>
std::uint64_t to_word(T value) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  return word;
}

template <class T>
T from_word(std::uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

struct Shuffle {
  int lane, width;  // width negative: out of range keeps the own value
};

// A shuffle from a lane outside the mask reads nonsense on a card; here it is a fault.
inline std::uint64_t shuffled(const Arrivals& a) {
  const auto [lane, width] = from_word<Shuffle>(a.argument());
  const auto source = static_cast<unsigned>(lane);
  return lane >= 0 && a.has(source) ? a.value(source) : ~std::uint64_t{0x5EEDBAD};
}

template <class T>
T shuffle(const char* name, unsigned mask, T value, int source, unsigned line) {
  if (source < 0 || source > 31 || (mask >> source & 1U) == 0)
    machine().leave_with(std::string(name) + " in line " + std::to_string(line) + " reads lane " +
                         std::to_string(source) + ", which the mask does not name");
  return from_word<T>(machine().meet({name, mask, line, shuffled}, to_word(value), to_word(Shuffle{source, 32})));
}

inline int lane_id() {
  const Dim3 &i = machine().thread_index, &b = machine().block;
  return static_cast<int>((i.x + b.x * (i.y + b.y * i.z)) % kWarp);
}

template <class T, class Fold>
std::uint64_t folded(const Arrivals& a, Fold fold) {
  bool any = false;
  T result{};
  for (unsigned i = 0; i < a.size(); ++i) {
    if (!a.has(i)) continue;
    result = any ? fold(result, from_word<T>(a.value(i))) : from_word<T>(a.value(i));
    any = true;
  }
  return to_word(result);
}

inline std::uint64_t votes(const Arrivals& a) {
  unsigned ballot = 0;
  for (unsigned i = 0; i < a.size(); ++i)
    if (a.has(i) && a.value(i) != 0) ballot |= 1U << i;
  return ballot;
}

inline std::uint64_t count_true(const Arrivals& a) {
  unsigned count = 0;
  for (unsigned i = 0; i < a.size(); ++i) count += a.value(i) != 0;
  return count;
}

inline std::uint64_t matching(const Arrivals& a) {
  unsigned same = 0;
  for (unsigned i = 0; i < a.size(); ++i)
    if (a.has(i) && a.value(i) == a.own()) same |= 1U << i;
  return same;
}

}  // namespace semblance::emulated

inline void __syncthreads(unsigned line = __builtin_LINE()) {
  semblance::emulated::machine().meet({.name = "__syncthreads", .line = line, .orders = true}, 0);
}
inline int __syncthreads_count(int predicate, unsigned line = __builtin_LINE()) {
  using namespace semblance::emulated;
  const Meeting all{.name = "__syncthreads_count", .line = line, .resolve = count_true, .orders = true};
  return static_cast<int>(machine().meet(all, predicate != 0));
}
inline int __syncthreads_or(int predicate, unsigned line = __builtin_LINE()) {
  return __syncthreads_count(predicate, line) > 0;
}
inline int __syncthreads_and(int predicate, unsigned line = __builtin_LINE()) {
  return __syncthreads_count(predicate, line) == static_cast<int>(blockDim.volume());
}
inline void __syncwarp(unsigned mask = ~0U, unsigned line = __builtin_LINE()) {
  semblance::emulated::machine().meet({.name = "__syncwarp", .mask = mask, .line = line, .orders = true}, 0);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) {
  using namespace semblance::emulated;
  return static_cast<unsigned>(machine().meet({"__ballot_sync", mask, line, votes}, predicate != 0));
}
inline int __any_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, unsigned line = __builtin_LINE()) {
  using namespace semblance::emulated;
  return static_cast<unsigned>(machine().meet({"__match_any_sync", mask, line, matching}, to_word(value)));
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, unsigned line = __builtin_LINE()) {
  const int own = semblance::emulated::lane_id();
  return semblance::emulated::shuffle("__shfl_sync", mask, value, own / width * width + (lane & (width - 1)), line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, unsigned line = __builtin_LINE()) {
  const int own = semblance::emulated::lane_id(), source = own ^ lanes;
  return semblance::emulated::shuffle("__shfl_xor_sync", mask, value, source / width > own / width ? own : source,
                                      line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, unsigned line = __builtin_LINE()) {
  const int own = semblance::emulated::lane_id(), source = own - static_cast<int>(by);
  return semblance::emulated::shuffle("__shfl_up_sync", mask, value, source < own / width * width ? own : source, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, unsigned line = __builtin_LINE()) {
  const int own = semblance::emulated::lane_id(), source = own + static_cast<int>(by);
  return semblance::emulated::shuffle("__shfl_down_sync", mask, value,
                                      source >= (own / width + 1) * width ? own : source, line);
}

#define SEMBLANCE_EMULATED_REDUCE(name, expression)                                    \
  template <class T>                                                                   \
  T name(unsigned mask, T value, unsigned line = __builtin_LINE()) {                   \
    using namespace semblance::emulated;                                               \
    const Resolve resolve = [](const Arrivals& all) {                                  \
      return folded<T>(all, [](T a, T b) { return static_cast<T>(expression); });      \
    };                                                                                 \
    return from_word<T>(machine().meet({#name, mask, line, resolve}, to_word(value))); \
  }
SEMBLANCE_EMULATED_REDUCE(__reduce_add_sync, a + b)
SEMBLANCE_EMULATED_REDUCE(__reduce_min_sync, a < b ? a : b)
SEMBLANCE_EMULATED_REDUCE(__reduce_max_sync, a < b ? b : a)
SEMBLANCE_EMULATED_REDUCE(__reduce_or_sync, a | b)
SEMBLANCE_EMULATED_REDUCE(__reduce_and_sync, a& b)
#undef SEMBLANCE_EMULATED_REDUCE

[[noreturn]] inline void __trap() { semblance::emulated::machine().leave_with("__trap"); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

// --- Atomics: nothing runs between two switches -------------------------------------------------------------------

template <class T, class Fold>
T semblance_emulated_swap(T* at, Fold fold) {
  namespace races = semblance::emulated::races;
  const T old = races::load(at);
  races::store(at, fold(old));
  return old;
}
template <class T>
using SameType = std::type_identity_t<T>;
template <class T>
T atomicAdd(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return static_cast<T>(old + x); });
}
template <class T>
T atomicSub(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return static_cast<T>(old - x); });
}
template <class T>
T atomicMin(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return std::min(old, x); });
}
template <class T>
T atomicMax(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return std::max(old, x); });
}
template <class T>
T atomicOr(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return old | x; });
}
template <class T>
T atomicAnd(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return old & x; });
}
template <class T>
T atomicExch(T* at, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T) { return x; });
}
template <class T>
T atomicCAS(T* at, SameType<T> expected, SameType<T> x) {
  return semblance_emulated_swap(at, [&](T old) { return old == expected ? x : old; });
}

// --- Arithmetic and memory ----------------------------------------------------------------------------------------

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float rsqrtf(float a) { return 1.0F / std::sqrt(a); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (by & 31U));
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{high} << 32 | low;
  unsigned out = 0;
  for (unsigned i = 0; i < 4; ++i) out |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7U) & 0xFFU) << 8 * i;
  return out;
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
  return sum;
}

// Vector loads and stores fault on a card where the address is not a multiple of the type's size; a check here.
template <class T>
const T& semblance_emulated_aligned(const T* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignof(T) != 0)
    semblance::emulated::machine().leave_with("a load or store of " + std::to_string(sizeof(T)) +
                                              " bytes is misaligned");
  return *p;
}
template <class T>
T __ldg(const T* p) {
  return semblance_emulated_aligned(p);
}
template <class T>
T __ldcs(const T* p) {
  return semblance_emulated_aligned(p);
}
template <class T>
T __ldcg(const T* p) {
  // From the L2 cache, where atomics are done: as much of one.
  if constexpr (sizeof(T) <= 8) return semblance::emulated::races::load(&semblance_emulated_aligned(p));
  return semblance_emulated_aligned(p);
}
template <class T>
void __stcs(T* p, T x) {
  const_cast<T&>(semblance_emulated_aligned(p)) = x;
}

#include "cuda_host.hpp"
