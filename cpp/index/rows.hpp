// What an index stores of its vectors: codes to walk on, finer codes to reorder by, ids, and which rows are live.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "codec/codec.hpp"
#include "core/arena.hpp"
#include "core/atomic_word.hpp"
#include "index/distance_profile.hpp"
#include "index/graph.hpp"
#include "index/id_map.hpp"
#include "index/link_codes.hpp"
#include "index/scorer.hpp"

namespace semblance {

struct IndexParams {
  std::size_t dim = 0;
  Metric metric = Metric::cosine;
  bool has_graph = true;
  std::string codes;
  std::string rerank;       // empty = none
  bool link_codes = false;  // walk by neighbour codes
  std::size_t max_degree = 32;
  std::size_t ef_construction = 200;
  std::uint64_t seed = 0;
};

// One encoding of all rows, in memory of its own or at the front of the rows of another.
struct CodeRows {
  explicit CodeRows(std::unique_ptr<Codec> c)
      : codec(std::move(c)), own(std::make_unique<Arena>(codec->row_bytes())), arena(*own) {}
  CodeRows(std::unique_ptr<Codec> c, const CodeRows& whole) : codec(std::move(c)), arena(whole.arena) {}

  Scorer scorer(const kernels::Query& query) const {
    return {query, {arena.data(), arena.row_bytes(), codec->dim()}, codec->scorer()};
  }

  std::unique_ptr<Codec> codec;
  std::unique_ptr<Arena> own;  // null for a front
  Arena& arena;
};

// i4 beside i8: the upper halves of the codes come first in a row, so that one copy serves walks and reordering.
inline bool is_split(const IndexParams& params) { return params.codes == "i4" && params.rerank == "i8"; }

// Neighbour codes by learned levels, or by signs (null).
std::unique_ptr<LinkCodes> make_link_codes(const IndexParams& params, std::unique_ptr<LevelCodec> levels);

// Slots are handed out in order and never reused; compaction makes a new RowSet.
struct RowSet {
  explicit RowSet(const IndexParams& params);

  // Room for `rows` rows in every part but the graph, whose nodes appear with their rows, and the codes of the first
  // neighbours, which are made when those are known.
  void grow(std::size_t rows);
  const CodeRows& finest() const { return fine ? *fine : codes; }
  // What links and radii are decided by: four bits are enough to lead a walk, and too few for those.
  const CodeRows& precise() const { return codes.codec->name() == "i4" ? finest() : codes; }
  std::int64_t id(std::uint32_t slot) const { return *ids.as<std::int64_t>(slot); }
  std::uint32_t find(std::int64_t wanted) const { return map.find(wanted, ids.as<std::int64_t>()); }
  bool alive(std::size_t slot) const { return load_acquire(died.as<std::uint32_t>(slot)) == 0; }
  void bury(std::size_t slot, std::uint32_t version) { store_release(died.as<std::uint32_t>(slot), version); }

  std::unique_ptr<CodeRows> fine;     // null = no reranking
  CodeRows codes;                     // the front of `fine` where is_split()
  Arena ids;                          // int64 a row
  Arena died;                         // uint32 a row, see Filter
  std::unique_ptr<Graph> graph;       // null for a flat index
  std::unique_ptr<LinkCodes> links;   // null where walks score rows
  IdMap map;                          // of the rows alive
  std::atomic<std::size_t> count{0};  // rows that walks may touch
};

// One moment of the index: what was published by then, and how many changes had been made.
struct Moment {
  std::shared_ptr<RowSet> rows;
  std::size_t published = 0;
  std::size_t live = 0;
  std::uint32_t version = 1;
  DistanceProfile profile{};
};

}  // namespace semblance
