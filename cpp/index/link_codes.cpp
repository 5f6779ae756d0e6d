#include "index/link_codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <ranges>
#include <string>

#include "core/active_kernels.hpp"
#include "core/error.hpp"
#include "core/limits.hpp"
#include "core/parallel.hpp"

namespace semblance {
namespace {

using kernels::kLinkGroupBytes, kernels::kLinkLanes;

constexpr std::size_t kPlaceGrain = 64, kPrefetchRows = 2;
constexpr std::size_t kMostAhead = std::size_t{1} << 29;  // bytes of placed rows: of 349,525 rows of 384 values
constexpr double kLeastTold = 0.5;  // of what is expected of differences like those that axes were learned of
constexpr std::uint32_t kSignBit = 0x80000000U;
constexpr float kFarAway = std::numeric_limits<float>::infinity();

std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace

void PlacedRows::place(const DifferenceCodec& differences, const Codec& codec, const std::byte* row, float* out,
                       DifferenceCodec::Scratch& scratch) {
  scratch.row.resize(codec.dim());
  codec.decode(row, 1, reinterpret_cast<std::byte*>(scratch.row.data()));
  differences.place(scratch.row.data(), out, scratch);
}

void PlacedRows::make_ahead(std::size_t count, std::size_t threads, Monitor* monitor) {
  count_ = std::min(count, kMostAhead / ahead_.row_bytes());
  ahead_.grow(count_);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    DifferenceCodec::Scratch scratch;
    for (std::size_t i = begin; i < end; ++i) place(differences_, codec_, rows_.row(i), ahead_.as<float>(i), scratch);
  };
  parallel_for(count_, threads, kPlaceGrain, body, monitor);
}

const float* PlacedRows::of(std::uint32_t row, AlignedVector<float>& out, DifferenceCodec::Scratch& scratch) const {
  return row < count_ ? ahead_.as<float>(row) : of(row, differences_, out, scratch);
}

const float* PlacedRows::of(std::uint32_t row, const DifferenceCodec& differences, AlignedVector<float>& out,
                            DifferenceCodec::Scratch& scratch) const {
  out.resize(differences.values());
  place(differences, codec_, rows_.row(row), out.data(), scratch);
  return out.data();
}

LinkCodes::LinkCodes(Metric metric, std::size_t max_degree, std::unique_ptr<const DifferenceCodec> differences,
                     std::unique_ptr<const DifferenceCodec> apart)
    : metric_(metric),
      capacity_((max_degree + kLinkLanes - 1) / kLinkLanes * kLinkLanes),
      differences_(std::move(differences)),
      apart_(std::move(apart)),
      lane_bytes_(differences_->groups() * kLinkGroupBytes),
      signs_offset_(3 * capacity_ * sizeof(float)),
      score_(require_table().links.score),
      arena_(signs_offset_ + capacity_ / kLinkLanes * lane_bytes_) {}

void LinkCodes::prepare(const float* query, LinkQuery& out) const {
  const auto tabulate = [&](const DifferenceCodec& differences, AlignedVector<std::uint8_t>& tables) {
    out.placed.resize(differences.values());
    differences.place(query, out.placed.data(), out.scratch);
    tables.resize(lane_bytes_);
    return differences.tabulate(out.placed.data(), tables.data());
  };
  out.query.usual = tabulate(*differences_, out.tables);
  out.query.apart = {};
  if (!any_apart_.load(std::memory_order_acquire)) return;
  out.query.apart = tabulate(*apart_, out.tables_apart);
  out.query.apart.step = -out.query.apart.step;
}

// To a walk that began before the first node was coded apart, neighbours of such a node are as far as the node.
void LinkCodes::score_apart(const LinkTables& query, std::uint32_t node, std::size_t lane, float own,
                            std::uint32_t ahead, float* out) const {
  if (query.apart.tables != nullptr) return score_(query.apart, block(node, lane), own, block(ahead, lane).signs, out);
  for (std::size_t i = 0; i < kLinkLanes; ++i) out[i] = id(node, lane * kLinkLanes + i) == kNoSlot ? kFarAway : own;
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
  if (apart_)
    any_apart_.store(std::ranges::any_of(std::views::iota(0U, static_cast<std::uint32_t>(nodes)),
                                         [&](std::uint32_t node) { return is_apart(node, 0); }));
  nodes_ = nodes;
}

bool LinkCodes::names(std::uint32_t node, const std::uint32_t* ids, std::size_t count) const {
  const auto* block = arena_.as<std::uint32_t>(node);
  return std::equal(ids, ids + count, block) && (count == capacity_ || block[count] == kNoSlot);
}

kernels::DifferenceSums LinkCodes::write(const DifferenceCodec& differences, std::size_t i, const float* neighbour,
                                         const float* node, EncodeScratch& own) const {
  auto* signs = reinterpret_cast<std::uint8_t*>(own.block.data()) + signs_offset_;
  return differences.write(neighbour, node, i % kLinkLanes < 16 ? 0 : 4, signs + i / kLinkLanes * lane_bytes_ + i % 16);
}

// For a neighbour v of u, with the difference o = v - u and what its code c says of it, <q, v - u> is about
// <c, q - u> * stretch + <u, v - u>. Distances are estimated from u, where the part that hangs on u itself is exact.
void LinkCodes::set_numbers(std::size_t i, float stretch, float coded_node, EncodeScratch& own) const {
  if (metric_ == Metric::l2) stretch *= 2.0F;
  own.block[capacity_ + i] = bits_of(metric_ == Metric::ip ? 0.0F : own.gains[i] + stretch * coded_node);
  own.block[2 * capacity_ + i] = bits_of(-stretch);
}

// False where the codes tell little of the differences.
bool LinkCodes::write_usual(std::uint32_t node, std::size_t count, const PlacedRows& rows, EncodeScratch& own) const {
  const float* from = rows.of(node, own.node, own.differences);
  double told = 0.0, all = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kPrefetchRows < count) rows.prefetch(own.block[i + kPrefetchRows]);
    const float* to = rows.of(own.block[i], own.neighbour, own.differences);
    const auto [square, size, coded_node] = write(*differences_, i, to, from, own);
    set_numbers(i, size > 0.0F ? square / size : 0.0F, coded_node, own);
    told += square;
    all += square_of(own.gains[i]);
  }
  return told >= kLeastTold * differences_->usual_share() * all;
}

// Signs of a part of a rotation, stretched to the whole.
void LinkCodes::write_apart(std::uint32_t node, std::size_t count, const PlacedRows& rows, EncodeScratch& own) const {
  std::fill(own.block.begin() + static_cast<std::ptrdiff_t>(signs_offset_ / sizeof(std::uint32_t)), own.block.end(), 0);
  const float* from = rows.of(node, *apart_, own.node, own.differences);
  for (std::size_t i = 0; i < count; ++i) {
    const float* to = rows.of(own.block[i], *apart_, own.neighbour, own.differences);
    const auto [square, size, coded_node] = write(*apart_, i, to, from, own);
    set_numbers(i, size > 0.0F ? square_of(own.gains[i]) / size : 0.0F, coded_node, own);
    std::uint32_t& factor = own.block[2 * capacity_ + i];
    factor = std::max(factor & ~kSignBit, std::uint32_t{1});
  }
}

void LinkCodes::encode(std::uint32_t node, const std::uint32_t* ids, std::size_t count, const PlacedRows& rows,
                       EncodeScratch& own) {
  own.block.assign(row_bytes() / sizeof(std::uint32_t), 0);
  std::fill_n(own.block.begin(), capacity_, kNoSlot);
  std::fill_n(own.block.begin() + static_cast<std::ptrdiff_t>(capacity_), capacity_, bits_of(kFarAway));
  std::copy_n(ids, count, own.block.begin());
  own.gains.resize(count + 1);
  rows.score(node, ids, count, own.query, own.gains.data());
  rows.score(node, &node, 1, own.query, &own.gains[count]);
  for (std::size_t i = 0; i < count; ++i) own.gains[i] -= own.gains[count];
  if (!write_usual(node, count, rows, own) && apart_) {
    write_apart(node, count, rows, own);
    any_apart_.store(true, std::memory_order_release);
  }
  auto* to = arena_.as<std::uint32_t>(node);
  for (std::size_t i = 0; i < own.block.size(); ++i) store_release(to + i, own.block[i]);
}

}  // namespace semblance
