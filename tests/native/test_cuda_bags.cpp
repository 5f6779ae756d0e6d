// Embedding bags as a card runs them, against the tables of the CPU: the same bits.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "check.hpp"
#include "cuda/device.cu"
#include "cuda/embedding_bag.cu"
#include "table/embedding_table.hpp"
#include "table/row_cache.hpp"
#include "table/row_codec.hpp"

using namespace semblance;

namespace {

constexpr std::int64_t kPadding = 7;

struct Twin {
  std::vector<std::byte> rows;
  std::vector<std::byte> missing;
  std::optional<EmbeddingTable> table;
  cuda::Memory memory;
  cuda::CardRows card;
};

std::vector<std::byte> encoded(TableFormat format, std::size_t count, std::size_t dim, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> dense(count * dim);
  for (float& x : dense) x = normal(random) * 3;
  std::vector<std::byte> rows(count * kernels::table_row_bytes(format, dim));
  encode_table_rows(format, {dense.data(), count, dim}, rows.data(), 1);
  return rows;
}

// Of `twin.rows`; unknown keys are the row after the last, or zeros.
void make_of_rows(Twin& twin, TableFormat format, std::size_t count, std::size_t dim, bool has_missing_row) {
  twin.missing = encoded(format, 1, dim, 99);
  TableParts parts;
  parts.format = format;
  parts.dim = dim;
  parts.rows = twin.rows.data();
  parts.row_count = count;
  parts.policy = {has_missing_row ? Missing::row : Missing::zero, has_missing_row ? twin.missing.data() : nullptr,
                  kPadding};
  twin.table.emplace(parts);
  twin.memory = cuda::Memory(cuda::card_bytes(format, dim, count + 1));
  const auto rows = static_cast<std::int64_t>(count);
  twin.card = cuda::card_rows(format, dim, twin.memory.data(), count + 1);
  cuda::pack_rows(twin.card, {twin.rows.data(), nullptr, 0, count}, nullptr);
  cuda::pack_rows(twin.card, {twin.missing.data(), nullptr, rows, 1}, nullptr);
  twin.card.count = rows;  // numbers beyond are unknown
}

void make(Twin& twin, TableFormat format, std::size_t count, std::size_t dim, bool has_missing_row) {
  twin.rows = encoded(format, count, dim, static_cast<unsigned>(dim));
  make_of_rows(twin, format, count, dim, has_missing_row);
}

struct Jagged {
  std::vector<std::int64_t> keys, offsets{0};
  std::vector<float> weights;
};

// Bags of 0 to 11 keys, some of them unknown or padding.
Jagged bags_of(std::size_t bags, std::int64_t rows, unsigned seed) {
  std::mt19937 random(seed);
  Jagged out;
  for (std::size_t b = 0; b < bags; ++b) {
    for (std::size_t i = random() % 12; i > 0; --i) {
      const std::int64_t key = static_cast<std::int64_t>(random() % static_cast<unsigned>(rows + 3));
      out.keys.push_back(random() % 9 == 0 ? kPadding : key - (random() % 30 == 0 ? 2 * rows : 0));
      out.weights.push_back(static_cast<float>(random() % 1000) / 300 - 1);
    }
    out.offsets.push_back(static_cast<std::int64_t>(out.keys.size()));
  }
  return out;
}

cuda::BagField field_of(const Twin& twin, const Jagged& bags, cuda::BagMode mode, bool weighted, std::size_t column) {
  return {twin.card,
          bags.keys.data(),
          bags.offsets.data(),
          weighted ? bags.weights.data() : nullptr,
          static_cast<std::int64_t>(bags.keys.size()),
          column,
          cuda::kZeroRow,
          kPadding,
          mode,
          false};
}

bool same_bits(const float* a, const float* b, std::size_t count) { return std::memcmp(a, b, count * sizeof *a) == 0; }

void check_pool(Twin& twin, bool has_missing_row) {
  const std::size_t dim = twin.table->dim(), bags = 37;
  const Jagged jagged = bags_of(bags, twin.card.count, 5);
  for (const auto mode : {cuda::BagMode::sum, cuda::BagMode::mean, cuda::BagMode::max}) {
    for (const bool weighted : {false, true}) {
      if (weighted && mode == cuda::BagMode::max) continue;
      std::vector<float> expected(bags * dim), got(bags * (dim + 3), -5.0F);
      const std::uint64_t before = twin.table->unknown();
      twin.table->pool(
          {jagged.keys.data(), weighted ? jagged.weights.data() : nullptr, jagged.offsets, static_cast<Pooling>(mode)},
          {expected.data(), dim}, 1, nullptr);
      const std::uint64_t unknown_here = twin.table->unknown() - before;
      cuda::BagField field = field_of(twin, jagged, mode, weighted, 2);
      if (has_missing_row) field.missing = twin.card.count;
      std::uint64_t unknown = 0;
      cuda::pool_bags(&field, 1, {got.data(), dim + 3, bags}, &unknown, nullptr);
      CHECK(unknown == unknown_here && unknown > 0);
      for (std::size_t b = 0; b < bags; ++b) {
        const float* row = &got[b * (dim + 3)];
        CHECK(same_bits(row + 2, &expected[b * dim], dim));
        CHECK(row[0] == -5.0F && row[1] == -5.0F && row[dim + 2] == -5.0F);
      }
    }
  }
}

void check_formats() {
  for (std::size_t f = 0; f < kernels::kTableFormats; ++f)
    for (const std::size_t dim : {1U, 5U, 16U, 33U, 64U, 100U, 300U, 1030U}) {
      const bool has_missing_row = dim % 2 == 0;
      Twin twin;
      make(twin, static_cast<TableFormat>(f), 40, dim, has_missing_row);
      check_pool(twin, has_missing_row);
    }
}

// Every byte of codes at every place of a lane's words, under heads that show a code's last bit.
void check_codes() {
  constexpr std::size_t kRows = 256, kBytes = 32;
  for (const auto format : {TableFormat::i8, TableFormat::i4, TableFormat::i2, TableFormat::fp8})
    for (const auto& [scale, bias] : {std::pair{1.0F, 0.0F}, std::pair{0.013F, -7.5F}}) {
      const std::size_t dim = kBytes / kernels::row_code_bytes(format, 8) * 8;
      const std::uint16_t head[2] = {float_to_half(scale), float_to_half(bias)};
      Twin twin;
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto* bytes = reinterpret_cast<const std::byte*>(head);
        twin.rows.insert(twin.rows.end(), bytes, bytes + sizeof head);
        for (std::size_t b = 0; b < kBytes; ++b) twin.rows.push_back(static_cast<std::byte>(r + b));
      }
      make_of_rows(twin, format, kRows, dim, false);
      std::vector<std::int64_t> keys(kRows);
      std::iota(keys.begin(), keys.end(), 0);
      std::vector<float> got(kRows * dim), expected(kRows * dim);
      const cuda::BagField field{twin.card, keys.data(),    nullptr,  nullptr, kRows,
                                 0,         cuda::kZeroRow, kPadding, {},      false};
      cuda::pool_bags(&field, 1, {got.data(), dim, kRows}, nullptr, nullptr);
      twin.table->lookup(keys, {expected.data(), dim}, 1, nullptr);
      CHECK(same_bits(got.data(), expected.data(), got.size()));
      for (std::size_t i = 0; format == TableFormat::i8 && scale == 1.0F && i < got.size(); ++i)
        CHECK(i / dim == kPadding || got[i] == static_cast<float>((i / dim + i % dim) % 256));
    }
}

// Offsets of the card that are no places among the values: bags end where those do, and begin nowhere.
void check_wild_offsets() {
  Twin twin;
  make(twin, TableFormat::f32, 10, 4, false);
  const std::vector<std::int64_t> keys = {1, 2, 3};
  const std::int64_t least = std::numeric_limits<std::int64_t>::min(), most = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::int64_t> wild = {0, most, 1, -1, least, 2, 4}, tame = {0, 3, 1, 3, 3, 2, 3};
  std::vector<float> got[2];
  for (const bool is_wild : {false, true}) {
    const Jagged bags{keys, is_wild ? wild : tame, {}};
    const cuda::BagField field = field_of(twin, bags, cuda::BagMode::sum, false, 0);
    got[is_wild].assign(6 * 4, -5.0F);
    cuda::pool_bags(&field, 1, {got[is_wild].data(), 4, 6}, nullptr, nullptr);
  }
  CHECK(same_bits(got[0].data(), got[1].data(), got[0].size()));
  CHECK(got[0][0] != 0 && got[0][4] == 0 && got[0][8] != 0);
}

// More fields than one launch takes, of every format, one key a bag or jagged.
void check_groups() {
  const std::size_t fields = cuda::kMaxBagFields + 6, bags = 9;
  std::vector<Twin> twins(fields);
  std::vector<Jagged> inputs(fields);
  std::vector<cuda::BagField> list;
  std::size_t width = 0;
  for (std::size_t f = 0; f < fields; ++f) {
    const std::size_t dim = 4 + f % 5 * 12;
    make(twins[f], static_cast<TableFormat>(f % kernels::kTableFormats), 20, dim, false);
    inputs[f] = bags_of(bags, 20, static_cast<unsigned>(f));
    while (inputs[f].keys.size() < bags) inputs[f].keys.push_back(1);
    list.push_back(field_of(twins[f], inputs[f], cuda::BagMode::sum, false, width));
    if (f % 2 == 1) list.back().offsets = nullptr;
    width += dim;
  }
  std::vector<float> got(bags * width), expected(bags * width);
  cuda::pool_bags(list.data(), fields, {got.data(), width, bags}, nullptr, nullptr);
  for (std::size_t f = 0; f < fields; ++f) {
    const OutputRows out{expected.data() + list[f].column, width};
    const std::span<const std::int64_t> keys(inputs[f].keys);
    if (f % 2 == 1)
      twins[f].table->lookup(keys.first(bags), out, 1, nullptr);
    else
      twins[f].table->pool({keys.data(), nullptr, inputs[f].offsets, Pooling::sum}, out, 1, nullptr);
  }
  CHECK(same_bits(got.data(), expected.data(), got.size()));
}

// Rows that begin anywhere, whole or listed, become the card's: heads, codes, and zeros up to a multiple of 16 bytes.
void check_packing() {
  constexpr std::size_t kRows = 7;
  for (std::size_t f = 0; f < kernels::kTableFormats; ++f)
    for (const std::size_t dim : {1U, 4U, 5U, 64U, 150U, 700U})
      for (const std::size_t skew : {0U, 1U, 4U}) {
        const auto format = static_cast<TableFormat>(f);
        const std::size_t head = kernels::row_head_bytes(format), row = kernels::table_row_bytes(format, dim);
        const std::size_t codes = row - head, card_codes = cuda::card_code_bytes(format, dim);
        const std::vector<std::byte> rows = encoded(format, kRows, dim, 8);
        std::vector<std::byte> skewed(skew);
        skewed.insert(skewed.end(), rows.begin(), rows.end());
        const std::vector<cuda::RowMove> moves = {{6, 0}, {2, 5}, {3, 1}};
        std::vector<std::byte> memory(cuda::card_bytes(format, dim, kRows), std::byte{0xEE}), expected = memory;
        for (const auto& [from, to] : moves) {
          const std::byte* given = rows.data() + static_cast<std::size_t>(from) * row;
          std::byte* place = expected.data() + static_cast<std::size_t>(to) * card_codes;
          std::fill_n(std::copy_n(given + head, codes, place), card_codes - codes, std::byte{0});
          std::copy_n(given, head, expected.data() + kRows * card_codes + static_cast<std::size_t>(to) * head);
        }
        const cuda::CardRows card = cuda::card_rows(format, dim, memory.data(), kRows);
        cuda::pack_rows(card, {skewed.data() + skew, moves.data(), 0, moves.size()}, nullptr);
        CHECK(memory == expected);
      }
}

// A table behind a cache of few slots, rows brought in from pinned memory: the same bits, and rows stay while used.
void check_cache() {
  Twin twin;
  make(twin, TableFormat::i8, 200, 24, false);
  RowCache cache(200, 32);
  const cuda::PinnedRows pinned(twin.rows.data(), twin.rows.size());
  cuda::Memory slots(cuda::card_bytes(TableFormat::i8, 24, 32));
  const cuda::CardRows card = cuda::card_rows(TableFormat::i8, 24, slots.data(), 32);
  std::mt19937 random(3);
  for (int call = 0; call < 60; ++call) {
    std::vector<std::int64_t> keys(20), numbers(20);
    for (std::int64_t& key : keys) key = static_cast<std::int64_t>(random() % 200 % (random() % 200 + 1));
    twin.table->row_numbers(keys, numbers.data());
    std::vector<RowCache::Move> moves;
    CHECK(cache.place(numbers, moves));
    static_assert(sizeof(RowCache::Move) == sizeof(cuda::RowMove));
    cuda::pack_rows(card, {pinned.on_card(), reinterpret_cast<const cuda::RowMove*>(moves.data()), 0, moves.size()},
                    nullptr);
    std::vector<float> got(20 * 24), expected(20 * 24);
    const cuda::BagField field{card, numbers.data(), nullptr,           nullptr, 20,
                               0,    cuda::kZeroRow, cuda::kPaddingRow, {},      true};
    cuda::pool_bags(&field, 1, {got.data(), 24, 20}, nullptr, nullptr);
    twin.table->lookup(keys, {expected.data(), 24}, 1, nullptr);
    CHECK(same_bits(got.data(), expected.data(), got.size()));
  }
  CHECK(cache.hits() > cache.misses() / 2 && cache.misses() > 200);
  std::vector<std::int64_t> many(33);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::int64_t>(i);
  std::vector<RowCache::Move> moves;
  CHECK(!cache.place(many, moves) && moves.empty() && many[32] == 32);
  many.pop_back();
  CHECK(cache.place(many, moves));
}

// What is used often stays: a hot row is never brought in again while cold ones stream past.
void check_hot_rows() {
  RowCache cache(1000, 8);
  std::size_t hot_moves = 0;
  for (std::int64_t i = 1; i < 500; ++i) {
    std::vector<std::int64_t> rows = {0, i};
    std::vector<RowCache::Move> moves;
    CHECK(cache.place(rows, moves));
    for (const RowCache::Move& move : moves) hot_moves += move.row == 0;
  }
  CHECK(hot_moves == 1);
}

// Numbers of newer rows and of the policy's row go on after the base's.
void check_row_numbers() {
  const auto base = encoded(TableFormat::f16, 3, 4, 1), newer = encoded(TableFormat::f16, 2, 4, 2),
             missing = encoded(TableFormat::f16, 1, 4, 3);
  const std::vector<std::int64_t> changed = {1, 30, 2};  // rows for 1 and 30; 2 was removed
  std::vector<KeyBucket> buckets(buckets_for(changed.size()));
  build_key_map(changed, buckets, nullptr);
  TableParts parts;
  parts.format = TableFormat::f16;
  parts.dim = 4;
  parts.rows = base.data();
  parts.row_count = 3;
  parts.policy = {Missing::row, missing.data(), 9};
  parts.delta = buckets;
  parts.delta_rows = newer.data();
  parts.delta_count = 2;
  const EmbeddingTable table(parts);
  const std::vector<std::int64_t> keys = {0, 1, 2, 30, 9, 77};
  std::vector<std::int64_t> numbers(keys.size());
  table.row_numbers(keys, numbers.data());
  CHECK((numbers == std::vector<std::int64_t>{0, 3, 5, 4, -2, 5}));
}

}  // namespace

int main() {
  check_formats();
  check_codes();
  check_wild_offsets();
  check_groups();
  check_packing();
  check_cache();
  check_hot_rows();
  check_row_numbers();
  return 0;
}
