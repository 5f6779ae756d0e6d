// Scores of a query in shared memory and rows in the card's memory: eight lanes a row, 16 bytes a lane at a time.
#pragma once

#include "graph_api.hpp"
#include "row_codes.cuh"
#include "selection.cuh"
#include "warp.cuh"

namespace semblance::cuda {

inline constexpr unsigned kTeam = 8;  // lanes that share a row

// Columns in a piece of 16 bytes, and pieces of a row.
__host__ __device__ constexpr unsigned graph_columns(GraphCodes codes) {
  return codes == GraphCodes::f32 ? 4 : codes == GraphCodes::f16 ? 8 : codes == GraphCodes::i8 ? 16 : 128;
}
__host__ __device__ constexpr unsigned graph_pieces(GraphCodes codes, std::size_t dim) {
  return static_cast<unsigned>((dim + graph_columns(codes) - 1) / graph_columns(codes));
}

// A query in shared memory is floats, of bits words held in floats, zeros at its end. They come by fours that meet the
// same piece, and of a team's eight pieces the first fours, then the second ones: its lanes read all banks at once.
__host__ __device__ constexpr unsigned query_fours(GraphCodes codes) {
  return codes == GraphCodes::bits ? 1 : graph_columns(codes) / 4;
}
__host__ __device__ constexpr unsigned query_floats(GraphCodes codes, std::size_t dim) {
  return static_cast<unsigned>(round_up(graph_pieces(codes, dim), kTeam)) * query_fours(codes) * 4;
}
template <GraphCodes kCodes>
__device__ inline unsigned query_place(unsigned column) {
  constexpr unsigned kFours = query_fours(kCodes);
  const unsigned four = column / 4, piece = four / kFours;
  return ((piece / kTeam * kFours + four % kFours) * kTeam + piece % kTeam) * 4 + column % 4;
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

// Keys that are below `limit`, in no order. A key's lower half is the row times two, which leaves a bit for marks.
struct Offers {
  Key* keys;
  std::uint32_t* count;
  Key limit;

  __device__ void add(Key key) const {
    if (key < limit) keys[atomicAdd(count, 1U)] = key;
  }
};

// The rows that a team has under way, and what of them: kPiecesAtOnce pieces each.
inline constexpr unsigned kRowsAtOnce = 2;

template <unsigned kPiecesAtOnce>
struct TeamRows {
  std::uint32_t numbers[kRowsAtOnce];
  bool exist[kRowsAtOnce];
  uint4 loaded[kRowsAtOnce][kPiecesAtOnce];

  __device__ void take(const std::uint32_t* fresh, unsigned first, unsigned step, unsigned count) {
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r) {
      exist[r] = first + r * step < count;
      numbers[r] = exist[r] ? fresh[first + r * step] : 0;
    }
  }
  __device__ void load(const GraphRows& rows, unsigned pieces, unsigned first) {
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r)
#pragma unroll
      for (unsigned i = 0; i < kPiecesAtOnce; ++i) {
        const unsigned p = first + i * kTeam;
        const auto* at = reinterpret_cast<const uint4*>(rows.data) + std::size_t{numbers[r]} * pieces + p;
        loaded[r][i] = exist[r] && p < pieces ? __ldg(at) : uint4{};
      }
  }
};

// Offers the scores of rows; every thread of the block comes here. Scores that are no distance are none.
template <GraphCodes kCodes, bool kSecond, unsigned kPiecesAtOnce>
__device__ inline void score_rows(const GraphRows& rows, const float* query, const std::uint32_t* fresh, unsigned count,
                                  const Offers& offers) {
  constexpr unsigned kFours = query_fours(kCodes);
  const unsigned pieces = graph_pieces(kCodes, rows.dim), member = threadIdx.x % kTeam;
  const unsigned teams = blockDim.x / kTeam, team = threadIdx.x / kTeam;
  const auto* asked = reinterpret_cast<const float4*>(query) + member;
  for (unsigned first = team; first - team < count; first += kRowsAtOnce * teams) {
    TeamRows<kPiecesAtOnce> own;
    own.take(fresh, first, teams, count);
    RowSum<kCodes, kSecond> sums[kRowsAtOnce];
    float scales[kRowsAtOnce];
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r)
      scales[r] = kCodes == GraphCodes::i8 ? __ldg(rows.scales + own.numbers[r]) : 1.0F;
    for (unsigned p = member; p < pieces; p += kPiecesAtOnce * kTeam) {
      own.load(rows, pieces, p);
#pragma unroll
      for (unsigned i = 0; i < kPiecesAtOnce; ++i) {
        if (p + i * kTeam >= pieces) continue;
        float values[4 * kFours];  // of the query, for all rows
#pragma unroll
        for (unsigned f = 0; f < kFours; ++f) {
          const float4 four = asked[((p / kTeam + i) * kFours + f) * kTeam];
          values[4 * f] = four.x;
          values[4 * f + 1] = four.y;
          values[4 * f + 2] = four.z;
          values[4 * f + 3] = four.w;
        }
#pragma unroll
        for (unsigned r = 0; r < kRowsAtOnce; ++r) sums[r].add(own.loaded[r][i], values, scales[r]);
      }
    }
#pragma unroll
    for (unsigned r = 0; r < kRowsAtOnce; ++r) {
      for (int lanes = kTeam / 2; lanes > 0; lanes /= 2) sums[r].meet(lanes);
      const float score = sums[r].score();
      if (member == 0 && own.exist[r] && is_finite(score)) offers.add(make_key(score, own.numbers[r] << 1));
    }
  }
}

// A query in the form that `rows` are scored against.
template <GraphCodes kCodes>
__device__ inline void load_query(const GraphRows& rows, const GraphQueries& queries, std::size_t number,
                                  float* query) {
  const bool packed = kCodes == GraphCodes::bits && rows.centre == nullptr;
  const auto* values = static_cast<const float*>(queries.values) + (packed ? 0 : number * rows.dim);
  const auto* bytes = static_cast<const unsigned char*>(queries.values) + number * (rows.dim / 8);
  double factor = 1.0;
  if (queries.unit) {  // each warp sums all of it, so that the bits do not hang on how many warps there are
    double squares = 0;
    for (unsigned j = lane(); j < rows.dim; j += kWarp) squares += double{values[j]} * double{values[j]};
    factor = 1.0 / sqrt(warp_sum(squares));
  }
  for (unsigned j = threadIdx.x; j < query_floats(kCodes, rows.dim); j += blockDim.x) {
    float& place = query[query_place<kCodes>(j)];
    if constexpr (kCodes != GraphCodes::bits) {
      place = j < rows.dim ? scaled(values[j], factor) : 0.0F;
      continue;
    }
    std::uint32_t word = 0;
    for (unsigned b = 0; b < 32 && 32 * j + b < rows.dim; ++b) {
      const unsigned at = 32 * j + b;
      const bool set = packed ? (bytes[at / 8] >> at % 8 & 1U) != 0 : scaled(values[at], factor) > rows.centre[at];
      word |= set ? 1U << b : 0U;
    }
    place = __uint_as_float(word);
  }
  __syncthreads();
}

}  // namespace semblance::cuda
