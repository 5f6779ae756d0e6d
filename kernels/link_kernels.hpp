// Kernels of neighbour codes: estimated scores of all neighbours of a node at once, from some bits a dimension each.
//
// A code tells the difference between a neighbour and its node: the signs of a random rotation of it (RaBitQ: Gao and
// Long, SIGMOD 2024), or levels along axes that differences vary along, more bits for axes of more variance (transform
// coding: Huang and Schultheiss, IEEE Trans. Communication Systems 1963). Codes of 32 neighbours lie in the order that
// shuffles look them up in (FastScan: Andre et al., VLDB 2015, as in SymphonyQG: Gou et al., SIGMOD 2025): 16 bytes a
// group of four dimensions, byte j holding the four bits of neighbour j in its low half and of neighbour j + 16 in its
// high half, the group's first dimension lowest.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semblance::kernels {

inline constexpr std::size_t kLinkLanes = 32;       // neighbours that are scored together
inline constexpr std::size_t kLinkGroup = 4;        // dimensions that share a look-up
inline constexpr std::size_t kLinkPadding = 16;     // code dimensions are a multiple of it, groups of four
inline constexpr std::size_t kLinkGroupBytes = 16;  // of codes and of the query's look-up table
inline constexpr std::size_t kLinkFlush = 256;      // groups after which 16-bit sums are full: 256 * 255 < 2^16

// A query as look-up tables: for what any code s says, <s, query> is about step * (2 * (sum of entries) - base).
struct LinkQuery {
  const std::uint8_t* tables;  // (groups, 16)
  std::size_t groups;
  float step;
  std::int32_t base;
};

// The codes of kLinkLanes neighbours: score = (own + add[i]) + factor[i] * <s_i, query>.
struct LinkBlock {
  const float* add;
  const float* factor;
  const std::byte* signs;  // (groups, 16)
};

// Writes kLinkLanes scores. `own` is the node's score. Meanwhile asks for the signs at `ahead`, as many bytes.
// The same bits in every table.
using ScoreLinks = void (*)(const LinkQuery&, const LinkBlock&, float own, const std::byte* ahead, float* out);

// Of the difference o between a neighbour and its node u, both as codes are made of them; c is what o's code says.
struct DifferenceSums {
  float square, size, coded_node;  // |o|^2, <c, o> and <c, u>
};

// Sets the signs of neighbour - node, both rotated, in the bytes of one of 16 neighbours: `lane` is where its first
// byte is, `shift` 0 or 4. The same bits in every table.
using WriteSigns = DifferenceSums (*)(const float* neighbour, const float* node, std::size_t dim, unsigned shift,
                                      std::uint8_t* lane);

// Axes in words of kLinkPadding: the first words' axes are coded by four bits each, a group an axis, then by two, then
// by one. `spread` is the root mean square along each axis of differences of length 1, `reach` that along all of them:
// levels are multiples of the spread, those of the least error for a normal distribution (Max, IRE Trans. Information
// Theory 1960).
struct LinkAxes {
  const float* spread;
  float reach;
  std::size_t fine, middle, coarse;  // words

  // Always inlined, as in kernel_table.hpp.
  [[gnu::always_inline]] std::size_t dim() const { return (fine + middle + coarse) * kLinkPadding; }
  [[gnu::always_inline]] std::size_t groups() const {
    return (4 * fine + 2 * middle + coarse) * (kLinkPadding / kLinkGroup);
  }
};

// The same for levels, of the difference at the length that differences have along all axes.
using WriteLevels = DifferenceSums (*)(const LinkAxes&, const float* neighbour, const float* node, unsigned shift,
                                       std::uint8_t* lane);

// A rotation of x[dim]: rounds of random signs and Hadamard transforms of `window` values, at the front and at the back
// in turn. `signs` is (rounds, dim) of 1 and -1; dim is a multiple of kLinkPadding, window a power of two of at least
// dim / 2; `room` holds dim values. The same bits in every table.
struct Rotation {
  const float* signs;
  std::size_t dim, window, rounds;
};
using Rotate = void (*)(const Rotation&, float* x, float* room);

// Rounds a rotated query to integers and writes its tables; returns step and base.
using TabulateQuery = LinkQuery (*)(const float* rotated, std::size_t dim, std::uint8_t* tables);

// The same for levels, of a query's values along the axes: entries are rounded.
using TabulateLevels = LinkQuery (*)(const LinkAxes&, const float* values, std::uint8_t* tables);

// Bit i of the words is set where a walk has seen node i; nodes from `limit` on count as seen.
struct Seen {
  const std::uint32_t* words;
  std::uint32_t limit;
};

// A line of candidates: distances and ids in no order, infinity in all places behind the last one.

// Appends those of kLinkLanes neighbours whose estimates are below `worst` and that are not seen, in order, at the end
// of a line, where as many places are free; returns how many. Estimates are aligned to 64 bytes.
using LineUp = std::size_t (*)(const float* estimates, const std::uint32_t* ids, const Seen&, float worst,
                               float* distances, std::uint32_t* out_ids);

// Where in a line the smallest distance is, the first of equal ones. Distances are aligned to 64 bytes, count is at
// least 1 and whole blocks of kLinkLanes are read.
using FindClosest = std::size_t (*)(const float* distances, std::size_t count);

// Keeps what is below `worst`, in order; returns how many that are.
using KeepCloser = std::size_t (*)(float* distances, std::uint32_t* ids, std::size_t count, float worst);

struct LinkKernels {
  ScoreLinks score;
  WriteSigns write_signs;
  WriteLevels write_levels;
  Rotate rotate;
  TabulateQuery tabulate;
  TabulateLevels tabulate_levels;
  LineUp line_up;
  FindClosest find_closest;
  KeepCloser keep_closer;
};

}  // namespace semblance::kernels
