#include <algorithm>
#include <utility>

#include "table/row_source.hpp"

namespace semblance {
namespace {

constexpr std::size_t kPieceNumbers = 256;

class MixedRows final : public RowSource {
 public:
  MixedRows(std::vector<const Table*> tables, std::vector<std::int64_t> starts)
      : tables_(std::move(tables)), starts_(std::move(starts)) {
    for (const Table* table : tables_) {
      dim_ = std::max(dim_, table->dim());
      row_bytes_ = std::max(row_bytes_, table->row_bytes());
    }
  }

  std::size_t dim() const override { return dim_; }
  std::size_t row_bytes() const override { return row_bytes_; }

  void make(std::span<const std::int64_t> numbers, OutputRows out) const override {
    for (std::size_t first = 0; first < numbers.size();) {
      const std::size_t part = part_of(numbers[first]);
      std::int64_t rows[kPieceNumbers];
      std::size_t count = 0;
      while (count < kPieceNumbers && first + count < numbers.size() && holds(part, numbers[first + count])) {
        rows[count] = numbers[first + count] - starts_[part];
        ++count;
      }
      tables_[part]->lookup_range({rows, count}, out.from(first));
      for (std::size_t i = 0; i < count; ++i) {
        float* row = out.from(first + i).data;
        std::fill(row + tables_[part]->dim(), row + dim_, 0.0F);
      }
      first += count;
    }
  }

  void prefetch(std::span<const std::int64_t> numbers) const override {
    for (const std::int64_t number : numbers) {
      const std::size_t part = part_of(number);
      const std::int64_t row = number - starts_[part];
      tables_[part]->prefetch({&row, 1});
    }
  }

 private:
  std::size_t part_of(std::int64_t number) const {
    return static_cast<std::size_t>(std::upper_bound(starts_.begin() + 1, starts_.end() - 1, number) -
                                    starts_.begin()) -
           1;
  }
  bool holds(std::size_t part, std::int64_t number) const {
    return number >= starts_[part] && number < starts_[part + 1];
  }

  std::vector<const Table*> tables_;
  std::vector<std::int64_t> starts_;
  std::size_t dim_ = 0, row_bytes_ = 0;
};

}  // namespace

std::unique_ptr<RowSource> mixed_rows(std::vector<const Table*> tables, std::vector<std::int64_t> starts) {
  return std::make_unique<MixedRows>(std::move(tables), std::move(starts));
}

}  // namespace semblance
