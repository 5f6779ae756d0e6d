// Rows that are not stored one after the other: made, when they are asked for, of parts or of a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "table/table.hpp"

namespace semblance {

class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual std::size_t dim() const = 0;
  virtual std::size_t row_bytes() const = 0;  // memory that making one row touches
  // Writes the rows of these numbers; every number is one that the source has.
  virtual void make(std::span<const std::int64_t> numbers, OutputRows out) const = 0;
  // out[i] += the dot product of the query, f32[dim], and the row of numbers[i]. False: not offered, make the rows.
  virtual bool add_scores(const float*, std::span<const std::int64_t>, float*) const { return false; }
  virtual void prefetch(std::span<const std::int64_t>) const {}
};

// Which row of a part a number takes. `hash` maps the number with `parameter` as salt, see `hashed_row`.
enum class PartRule : std::uint8_t { row, quotient, remainder, hash, codes };

// One column of a matrix of codes; `bytes` is the width of a code, 1 or 2.
struct CodeColumn {
  const std::byte* data = nullptr;
  std::size_t step = 0;  // bytes from one number's code to the next's
  std::size_t bytes = 1;
};

struct Part {
  const Table* table;
  PartRule rule;
  std::uint64_t parameter = 0;  // divisor or salt
  CodeColumn codes = {};
};

// Side by side, added, or multiplied; under `sum` and `multiply` a part of one column counts for every column.
enum class Combine : std::uint8_t { concat, sum, multiply };

// The row that a number takes among `rows` rows under a salt: even, and independent between salts. Trained tables
// depend on it, so it never changes: high64(mix64(number ^ mix64(salt)) * rows).
std::uint64_t hashed_row(std::int64_t number, std::uint64_t salt, std::uint64_t rows);

// Rows put together from rows of smaller tables: hashing with several chunks, quotient and remainder, codebooks.
std::unique_ptr<RowSource> composed_rows(std::vector<Part> parts, Combine combine);

// Tables one after the other under one numbering, narrower rows filled up with zeros: numbers from starts[p] on are
// rows of tables[p]; starts has one more entry, the end.
std::unique_ptr<RowSource> mixed_rows(std::vector<const Table*> tables, std::vector<std::int64_t> starts);

enum class Distribution : std::uint8_t { normal, uniform };

// Independent values of mean 0 and the given standard deviation, from (seed, number, column) alone. Integer arithmetic
// up to the last multiplication, so they are the same bits everywhere. `normal`: 64 coin flips and a uniform dither,
// (popcount - 32 + u) / sqrt(16 + 1 / 12), which has the normal moments up to the third and kurtosis 2.97.
struct Seeded {
  std::size_t dim;
  std::uint64_t seed;
  float deviation;
  Distribution distribution;
};
std::unique_ptr<RowSource> seeded_rows(const Seeded& parameters);

}  // namespace semblance
