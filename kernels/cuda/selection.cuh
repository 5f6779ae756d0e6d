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

__device__ __forceinline__ unsigned count_matches(const Key* keys, unsigned count, Key mask, Key value) {
  unsigned matches = 0;
  for (unsigned i = lane(); i < count; i += kWarp) matches += (keys[i] & mask) == value ? 1U : 0U;
  return __reduce_add_sync(kAllLanes, matches);
}

// The k-th smallest of `count` distinct keys, 1 <= k <= count, found by one warp bit by bit from the top: each bit
// halves those that can still be it, so about log2(count) passes over the keys are enough.
__device__ inline Key warp_kth(const Key* keys, unsigned count, unsigned k) {
  Key largest = 0, smallest = kLastKey;
  for (unsigned i = lane(); i < count; i += kWarp) {
    largest = keys[i] > largest ? keys[i] : largest;
    smallest = keys[i] < smallest ? keys[i] : smallest;
  }
  largest = warp_max(largest);
  smallest = ~warp_max(~smallest);
  Key mask = kLastKey, value = smallest;
  unsigned open = count;  // keys that agree with `value` in the bits of `mask`
  int bit = 63 - __clzll(static_cast<long long>(largest ^ smallest));
  if (bit >= 0) mask = bit == 63 ? 0 : kLastKey << (bit + 1);
  for (value &= mask; open > 1; --bit) {
    mask |= Key{1} << bit;
    const unsigned zeros = count_matches(keys, count, mask, value);
    if (k <= zeros) {
      open = zeros;
    } else {
      k -= zeros;
      open -= zeros;
      value |= Key{1} << bit;
    }
  }
  Key found = 0;
  for (unsigned i = lane(); i < count; i += kWarp) found = (keys[i] & mask) == value ? keys[i] : found;
  return warp_max(found);
}

// Moves the keys that are at most `last` to the front, in order; one warp.
__device__ inline void warp_keep(Key* keys, unsigned count, Key last) {
  unsigned kept = 0;
  for (unsigned first = 0; first < count; first += kWarp) {
    const unsigned i = first + lane();
    const Key key = i < count ? keys[i] : kLastKey;
    const bool keeps = key <= last && i < count;
    const unsigned keepers = __ballot_sync(kAllLanes, keeps);
    __syncwarp();  // all have read theirs
    if (keeps) keys[kept + __popc(keepers & ((1U << lane()) - 1U))] = key;
    kept += __popc(keepers);
    __syncwarp();
  }
}

// Leaves the k smallest of more than k keys at the front and returns the largest of them; one warp.
__device__ inline Key warp_select(Key* keys, unsigned count, unsigned k) {
  const Key last = warp_kth(keys, count, k);
  __syncwarp();
  warp_keep(keys, count, last);
  return last;
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
