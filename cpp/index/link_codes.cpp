#include "index/link_codes.hpp"

#include <algorithm>
#include <bit>
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

constexpr float kFarAway = std::numeric_limits<float>::infinity();

std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Sums of four chains each, so that they do not wait for one another.
float dot(const float* a, const float* b, std::size_t n) {
  float sums[8] = {};
  for (std::size_t i = 0; i + 8 <= n; i += 8)
    for (std::size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

struct SignSums {
  float size, signed_node;  // |o|_1 and <s, Ru>
};

// Sets the signs of `o` in one neighbour's bytes of a lane, a group of dimensions at a time; as many chains of sums as
// a group has dimensions. `o` and `node` are rotated.
SignSums write_signs(const float* o, const float* node, std::size_t dim, unsigned shift, std::uint8_t* lane) {
  constexpr std::uint32_t kSign = 0x80000000U;
  float size[kLinkGroup] = {}, signed_node[kLinkGroup] = {};
  for (std::size_t group = 0; group < dim / kLinkGroup; ++group) {
    std::uint32_t difference[kLinkGroup], of_node[kLinkGroup];
    std::memcpy(difference, o + group * kLinkGroup, sizeof difference);
    std::memcpy(of_node, node + group * kLinkGroup, sizeof of_node);
    unsigned set = 0;
    for (std::size_t k = 0; k < kLinkGroup; ++k) {
      size[k] += std::bit_cast<float>(difference[k] & ~kSign);
      signed_node[k] += std::bit_cast<float>(of_node[k] ^ (difference[k] & kSign));
      set |= (~difference[k] >> 31) << k;
    }
    lane[group * kLinkGroupBytes] |= static_cast<std::uint8_t>(set << shift);
  }
  return {(size[0] + size[1]) + (size[2] + size[3]),
          (signed_node[0] + signed_node[1]) + (signed_node[2] + signed_node[3])};
}

}  // namespace

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
void LinkCodes::encode(std::uint32_t node, const std::uint32_t* ids, std::size_t count, const Codec& codec,
                       const Arena& rows, EncodeScratch& own) {
  own.node.assign(dim_, 0.0F);
  own.neighbour.resize(input_dim_);
  own.block.assign(row_bytes() / sizeof(std::uint32_t), 0);
  std::fill_n(own.block.begin(), capacity_, kNoSlot);
  std::fill_n(own.block.begin() + static_cast<std::ptrdiff_t>(capacity_), capacity_, bits_of(kFarAway));
  codec.decode(rows.row(node), 1, reinterpret_cast<std::byte*>(own.node.data()));
  own.rotated_node = own.node;
  rotation_.apply(own.rotated_node.data(), own.room);
  auto* signs = reinterpret_cast<std::uint8_t*>(own.block.data()) + signs_offset_;
  for (std::size_t i = 0; i < count; ++i) {
    codec.decode(rows.row(ids[i]), 1, reinterpret_cast<std::byte*>(own.neighbour.data()));
    own.difference.assign(dim_, 0.0F);
    for (std::size_t j = 0; j < input_dim_; ++j) own.difference[j] = own.neighbour[j] - own.node[j];
    const float square = dot(own.difference.data(), own.difference.data(), dim_);
    const float along = dot(own.node.data(), own.difference.data(), dim_);
    rotation_.apply(own.difference.data(), own.room);
    const auto [size, signed_node] =
        write_signs(own.difference.data(), own.rotated_node.data(), dim_, i % kLinkLanes < 16 ? 0 : 4,
                    signs + i / kLinkLanes * lane_bytes_ + i % 16);
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
