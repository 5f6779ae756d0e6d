#include "table/table.hpp"

#include <algorithm>
#include <string>

#include "core/active_kernels.hpp"
#include "core/error.hpp"
#include "table/resolver.hpp"

namespace semblance {
namespace {

constexpr std::size_t kGrainBytes = 128 * 1024;  // of row memory: what is worth handing to another thread

float query_sum(const float* query, std::size_t dim) {
  double sum = 0;
  for (std::size_t j = 0; j < dim; ++j) sum += static_cast<double>(query[j]);
  return static_cast<float>(sum);
}

}  // namespace

Table::Table(TableFormat format, std::size_t dim, const KeyPolicy& policy, Chunks chunks)
    : format_(format), dim_(dim), policy_(policy), chunks_(chunks), kernels_(require_table().table) {}

bool Table::contains(std::int64_t key) const {
  bool found = false;
  find(&key, 1, &found);
  return found;
}

void Table::check_keys(std::span<const std::int64_t> keys) const {
  if (policy_.missing != Missing::error || has_all(keys)) return;
  bool found[kChunkRows];
  for (std::size_t first = 0; first < keys.size(); first += kChunkRows) {
    stop_if_asked();
    const std::size_t count = std::min(kChunkRows, keys.size() - first);
    const std::int64_t* chunk = keys.data() + first;
    find(chunk, count, found);
    for (std::size_t i = 0; i < count; ++i) {
      if (found[i] || (policy_.padding && chunk[i] == *policy_.padding)) continue;
      const std::string at = std::to_string(chunk[i]) + " at position " + std::to_string(first + i);
      if (!by_row_number()) throw NotFoundError(expected("keys", "keys of the table", at));
      throw ArgumentError(expected("keys", "row numbers from 0 to " + std::to_string(size()) + " exclusive", at));
    }
  }
}

std::size_t Table::grain(std::size_t rows, std::size_t items) const {
  const std::size_t bytes = std::max<std::size_t>(rows * (row_bytes() + sizeof(std::int64_t)), 1);
  return std::max<std::size_t>(1, items * kGrainBytes / bytes);
}

// Returns how many of the padding keys were unknown.
std::size_t Table::skip_padding(const std::int64_t* keys, std::size_t count, RowPointer* rows) const {
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (keys[i] != *policy_.padding) continue;
    unknown += rows[i] == unknown_row();
    rows[i] = kernels::padding_row();
  }
  return unknown;
}

void Table::resolve(const std::int64_t* keys, std::size_t count, RowPointer* rows, float* scratch) const {
  std::size_t unknown = locate(keys, count, rows, scratch);
  if (policy_.padding) unknown -= skip_padding(keys, count, rows);
  if (unknown == 0) return;
  std::replace(rows, rows + count, unknown_row(), policy_.missing_row);
  unknown_.fetch_add(unknown, std::memory_order_relaxed);
}

void Table::lookup_range(std::span<const std::int64_t> keys, OutputRows out) const {
  Resolver resolve(*this);
  for (std::size_t first = 0; first < keys.size(); first += chunks_.rows) {
    const std::size_t count = std::min(chunks_.rows, keys.size() - first);
    gather(kernels::grid_by_field(resolve(keys.data() + first, count), count, 1), out.from(first));
  }
}

void Table::lookup(std::span<const std::int64_t> keys, OutputRows out, std::size_t threads, Monitor* monitor) const {
  count(keys.size());
  parallel_for(
      keys.size(), threads, grain(keys.size(), keys.size()),
      [&](std::size_t begin, std::size_t end, std::size_t) {
        lookup_range(keys.subspan(begin, end - begin), out.from(begin));
      },
      monitor);
}

void Table::score_range(const float* query, std::span<const std::int64_t> keys, float* out) const {
  const auto score_rows = kernels_.score[static_cast<std::size_t>(format_)];
  const float sum = query_sum(query, dim_);
  Resolver resolve(*this);
  for (std::size_t first = 0; first < keys.size(); first += chunks_.rows) {
    const std::size_t count = std::min(chunks_.rows, keys.size() - first);
    score_rows(resolve(keys.data() + first, count), count, dim_, query, sum, out + first);
  }
}

void Table::score(const float* query, std::span<const std::int64_t> keys, float* out, std::size_t threads,
                  Monitor* monitor) const {
  count(keys.size());
  parallel_for(
      keys.size(), threads, grain(keys.size(), keys.size()),
      [&](std::size_t begin, std::size_t end, std::size_t) {
        score_range(query, keys.subspan(begin, end - begin), out + begin);
      },
      monitor);
}

}  // namespace semblance
