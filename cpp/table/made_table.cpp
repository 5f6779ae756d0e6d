#include "table/made_table.hpp"

#include <algorithm>

namespace semblance {
namespace {

constexpr std::size_t kScratchFloats = 8 * 1024;  // 32 KiB, which stay in the first-level cache or close to it
constexpr std::size_t kPieceKeys = 256;
constexpr std::size_t kKeysAhead = 8;

std::size_t chunk_rows(std::size_t dim) { return std::clamp<std::size_t>(kScratchFloats / dim, 1, kPieceKeys); }

}  // namespace

MadeTable::MadeTable(std::unique_ptr<RowSource> source, const MadeKeys& keys)
    : Table(TableFormat::f32, source->dim(), keys.policy, {chunk_rows(source->dim()), true}),
      source_(std::move(source)),
      keys_(keys) {}

void MadeTable::find(const std::int64_t* keys, std::size_t count, bool* found) const {
  if (!keys_.buckets) {
    for (std::size_t i = 0; i < count; ++i) found[i] = known(keys[i]);
    return;
  }
  std::uint32_t numbers[kChunkRows];
  find_rows(*keys_.buckets, keys, count, numbers);
  for (std::size_t i = 0; i < count; ++i) found[i] = numbers[i] < keys_.rows;
}

std::size_t MadeTable::locate(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const {
  std::int64_t numbers[kPieceKeys];
  std::uint32_t mapped[kPieceKeys];
  if (keys_.buckets) find_rows(*keys_.buckets, keys, count, mapped);
  std::size_t have = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t number = keys_.buckets ? mapped[i] : keys[i];
    const bool skipped = policy().padding && keys[i] == *policy().padding;
    if (skipped || !known(number)) {
      rows[i] = unknown_row();
      continue;
    }
    rows[i] = reinterpret_cast<RowPointer>(scratch + have * dim());
    numbers[have++] = number;
  }
  if (have > 0) source_->make({numbers, have}, {scratch, dim()});
  return count - have;
}

bool MadeTable::all_known(std::span<const std::int64_t> keys, std::int64_t* numbers) const {
  std::uint32_t mapped[kPieceKeys];
  if (keys_.buckets) find_rows(*keys_.buckets, keys.data(), keys.size(), mapped);
  bool good = true;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    numbers[i] = keys_.buckets ? mapped[i] : keys[i];
    good &= known(numbers[i]) && !(policy().padding && keys[i] == *policy().padding);
  }
  return good;
}

// Where every key is there, the common case, rows are made in place.
void MadeTable::lookup_range(std::span<const std::int64_t> keys, OutputRows out) const {
  std::int64_t numbers[kPieceKeys];
  for (std::size_t first = 0; first < keys.size(); first += kPieceKeys) {
    const auto piece = keys.subspan(first, std::min(kPieceKeys, keys.size() - first));
    if (all_known(piece, numbers)) {
      source_->make({numbers, piece.size()}, out.from(first));
    } else {
      Table::lookup_range(piece, out.from(first));
    }
  }
}

void MadeTable::score_range(const float* query, std::span<const std::int64_t> keys, float* out) const {
  std::int64_t numbers[kPieceKeys];
  for (std::size_t first = 0; first < keys.size(); first += kPieceKeys) {
    const auto piece = keys.subspan(first, std::min(kPieceKeys, keys.size() - first));
    std::fill_n(out + first, piece.size(), 0.0F);
    if (!all_known(piece, numbers) || !source_->add_scores(query, {numbers, piece.size()}, out + first))
      Table::score_range(query, piece, out + first);
  }
}

void MadeTable::prefetch(std::span<const std::int64_t> keys) const {
  const std::size_t count = std::min(kKeysAhead, keys.size());
  if (keys_.buckets) return prefetch_buckets(*keys_.buckets, keys.data(), count);
  std::int64_t numbers[kKeysAhead];
  std::size_t have = 0;
  for (std::size_t i = 0; i < count; ++i)
    if (known(keys[i])) numbers[have++] = keys[i];
  source_->prefetch({numbers, have});
}

}  // namespace semblance
