// Scores of a query in shared memory and rows in the card's memory: eight lanes a row, 16 bytes a lane at a time.
#pragma once

#include "graph_api.hpp"
#include "row_codes.cuh"
#include "selection.cuh"
#include "warp.cuh"

namespace semblance::cuda {

inline constexpr unsigned kTeam = 8;  // lanes that share a row

__host__ __device__ constexpr unsigned graph_columns(GraphCodes codes) {
  return codes == GraphCodes::f32 ? 4 : codes == GraphCodes::f16 ? 8 : codes == GraphCodes::i8 ? 16 : 128;
}

// What one lane sums. kSecond is squares in the place of products, jaccard in the place of hamming.
template <GraphCodes kCodes, bool kSecond>
struct RowSum {
  static constexpr unsigned kColumns = graph_columns(kCodes);
  float sum = 0.0F;

  __device__ static float value(const std::uint32_t* words, unsigned column, float scale) {
    if constexpr (kCodes == GraphCodes::f32) return __uint_as_float(words[column]);
    if constexpr (kCodes == GraphCodes::f16)
      return half_to_float(static_cast<std::uint16_t>(words[column / 2] >> column % 2 * 16));
    const auto code = static_cast<std::int8_t>(words[column / 4] >> column % 4 * 8);
    return static_cast<float>(code) * scale;
  }
  __device__ void add(const uint4& piece, const float* query, float scale) {
    const std::uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (unsigned j = 0; j < kColumns; ++j) {
      const float x = value(words, j, scale);
      if constexpr (kSecond) {
        const float difference = __fsub_rn(query[j], x);
        sum = __fmaf_rn(difference, difference, sum);
      } else {
        sum = __fmaf_rn(query[j], x, sum);
      }
    }
  }
  __device__ void meet(int lanes) { sum = __fadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, lanes)); }
  __device__ float score() const { return kSecond ? sum : 0.0F - sum; }
};

template <bool kSecond>
struct RowSum<GraphCodes::bits, kSecond> {
  static constexpr unsigned kColumns = graph_columns(GraphCodes::bits);
  int both = 0, either = 0;  // hamming: `either` counts differing bits

  __device__ void add(const uint4& piece, const float* query, float) {
    const std::uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      const std::uint32_t bits = __float_as_uint(query[j]);
      both += kSecond ? __popc(bits & words[j]) : 0;
      either += __popc(kSecond ? bits | words[j] : bits ^ words[j]);
    }
  }
  __device__ void meet(int lanes) {
    both += __shfl_xor_sync(kAllLanes, both, lanes);
    either += __shfl_xor_sync(kAllLanes, either, lanes);
  }
  __device__ float score() const {
    if constexpr (!kSecond) return static_cast<float>(either);
    return either == 0 ? 0.0F : 1.0F - __fdiv_rn(static_cast<float>(both), static_cast<float>(either));
  }
};

__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7F800000U) != 0x7F800000U; }

// Columns of the query that a lane's piece meets; of bits, words held in floats.
template <GraphCodes kCodes>
inline constexpr unsigned kQueryStep = kCodes == GraphCodes::bits ? 4 : graph_columns(kCodes);

// What a team has under way: so many rows, so many pieces of each.
inline constexpr unsigned kRowsAtOnce = 2, kPiecesAtOnce = 2;

// keys[i]: a row, or kLastKey for none, becomes the key of its score; every thread of the block comes here. A key's
// lower half is the row times two, which leaves a bit for marks. Scores that are no distance give kLastKey.
template <GraphCodes kCodes, bool kSecond>
__device__ inline void score_keys(const GraphRows& rows, const float* query, Key* keys, unsigned count) {
  using Sum = RowSum<kCodes, kSecond>;
  const unsigned pieces = (rows.dim + Sum::kColumns - 1) / Sum::kColumns, member = threadIdx.x % kTeam;
  const unsigned teams = blockDim.x / kTeam, team = threadIdx.x / kTeam;
  for (unsigned first = team; first - team < count; first += kRowsAtOnce * teams) {
    Sum sums[kRowsAtOnce];
    Key own[kRowsAtOnce];
    float scales[kRowsAtOnce];
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r) {
      own[r] = first + r * teams < count ? keys[first + r * teams] : kLastKey;
      const bool scaled = kCodes == GraphCodes::i8 && own[r] != kLastKey;
      scales[r] = scaled ? __ldg(rows.scales + static_cast<std::uint32_t>(own[r])) : 1.0F;
    }
    for (unsigned p = member; p < pieces; p += kPiecesAtOnce * kTeam) {
      uint4 loaded[kRowsAtOnce][kPiecesAtOnce];
#pragma unroll
      for (unsigned r = 0; r < kRowsAtOnce; ++r)
#pragma unroll
        for (unsigned i = 0; i < kPiecesAtOnce; ++i) {
          const std::size_t row = static_cast<std::uint32_t>(own[r]);
          const bool exists = own[r] != kLastKey && p + i * kTeam < pieces;
          const auto* at = reinterpret_cast<const uint4*>(rows.data) + row * pieces + p + i * kTeam;
          loaded[r][i] = exists ? __ldg(at) : uint4{};
        }
#pragma unroll
      for (unsigned r = 0; r < kRowsAtOnce; ++r)
#pragma unroll
        for (unsigned i = 0; i < kPiecesAtOnce; ++i)
          if (p + i * kTeam < pieces)
            sums[r].add(loaded[r][i], query + (p + i * kTeam) * kQueryStep<kCodes>, scales[r]);
    }
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r) {
      for (int lanes = kTeam / 2; lanes > 0; lanes /= 2) sums[r].meet(lanes);
      const float score = sums[r].score();
      const auto row = static_cast<std::uint32_t>(own[r]);
      if (member == 0 && first + r * teams < count)
        keys[first + r * teams] = own[r] != kLastKey && is_finite(score) ? make_key(score, row << 1) : kLastKey;
    }
  }
  __syncthreads();
}

// A query in the form that `rows` are scored against, zeros up to a whole piece.
__device__ inline void load_query(const GraphRows& rows, const GraphQueries& queries, std::size_t number,
                                  float* query) {
  const bool packed = rows.codes == GraphCodes::bits && rows.centre == nullptr;
  const unsigned step = rows.codes == GraphCodes::bits ? 32 : 1;
  const unsigned columns =
      (rows.dim + graph_columns(rows.codes) - 1) / graph_columns(rows.codes) * (graph_columns(rows.codes) / step);
  const auto* values = static_cast<const float*>(queries.values) + (packed ? 0 : number * rows.dim);
  const auto* bytes = static_cast<const unsigned char*>(queries.values) + number * (rows.dim / 8);
  double factor = 1.0;
  if (queries.unit) {  // each warp sums all of it, so that the bits do not hang on how many warps there are
    double squares = 0;
    for (unsigned j = lane(); j < rows.dim; j += kWarp) squares += double{values[j]} * double{values[j]};
    factor = 1.0 / sqrt(warp_sum(squares));
  }
  for (unsigned j = threadIdx.x; j < columns; j += blockDim.x) {
    if (rows.codes != GraphCodes::bits) {
      query[j] = j < rows.dim ? scaled(values[j], factor) : 0.0F;
      continue;
    }
    std::uint32_t word = 0;
    for (unsigned b = 0; b < 32 && 32 * j + b < rows.dim; ++b) {
      const unsigned at = 32 * j + b;
      const bool set = packed ? (bytes[at / 8] >> at % 8 & 1U) != 0 : scaled(values[at], factor) > rows.centre[at];
      word |= set ? 1U << b : 0U;
    }
    query[j] = __uint_as_float(word);
  }
  __syncthreads();
}

}  // namespace semblance::cuda
