// Exact search as Hopper does it best; flat_tile.cuh does the same on every card.
//
// A block takes one segment of the rows and one tile of the queries. The queries stay in shared memory. Two warpgroups
// multiply, every other group of 64 rows each, so that while one offers its scores the other has the tensor cores. For
// each a thread brings its rows by bulk copies of 8 kB, a ring of stages ahead, and each keeps lists of its own.
//
// What limits it: with few queries the memory the rows come from; with many the tensor cores, as a byte of rows from
// the L2 cache meets all queries of the tile (128 operations a byte of bf16 where both tiles of flat_tile.cuh give 64).
#pragma once

#include "flat_lists.cuh"
#include "flat_products.cuh"

namespace semblance::cuda {

inline constexpr unsigned kStreamWorkers = 2, kGroupWarps = 4, kGroupThreads = kGroupWarps * kWarp;
inline constexpr unsigned kStreamThreads = kStreamWorkers * (kGroupThreads + kWarp);
inline constexpr unsigned kMostStages = 12, kFewestStages = 3;  // of a ring
inline constexpr unsigned kStreamAlign = 1024;

template <unsigned kQueries>
struct SharedStream {
  SharedLists<kQueries> lists[kStreamWorkers];
  Barrier full[kStreamWorkers][kMostStages], empty[kStreamWorkers][kMostStages], queries;
};

template <class Product, unsigned kQueries, bool kL2>
class FlatStream {
 public:
  // The block's dynamic shared memory; `stages` of a ring.
  static std::size_t shared_bytes(unsigned chunks, unsigned stages) {
    return kStreamAlign + std::size_t{chunks} * kQueries * kChunkBytes +
           std::size_t{kStreamWorkers} * stages * kGroupChunkBytes;
  }

  __device__ FlatStream(const FlatTask& task, SharedStream<kQueries>& shared, unsigned stages)
      : task_(task),
        shared_(shared),
        queries_(aligned(dynamic_shared<std::byte>())),
        rings_(queries_ + std::size_t{task.chunks} * kQueries * kChunkBytes),
        stages_(stages),
        first_query_(blockIdx.x % task.query_tiles * kQueries),
        first_row_(blockIdx.x / task.query_tiles * task.segment_rows),
        last_row_(min(task.rows.n, first_row_ + task.segment_rows)),
        groups_((last_row_ - first_row_ + kGroupRows - 1) / kGroupRows) {}

  __device__ void run() {
    if (threadIdx.x == 0) {
      for (unsigned i = 0; i < kStreamWorkers * stages_; ++i) {
        barrier_open(&shared_.full[i % kStreamWorkers][i / kStreamWorkers], 1);
        barrier_open(&shared_.empty[i % kStreamWorkers][i / kStreamWorkers], kGroupWarps);
      }
      barrier_open(&shared_.queries, 1);
      barriers_opened();
    }
    __syncthreads();
    constexpr unsigned kBringer = kStreamWorkers * kGroupWarps;  // the first warp of those that bring rows
    if (warp() < kBringer) return work(warp() / kGroupWarps);
    if (lane() != 0) return;
    if (warp() == kBringer) bring_queries();
    bring_rows(warp() - kBringer);
  }

 private:
  __device__ static std::byte* aligned(std::byte* p) {
    return p + (kStreamAlign - shared_address(p) % kStreamAlign) % kStreamAlign;
  }

  // The tile's queries may lie in two groups, of which the second may not be there.
  __device__ void bring_queries() {
    const unsigned first = task_.queries.first + first_query_;
    const auto end = static_cast<unsigned>(round_up(task_.queries.first + task_.queries.n, kGroupRows));
    const unsigned count = min(kQueries, end - first);
    barrier_expect(&shared_.queries, task_.chunks * count * kChunkBytes);
    for (unsigned chunk = 0; chunk < task_.chunks; ++chunk) {
      std::byte* to = queries_ + chunk * kQueries * kChunkBytes;
      for (unsigned q = 0, part = 0; q < count; q += part) {
        part = min(count - q, kGroupRows - (first + q) % kGroupRows);
        copy_bulk(to + q * kChunkBytes, task_.queries.codes + chunk_at(first + q, chunk, task_.chunks),
                  part * kChunkBytes, &shared_.queries);
      }
    }
  }

  // A group's chunks lie one after the other.
  __device__ void bring_rows(unsigned worker) {
    unsigned stage = 0, round = 0;
    for (unsigned group = worker; group < groups_; group += kStreamWorkers) {
      const std::byte* from = task_.rows.codes + chunk_at(first_row_ + group * kGroupRows, 0, task_.chunks);
      for (unsigned chunk = 0; chunk < task_.chunks; ++chunk, from += kGroupChunkBytes) {
        Barrier* full = &shared_.full[worker][stage];
        if (round > 0) barrier_wait(&shared_.empty[worker][stage], (round - 1) % 2);
        barrier_expect(full, kGroupChunkBytes);
        copy_bulk(stage_of(worker, stage), from, kGroupChunkBytes, full);
        if (++stage == stages_) stage = 0, ++round;
      }
    }
  }

  __device__ void work(unsigned worker) {
    const unsigned part = blockIdx.x / task_.query_tiles * kStreamWorkers + worker;
    FlatLists<kQueries, kGroupWarps> lists(task_, shared_.lists[worker], part, warp() % kGroupWarps);
    lists.open();
    barrier_wait(&shared_.queries, 0);
    InRing at{0, 0};
    for (unsigned group = worker; group < groups_; group += kStreamWorkers) {
      const unsigned row = first_row_ + group * kGroupRows + warp() % kGroupWarps * 16 + lane() / 4;
      const RowFacts facts[2] = {RowFacts::of(task_, row, last_row_), RowFacts::of(task_, row + 8, last_row_)};
      const Key peeked = lists.peek();
      typename Product::Sum sums[kQueries / 2] = {};
      multiply(sums, worker, at);
      lists.learn(peeked);
      group_sync(worker);  // the lists were settled
#pragma unroll
      for (unsigned q = 0; q < kQueries / 8; ++q)
        lists.template offer<Product, kL2>(sums + 4 * q, facts, row, q * 8 + lane() % 4 * 2);
      group_sync(worker);
      lists.settle(task_.capacity - kGroupRows, group / kStreamWorkers);
    }
    lists.close();
  }

  // Where in its ring a worker is: a stage, and the parity of how often it came by.
  struct InRing {
    unsigned stage, parity;
  };

  // The products of a group of rows with the queries. A chunk's stage is given back when the next chunk's products are
  // under way.
  __device__ void multiply(typename Product::Sum (&sums)[kQueries / 2], unsigned worker, InRing& at) {
    const GroupRows ring = group_rows(stage_of(worker, 0));
    GroupRows queries = group_rows(queries_);
    unsigned before = stages_;
    for (unsigned chunk = 0; chunk < task_.chunks; ++chunk, queries = from(queries, kQueries * kChunkBytes)) {
      barrier_wait(&shared_.full[worker][at.stage], at.parity);
      const GroupRows rows = from(ring, at.stage * kGroupChunkBytes);
      group_hold(sums);
      group_begin();
#pragma unroll
      for (unsigned step = 0; step < kChunkBytes; step += kStepBytes)
        Product::template multiply_group<kQueries>(sums, from(rows, step), from(queries, step));
      group_commit();
      group_wait<1>();
      if (before < stages_ && lane() == 0) barrier_arrive(&shared_.empty[worker][before]);
      before = at.stage;
      if (++at.stage == stages_) at = {0, at.parity ^ 1U};
    }
    group_wait<0>();
    group_hold(sums);
    if (lane() == 0) barrier_arrive(&shared_.empty[worker][before]);
  }

  __device__ std::byte* stage_of(unsigned worker, unsigned stage) const {
    return rings_ + (worker * stages_ + stage) * kGroupChunkBytes;
  }

  const FlatTask& task_;
  SharedStream<kQueries>& shared_;
  std::byte* queries_;
  std::byte* rings_;
  const unsigned stages_, first_query_, first_row_, last_row_, groups_;
};

}  // namespace semblance::cuda
