#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "core/rng.hpp"
#include "table/row_source.hpp"

namespace semblance {
namespace {

constexpr std::size_t kPieceNumbers = 256;
constexpr std::size_t kScratchFloats = 8 * 1024;

template <class Code>
void read_codes(const CodeColumn& codes, std::span<const std::int64_t> numbers, std::int64_t* rows) {
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    Code code;
    std::memcpy(&code, codes.data + static_cast<std::size_t>(numbers[i]) * codes.step, sizeof code);
    rows[i] = code;
  }
}

// rows[i] = the part's row for numbers[i].
void part_rows(const Part& part, std::span<const std::int64_t> numbers, std::int64_t* rows) {
  const std::size_t count = numbers.size();
  switch (part.rule) {
    case PartRule::row:
      std::copy_n(numbers.data(), count, rows);
      return;
    case PartRule::quotient:
    case PartRule::remainder:
      for (std::size_t i = 0; i < count; ++i) {
        const auto number = static_cast<std::uint64_t>(numbers[i]);
        const bool quotient = part.rule == PartRule::quotient;
        rows[i] = static_cast<std::int64_t>(quotient ? number / part.parameter : number % part.parameter);
      }
      return;
    case PartRule::hash: {
      const std::size_t size = part.table->size();
      for (std::size_t i = 0; i < count; ++i)
        rows[i] = static_cast<std::int64_t>(hashed_row(numbers[i], part.parameter, size));
      return;
    }
    case PartRule::codes:
      return part.codes.bytes == 1 ? read_codes<std::uint8_t>(part.codes, numbers, rows)
                                   : read_codes<std::uint16_t>(part.codes, numbers, rows);
  }
}

std::size_t width(const std::vector<Part>& parts, Combine combine) {
  std::size_t total = 0, widest = 0;
  for (const Part& part : parts) {
    total += part.table->dim();
    widest = std::max(widest, part.table->dim());
  }
  return combine == Combine::concat ? total : widest;
}

struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Multiply {
  float operator()(float a, float b) const { return a * b; }
};

class ComposedRows final : public RowSource {
 public:
  ComposedRows(std::vector<Part> parts, Combine combine)
      : parts_(std::move(parts)), combine_(combine), dim_(width(parts_, combine)) {
    for (const Part& part : parts_) row_bytes_ += part.table->row_bytes() + part.codes.bytes;
  }

  std::size_t dim() const override { return dim_; }
  std::size_t row_bytes() const override { return row_bytes_; }

  void make(std::span<const std::int64_t> numbers, OutputRows out) const override {
    const bool side_by_side = combine_ == Combine::concat;
    const std::size_t piece =
        side_by_side ? kPieceNumbers : std::clamp<std::size_t>(kScratchFloats / dim_, 1, kPieceNumbers);
    const auto scratch = side_by_side ? nullptr : std::make_unique_for_overwrite<float[]>(piece * dim_);
    for (std::size_t first = 0; first < numbers.size(); first += piece) {
      const auto some = numbers.subspan(first, std::min(piece, numbers.size() - first));
      if (side_by_side) {
        lay_side_by_side(some, out.from(first));
      } else {
        combine(some, out.from(first), scratch.get());
      }
    }
  }

  bool add_scores(const float* query, std::span<const std::int64_t> numbers, float* out) const override {
    if (combine_ == Combine::multiply || has_narrow_part()) return false;
    std::int64_t rows[kPieceNumbers];
    float scores[kPieceNumbers];
    for (std::size_t first = 0; first < numbers.size(); first += kPieceNumbers) {
      const auto some = numbers.subspan(first, std::min(kPieceNumbers, numbers.size() - first));
      const float* slice = query;
      for (const Part& part : parts_) {
        part_rows(part, some, rows);
        part.table->score_range(slice, {rows, some.size()}, scores);
        for (std::size_t i = 0; i < some.size(); ++i) out[first + i] += scores[i];
        if (combine_ == Combine::concat) slice += part.table->dim();
      }
    }
    return true;
  }

  void prefetch(std::span<const std::int64_t> numbers) const override {
    std::int64_t rows[kPieceNumbers];
    for (const Part& part : parts_) {
      if (part.rule == PartRule::codes) {
        for (const std::int64_t n : numbers)
          __builtin_prefetch(part.codes.data + static_cast<std::size_t>(n) * part.codes.step);
        return;  // all parts' codes of a number lie together
      }
      part_rows(part, numbers, rows);
      part.table->prefetch({rows, numbers.size()});
    }
  }

 private:
  bool has_narrow_part() const {
    return combine_ != Combine::concat &&
           std::any_of(parts_.begin(), parts_.end(), [&](const Part& part) { return part.table->dim() != dim_; });
  }

  void lay_side_by_side(std::span<const std::int64_t> numbers, OutputRows out) const {
    std::int64_t rows[kPieceNumbers];
    for (const Part& part : parts_) {
      part_rows(part, numbers, rows);
      part.table->lookup_range({rows, numbers.size()}, out);
      out.data += part.table->dim();
    }
  }

  void combine(std::span<const std::int64_t> numbers, OutputRows out, float* scratch) const {
    std::int64_t rows[kPieceNumbers];
    bool first = true;
    for (const Part& part : parts_) {
      part_rows(part, numbers, rows);
      const std::size_t columns = part.table->dim();
      if (first && columns == dim_) {
        part.table->lookup_range({rows, numbers.size()}, out);
      } else {
        part.table->lookup_range({rows, numbers.size()}, {scratch, columns});
        for (std::size_t i = 0; i < numbers.size(); ++i) merge(out.from(i).data, scratch + i * columns, columns, first);
      }
      first = false;
    }
  }

  void merge(float* row, const float* part, std::size_t columns, bool first) const {
    if (first) {
      for (std::size_t j = 0; j < dim_; ++j) row[j] = part[0];  // the one part that may be narrower has one column
    } else if (combine_ == Combine::sum) {
      merge_with(Add{}, row, part, columns);
    } else {
      merge_with(Multiply{}, row, part, columns);
    }
  }

  template <class Rule>
  void merge_with(Rule rule, float* row, const float* part, std::size_t columns) const {
    if (columns == dim_) {
      for (std::size_t j = 0; j < dim_; ++j) row[j] = rule(row[j], part[j]);
    } else {
      for (std::size_t j = 0; j < dim_; ++j) row[j] = rule(row[j], part[0]);
    }
  }

  std::vector<Part> parts_;
  Combine combine_;
  std::size_t dim_, row_bytes_ = 0;
};

}  // namespace

std::uint64_t hashed_row(std::int64_t number, std::uint64_t salt, std::uint64_t rows) {
  __extension__ using Wide = unsigned __int128;
  const std::uint64_t hash = mix64(static_cast<std::uint64_t>(number) ^ mix64(salt));
  return static_cast<std::uint64_t>(static_cast<Wide>(hash) * rows >> 64);
}

std::unique_ptr<RowSource> composed_rows(std::vector<Part> parts, Combine combine) {
  return std::make_unique<ComposedRows>(std::move(parts), combine);
}

}  // namespace semblance
