#include "table/embedding_table.hpp"

#include <algorithm>
#include <functional>

namespace semblance {
namespace {

constexpr std::size_t kKeysAhead = 16;  // of a batch that comes next

// Whether all keys are from 0 to rows - 1: no sign bit in any key, nor in its distance to the last row. Two lanes an
// instruction even on the baseline, which has no unsigned comparison of 64 bits.
bool in_range(const std::int64_t* keys, std::size_t count, std::size_t rows) {
  std::uint64_t signs = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto key = static_cast<std::uint64_t>(keys[i]);
    signs |= key | (rows - 1 - key);
  }
  return signs >> 63 == 0;
}

}  // namespace

EmbeddingTable::EmbeddingTable(const TableParts& parts)
    : Table(parts.format, parts.dim, parts.policy, {kChunkRows, false}), parts_(parts) {
  if (parts_.row_step == 0) parts_.row_step = row_bytes();
  if (!parts_.delta) return;
  changed_.emplace(*parts_.delta);
  for (const KeyBucket& bucket : *parts_.delta)
    for (const std::uint32_t number : bucket.rows) removals_ |= number != kNoRow && number >= parts_.delta_count;
}

std::size_t EmbeddingTable::locate_dense(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  if (in_range(keys, count, parts_.row_count)) {
    for (std::size_t i = 0; i < count; ++i) rows[i] = row(static_cast<std::size_t>(keys[i]));
    return 0;
  }
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = static_cast<std::uint64_t>(keys[i]);
    const bool known = number < parts_.row_count;
    rows[i] = known ? row(number) : unknown_row();
    unknown += !known;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate_remapped(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  const std::span<const std::int32_t> remap = *parts_.remap;
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kKeysAhead < count && static_cast<std::uint64_t>(keys[i + kKeysAhead]) < remap.size())
      __builtin_prefetch(&remap[static_cast<std::size_t>(keys[i + kKeysAhead])]);
    const auto key = static_cast<std::uint64_t>(keys[i]);
    const bool known = key < remap.size();
    const auto number = static_cast<std::uint32_t>(known ? remap[key] : 0);
    rows[i] = !known ? unknown_row() : number < parts_.row_count ? row(number) : nullptr;
    unknown += !known;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate_keyed(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  std::uint32_t numbers[kChunkRows];
  find_rows(*parts_.buckets, keys, count, numbers);
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool known = numbers[i] < parts_.row_count;
    rows[i] = known ? row(numbers[i]) : unknown_row();
    unknown += !known;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate_base(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  if (parts_.buckets) return locate_keyed(keys, count, rows);
  return parts_.remap ? locate_remapped(keys, count, rows) : locate_dense(keys, count, rows);
}

std::size_t EmbeddingTable::overlay(const std::int64_t* keys, std::size_t count, RowPointer* rows,
                                    std::size_t unknown) const {
  const std::size_t stride = row_bytes();
  std::int64_t wanted[kChunkRows];
  std::uint32_t numbers[kChunkRows];
  std::uint16_t places[kChunkRows];
  std::size_t some = 0;
  for (std::size_t i = 0; i < count; ++i) {  // without a branch that could be mispredicted
    wanted[some] = keys[i];
    places[some] = static_cast<std::uint16_t>(i);
    some += changed_->may_hold(keys[i]);
  }
  if (some == 0) return unknown;
  find_rows(*parts_.delta, wanted, some, numbers);
  for (std::size_t j = 0; j < some; ++j) {
    if (numbers[j] == kNoRow) continue;
    RowPointer& place = rows[places[j]];
    const bool removed = numbers[j] >= parts_.delta_count;
    unknown += static_cast<std::size_t>(removed) - static_cast<std::size_t>(place == unknown_row());
    place = removed ? unknown_row() : parts_.delta_rows + numbers[j] * stride;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate(const std::int64_t* keys, std::size_t count, RowPointer* rows, float*) const {
  const std::size_t unknown = locate_base(keys, count, rows);
  return parts_.delta ? overlay(keys, count, rows, unknown) : unknown;
}

void EmbeddingTable::find(const std::int64_t* keys, std::size_t count, bool* found) const {
  RowPointer rows[kChunkRows];
  locate(keys, count, rows, nullptr);
  for (std::size_t i = 0; i < count; ++i) found[i] = rows[i] != unknown_row();
}

bool EmbeddingTable::has_all(std::span<const std::int64_t> keys) const {
  return !parts_.buckets && !removals_ && in_range(keys.data(), keys.size(), size());
}

void EmbeddingTable::prefetch_search(std::span<const std::int64_t> keys) const {
  const std::size_t count = std::min(kKeysAhead, keys.size());
  if (parts_.buckets) return prefetch_buckets(*parts_.buckets, keys.data(), count);
  if (!parts_.remap) return;
  for (std::size_t i = 0; i < count; ++i)
    if (static_cast<std::uint64_t>(keys[i]) < parts_.remap->size())
      __builtin_prefetch(&(*parts_.remap)[static_cast<std::size_t>(keys[i])]);
}

void EmbeddingTable::prefetch(std::span<const std::int64_t> keys) const {
  if (parts_.buckets || parts_.remap) return prefetch_search(keys);
  const std::size_t bytes = row_bytes();
  for (const std::int64_t k : keys.first(std::min(kKeysAhead, keys.size()))) {
    const auto key = static_cast<std::uint64_t>(k);
    if (key >= parts_.row_count) continue;
    for (std::size_t line = 0; line < bytes; line += 64) __builtin_prefetch(row(key) + line, 0, 2);
    __builtin_prefetch(row(key) + bytes - 1, 0, 2);
  }
}

std::optional<Table::PlainRows> EmbeddingTable::plain_rows() const {
  if (parts_.buckets || parts_.remap || parts_.delta || policy().padding) return std::nullopt;
  return PlainRows{parts_.rows, parts_.row_step, parts_.row_count};
}

std::int64_t EmbeddingTable::number_of(RowPointer row) const {
  if (kernels::is_no_row(row)) return kernels::is_zero_row(row) ? -1 : -2;
  const auto rows = static_cast<std::int64_t>(parts_.row_count), step = static_cast<std::int64_t>(parts_.row_step);
  if (row == policy().missing_row) return rows + static_cast<std::int64_t>(parts_.delta_count);
  const bool newer = parts_.delta_rows != nullptr && std::less_equal<>()(parts_.delta_rows, row) &&
                     std::less<>()(row, parts_.delta_rows + parts_.delta_count * row_bytes());
  if (newer) return rows + (row - parts_.delta_rows) / static_cast<std::int64_t>(row_bytes());
  return (row - parts_.rows) / step;
}

void EmbeddingTable::row_numbers(std::span<const std::int64_t> keys, std::int64_t* out) const {
  RowPointer rows[kChunkRows];
  count(keys.size());
  for (std::size_t first = 0; first < keys.size(); first += kChunkRows) {
    const std::size_t size = std::min(kChunkRows, keys.size() - first);
    resolve(keys.subspan(first, size), rows);
    for (std::size_t i = 0; i < size; ++i) out[first + i] = number_of(rows[i]);
  }
}

}  // namespace semblance
