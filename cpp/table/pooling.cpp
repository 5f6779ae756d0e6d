// Pooling of jagged bags: whole bags are resolved and summed together, so that prefetching crosses their borders.
#include <algorithm>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "table/embedding_table.hpp"

namespace semblance {
namespace {

constexpr std::size_t kChunkRows = 1024;

std::size_t offset(const BagValues& values, std::size_t bag) { return static_cast<std::size_t>(values.offsets[bag]); }

const float* weights_at(const BagValues& values, std::size_t first) {
  return values.weights ? values.weights + first : nullptr;
}

// The end of the longest run of whole bags from `begin` on that one chunk holds; `begin` where the first is too long.
std::size_t whole_bags(const BagValues& values, std::size_t begin, std::size_t end) {
  const std::size_t limit = offset(values, begin) + kChunkRows;
  while (begin < end && offset(values, begin + 1) <= limit) ++begin;
  return begin;
}

kernels::PoolRows kernel_of(const kernels::TableKernels& kernels, Pooling pooling, TableFormat format) {
  const auto f = static_cast<std::size_t>(format);
  return pooling == Pooling::max ? kernels.pool_max[f] : kernels.pool_sum[f];
}

}  // namespace

void EmbeddingTable::pool_range(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const {
  const kernels::PoolRows pool_rows = kernel_of(kernels_, values.pooling, parts_.format);
  RowPointer rows[kChunkRows];
  for (std::size_t bag = begin; bag < end;) {
    const std::size_t last = whole_bags(values, bag, end);
    if (last == bag) {
      pool_long_bag(values, bag, out);
      ++bag;
      continue;
    }
    const std::size_t first = offset(values, bag);
    resolve(values.keys + first, offset(values, last) - first, rows);
    const kernels::Bags bags = {rows, weights_at(values, first), values.offsets.data() + bag, last - bag, false};
    pool_rows(bags, parts_.dim, out.data + bag * out.stride, out.stride);
    bag = last;
  }
  finish_bags(values, begin, end, out);
}

void EmbeddingTable::pool_long_bag(const BagValues& values, std::size_t bag, OutputRows out) const {
  const kernels::PoolRows pool_rows = kernel_of(kernels_, values.pooling, parts_.format);
  RowPointer rows[kChunkRows];
  const std::size_t begin = offset(values, bag), end = offset(values, bag + 1);
  for (std::size_t first = begin; first < end; first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, end - first);
    resolve(values.keys + first, count, rows);
    const std::int64_t piece[2] = {0, static_cast<std::int64_t>(count)};
    pool_rows({rows, weights_at(values, first), piece, 1, first != begin}, parts_.dim, out.data + bag * out.stride,
              out.stride);
  }
}

std::size_t EmbeddingTable::counted(const BagValues& values, std::size_t bag) const {
  const std::size_t begin = offset(values, bag), end = offset(values, bag + 1);
  if (!parts_.padding) return end - begin;
  return end - begin - static_cast<std::size_t>(std::count(values.keys + begin, values.keys + end, *parts_.padding));
}

// Means multiply by the reciprocal of the count, as FBGEMM does; weights do not enter the count.
void EmbeddingTable::finish_bags(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const {
  if (values.pooling == Pooling::sum) return;
  for (std::size_t bag = begin; bag < end; ++bag) {
    float* row = out.data + bag * out.stride;
    const std::size_t count = counted(values, bag);
    if (count == 0) {
      std::fill_n(row, parts_.dim, 0.0F);
    } else if (values.pooling == Pooling::mean) {
      const float share = 1.0F / static_cast<float>(count);
      for (std::size_t j = 0; j < parts_.dim; ++j) row[j] *= share;
    }
  }
}

void EmbeddingTable::pool(const BagValues& values, OutputRows out, std::size_t threads, Monitor* monitor) const {
  const std::size_t bags = values.offsets.size() - 1;
  const std::size_t rows = offset(values, bags);
  count(rows);
  parallel_for(
      bags, threads, grain(rows + bags, bags),
      [&](std::size_t begin, std::size_t end, std::size_t) { pool_range(values, begin, end, out); }, monitor);
}

void check_offsets(std::span<const std::int64_t> offsets, std::size_t values) {
  const auto refuse = [&](const std::string& want, std::size_t i) {
    throw ArgumentError(expected("offsets", want, std::to_string(offsets[i]) + " at position " + std::to_string(i)));
  };
  if (offsets.empty()) throw ArgumentError(expected("offsets", "shape (bags + 1,)", "an empty array"));
  if (offsets.front() != 0) refuse("a start at 0", 0);
  for (std::size_t i = 1; i < offsets.size(); ++i)
    if (offsets[i] < offsets[i - 1]) refuse("a sequence that never decreases", i);
  if (static_cast<std::size_t>(offsets.back()) != values)
    refuse("an end at " + std::to_string(values) + ", the number of values", offsets.size() - 1);
}

}  // namespace semblance
