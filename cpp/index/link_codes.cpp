#include "index/link_codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/active_kernels.hpp"
#include "core/error.hpp"
#include "core/limits.hpp"
#include "core/parallel.hpp"

namespace semblance {
namespace {

using kernels::kLinkGroup, kernels::kLinkGroupBytes, kernels::kLinkLanes;

constexpr std::size_t kRotateGrain = 64, kPrefetchRows = 2;
constexpr std::size_t kMostAhead = std::size_t{1} << 29;  // bytes of rotated rows: of 349,525 rows of 384 values
constexpr float kFarAway = std::numeric_limits<float>::infinity();

std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace

void RotatedRows::rotate(std::size_t row, float* out, AlignedVector<float>& room) const {
  std::fill(out + codec_.dim(), out + rotation_.rotated_dim(), 0.0F);
  codec_.decode(rows_.row(row), 1, reinterpret_cast<std::byte*>(out));
  rotation_.apply(out, room);
}

void RotatedRows::make_ahead(std::size_t count, std::size_t threads, Monitor* monitor) {
  count_ = std::min(count, kMostAhead / ahead_.row_bytes());
  ahead_.grow(count_);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    AlignedVector<float> room;
    for (std::size_t i = begin; i < end; ++i) rotate(i, ahead_.as<float>(i), room);
  };
  parallel_for(count_, threads, kRotateGrain, body, monitor);
}

const float* RotatedRows::of(std::uint32_t row, AlignedVector<float>& out, AlignedVector<float>& room) const {
  if (row < count_) return ahead_.as<float>(row);
  out.resize(rotation_.rotated_dim());
  rotate(row, out.data(), room);
  return out.data();
}

LinkCodes::LinkCodes(std::size_t dim, Metric metric, std::size_t max_degree, std::uint64_t seed)
    : metric_(metric),
      capacity_((max_degree + kLinkLanes - 1) / kLinkLanes * kLinkLanes),
      rotation_(dim, seed),
      dim_(rotation_.rotated_dim()),
      lane_bytes_(dim_ / kLinkGroup * kLinkGroupBytes),
      signs_offset_(3 * capacity_ * sizeof(float)),
      input_dim_(dim),
      score_(require_table().links.score),
      arena_(signs_offset_ + capacity_ / kLinkLanes * lane_bytes_) {}

void LinkCodes::prepare(const float* query, LinkQuery& out) const {
  out.rotated.assign(dim_, 0.0F);
  std::copy_n(query, input_dim_, out.rotated.data());
  rotation_.apply(out.rotated.data(), out.room);
  out.tables.resize(lane_bytes_);
  out.query = require_table().links.tabulate(out.rotated.data(), dim_, out.tables.data());
}

void LinkCodes::grow(std::size_t nodes) {
  arena_.grow(nodes);
  for (std::size_t node = nodes_; node < nodes; ++node) {
    std::memset(arena_.row(node), 0xFF, capacity_ * sizeof(std::uint32_t));
    std::fill_n(arena_.as<float>(node) + capacity_, capacity_, kFarAway);
  }
  nodes_ = nodes;
}

void LinkCodes::borrow(const std::byte* blocks, std::size_t nodes) {
  for (std::size_t node = 0; node < nodes; ++node) {
    stop_if_asked(node);
    const auto* ids = reinterpret_cast<const std::uint32_t*>(blocks + node * row_bytes());
    for (std::size_t i = 0; i < capacity_; ++i)
      if (ids[i] >= nodes && ids[i] != kNoSlot)
        throw FormatError(expected("codes", "neighbours that exist", std::to_string(ids[i])));
  }
  arena_.borrow(blocks, nodes);
  nodes_ = nodes;
}

bool LinkCodes::names(std::uint32_t node, const std::uint32_t* ids, std::size_t count) const {
  const auto* block = arena_.as<std::uint32_t>(node);
  return std::equal(ids, ids + count, block) && (count == capacity_ || block[count] == kNoSlot);
}

// For a neighbour v of u, with the rotated difference o = R(v - u) and its signs s, <q, v - u> is about
// <s, Rq> * |o|^2 / |o|_1. Distances are estimated from u, where the part that hangs on u itself is exact.
void LinkCodes::encode(std::uint32_t node, const std::uint32_t* ids, std::size_t count, const RotatedRows& rows,
                       EncodeScratch& own) {
  own.block.assign(row_bytes() / sizeof(std::uint32_t), 0);
  std::fill_n(own.block.begin(), capacity_, kNoSlot);
  std::fill_n(own.block.begin() + static_cast<std::ptrdiff_t>(capacity_), capacity_, bits_of(kFarAway));
  const float* from = rows.of(node, own.node, own.room);
  auto* signs = reinterpret_cast<std::uint8_t*>(own.block.data()) + signs_offset_;
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kPrefetchRows < count) rows.prefetch(ids[i + kPrefetchRows]);
    const auto [square, along, size, signed_node] =
        require_table().links.write_signs(rows.of(ids[i], own.neighbour, own.room), from, dim_,
                                          i % kLinkLanes < 16 ? 0 : 4, signs + i / kLinkLanes * lane_bytes_ + i % 16);
    const float stretch = size > 0.0F ? square / size : 0.0F;
    float add = 0.0F, factor = -stretch;
    if (metric_ == Metric::l2) {
      factor = -2.0F * stretch;
      add = square + 2.0F * stretch * signed_node;
    } else if (metric_ == Metric::cosine) {
      add = stretch * signed_node - along;
    }
    own.block[i] = ids[i];
    own.block[capacity_ + i] = bits_of(add);
    own.block[2 * capacity_ + i] = bits_of(factor);
  }
  auto* to = arena_.as<std::uint32_t>(node);
  for (std::size_t i = 0; i < own.block.size(); ++i) store_release(to + i, own.block[i]);
}

}  // namespace semblance
