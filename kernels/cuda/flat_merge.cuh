// The lists of all parts of a query become its closest rows; a block a query.
#pragma once

#include "flat_lists.cuh"

namespace semblance::cuda {

inline constexpr unsigned kMergeThreads = 256, kMergeWarps = kMergeThreads / kWarp;
inline constexpr unsigned kKeysAhead = 4;                           // that a thread asks for at a time
inline constexpr unsigned kMergeRoom = kKeysAhead * kMergeThreads;  // places of the pool that a round may fill

struct MergeTask {
  FlatTask flat;
  std::uint32_t tile_queries, parts;
  std::uint32_t k;       // rows wanted
  std::uint32_t places;  // of the pool, a power of two: more than what is kept and a round
  std::uint32_t dim;
  std::uint32_t* rows;  // out (queries, k)
  float* scores;        // out (queries, k)
};

struct SharedMerge {
  unsigned count;                  // of keys in the pool
  unsigned counts[kMergeThreads];  // of keys in lists
};

// A score in plain f32 from the rows themselves, the same bits whatever the batch; one warp.
template <bool kL2>
__device__ float score_exactly(const MergeTask& task, std::uint32_t row, std::uint32_t query) {
  using Values = RowOf<const std::byte, const float>;
  const Values x(task.flat.queries.codes, task.flat.queries.first + query, task.flat.chunks);
  const Values y(task.flat.rows.codes, row, task.flat.chunks);
  float sum = 0.0F;
  for (unsigned j = lane(); j < task.dim; j += kWarp) {
    const float difference = kL2 ? x[j] - y[j] : x[j];
    sum += difference * (kL2 ? difference : y[j]);
  }
  sum = warp_sum(sum);
  return kL2 ? sum : 0.0F - sum;
}

class ListMerge {
 public:
  __device__ ListMerge(const MergeTask& task, SharedMerge& shared)
      : task_(task), shared_(shared), pool_(dynamic_shared<Key>()) {}

  // The closest keys of all lists, in order.
  __device__ void gather() {
    if (threadIdx.x == 0) shared_.count = 0;
    for (unsigned first = 0; first < task_.parts; first += kMergeThreads) {
      const unsigned lists = min(kMergeThreads, task_.parts - first);
      if (threadIdx.x < lists) shared_.counts[threadIdx.x] = task_.flat.counts[list_of(first + threadIdx.x)];
      __syncthreads();
      for (unsigned entry = 0; entry < lists * task_.flat.most_merged(); entry += kMergeRoom) take(first, lists, entry);
    }
    __syncthreads();
    order();
  }

  template <bool kL2>
  __device__ void score_again() {
    for (unsigned i = warp(); i < shared_.count; i += kMergeWarps) {
      const std::uint32_t row = row_of(pool_[i]);
      const float score = score_exactly<kL2>(task_, row, blockIdx.x);
      __syncwarp();
      if (lane() == 0) pool_[i] = make_key(score, row);
    }
    __syncthreads();
    order();
  }

  __device__ void write() const {
    for (unsigned i = threadIdx.x; i < task_.k; i += kMergeThreads) {
      const std::size_t at = std::size_t{blockIdx.x} * task_.k + i;
      const bool found = i < shared_.count && pool_[i] < no_limit();
      task_.rows[at] = found ? row_of(pool_[i]) : kNoRow;
      task_.scores[at] = found ? score_of(pool_[i]) : __uint_as_float(0x7F800000U);
    }
  }

 private:
  __device__ std::size_t list_of(unsigned part) const {
    const unsigned tile = blockIdx.x / task_.tile_queries;
    return (std::size_t{part} * task_.flat.query_tiles + tile) * task_.tile_queries + blockIdx.x % task_.tile_queries;
  }

  // A round: the places from `entry` on of the lists of parts from `first` on, side by side.
  __device__ void take(unsigned first, unsigned lists, unsigned entry) {
    const Key limit = task_.flat.limits[blockIdx.x];
    Key keys[kKeysAhead];
#pragma unroll
    for (unsigned i = 0; i < kKeysAhead; ++i) {
      const unsigned at = entry + i * kMergeThreads + threadIdx.x;
      const unsigned list = at / task_.flat.most_merged(), place = at % task_.flat.most_merged();
      const bool exists = list < lists && place < shared_.counts[list];
      keys[i] = exists ? __ldcg(task_.flat.lists + list_of(first + list) * task_.flat.capacity + place) : kLastKey;
    }
    int full = 0;  // the count itself is no one's to read before all have added, nor once the next round adds
#pragma unroll
    for (unsigned i = 0; i < kKeysAhead; ++i) {
      if (keys[i] >= limit) continue;
      const unsigned place = atomicAdd(&shared_.count, 1U);
      pool_[place] = keys[i];
      full |= place >= task_.places - kMergeRoom;
    }
    if (__syncthreads_or(full) != 0) order();
  }

  // Sorts the pool and lets go of what is not among the closest; the whole block.
  __device__ void order() {
    const unsigned count = shared_.count;
    unsigned power = 2;
    while (power < count) power *= 2;
    for (unsigned i = count + threadIdx.x; i < power; i += kMergeThreads) pool_[i] = kLastKey;
    block_sort(pool_, power);
    if (threadIdx.x == 0) shared_.count = min(count, task_.flat.keep);
    __syncthreads();
  }

  const MergeTask& task_;
  SharedMerge& shared_;
  Key* pool_;
};

}  // namespace semblance::cuda
