// Pooling of jagged bags: whole bags are resolved and summed together, so that prefetching crosses their borders.
#include <algorithm>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "table/resolver.hpp"

namespace semblance {
namespace {

std::size_t offset(const BagValues& values, std::size_t bag) { return static_cast<std::size_t>(values.offsets[bag]); }

const float* weights_at(const BagValues& values, std::size_t first) {
  return values.weights ? values.weights + first : nullptr;
}

kernels::PoolRows kernel_of(const kernels::TableKernels& kernels, Pooling pooling, TableFormat format) {
  const auto f = static_cast<std::size_t>(format);
  return pooling == Pooling::max ? kernels.pool_max[f] : kernels.pool_sum[f];
}

}  // namespace

// The end of the longest run of whole bags from `begin` on that one chunk holds; `begin` where the first is too long.
std::size_t Table::whole_bags(const BagValues& values, std::size_t begin, std::size_t end) const {
  const std::size_t limit = offset(values, begin) + chunks_.rows;
  while (begin < end && offset(values, begin + 1) <= limit) ++begin;
  return begin;
}

void Table::pool_range(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const {
  const kernels::PoolRows pool_rows = kernel_of(kernels_, values.pooling, format_);
  Resolver resolve(*this);
  for (std::size_t bag = begin; bag < end;) {
    const std::size_t last = whole_bags(values, bag, end);
    if (last == bag) {
      pool_long_bag(values, bag, resolve, out);
      ++bag;
      continue;
    }
    const std::size_t first = offset(values, bag);
    const RowPointer* rows = resolve(values.keys + first, offset(values, last) - first);
    const kernels::Bags bags = {rows, weights_at(values, first), values.offsets.data() + bag, last - bag, false};
    pool_rows(bags, dim_, out.from(bag).data, out.stride);
    bag = last;
  }
  finish_bags(values, begin, end, out);
}

void Table::pool_long_bag(const BagValues& values, std::size_t bag, Resolver& resolve, OutputRows out) const {
  const kernels::PoolRows pool_rows = kernel_of(kernels_, values.pooling, format_);
  const std::size_t begin = offset(values, bag), end = offset(values, bag + 1);
  for (std::size_t first = begin; first < end; first += chunks_.rows) {
    stop_if_asked();
    const std::size_t count = std::min(chunks_.rows, end - first);
    const RowPointer* rows = resolve(values.keys + first, count);
    const std::int64_t piece[2] = {0, static_cast<std::int64_t>(count)};
    pool_rows({rows, weights_at(values, first), piece, 1, first != begin}, dim_, out.from(bag).data, out.stride);
  }
}

std::size_t Table::counted(const BagValues& values, std::size_t bag) const {
  const std::size_t begin = offset(values, bag), end = offset(values, bag + 1);
  if (!policy_.padding) return end - begin;
  return end - begin - static_cast<std::size_t>(std::count(values.keys + begin, values.keys + end, *policy_.padding));
}

// Means multiply by the reciprocal of the count, as FBGEMM does; weights do not enter the count.
void Table::finish_bags(const BagValues& values, std::size_t begin, std::size_t end, OutputRows out) const {
  if (values.pooling == Pooling::sum) return;
  for (std::size_t bag = begin; bag < end; ++bag) {
    float* row = out.data + bag * out.stride;
    const std::size_t count = counted(values, bag);
    if (count == 0) {
      std::fill_n(row, dim_, 0.0F);
    } else if (values.pooling == Pooling::mean) {
      const float share = 1.0F / static_cast<float>(count);
      for (std::size_t j = 0; j < dim_; ++j) row[j] *= share;
    }
  }
}

void Table::pool(const BagValues& values, OutputRows out, std::size_t threads, Monitor* monitor) const {
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
