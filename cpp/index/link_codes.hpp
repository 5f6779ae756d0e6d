// Neighbour codes: for every node the ids of its neighbours on the base level, and some bits of where each of them
// lies, in one block. A walk that visits a node thereby knows about how far its neighbours are without touching
// their rows. Gou et al., SymphonyQG (SIGMOD 2025); the estimate is RaBitQ's (Gao and Long, SIGMOD 2024).
//
// Blocks are rewritten in place while walks read them. Ids are words that always name complete nodes; an estimate read
// half-way is off once, and only decides in which order one walk visits nodes: what it returns has scores of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/codec.hpp"
#include "codec/difference_codec.hpp"
#include "core/arena.hpp"
#include "core/atomic_word.hpp"
#include "core/parallel.hpp"

namespace semblance {

// A query's tables for the blocks of most nodes, and for those that are coded apart (null where there were none).
struct LinkTables {
  kernels::LinkQuery usual{}, apart{};
};

// A query as the codes are scored against; keeps what backs it.
struct LinkQuery {
  LinkTables query{};
  AlignedVector<std::uint8_t> tables, tables_apart;
  AlignedVector<float> placed;
  DifferenceCodec::Scratch scratch;
};

// Rows as neighbour codes are made of them: decoded and placed, and what they score against each other.
class PlacedRows {
 public:
  PlacedRows(const DifferenceCodec& differences, const Codec& codec, const Arena& rows)
      : differences_(differences), codec_(codec), rows_(rows), ahead_(differences.values() * sizeof(float)) {}

  // Places the first `count` rows, or as many as it takes memory for, once for all that ask for them.
  void make_ahead(std::size_t count, std::size_t threads, Monitor* monitor);
  // The values of a row: made ahead, or now in `out`.
  const float* of(std::uint32_t row, AlignedVector<float>& out, DifferenceCodec::Scratch& scratch) const;
  // As another codec places it.
  const float* of(std::uint32_t row, const DifferenceCodec& differences, AlignedVector<float>& out,
                  DifferenceCodec::Scratch& scratch) const;
  void prefetch(std::uint32_t row) const {
    if (row >= count_) return;
    for (std::size_t b = 0; b < ahead_.row_bytes(); b += 64) __builtin_prefetch(ahead_.row(row) + b);
  }
  // Of a row and the others; as exact as they are stored.
  void score(std::uint32_t row, const std::uint32_t* ids, std::size_t count, PreparedQuery& room, float* out) const {
    codec_.prepare_row(rows_.row(row), room);
    codec_.scorer()(room.query, {rows_.data(), rows_.row_bytes(), codec_.dim()}, ids, count, out);
  }

 private:
  static void place(const DifferenceCodec& differences, const Codec& codec, const std::byte* row, float* out,
                    DifferenceCodec::Scratch& scratch);

  const DifferenceCodec& differences_;
  const Codec& codec_;
  const Arena& rows_;
  std::size_t count_ = 0;  // made ahead
  Arena ahead_;
};

class LinkCodes {
 public:
  // `apart`: as many groups, for nodes of which `differences` tell little; null where there are none such.
  LinkCodes(Metric metric, std::size_t max_degree, std::unique_ptr<const DifferenceCodec> differences,
            std::unique_ptr<const DifferenceCodec> apart = nullptr);

  void prepare(const float* query, LinkQuery& out) const;

  // Room for `nodes` blocks; the new ones are empty.
  void grow(std::size_t nodes);
  std::size_t row_bytes() const { return arena_.row_bytes(); }
  const std::byte* data() const { return arena_.data(); }
  // Serves somebody else's blocks; FormatError where they name nodes that do not exist.
  void borrow(const std::byte* blocks, std::size_t nodes);

  const DifferenceCodec& differences() const { return *differences_; }
  const LevelCodec* levels() const { return dynamic_cast<const LevelCodec*>(differences_.get()); }  // null: signs
  PlacedRows placed(const Codec& codec, const Arena& rows) const { return {*differences_, codec, rows}; }
  // What one thread needs to encode.
  struct EncodeScratch {
    AlignedVector<float> node, neighbour;
    std::vector<float> gains;  // neighbours' scores from the node, less the node's own
    DifferenceCodec::Scratch differences;
    PreparedQuery query;
    std::vector<std::uint32_t> block;  // as words
  };
  // Rewrites the block of a node whose row and whose neighbours' rows are stored. Where learned axes tell little of the
  // differences (rows of another kind than those they were learned of), the block is made of signs, which is told by
  // factors above zero.
  void encode(std::uint32_t node, const std::uint32_t* ids, std::size_t count, const PlacedRows& rows,
              EncodeScratch& scratch);

  // Lanes of neighbours: kernels::kLinkLanes in each.
  std::size_t lanes() const { return capacity_ / kernels::kLinkLanes; }
  // Cache lines that a visit reads beside each lane's codes, the row itself among them.
  double lines_beside(std::size_t row_bytes) const {
    return static_cast<double>(signs_offset_ + row_bytes) / (64.0 * static_cast<double>(lanes()));
  }
  // Whether the block of a node names these neighbours, in order, and no others.
  bool names(std::uint32_t node, const std::uint32_t* ids, std::size_t count) const;
  std::uint32_t id(std::uint32_t node, std::size_t i) const { return load_acquire(arena_.as<std::uint32_t>(node) + i); }
  // All of a node's ids for a kernel, while a writer may be replacing them: each is read at once and names a complete
  // node. What is then read of that node is read at an address made of the id, so that no processor reads it before.
  const std::uint32_t* ids(std::uint32_t node) const { return arena_.as<std::uint32_t>(node); }
  void score(const LinkTables& query, std::uint32_t node, std::size_t lane, float own, std::uint32_t ahead,
             float* out) const {
    if (is_apart(node, lane)) return score_apart(query, node, lane, own, ahead, out);
    score_(query.usual, block(node, lane), own, block(ahead, lane).signs, out);
  }
  // Asks for all of a block but the signs, which `score` asks for on its way.
  void prefetch(std::uint32_t node) const {
    const std::byte* row = arena_.row(node);
    for (std::size_t b = 0; b < signs_offset_; b += 64) __builtin_prefetch(row + b);
  }

 private:
  kernels::LinkBlock block(std::uint32_t node, std::size_t lane) const {
    const std::byte* row = arena_.row(node);
    const auto* numbers = reinterpret_cast<const float*>(row) + capacity_ + lane * kernels::kLinkLanes;
    return {numbers, numbers + capacity_, row + signs_offset_ + lane * lane_bytes_};
  }

  // Its first factor is above zero.
  bool is_apart(std::uint32_t node, std::size_t lane) const {
    return static_cast<std::int32_t>(id(node, 2 * capacity_ + lane * kernels::kLinkLanes)) > 0;
  }
  // Squared length of a difference, by what it adds to a score.
  float square_of(float gain) const { return (metric_ == Metric::l2 ? 1.0F : 2.0F) * std::max(gain, 0.0F); }
  kernels::DifferenceSums write(const DifferenceCodec& differences, std::size_t i, const float* neighbour,
                                const float* node, EncodeScratch& own) const;
  void set_numbers(std::size_t i, float stretch, float coded_node, EncodeScratch& own) const;
  void score_apart(const LinkTables& query, std::uint32_t node, std::size_t lane, float own, std::uint32_t ahead,
                   float* out) const;
  bool write_usual(std::uint32_t node, std::size_t count, const PlacedRows& rows, EncodeScratch& own) const;
  void write_apart(std::uint32_t node, std::size_t count, const PlacedRows& rows, EncodeScratch& own) const;

  const Metric metric_;
  const std::size_t capacity_;  // max_degree rounded up to whole lanes
  const std::unique_ptr<const DifferenceCodec> differences_;
  const std::unique_ptr<const DifferenceCodec> apart_;  // null where differences_ suit any rows
  std::atomic<bool> any_apart_{false};
  const std::size_t lane_bytes_, signs_offset_;
  const kernels::ScoreLinks score_;
  std::size_t nodes_ = 0;
  Arena arena_;
};

}  // namespace semblance
