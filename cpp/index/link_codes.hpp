// Neighbour codes: for every node the ids of its neighbours on the base level, and one bit a dimension of where each of
// them lies, in one block. A walk that visits a node thereby knows about how far its neighbours are without touching
// their rows. Gou et al., SymphonyQG (SIGMOD 2025); the estimate is RaBitQ's (Gao and Long, SIGMOD 2024).
//
// Blocks are rewritten in place while walks read them. Ids are words that always name complete nodes; an estimate read
// half-way is off once, and only decides in which order one walk visits nodes: what it returns has scores of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/codec.hpp"
#include "codec/rotation.hpp"
#include "core/arena.hpp"
#include "core/atomic_word.hpp"
#include "core/parallel.hpp"

namespace semblance {

// A query as the codes are scored against; keeps what backs it.
struct LinkQuery {
  kernels::LinkQuery query{};
  AlignedVector<std::uint8_t> tables;
  AlignedVector<float> rotated, room;
};

// Rows as neighbour codes are made of them: decoded and rotated.
class RotatedRows {
 public:
  RotatedRows(const RandomRotation& rotation, const Codec& codec, const Arena& rows)
      : rotation_(rotation), codec_(codec), rows_(rows), ahead_(rotation.rotated_dim() * sizeof(float)) {}

  // Rotates the first `count` rows, or as many as it takes memory for, once for all that ask for them.
  void make_ahead(std::size_t count, std::size_t threads, Monitor* monitor);
  // The values of a row: made ahead, or now in `out`.
  const float* of(std::uint32_t row, AlignedVector<float>& out, AlignedVector<float>& room) const;
  void prefetch(std::uint32_t row) const {
    if (row >= count_) return;
    for (std::size_t b = 0; b < ahead_.row_bytes(); b += 64) __builtin_prefetch(ahead_.row(row) + b);
  }

 private:
  void rotate(std::size_t row, float* out, AlignedVector<float>& room) const;

  const RandomRotation& rotation_;
  const Codec& codec_;
  const Arena& rows_;
  std::size_t count_ = 0;  // made ahead
  Arena ahead_;
};

class LinkCodes {
 public:
  LinkCodes(std::size_t dim, Metric metric, std::size_t max_degree, std::uint64_t seed);

  void prepare(const float* query, LinkQuery& out) const;

  // Room for `nodes` blocks; the new ones are empty.
  void grow(std::size_t nodes);
  std::size_t row_bytes() const { return arena_.row_bytes(); }
  const std::byte* data() const { return arena_.data(); }
  // Serves somebody else's blocks; FormatError where they name nodes that do not exist.
  void borrow(const std::byte* blocks, std::size_t nodes);

  RotatedRows rotated(const Codec& codec, const Arena& rows) const { return {rotation_, codec, rows}; }
  // What one thread needs to encode.
  struct EncodeScratch {
    AlignedVector<float> node, neighbour, room;
    std::vector<std::uint32_t> block;  // as words
  };
  // Rewrites the block of a node whose row and whose neighbours' rows are stored.
  void encode(std::uint32_t node, const std::uint32_t* ids, std::size_t count, const RotatedRows& rows,
              EncodeScratch& scratch);

  // Lanes of neighbours: kernels::kLinkLanes in each.
  std::size_t lanes() const { return capacity_ / kernels::kLinkLanes; }
  // Whether the block of a node names these neighbours, in order, and no others.
  bool names(std::uint32_t node, const std::uint32_t* ids, std::size_t count) const;
  std::uint32_t id(std::uint32_t node, std::size_t i) const { return load_acquire(arena_.as<std::uint32_t>(node) + i); }
  // All of a node's ids for a kernel, while a writer may be replacing them: each is read at once and names a complete
  // node. What is then read of that node is read at an address made of the id, so that no processor reads it before.
  const std::uint32_t* ids(std::uint32_t node) const { return arena_.as<std::uint32_t>(node); }
  void score(const kernels::LinkQuery& query, std::uint32_t node, std::size_t lane, float own, std::uint32_t ahead,
             float* out) const {
    score_(query, block(node, lane), own, block(ahead, lane).signs, out);
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

  const Metric metric_;
  const std::size_t capacity_;  // max_degree rounded up to whole lanes
  const RandomRotation rotation_;
  const std::size_t dim_, lane_bytes_, signs_offset_;  // dim_: of rotated vectors
  const std::size_t input_dim_;                        // of plain ones
  const kernels::ScoreLinks score_;
  std::size_t nodes_ = 0;
  Arena arena_;
};

}  // namespace semblance
