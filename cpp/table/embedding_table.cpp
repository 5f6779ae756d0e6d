#include "table/embedding_table.hpp"

#include <algorithm>
#include <string>

#include "core/active_kernels.hpp"
#include "core/error.hpp"

namespace semblance {
namespace {

constexpr std::size_t kChunkRows = 1024;         // row addresses resolved at a time, 8 KiB of stack
constexpr std::size_t kKeysAhead = 16;           // of a batch that comes next
constexpr std::size_t kGrainBytes = 128 * 1024;  // of row memory: what is worth handing to another thread

float query_sum(const float* query, std::size_t dim) {
  double sum = 0;
  for (std::size_t j = 0; j < dim; ++j) sum += static_cast<double>(query[j]);
  return static_cast<float>(sum);
}

}  // namespace

EmbeddingTable::EmbeddingTable(const TableParts& parts) : parts_(parts), kernels_(require_table().table) {}

std::size_t EmbeddingTable::locate_dense(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  const std::size_t stride = row_bytes();
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::uint64_t>(keys[i]);
    const bool known = row < parts_.row_count;
    rows[i] = known ? parts_.rows + row * stride : parts_.missing_row;
    unknown += !known;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate_keyed(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  const std::size_t stride = row_bytes();
  std::uint32_t numbers[kChunkRows];
  find_rows(*parts_.buckets, keys, count, numbers);
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool known = numbers[i] < parts_.row_count;
    rows[i] = known ? parts_.rows + numbers[i] * stride : parts_.missing_row;
    unknown += !known;
  }
  return unknown;
}

std::size_t EmbeddingTable::overlay(const std::int64_t* keys, std::size_t count, RowPointer* rows,
                                    std::size_t unknown) const {
  const std::size_t stride = row_bytes();
  std::uint32_t numbers[kChunkRows];
  find_rows(*parts_.delta, keys, count, numbers);
  for (std::size_t i = 0; i < count; ++i) {
    if (numbers[i] == kNoRow) continue;
    unknown -= rows[i] == parts_.missing_row;
    const bool removed = numbers[i] >= parts_.delta_count;
    rows[i] = removed ? parts_.missing_row : parts_.delta_rows + numbers[i] * stride;
    unknown += removed;
  }
  return unknown;
}

std::size_t EmbeddingTable::locate(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  const std::size_t unknown = parts_.buckets ? locate_keyed(keys, count, rows) : locate_dense(keys, count, rows);
  return parts_.delta ? overlay(keys, count, rows, unknown) : unknown;
}

void EmbeddingTable::resolve(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  std::size_t unknown = locate(keys, count, rows);
  if (parts_.padding) {
    for (std::size_t i = 0; i < count; ++i) {
      if (keys[i] != *parts_.padding) continue;
      unknown -= rows[i] == parts_.missing_row;
      rows[i] = kernels::padding_row();
    }
  }
  if (unknown > 0) unknown_.fetch_add(unknown, std::memory_order_relaxed);
}

bool EmbeddingTable::contains(std::int64_t key) const {
  RowPointer row = nullptr;
  return locate(&key, 1, &row) == 0;
}

void EmbeddingTable::prefetch(std::span<const std::int64_t> keys) const {
  if (parts_.buckets) return prefetch_buckets(*parts_.buckets, keys.data(), std::min(kKeysAhead, keys.size()));
  const std::size_t stride = row_bytes();
  for (std::size_t i = 0; i < keys.size() && i < kKeysAhead; ++i) {
    const auto row = static_cast<std::uint64_t>(keys[i]);
    if (row >= parts_.row_count) continue;
    for (std::size_t line = 0; line < stride; line += 64) __builtin_prefetch(parts_.rows + row * stride + line);
    __builtin_prefetch(parts_.rows + row * stride + stride - 1);
  }
}

void EmbeddingTable::check_keys(std::span<const std::int64_t> keys) const {
  if (parts_.missing != Missing::error) return;
  RowPointer rows[kChunkRows];
  for (std::size_t first = 0; first < keys.size(); first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, keys.size() - first);
    const std::int64_t* chunk = keys.data() + first;
    if (locate(chunk, count, rows) == 0) continue;
    for (std::size_t i = 0; i < count; ++i) {
      if (rows[i] != nullptr || (parts_.padding && chunk[i] == *parts_.padding)) continue;
      const std::string at = std::to_string(chunk[i]) + " at position " + std::to_string(first + i);
      if (parts_.buckets) throw NotFoundError(expected("keys", "keys of the table", at));
      throw ArgumentError(
          expected("keys", "row numbers from 0 to " + std::to_string(parts_.row_count) + " exclusive", at));
    }
  }
}

std::size_t EmbeddingTable::grain(std::size_t rows, std::size_t items) const {
  const std::size_t bytes = std::max<std::size_t>(rows * (row_bytes() + sizeof(std::int64_t)), 1);
  return std::max<std::size_t>(1, items * kGrainBytes / bytes);
}

void EmbeddingTable::lookup_range(std::span<const std::int64_t> keys, OutputRows out) const {
  const auto gather = kernels_.gather[static_cast<std::size_t>(parts_.format)];
  RowPointer rows[kChunkRows];
  for (std::size_t first = 0; first < keys.size(); first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, keys.size() - first);
    resolve(keys.data() + first, count, rows);
    gather(rows, count, parts_.dim, out.data + first * out.stride, out.stride);
  }
}

void EmbeddingTable::lookup(std::span<const std::int64_t> keys, OutputRows out, std::size_t threads,
                            Monitor* monitor) const {
  count(keys.size());
  parallel_for(
      keys.size(), threads, grain(keys.size(), keys.size()),
      [&](std::size_t begin, std::size_t end, std::size_t) {
        lookup_range(keys.subspan(begin, end - begin), {out.data + begin * out.stride, out.stride});
      },
      monitor);
}

void EmbeddingTable::score(const float* query, std::span<const std::int64_t> keys, float* out, std::size_t threads,
                           Monitor* monitor) const {
  const auto score_rows = kernels_.score[static_cast<std::size_t>(parts_.format)];
  const float sum = query_sum(query, parts_.dim);
  count(keys.size());
  parallel_for(
      keys.size(), threads, grain(keys.size(), keys.size()),
      [&](std::size_t begin, std::size_t end, std::size_t) {
        RowPointer rows[kChunkRows];
        for (std::size_t first = begin; first < end; first += kChunkRows) {
          const std::size_t count = std::min(kChunkRows, end - first);
          resolve(keys.data() + first, count, rows);
          score_rows(rows, count, parts_.dim, query, sum, out + first);
        }
      },
      monitor);
}

}  // namespace semblance
