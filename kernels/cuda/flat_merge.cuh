// The lists of all segments of a query become its closest rows; a block a query.
#pragma once

#include "flat_tile.cuh"

namespace semblance::cuda {

inline constexpr unsigned kMergeThreads = 256, kMergeWarps = kMergeThreads / kWarp;
inline constexpr unsigned kMergeRoom = 1024;  // places of the pool beyond the keys that are kept

struct MergeTask {
  FlatTask flat;
  std::uint32_t tile_queries, segments;
  std::uint32_t k, sorted;  // rows wanted, and the power of two that holds all that are kept
  std::uint32_t dim;
  std::uint32_t* rows;  // out (queries, k)
  float* scores;        // out (queries, k)
};

// A score in plain f32 from the rows themselves, the same bits whatever the batch; one warp.
template <bool kL2>
__device__ float score_exactly(const CodedRows& rows, std::uint32_t row, const float* query, const MergeTask& task) {
  const std::size_t stride = std::size_t{task.flat.chunks} * kChunkBytes;
  const auto* values = reinterpret_cast<const float*>(rows.codes + row * stride);
  float sum = 0.0F;
  for (unsigned j = lane(); j < task.dim; j += kWarp) {
    const float x = kL2 ? query[j] - values[j] : query[j];
    sum += x * (kL2 ? x : values[j]);
  }
  sum = warp_sum(sum);
  return kL2 ? sum : 0.0F - sum;
}

class ListMerge {
 public:
  __device__ explicit ListMerge(const MergeTask& task, unsigned* count)
      : task_(task), pool_(dynamic_shared<Key>()), count_(*count), room_(task.flat.keep + kMergeRoom) {}

  // Fills the pool with the kept keys, in no order. Each warp reads 32 keys of a list a round.
  __device__ void gather() {
    if (threadIdx.x == 0) count_ = 0;
    __syncthreads();
    const Key limit = task_.flat.limits[blockIdx.x];
    for (unsigned first = 0; first < task_.segments; first += kMergeWarps) {
      const unsigned segment = first + warp();
      const bool exists = segment < task_.segments;
      const std::size_t list = exists ? list_of(segment) : 0;
      const unsigned count = exists ? task_.flat.counts[list] : 0;
      for (unsigned i = lane(); i - lane() < task_.flat.keep; i += kWarp) {
        const Key key = i < count ? task_.flat.lists[list * task_.flat.capacity + i] : kLastKey;
        if (key < limit) pool_[atomicAdd(&count_, 1U)] = key;
        shrink(room_ - kMergeThreads);
      }
    }
    shrink(task_.flat.keep);
  }

  template <bool kL2>
  __device__ void score_again() {
    const std::size_t stride = std::size_t{task_.flat.chunks} * kChunkBytes;
    const auto* query = reinterpret_cast<const float*>(task_.flat.queries.codes + blockIdx.x * stride);
    for (unsigned i = warp(); i < count_; i += kMergeWarps) {
      const std::uint32_t row = row_of(pool_[i]);
      const float score = score_exactly<kL2>(task_.flat.rows, row, query, task_);
      __syncwarp();
      if (lane() == 0) pool_[i] = make_key(score, row);
    }
    __syncthreads();
  }

  __device__ void write() {
    for (unsigned i = count_ + threadIdx.x; i < task_.sorted; i += kMergeThreads) pool_[i] = kLastKey;
    block_sort(pool_, task_.sorted);
    for (unsigned i = threadIdx.x; i < task_.k; i += kMergeThreads) {
      const std::size_t at = std::size_t{blockIdx.x} * task_.k + i;
      const bool found = i < task_.sorted && pool_[i] < no_limit();
      task_.rows[at] = found ? row_of(pool_[i]) : kNoRow;
      task_.scores[at] = found ? score_of(pool_[i]) : __uint_as_float(0x7F800000U);
    }
  }

 private:
  __device__ std::size_t list_of(unsigned segment) const {
    const unsigned tile = blockIdx.x / task_.tile_queries;
    return (std::size_t{segment} * task_.flat.query_tiles + tile) * task_.tile_queries +
           blockIdx.x % task_.tile_queries;
  }

  // Cuts the pool down where it holds more than `most` keys; the whole block.
  __device__ void shrink(unsigned most) {
    __syncthreads();
    const bool full = count_ > most;
    __syncthreads();
    if (!full) return;
    if (warp() == 0) {
      warp_select(pool_, count_, task_.flat.keep);
      if (lane() == 0) count_ = task_.flat.keep;
    }
    __syncthreads();
  }

  const MergeTask& task_;
  Key* pool_;
  unsigned& count_;
  const unsigned room_;
};

}  // namespace semblance::cuda
