// Embedding bags: rows of quantised tables are looked up, decoded and pooled, all tables in one launch.
//
// A group of lanes takes a bag: each lane some columns, so that the group reads a row with one load of up to 16 bytes a
// lane, and goes down the bag's rows in their order. Groups never meet, so there is no barrier. What limits it: bytes
// of rows (a row is whole sectors of 32 bytes), as long as enough loads are under way; hence kRowsAhead, and row
// numbers are asked for a round before they are needed.
#include <algorithm>
#include <cstring>
#include <utility>

#include "check.cuh"
#include "table_api.hpp"
#include "warp.cuh"

namespace semblance::cuda {
namespace {

using kernels::has_row_head;
using kernels::row_code_bytes;
using kernels::row_head_bytes;

constexpr unsigned kThreads = 128;
constexpr unsigned kBlocks = 6;  // of a multiprocessor at least
constexpr int kRowsAhead = 4;

struct FieldList {
  BagField fields[kMaxBagFields];
};

// ---- kernel: decoding

// A small integer in the mantissa of 2^23, less 2^23: fast instructions where a conversion is a slow one.
__device__ inline float small_integer(std::uint32_t code) {
  return __fsub_rn(__uint_as_float(code | 0x4B000000U), 8388608.0F);
}
// The same of a byte of a word, which one permutation puts under the exponent.
__device__ inline float byte_integer(std::uint32_t word, int byte) {
  return __fsub_rn(__uint_as_float(__byte_perm(word, 0x4B000000U, 0x7540U | static_cast<unsigned>(byte))), 8388608.0F);
}
// An fp8 code moved into a half's bits is its value times 2^-8 (bias 15 for bias 7); two of a word's four at a time.
constexpr float kFp8Unit = 256.0F;
__device__ inline float fp8_part(std::uint32_t word, int byte) {
  const std::uint32_t high = byte % 2 == 1 ? word : word << 8;  // both in the upper byte of a half
  const std::uint32_t halves = (high & 0x80008000U) | (high >> 1 & 0x3F803F80U);
  return byte < 2 ? half_of<0>(halves) : half_of<1>(halves);
}

// What a lane loads of a row, and the columns that it holds.
template <TableFormat f>
struct Piece {
  static constexpr int kBits = f == TableFormat::f32                             ? 32
                               : f == TableFormat::f16 || f == TableFormat::bf16 ? 16
                               : f == TableFormat::i4                            ? 4
                               : f == TableFormat::i2                            ? 2
                                                                                 : 8;
  static constexpr int kColumns = kBits == 32 ? 4 : kBits == 16 ? 8 : 16;
  static constexpr int kWords = kColumns * kBits / 32;
  static constexpr bool kHead = has_row_head(f);
  std::uint32_t words[kWords];

  __device__ void load(const std::byte* at) {
    if constexpr (kWords == 4) {
      const uint4 x = __ldg(reinterpret_cast<const uint4*>(at));
      words[0] = x.x, words[1] = x.y, words[2] = x.z, words[3] = x.w;
    } else if constexpr (kWords == 2) {
      const uint2 x = __ldg(reinterpret_cast<const uint2*>(at));
      words[0] = x.x, words[1] = x.y;
    } else {
      words[0] = __ldg(reinterpret_cast<const std::uint32_t*>(at));
    }
  }

  __device__ float value(int column) const {
    const std::uint32_t word = words[column * kBits / 32];
    const int shift = column * kBits % 32;
    if constexpr (f == TableFormat::f32) return __uint_as_float(word);
    if constexpr (f == TableFormat::f16) return half_to_float(static_cast<std::uint16_t>(word >> shift));
    if constexpr (f == TableFormat::bf16) return bf16_to_float(static_cast<std::uint16_t>(word >> shift));
    if constexpr (f == TableFormat::i8) return byte_integer(word, shift / 8);
    if constexpr (f == TableFormat::fp8) return fp8_part(word, shift / 8);
    return small_integer(word >> shift & ((1U << (kBits % 32)) - 1U));
  }
};

struct Head {
  float scale, bias;
};

template <TableFormat f>
__device__ inline Head weighted_head(std::uint32_t bits, float weight) {
  if constexpr (!Piece<f>::kHead) return {weight, 0.0F};
  const float scale = __fmul_rn(half_to_float(static_cast<std::uint16_t>(bits)), weight);
  const float bias = __fmul_rn(half_to_float(static_cast<std::uint16_t>(bits >> 16)), weight);
  return {f == TableFormat::fp8 ? __fmul_rn(scale, kFp8Unit) : scale, bias};
}

// ---- kernel: pooling, the CPU's rules word for word

struct SumOfRows {
  static constexpr float kStart = 0.0F;
  template <TableFormat f>
  __device__ static float step(float sum, float code, Head head) {
    if constexpr (Piece<f>::kHead) sum = __fadd_rn(sum, head.bias);
    return __fmaf_rn(code, head.scale, sum);
  }
  __device__ static float zero_row(float sum) { return sum; }
};

struct MaxOfRows {
  static constexpr float kStart = -__builtin_huge_valf();
  template <TableFormat f>
  __device__ static float step(float best, float code, Head head) {
    if constexpr (Piece<f>::kHead) code = __fmaf_rn(code, head.scale, head.bias);
    return best > code ? best : code;
  }
  __device__ static float zero_row(float best) { return best > 0.0F ? best : 0.0F; }
};

// A lane's columns of a bag: `offset` is where they are in a row's codes, `column` the first of them.
struct Lane {
  std::uint32_t stride, offset, column;
  std::uint64_t* unknown;  // what counts unknown numbers, for the first lane of a bag
};

// The row that a number stands for, or kZeroRow or kPaddingRow.
__device__ inline std::int64_t row_of(const BagField& field, const Lane& lane, std::int64_t number) {
  const bool is_row = static_cast<std::uint64_t>(number) < static_cast<std::uint64_t>(field.table.count);
  if (is_row && number != field.padding) return number;
  if (field.padding != kPaddingRow && number == field.padding) return kPaddingRow;
  if (field.resolved && number < 0) return number == kPaddingRow ? kPaddingRow : kZeroRow;
  if (lane.unknown != nullptr) atomicAdd(reinterpret_cast<unsigned long long*>(lane.unknown), 1ULL);
  return field.missing;
}

template <TableFormat f>
struct Loaded {
  std::int64_t row;
  float weight;
  std::uint32_t head;
  Piece<f> piece;
};

template <TableFormat f>
__device__ inline void load_row(const BagField& field, const Lane& lane, std::int64_t at, Loaded<f>& to) {
  if (to.row < 0) return;
  to.weight = field.weights != nullptr ? __ldg(field.weights + at) : 1.0F;
  if constexpr (Piece<f>::kHead) to.head = __ldg(field.table.heads + to.row);
  to.piece.load(field.table.codes + to.row * lane.stride + lane.offset);
}

__device__ inline void load_numbers(const BagField& field, std::int64_t at, std::int64_t end,
                                    std::int64_t (&numbers)[kRowsAhead]) {
#pragma unroll
  for (int i = 0; i < kRowsAhead; ++i) numbers[i] = at + i < end ? __ldg(field.values + at + i) : 0;
}

template <class Rule, TableFormat f>
__device__ inline void add_row(float (&sums)[Piece<f>::kColumns], const Loaded<f>& loaded) {
  if (loaded.row == kPaddingRow) return;
  if (loaded.row == kZeroRow) {
    for (float& sum : sums) sum = Rule::zero_row(sum);
    return;
  }
  const Head head = weighted_head<f>(loaded.head, loaded.weight);
#pragma unroll
  for (int j = 0; j < Piece<f>::kColumns; ++j) sums[j] = Rule::template step<f>(sums[j], loaded.piece.value(j), head);
}

template <int kColumns>
__device__ inline void store_columns(float* out, const float (&sums)[kColumns], std::uint32_t columns) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
#pragma unroll
  for (int j = 0; j < kColumns; j += 4) {
    if (aligned && static_cast<std::uint32_t>(j) + 4 <= columns) {
      __stcs(reinterpret_cast<float4*>(out + j), make_float4(sums[j], sums[j + 1], sums[j + 2], sums[j + 3]));
    } else {
#pragma unroll
      for (int i = j; i < j + 4; ++i)
        if (static_cast<std::uint32_t>(i) < columns) out[i] = sums[i];
    }
  }
}

// Where a bag begins; offsets of the card are nobody's to check: one that is no place among the values is their end.
__device__ inline std::int64_t begin_of(const BagField& field, std::int64_t bag) {
  const std::int64_t begin = __ldg(field.offsets + bag);
  return static_cast<std::uint64_t>(begin) < static_cast<std::uint64_t>(field.value_count) ? begin : field.value_count;
}

template <class Rule, TableFormat f>
__device__ inline void pool_bag(const BagField& field, const Lane& lane, std::size_t bag, const BagOutput& out) {
  constexpr int kColumns = Piece<f>::kColumns;
  const auto number = static_cast<std::int64_t>(bag);
  std::int64_t at = field.offsets != nullptr ? begin_of(field, number) : number;
  const std::int64_t end = field.offsets != nullptr ? begin_of(field, number + 1) : number + 1;
  float sums[kColumns];
#pragma unroll
  for (float& sum : sums) sum = Rule::kStart;
  std::int64_t counted = 0, numbers[kRowsAhead];
  load_numbers(field, at, end, numbers);
  while (at < end) {
    Loaded<f> loaded[kRowsAhead];
#pragma unroll
    for (int i = 0; i < kRowsAhead; ++i) loaded[i].row = at + i < end ? row_of(field, lane, numbers[i]) : kPaddingRow;
#pragma unroll
    for (int i = 0; i < kRowsAhead; ++i) load_row<f>(field, lane, at + i, loaded[i]);
    at += kRowsAhead;
    load_numbers(field, at, end, numbers);
#pragma unroll
    for (int i = 0; i < kRowsAhead; ++i) {
      counted += loaded[i].row != kPaddingRow;
      add_row<Rule, f>(sums, loaded[i]);
    }
  }
  if (field.mode != BagMode::sum) {
    const float share = __fdiv_rn(1.0F, static_cast<float>(counted));
    for (float& sum : sums) sum = counted == 0 ? 0.0F : field.mode == BagMode::mean ? __fmul_rn(sum, share) : sum;
  }
  store_columns<kColumns>(out.data + bag * out.stride + field.column + lane.column, sums,
                          field.table.dim - lane.column);
}

// ---- kernel: which lanes take what

// Lanes a bag: the least power of two that holds the row; rows beyond 32 pieces are cut into segments.
struct Shape {
  unsigned lanes, segments;
};

__host__ __device__ inline Shape shape_of(unsigned pieces) {
  unsigned lanes = 1;
  while (lanes < 32 && lanes < pieces) lanes *= 2;
  return {lanes, (pieces + lanes - 1) / lanes};
}

template <TableFormat f>
__device__ inline void pool_field(const BagField& field, const BagOutput& out, std::uint64_t* unknown) {
  using P = Piece<f>;
  const std::uint32_t dim = field.table.dim;
  const unsigned pieces = (dim + P::kColumns - 1) / P::kColumns;
  const Shape shape = shape_of(pieces);
  const std::size_t group = (static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x) / shape.lanes;
  const std::size_t bag = group / shape.segments;
  const auto piece = static_cast<unsigned>(group % shape.segments) * shape.lanes + threadIdx.x % shape.lanes;
  if (bag >= out.bags || piece >= pieces) return;
  const std::uint32_t stride = ((dim * P::kBits + 7) / 8 + 15) / 16 * 16;
  const Lane lane = {stride, piece * P::kWords * 4U, piece * P::kColumns, piece == 0 ? unknown : nullptr};
  if (field.mode == BagMode::max) {
    pool_bag<MaxOfRows, f>(field, lane, bag, out);
  } else {
    pool_bag<SumOfRows, f>(field, lane, bag, out);
  }
}

// Blocks (x) of the field y.
__global__ void __launch_bounds__(kThreads, kBlocks)
    pool_bags_kernel(const __grid_constant__ FieldList list, const BagOutput out, std::uint64_t* unknown) {
  const BagField field = list.fields[blockIdx.y];  // a copy: in registers, not read again for every row
  switch (field.table.format) {
    case TableFormat::f32:
      return pool_field<TableFormat::f32>(field, out, unknown);
    case TableFormat::f16:
      return pool_field<TableFormat::f16>(field, out, unknown);
    case TableFormat::bf16:
      return pool_field<TableFormat::bf16>(field, out, unknown);
    case TableFormat::i8:
      return pool_field<TableFormat::i8>(field, out, unknown);
    case TableFormat::i4:
      return pool_field<TableFormat::i4>(field, out, unknown);
    case TableFormat::i2:
      return pool_field<TableFormat::i2>(field, out, unknown);
    case TableFormat::fp8:
      return pool_field<TableFormat::fp8>(field, out, unknown);
  }
}

struct RowBytes {
  std::uint32_t head, codes, card_codes;
};

// A warp takes a row, as words or bytes. All that a lane reads is asked for before any of it is written: it may come
// over the bus.
template <class Unit>
__device__ inline void pack_row(const std::byte* row, std::uint32_t* head, std::byte* codes, const RowBytes& bytes) {
  constexpr unsigned kAhead = 4;
  const auto* from = reinterpret_cast<const Unit*>(row);
  const unsigned heads = bytes.head / sizeof(Unit), given = heads + bytes.codes / sizeof(Unit);
  const unsigned all = heads + bytes.card_codes / sizeof(Unit);
  for (unsigned first = lane(); first < all; first += kWarp * kAhead) {
    Unit units[kAhead];
#pragma unroll
    for (unsigned i = 0; i < kAhead; ++i) {
      const unsigned at = first + i * kWarp;
      units[i] = at < given ? __ldg(from + at) : Unit{0};
    }
#pragma unroll
    for (unsigned i = 0; i < kAhead; ++i) {
      const unsigned at = first + i * kWarp;
      if (at < heads)
        reinterpret_cast<Unit*>(head)[at] = units[i];
      else if (at < all)
        reinterpret_cast<Unit*>(codes)[at - heads] = units[i];
    }
  }
}

// Rows as the CPU keeps them may start anywhere.
__global__ void __launch_bounds__(kThreads)
    pack_rows_kernel(const CardRows to, const PackRows what, const RowBytes bytes) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * (kThreads / kWarp) + warp();
  if (i >= what.count) return;
  const auto number = static_cast<std::int64_t>(i);
  const RowMove move = what.moves != nullptr ? what.moves[i] : RowMove{number, what.first + number};
  const std::byte* row = what.rows + move.from * (bytes.head + bytes.codes);
  std::byte* codes = to.codes + move.to * bytes.card_codes;
  std::uint32_t* head = bytes.head > 0 ? to.heads + move.to : nullptr;
  if ((reinterpret_cast<std::uintptr_t>(row) | bytes.codes) % 4 == 0)
    pack_row<std::uint32_t>(row, head, codes, bytes);
  else
    pack_row<std::uint8_t>(row, head, codes, bytes);
}

unsigned columns_of(TableFormat format) {
  if (format == TableFormat::f32) return Piece<TableFormat::f32>::kColumns;
  if (has_row_head(format)) return Piece<TableFormat::i8>::kColumns;
  return Piece<TableFormat::f16>::kColumns;
}

unsigned blocks_of(const BagField& field, std::size_t bags) {
  const unsigned columns = columns_of(field.table.format);
  const Shape shape = shape_of((field.table.dim + columns - 1) / columns);
  return blocks_for(bags * shape.segments * shape.lanes, kThreads);
}

}  // namespace

// ---- launchers

std::size_t card_code_bytes(TableFormat format, std::size_t dim) {
  return (row_code_bytes(format, dim) + 15) / 16 * 16;
}

std::size_t card_bytes(TableFormat format, std::size_t dim, std::size_t rows) {
  return rows * (card_code_bytes(format, dim) + row_head_bytes(format));
}

CardRows card_rows(TableFormat format, std::size_t dim, std::byte* memory, std::size_t rows) {
  std::byte* const heads = has_row_head(format) ? memory + rows * card_code_bytes(format, dim) : nullptr;
  return {format, static_cast<std::uint32_t>(dim), memory, reinterpret_cast<std::uint32_t*>(heads),
          static_cast<std::int64_t>(rows)};
}

void pack_rows(const CardRows& to, const PackRows& what, Stream stream) {
  const auto word = [](std::size_t bytes) { return static_cast<std::uint32_t>(bytes); };
  const RowBytes bytes = {word(row_head_bytes(to.format)), word(row_code_bytes(to.format, to.dim)),
                          word(card_code_bytes(to.format, to.dim))};
  launch({"pack_rows", blocks_for(what.count, kThreads / 32), kThreads, 0, stream}, pack_rows_kernel, to, what, bytes);
}

void pool_bags(const BagField* fields, std::size_t count, const BagOutput& out, std::uint64_t* unknown, Stream stream) {
  if (out.bags == 0) return;
  for (std::size_t first = 0; first < count; first += kMaxBagFields) {
    FieldList list{};
    const std::size_t part = std::min(kMaxBagFields, count - first);
    std::copy_n(fields + first, part, list.fields);
    unsigned blocks = 0;
    for (std::size_t f = 0; f < part; ++f) blocks = std::max(blocks, blocks_of(list.fields[f], out.bags));
    launch({"pool_bags", {blocks, static_cast<unsigned>(part)}, kThreads, 0, stream}, pool_bags_kernel, list, out,
           unknown);
  }
}

void Staging::send(std::byte* to, std::size_t bytes, const std::function<void(std::byte*)>& fill, Stream stream) {
  const std::lock_guard turn(turn_);
  if (event_ != nullptr) check(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)), "pinned keys");
  reserve(bytes);
  fill(static_cast<std::byte*>(memory_));
  copy(to, memory_, bytes, stream);
  check(cudaEventRecord(static_cast<cudaEvent_t>(event_), stream_of(stream)), "pinned keys");
}

void Staging::reserve(std::size_t bytes) {
  if (event_ == nullptr) {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "pinned keys");
    event_ = event;
  }
  if (bytes <= bytes_) return;
  if (memory_ != nullptr) check(cudaFreeHost(std::exchange(memory_, nullptr)), "pinned keys");
  bytes_ = 0;
  check(cudaHostAlloc(&memory_, bytes + bytes / 2, cudaHostAllocDefault), "pinned keys");
  bytes_ = bytes + bytes / 2;  // batches differ
}

Staging::~Staging() {
  if (event_ != nullptr) {
    static_cast<void>(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)));
    static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(event_)));
  }
  if (memory_ != nullptr) static_cast<void>(cudaFreeHost(memory_));
}

PinnedRows::PinnedRows(const std::byte* rows, std::size_t bytes) {
  void* host = const_cast<std::byte*>(rows);
  for (const unsigned flags : {cudaHostRegisterMapped, cudaHostRegisterMapped | cudaHostRegisterReadOnly}) {
    if (bytes == 0 || pinned_ != nullptr) break;
    if (cudaHostRegister(host, bytes, flags) == cudaSuccess) pinned_ = host;  // mapped files may allow the second alone
    static_cast<void>(cudaGetLastError());
  }
  if (pinned_ == nullptr) {
    check(cudaHostAlloc(&copy_, std::max<std::size_t>(bytes, 1), cudaHostAllocMapped), "pinned rows");
    std::memcpy(copy_, rows, bytes);
    host = copy_;
  }
  void* device = nullptr;
  const cudaError_t error = cudaHostGetDevicePointer(&device, host, 0);
  if (error != cudaSuccess) release();
  check(error, "pinned rows");
  on_card_ = static_cast<const std::byte*>(device);
}

PinnedRows::~PinnedRows() { release(); }

void PinnedRows::release() {
  if (pinned_ != nullptr) static_cast<void>(cudaHostUnregister(pinned_));
  if (copy_ != nullptr) static_cast<void>(cudaFreeHost(copy_));
}

}  // namespace semblance::cuda
