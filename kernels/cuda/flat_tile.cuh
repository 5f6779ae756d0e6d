// Products of a tile of rows with a tile of queries on the tensor cores, fused with the selection of the closest rows.
//
// A block takes one segment of the rows and one tile of the queries. It streams both through shared memory in chunks of
// 128 bytes, some stages ahead of the products; when a tile of rows is done, scores below the query's limit are
// appended to the query's list in global memory (it stays in the L2 cache), and a list that might overflow is cut down
// to the k closest, which lowers the limit. Limits are shared between blocks: the k-th best of any part bounds the k-th
// best of all. Which keys are dropped on the way depends on timing, which k remain does not.
//
// Few queries make it a stream over the rows, bound by memory; many make it a matrix product, bound by the tensor
// cores.
#pragma once

#include "row_codes.cuh"
#include "selection.cuh"

namespace semblance::cuda {

inline constexpr unsigned kTileThreads = 256, kTileWarps = kTileThreads / kWarp;
inline constexpr unsigned kTileRows = 128, kTileStages = 3;
inline constexpr unsigned kPieceBytes = 16, kPieces = kChunkBytes / kPieceBytes;
inline constexpr unsigned kStepBytes = 32;  // of each row that one product takes

// How a format's chunks are multiplied; see multiply_* for what a and b hold.
struct Bf16Product {
  using Sum = float;
  using Codes = Bf16Codes;
  static constexpr bool kScaled = false;
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply_bf16(c, a, b);
  }
};
struct I8Product {
  using Sum = std::int32_t;
  using Codes = I8Codes;
  static constexpr bool kScaled = true;
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply_i8(c, a, b);
  }
};
// Each value as a sum of two of 11 bits; what is left out is below 2^-21 of a product. The k best and some more by
// these are scored again in plain f32. Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores"
// (2022).
struct F32Product {
  using Sum = float;
  using Codes = F32Codes;
  static constexpr bool kScaled = false;
  template <int kCount>
  __device__ static void split(const std::uint32_t (&x)[kCount], std::uint32_t (&high)[kCount],
                               std::uint32_t (&low)[kCount]) {
    for (int i = 0; i < kCount; ++i) {
      high[i] = (x[i] + 0x1000U) & 0xFFFFE000U;
      low[i] = __float_as_uint(__uint_as_float(x[i]) - __uint_as_float(high[i]));
    }
  }
  __device__ static void multiply(Sum (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    std::uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
    split(a, a_high, a_low);
    split(b, b_high, b_low);
    multiply_tf32(c, a_low, b_high);
    multiply_tf32(c, a_high, b_low);
    multiply_tf32(c, a_high, b_high);
  }
};

// Coded rows or queries.
struct CodedRows {
  const std::byte* codes;
  const FlatTail* tails;
  std::size_t n;
};

struct FlatTask {
  CodedRows rows, queries;
  std::uint32_t chunks;  // of a row
  const std::uint32_t* allowed;
  std::uint32_t query_tiles, segment_rows;  // a multiple of kTileRows
  std::uint32_t keep, capacity;             // closest rows wanted of a segment, and places in a list
  Key* lists;                               // (segments, query_tiles, tile's queries, capacity)
  std::uint32_t* counts;                    // of keys in each list
  Key* limits;                              // a query; only keys below can be among the closest
};

template <class Product, unsigned kQueries, bool kL2>
class FlatTile {
 public:
  static constexpr unsigned kStageBytes = (kTileRows + kQueries) * kChunkBytes;
  static constexpr unsigned kSharedBytes = kTileStages * kStageBytes + kQueries * (sizeof(Key) + sizeof(unsigned));

  __device__ explicit FlatTile(const FlatTask& task)
      : task_(task),
        stages_(dynamic_shared<std::byte>()),
        limits_(reinterpret_cast<Key*>(stages_ + kTileStages * kStageBytes)),
        counts_(reinterpret_cast<unsigned*>(limits_ + kQueries)),
        first_query_(blockIdx.x % task.query_tiles * kQueries),
        first_row_(blockIdx.x / task.query_tiles * task.segment_rows),
        last_row_(min(static_cast<std::uint32_t>(task.rows.n), first_row_ + task.segment_rows)),
        lists_(task.lists + std::size_t{blockIdx.x} * kQueries * task.capacity) {}

  __device__ void run() {
    for (unsigned q = threadIdx.x; q < kQueries; q += kTileThreads) {
      limits_[q] = first_query_ + q < task_.queries.n ? task_.limits[first_query_ + q] : 0;
      counts_[q] = 0;
    }
    const unsigned tiles = (last_row_ - first_row_ + kTileRows - 1) / kTileRows, steps = tiles * task_.chunks;
    for (unsigned step = 0; step < kTileStages - 1; ++step) load(step, steps);
    clear();
    for (unsigned step = 0, chunk = 0, tile = 0; step < steps; ++step) {
      copy_async_wait<kTileStages - 2>();
      __syncthreads();
      load(step + kTileStages - 1, steps);
      multiply(stages_ + step % kTileStages * kStageBytes);
      if (++chunk < task_.chunks) continue;
      offer(first_row_ + tile * kTileRows);
      clear();
      chunk = 0;
      ++tile;
    }
    for (unsigned q = warp(); q < kQueries; q += kTileWarps) cut(q, task_.keep);
    __syncthreads();
    for (unsigned q = threadIdx.x; q < kQueries; q += kTileThreads)
      task_.counts[std::size_t{blockIdx.x} * kQueries + q] = counts_[q];
  }

 private:
  // A warp's share of a tile: kRowParts x kQueryParts products of 16 rows with 8 queries.
  static constexpr unsigned kWarpsQ = kQueries >= 128 ? 2 : 1, kWarpsR = kTileWarps / kWarpsQ;
  static constexpr unsigned kRowParts = kTileRows / kWarpsR / 16, kQueryParts = kQueries / kWarpsQ / 8;

  // Pieces of 16 bytes change places within a row's chunk, so that eight rows' same piece lies in eight different
  // banks.
  __device__ static unsigned place(unsigned row, unsigned piece) {
    return row * kChunkBytes + (piece ^ (row % 8)) * kPieceBytes;
  }
  __device__ static unsigned row_base() { return warp() / kWarpsQ * kRowParts * 16; }
  __device__ static unsigned query_base() { return warp() % kWarpsQ * kQueryParts * 8; }

  // Begins to copy a step's chunks, rows first. Every step is one group of copies, also one past the end.
  __device__ void load(unsigned step, unsigned steps) {
    if (step < steps) {
      std::byte* stage = stages_ + step % kTileStages * kStageBytes;
      const unsigned tile = step / task_.chunks, chunk = step % task_.chunks;
      const std::size_t stride = std::size_t{task_.chunks} * kChunkBytes;
      const unsigned row0 = first_row_ + tile * kTileRows;
#pragma unroll
      for (unsigned i = threadIdx.x; i < (kTileRows + kQueries) * kPieces; i += kTileThreads) {
        const unsigned line = i / kPieces, piece = i % kPieces;
        const bool is_row = line < kTileRows;
        const unsigned item = is_row ? row0 + line : first_query_ + line - kTileRows;
        const bool valid = item < (is_row ? last_row_ : task_.queries.n);
        const std::byte* codes = is_row ? task_.rows.codes : task_.queries.codes;
        const std::byte* from = codes + (valid ? item * stride + chunk * kChunkBytes + piece * kPieceBytes : 0);
        copy_async_16(stage + place(line, piece), from, valid);
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

  // Appends what is below the limits; a lane has rows g and g + 8 of each 16 and queries 2 t and 2 t + 1 of each 8.
  __device__ void offer(unsigned row0) {
    FlatTail tails[kRowParts * 2];
    bool allowed[kRowParts * 2];
#pragma unroll
    for (unsigned r = 0; r < kRowParts * 2; ++r) {
      const unsigned row = row0 + row_base() + r * 8 + lane() / 4;
      allowed[r] = row < last_row_ && allows(row);
      tails[r] = allowed[r] ? task_.rows.tails[row] : FlatTail{};
    }
#pragma unroll
    for (unsigned q = 0; q < kQueryParts * 2; ++q) {
      const unsigned query = query_base() + q / 2 * 8 + lane() % 4 * 2 + q % 2;
      const float limit = score_of(limits_[query]);  // NaN for a query that is not there: nothing is below it
      const FlatTail tail =
          first_query_ + query < task_.queries.n ? task_.queries.tails[first_query_ + query] : FlatTail{};
#pragma unroll
      for (unsigned r = 0; r < kRowParts * 2; ++r) {
        const auto sum = static_cast<float>(sums_[r / 2][q / 2][r % 2 * 2 + q % 2]);
        const float score = finish_score<kL2, Product::kScaled>(sum, tails[r], tail);
        if (allowed[r] && score <= limit) push(query, make_key(score, row0 + row_base() + r * 8 + lane() / 4));
      }
    }
    __syncthreads();
    for (unsigned q = warp(); q < kQueries; q += kTileWarps) {
      take_limit(q);
      cut(q, task_.capacity - kTileRows);
    }
  }

  __device__ bool allows(unsigned row) const {
    return task_.allowed == nullptr || (task_.allowed[row / 32] >> (row % 32) & 1U) != 0;
  }

  __device__ void push(unsigned q, Key key) {
    if (key < limits_[q]) lists_[std::size_t{q} * task_.capacity + atomicAdd(&counts_[q], 1U)] = key;
  }

  // What other blocks found out meanwhile.
  __device__ void take_limit(unsigned q) {
    if (lane() != 0 || first_query_ + q >= task_.queries.n) return;
    const Key shared = *static_cast<volatile const Key*>(&task_.limits[first_query_ + q]);
    if (shared < limits_[q]) limits_[q] = shared;
  }

  // Cuts a list of more than `most` keys down to the closest; one warp, which owns the query.
  __device__ void cut(unsigned q, unsigned most) {
    if (counts_[q] <= most) return;
    const Key last = warp_select(lists_ + std::size_t{q} * task_.capacity, counts_[q], task_.keep);
    __syncwarp();
    if (lane() == 0) {
      counts_[q] = task_.keep;
      if (last + 1 < limits_[q]) limits_[q] = last + 1;
      atomicMin(&task_.limits[first_query_ + q], last + 1);
    }
    __syncwarp();  // the next cut reads the count
  }

  const FlatTask& task_;
  std::byte* stages_;
  Key* limits_;
  unsigned* counts_;
  const unsigned first_query_, first_row_, last_row_;
  Key* lists_;
  typename Product::Sum sums_[kRowParts][kQueryParts][4];
};

}  // namespace semblance::cuda
