// The k closest of many: scores and rows as 64-bit keys, whose order is total, so that whatever arrives first the same
// keys are kept.
#pragma once

#include <cstdint>

#include "warp.cuh"

namespace semblance::cuda {

using Key = unsigned long long;  // the type that atomicMin takes

// Smaller scores first, then lower rows. Floats as integers that order like them.
__device__ __forceinline__ Key make_key(float score, std::uint32_t row) {
  const std::uint32_t bits = __float_as_uint(score);
  const std::uint32_t ordered = bits & 0x80000000U ? ~bits : bits | 0x80000000U;
  return Key{ordered} << 32 | row;
}
__device__ __forceinline__ float score_of(Key key) {
  const auto ordered = static_cast<std::uint32_t>(key >> 32);
  return __uint_as_float(ordered & 0x80000000U ? ordered & 0x7FFFFFFFU : ~ordered);
}
__device__ __forceinline__ std::uint32_t row_of(Key key) { return static_cast<std::uint32_t>(key); }

// Above every key with a finite score; NaN and infinity are no distance and come after it.
__device__ __forceinline__ Key no_limit() { return make_key(__uint_as_float(0x7F800000U), 0); }
inline constexpr Key kLastKey = ~Key{0};

// The keys of a list, every 32nd a lane's: read again whenever they are looked at, or kept in registers.
struct KeysInMemory {
  const Key* keys;
  unsigned count;

  template <class Look>
  __device__ void each(Look look) const {
    for (unsigned first = 0; first < count; first += kWarp)
      look(first + lane() < count ? keys[first + lane()] : kLastKey);
  }
};
template <unsigned kMost>
struct KeysInRegisters {
  Key own[kMost];

  __device__ KeysInRegisters(const Key* keys, unsigned count) {
#pragma unroll
    for (unsigned i = 0; i < kMost; ++i) own[i] = i * kWarp + lane() < count ? keys[i * kWarp + lane()] : kLastKey;
  }
  template <class Look>
  __device__ void each(Look look) const {
#pragma unroll
    for (unsigned i = 0; i < kMost; ++i) look(own[i]);
  }
};

// The k-th smallest of `count` distinct keys, 1 <= k <= count, found by one warp bit by bit from the top, in as many
// passes over the keys as it takes until a prefix is that of one key alone.
template <class Keys>
__device__ Key warp_kth(const Keys& keys, unsigned count, unsigned k) {
  Key largest = 0, smallest = kLastKey;
  keys.each([&](Key key) {
    if (key != kLastKey && key > largest) largest = key;
    if (key < smallest) smallest = key;
  });
  largest = warp_max(largest);
  smallest = ~warp_max(~smallest);
  Key mask = kLastKey, value = smallest;
  unsigned open = count;  // keys that agree with `value` in the bits of `mask`
  int bit = 63 - __clzll(static_cast<long long>(largest ^ smallest));
  if (bit >= 0) mask = bit == 63 ? 0 : kLastKey << (bit + 1);
  for (value &= mask; open > 1; --bit) {
    mask |= Key{1} << bit;
    unsigned zeros = 0;
    keys.each([&](Key key) { zeros += (key & mask) == value ? 1U : 0U; });  // never of kLastKey
    zeros = __reduce_add_sync(kAllLanes, zeros);
    if (k <= zeros) {
      open = zeros;
    } else {
      k -= zeros;
      open -= zeros;
      value |= Key{1} << bit;
    }
  }
  Key found = 0;
  keys.each([&](Key key) { found = (key & mask) == value && key != kLastKey ? key : found; });
  return warp_max(found);
}

// Leaves the k smallest of more than k keys at the front and returns the largest of them; one warp.
template <class Keys>
__device__ Key warp_select_of(const Keys& from, Key* keys, unsigned count, unsigned k) {
  const Key last = warp_kth(from, count, k);
  unsigned kept = 0;
  from.each([&](Key key) {
    const bool keeps = key <= last;
    const unsigned keepers = __ballot_sync(kAllLanes, keeps);
    __syncwarp();  // all have read theirs
    if (keeps) keys[kept + __popc(keepers & ((1U << lane()) - 1U))] = key;
    kept += __popc(keepers);
  });
  __syncwarp();
  return last;
}
__device__ inline Key warp_select(Key* keys, unsigned count, unsigned k) {
  constexpr unsigned kMost = 9;  // a list of ten closest is cut from 276 at most
  if (count <= kMost * kWarp) return warp_select_of(KeysInRegisters<kMost>(keys, count), keys, count, k);
  return warp_select_of(KeysInMemory{keys, count}, keys, count, k);
}

// Puts the i-th pair of keys that lie `step` apart, a power of two, in order: upwards where the pair's place has no bit
// of `size`, else downwards.
__device__ __forceinline__ void sort_pair(Key* keys, unsigned i, unsigned step, unsigned size) {
  const unsigned low = 2 * i - (i & (step - 1)), high = low + step;
  const Key a = keys[low], b = keys[high];
  if ((a > b) == ((low & size) == 0)) {
    keys[low] = b;
    keys[high] = a;
  }
}

// Sorts a power of two of keys in shared memory; the whole block. Batcher's bitonic network (AFIPS 1968).
__device__ inline void block_sort(Key* keys, unsigned count) {
  for (unsigned size = 2; size <= count; size *= 2) {
    for (unsigned step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (unsigned i = threadIdx.x; i < count / 2; i += blockDim.x) sort_pair(keys, i, step, size);
    }
  }
  __syncthreads();
}

}  // namespace semblance::cuda
