// Embedding tables on a card, in plain C++: rows, jagged bags of them, and the pooling of many tables in one launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>

#include "api.hpp"
#include "table_kernels.hpp"

namespace semblance::cuda {

using kernels::TableFormat;

// On the card a row's codes begin at a multiple of 16 bytes, so that a lane takes 16 columns with one load, and heads
// lie apart, one after the other: a row of 64 bytes is two sectors of 32 bytes instead of three, and heads are few
// enough to stay in the L2 cache while a table is read.
struct CardRows {
  TableFormat format;
  std::uint32_t dim;
  std::byte* codes;      // of the card
  std::uint32_t* heads;  // of the card; null where the format has none
  std::int64_t count;    // rows or, of a cache, slots
};
std::size_t card_code_bytes(TableFormat format, std::size_t dim);  // of a row
std::size_t card_bytes(TableFormat format, std::size_t dim, std::size_t rows);
// How `card_bytes` of memory hold rows.
CardRows card_rows(TableFormat format, std::size_t dim, std::byte* memory, std::size_t rows);

struct RowMove {
  std::int64_t from, to;
};

// Rows as the CPU keeps them, at an address that the card can read, become rows of the card: row moves[i].from goes to
// moves[i].to, or row i to `first` + i where `moves` is null. `moves` lies on the card.
struct PackRows {
  const std::byte* rows;
  const RowMove* moves;
  std::int64_t first;
  std::size_t count;
};
void pack_rows(const CardRows& to, const PackRows& what, Stream stream);

// Host memory that the card reads in place, over the bus.
class PinnedRows {
 public:
  // Pins the memory itself where the system allows that, else a copy of it.
  PinnedRows(const std::byte* rows, std::size_t bytes);
  ~PinnedRows();
  PinnedRows(const PinnedRows&) = delete;
  PinnedRows& operator=(const PinnedRows&) = delete;
  const std::byte* on_card() const { return on_card_; }

 private:
  void release();

  void* pinned_ = nullptr;
  void* copy_ = nullptr;
  const std::byte* on_card_ = nullptr;
};

// Pinned host memory through which keys go to the card, in one copy a call: the caller's arrays are free at once.
class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Waits until what was sent before is on its way no more, lets `fill` write, and sends that.
  void send(std::byte* to, std::size_t bytes, const std::function<void(std::byte*)>& fill, Stream stream);

 private:
  void reserve(std::size_t bytes);

  std::mutex turn_;
  void* memory_ = nullptr;
  void* event_ = nullptr;  // a cudaEvent_t: the last copy is done
  std::size_t bytes_ = 0;
};

enum class BagMode : std::uint8_t { sum, mean, max };

// Numbers of rows that are none, where a field's numbers are `resolved`: zeros, and not there at all.
inline constexpr std::int64_t kZeroRow = -1, kPaddingRow = -2;

// One table's bags. Pointers are the card's.
struct BagField {
  CardRows table;
  const std::int64_t* values;   // row numbers of all bags, one bag after the other
  const std::int64_t* offsets;  // bag b is values[offsets[b]] to values[offsets[b + 1]]; null: one value a bag
  const float* weights;         // one a value, or null for ones
  std::int64_t value_count;     // an offset that is negative or beyond it counts as it
  std::size_t column;           // of the output
  std::int64_t missing;         // the row that stands for unknown numbers, or kZeroRow
  std::int64_t padding;         // a number that is no row at all, or kPaddingRow where no number is
  BagMode mode;
  bool resolved;  // numbers are the answers of EmbeddingTable::row_numbers or slots, not the caller's
};

struct BagOutput {
  float* data;  // (bags, stride), of the card
  std::size_t stride, bags;
};

inline constexpr std::size_t kMaxBagFields = 64;  // of one launch; more take several

// Looks up, decodes and pools the bags of all fields, each into its own columns. Allocates nothing and may be captured
// in a CUDA graph. Bits: every element is one chain of fused multiply-adds in the order of the bag, as on the CPU
// (kernels/table_kernels.hpp), so results equal the CPU's in every format. Where `unknown` is given (on the card), the
// number of values that name no row is added to it.
void pool_bags(const BagField* fields, std::size_t count, const BagOutput& out, std::uint64_t* unknown, Stream stream);

}  // namespace semblance::cuda
