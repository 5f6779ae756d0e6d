// Search along a graph on a card, in plain C++: the rows' codes, the links, and batches of queries or single ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "api.hpp"

namespace semblance::cuda {

// A row is `dim` values, zeros up to a multiple of 16 bytes, at a multiple of 16 bytes. i8: value = scale * code.
enum class GraphCodes : std::uint8_t { f32, f16, i8, bits };
std::size_t graph_row_bytes(GraphCodes codes, std::size_t dim);

// Smaller is closer. product: minus the inner product; squares: the squared distance.
enum class GraphScore : std::uint8_t { product, squares, hamming, jaccard };

// Pointers are the card's in all of these.
struct GraphRows {
  GraphCodes codes;
  GraphScore score;
  std::uint32_t dim;
  const std::byte* data;
  const float* scales;  // one a row for i8
  const float* centre;  // f32[dim] for bits of floats: a bit says that the value is above it; else null
};

struct GraphView {
  GraphRows walk;
  GraphRows fine;              // finer codes of the same rows, by which what was found is ordered; data null: none
  const std::uint32_t* links;  // (count, degree), ended by kNoLink
  const std::int64_t* ids;     // one a row, or null: the row
  std::uint32_t count, degree, entry;
};
inline constexpr std::uint32_t kNoLink = 0xFFFFFFFFU;

// f32 (count, dim), scaled to unit length first where `unit`; packed bits (count, dim / 8) for hamming and jaccard.
struct GraphQueries {
  const void* values;
  std::size_t count;
  bool unit;
};

struct GraphWalk {
  std::uint32_t k, ef;           // k <= ef <= kMaxPool
  std::uint32_t walks, width;    // walks a query, each on a block of its own; nodes that a walk expands at a time
  std::uint32_t seeds;           // rows that a walk starts from, drawn from (walk, seed number)
  const std::uint32_t* allowed;  // a bit a row, or null: all
};
inline constexpr std::uint32_t kMaxPool = 2048;

// distances = origin + score, at least zero where `clamps`. Places that nothing was found for hold -1 and infinity.
struct GraphHits {
  std::int64_t* ids;  // (queries, k)
  float* distances;   // (queries, k)
  float origin;
  bool clamps;
};

// Best-first walks with pools of `ef`, as on the CPU, but `width` nodes at a time. Same input, same bits, whatever runs
// beside it. Takes its workspace in the order of the stream.
void search_graph(const GraphView& graph, const GraphQueries& queries, const GraphWalk& walk, const GraphHits& hits,
                  Stream stream);

// The k closest of the rows listed, exactly by the walk's codes (and ordered by the finer ones): for filters that few
// rows pass. `parts` blocks share a query's rows.
struct GraphScan {
  std::uint32_t k, ef;
  const std::uint32_t* rows;
  std::uint32_t count, parts;
};
void scan_rows(const GraphView& graph, const GraphQueries& queries, const GraphScan& scan, const GraphHits& hits,
               Stream stream);

}  // namespace semblance::cuda
