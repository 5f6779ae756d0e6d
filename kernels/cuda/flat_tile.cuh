// Products of a tile of rows with a tile of queries on the tensor cores, fused with the selection of the closest rows:
// the kernel for every card and format. flat_stream.cuh is Hopper's own.
//
// A block takes one segment of the rows and one tile of the queries. It streams both through shared memory in chunks of
// 128 bytes, some stages ahead of the products; when a tile of rows is done, its scores are offered to the queries'
// lists. Few queries make it a stream over the rows, bound by memory; many make it a matrix product, bound by what the
// L2 cache gives: both tiles are read from it chunk by chunk, 64 operations a byte of bf16.
#pragma once

#include "flat_lists.cuh"
#include "flat_products.cuh"

namespace semblance::cuda {

inline constexpr unsigned kTileThreads = 256, kTileWarps = kTileThreads / kWarp;
inline constexpr unsigned kTileRows = 128, kTileStages = 3;
inline constexpr unsigned kTileBlocks = 2;  // on a multiprocessor

template <class Product, unsigned kQueries, bool kL2>
class FlatTile {
 public:
  static constexpr unsigned kStageBytes = (kTileRows + kQueries) * kChunkBytes;
  static constexpr unsigned kSharedBytes = kTileStages * kStageBytes;

  __device__ FlatTile(const FlatTask& task, SharedLists<kQueries>& shared)
      : task_(task),
        stages_(dynamic_shared<std::byte>()),
        first_query_(blockIdx.x % task.query_tiles * kQueries),
        first_row_(blockIdx.x / task.query_tiles * task.segment_rows),
        last_row_(min(task.rows.n, first_row_ + task.segment_rows)),
        lists_(task, shared, blockIdx.x / task.query_tiles, warp()) {}

  __device__ void run() {
    lists_.open();
    const unsigned tiles = (last_row_ - first_row_ + kTileRows - 1) / kTileRows, steps = tiles * task_.chunks;
    for (unsigned step = 0; step < kTileStages - 1; ++step) load(step, steps);
    clear();
    Key peeked = lists_.peek();
    for (unsigned step = 0, chunk = 0, tile = 0; step < steps; ++step) {
      copy_async_wait<kTileStages - 2>();
      if (chunk + 1 == task_.chunks) lists_.learn(peeked);
      __syncthreads();
      load(step + kTileStages - 1, steps);
      multiply(stages_ + step % kTileStages * kStageBytes);
      if (++chunk < task_.chunks) continue;
      offer(first_row_ + tile * kTileRows);
      __syncthreads();
      lists_.settle(task_.capacity - kTileRows, tile);
      peeked = lists_.peek();
      clear();
      chunk = 0;
      ++tile;
    }
    lists_.close();
  }

 private:
  // A warp's share of a tile: kRowParts x kQueryParts products of 16 rows with 8 queries.
  static constexpr unsigned kWarpsQ = kQueries >= 128 ? 2 : 1, kWarpsR = kTileWarps / kWarpsQ;
  static constexpr unsigned kRowParts = kTileRows / kWarpsR / 16, kQueryParts = kQueries / kWarpsQ / 8;

  __device__ static unsigned place(unsigned line, unsigned piece) { return line * kChunkBytes + piece_at(line, piece); }
  __device__ static unsigned row_base() { return warp() / kWarpsQ * kRowParts * 16; }
  __device__ static unsigned query_base() { return warp() % kWarpsQ * kQueryParts * 8; }

  // Begins to copy a step's chunks, rows first. Every step is one group of copies, also one past the end.
  __device__ void load(unsigned step, unsigned steps) {
    if (step < steps) {
      std::byte* stage = stages_ + step % kTileStages * kStageBytes;
      const unsigned tile = step / task_.chunks, chunk = step % task_.chunks;
      const unsigned row0 = first_row_ + tile * kTileRows;
#pragma unroll
      for (unsigned i = threadIdx.x; i < (kTileRows + kQueries) * kPieces; i += kTileThreads) {
        const unsigned line = i / kPieces, offset = i % kPieces * kPieceBytes;
        const bool is_row = line < kTileRows;
        const CodedRows& items = is_row ? task_.rows : task_.queries;
        const unsigned item = is_row ? row0 + line : first_query_ + line - kTileRows;
        const bool valid = item < (is_row ? last_row_ : task_.queries.n);
        const std::size_t from = valid ? chunk_at(items.first + item, chunk, task_.chunks) + offset : 0;
        copy_async_16(stage + line * kChunkBytes + offset, items.codes + from, valid);
      }
    }
    copy_async_commit();
  }

  __device__ void clear() {
#pragma unroll
    for (unsigned r = 0; r < kRowParts; ++r)
#pragma unroll
      for (unsigned q = 0; q < kQueryParts; ++q)
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) sums_[r][q][i] = 0;
  }

  __device__ void multiply(const std::byte* stage) {
    const std::byte* queries = stage + kTileRows * kChunkBytes;
#pragma unroll
    for (unsigned step = 0; step < kChunkBytes / kStepBytes; ++step) {
      std::uint32_t a[kRowParts][4], b[kQueryParts][2];
#pragma unroll
      for (unsigned r = 0; r < kRowParts; ++r)
        load_matrices_x4(a[r], stage + place(row_base() + r * 16 + lane() % 16, step * 2 + lane() / 16));
#pragma unroll
      for (unsigned q = 0; q < kQueryParts; ++q)
        load_matrices_x2(b[q], queries + place(query_base() + q * 8 + lane() % 8, step * 2 + lane() / 8 % 2));
#pragma unroll
      for (unsigned r = 0; r < kRowParts; ++r)
#pragma unroll
        for (unsigned q = 0; q < kQueryParts; ++q) Product::multiply(sums_[r][q], a[r], b[q]);
    }
  }

  // A lane has rows g and g + 8 of each 16 and queries 2 t and 2 t + 1 of each 8.
  __device__ void offer(unsigned row0) {
#pragma unroll
    for (unsigned r = 0; r < kRowParts; ++r) {
      const unsigned row = row0 + row_base() + r * 16 + lane() / 4;
      const RowFacts facts[2] = {RowFacts::of(task_, row, last_row_), RowFacts::of(task_, row + 8, last_row_)};
#pragma unroll
      for (unsigned q = 0; q < kQueryParts; ++q)
        lists_.template offer<Product, kL2>(sums_[r][q], facts, row, query_base() + q * 8 + lane() % 4 * 2);
    }
  }

  const FlatTask& task_;
  std::byte* stages_;
  const unsigned first_query_, first_row_, last_row_;
  FlatLists<kQueries, kTileWarps> lists_;
  typename Product::Sum sums_[kRowParts][kQueryParts][4];
};

}  // namespace semblance::cuda
