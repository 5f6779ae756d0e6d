// Scores of every table against the double-precision reference: edge lengths, odd strides and addresses, ids and no
// ids, small batches, all of it right before a guard page; and the promises of bit equality in kernel_table.hpp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "guarded.hpp"
#include "kernel_tables.hpp"
#include "reference.hpp"

using namespace semblance;
using namespace semblance::kernels;

namespace {

constexpr std::size_t kMaxCount = 21;
constexpr std::size_t kDims[] = {0,  1,  2,  3,  4,  5,  7,   8,   9,   15,  16,  17,  24,  31,   32,   33,
                                 47, 48, 49, 63, 64, 65, 127, 128, 129, 383, 384, 385, 768, 1023, 1024, 1025};
constexpr std::size_t kCounts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, kMaxCount};

std::mt19937& random_engine() {
  static std::mt19937 engine(7);
  return engine;
}
float normal() { return std::normal_distribution<float>()(random_engine()); }
std::byte random_byte() { return static_cast<std::byte>(random_engine()() & 255U); }

// A query and kMaxCount rows of one format, laid out with `padding` bytes between rows and the last row at the guard.
struct Case {
  RowFormat format;
  std::size_t dim, row_bytes, stride;
  std::vector<std::byte> query_bytes;
  Query query{};
  std::vector<std::byte> rows;

  Case(RowFormat f, std::size_t d, std::size_t padding)
      : format(f),
        dim(f == RowFormat::bits ? d * 8 : d),
        row_bytes(reference::row_bytes(f, dim)),
        stride(row_bytes + padding) {
    rows.resize((kMaxCount - 1) * stride + row_bytes);
    for (std::size_t i = 0; i < kMaxCount; ++i) fill_row(rows.data() + i * stride);
    fill_query();
  }

  void fill_row(std::byte* row) const {
    if (format == RowFormat::bits) return std::generate_n(row, row_bytes, random_byte), void();
    std::vector<float> x(dim);
    std::generate(x.begin(), x.end(), normal);
    if (format == RowFormat::f32) std::copy_n(reinterpret_cast<const std::byte*>(x.data()), row_bytes, row);
    if (format == RowFormat::i8) reference::encode_i8(x.data(), dim, row);
    if (format == RowFormat::i4 || format == RowFormat::i4x2) reference::encode_i4(format, x.data(), dim, row);
    if (format != RowFormat::f16 && format != RowFormat::bf16) return;
    for (std::size_t j = 0; j < dim; ++j) {
      const std::uint16_t half = format == RowFormat::f16 ? reference::f16_bits(x[j]) : reference::bf16_bits(x[j]);
      std::memcpy(row + 2 * j, &half, 2);
    }
  }

  bool is_coded() const { return format >= RowFormat::i8 && format <= RowFormat::i4x2; }

  void fill_query() {
    if (format == RowFormat::bits) {
      query_bytes.resize(row_bytes);
      std::generate(query_bytes.begin(), query_bytes.end(), random_byte);
    } else if (is_coded()) {
      std::vector<float> x(dim);
      std::generate(x.begin(), x.end(), normal);
      query_bytes.resize(i8_row_bytes(dim));
      reference::encode_i8(x.data(), dim, query_bytes.data());
      std::memcpy(&query.scale, query_bytes.data() + i8_tail_offset(dim), 4);
      std::memcpy(&query.squared_norm, query_bytes.data() + i8_tail_offset(dim) + 4, 4);
      query_bytes.resize(dim);
      for (std::byte& code : query_bytes) {
        query.sum += std::to_integer<int>(code) - 128;
        code ^= std::byte{128};
      }
      if (format != RowFormat::i8) query_bytes.resize(2 * i4_plane_bytes(dim));
    } else {
      query_bytes.resize(4 * dim);
      for (std::size_t j = 0; j < dim; ++j) {
        const float x = normal();
        std::memcpy(query_bytes.data() + 4 * j, &x, 4);
      }
    }
  }
};

struct Arena {
  test::Guarded rows{64 * 8300}, query{8300}, ids{256}, out{256};
};

void check_scores(const Case& c, Score metric, const Query& query, const std::byte* rows,
                  const std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const reference::Truth truth = reference::score(c.format, metric, query, rows + i * c.stride, c.dim);
    const double chain = c.is_coded() ? 8.0 : static_cast<double>(c.dim) / 4.0 + 8.0;
    const double bound = c.format == RowFormat::bits ? 1e-7 : chain * 0x1p-24 * truth.magnitude;
    CHECK(std::fabs(static_cast<double>(out[i]) - truth.value) <= bound);
    CHECK(out[i] != 0.0F || !std::signbit(out[i]));
  }
}

void score_one_count(const KernelTable& table, const Case& c, Score metric, std::size_t count, Arena& arena) {
  const ScoreRows score = table.score_rows[static_cast<int>(c.format)][static_cast<int>(metric)];
  Query query = c.query;
  query.values = arena.query.copy(c.query_bytes.data(), c.query_bytes.size());
  const std::size_t used = count == 0 ? 0 : (count - 1) * c.stride + c.row_bytes;
  const std::byte* data = arena.rows.copy(c.rows.data(), used);
  auto* out = arena.out.tail_of<float>(count);
  score(query, {data, c.stride, c.dim}, nullptr, count, out);
  const std::vector<float> in_batch(out, out + count);
  check_scores(c, metric, query, data, in_batch);

  auto* ids = arena.ids.tail_of<std::uint32_t>(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::uint32_t>((i * 5 + 3) % count);  // with repeats
  std::fill_n(out, count, NAN);
  score(query, {data, c.stride, c.dim}, ids, count, out);
  for (std::size_t i = 0; i < count; ++i) CHECK(out[i] == in_batch[ids[i]]);
  for (std::uint32_t i = 0; i < count; ++i) {  // alone: the same bits as among others
    float alone = NAN;
    score(query, {data, c.stride, c.dim}, &i, 1, &alone);
    CHECK(std::memcmp(&alone, &in_batch[i], sizeof alone) == 0);
  }
  if (!c.is_coded() && c.format != RowFormat::bits) return;
  const KernelTable& scalar = *table_for(Isa::scalar);
  scalar.score_rows[static_cast<int>(c.format)][static_cast<int>(metric)](query, {data, c.stride, c.dim}, nullptr,
                                                                          count, out);
  CHECK(count == 0 || std::memcmp(out, in_batch.data(), count * sizeof(float)) == 0);
}

void scores(const std::vector<const KernelTable*>& tables) {
  Arena arena;
  for (std::size_t dim : kDims)
    for (std::size_t padding : {0U, 1U, 13U, 64U})
      for (std::size_t f = 0; f < kRowFormats; ++f) {
        const Case c(static_cast<RowFormat>(f), dim, padding);
        for (const KernelTable* table : tables)
          for (std::size_t s = 0; s < kScores; ++s) {
            const bool meant = (c.format == RowFormat::bits) == (s >= static_cast<std::size_t>(Score::hamming));
            CHECK((table->score_rows[f][s] != nullptr) == meant);
            if (!meant) continue;
            for (std::size_t count : kCounts) score_one_count(*table, c, static_cast<Score>(s), count, arena);
          }
      }
}

// Identical and near-identical vectors: distances that cancel must not go below zero, or lose what little there is.
void near_duplicates(const KernelTable& table) {
  std::vector<float> q(384), rows(2 * 384);
  for (std::size_t j = 0; j < q.size(); ++j) rows[j] = rows[384 + j] = q[j] = normal();
  rows[384] += 0x1p-10F;
  float out[2];
  table.score_rows[0][1]({q.data()}, {reinterpret_cast<std::byte*>(rows.data()), 4 * 384, 384}, nullptr, 2, out);
  const float step = rows[384] - q[0];
  CHECK(out[0] == 0.0F && out[1] == step * step);
  std::vector<std::byte> code(i8_row_bytes(384));
  reference::encode_i8(q.data(), 384, code.data());
  Query query{};
  std::vector<std::int8_t> signed_code(384);
  for (std::size_t j = 0; j < 384; ++j)
    query.sum += signed_code[j] = static_cast<std::int8_t>(std::to_integer<int>(code[j]) - 128);
  query.values = signed_code.data();
  std::memcpy(&query.scale, code.data() + 384, 4);
  std::memcpy(&query.squared_norm, code.data() + 388, 4);
  table.score_rows[3][1](query, {code.data(), code.size(), 384}, nullptr, 1, out);
  CHECK(out[0] >= 0.0F && out[0] <= 1e-6F * query.squared_norm);
}

// The largest products in the most dimensions: nothing saturates or overflows.
void extreme_codes(const KernelTable& table) {
  const std::size_t dim = kMaxDimI8;
  for (int sign : {1, -1}) {
    std::vector<std::byte> row(i8_row_bytes(dim), std::byte{255});
    const float tail[2] = {1.0F, 127.0F * 127.0F * static_cast<float>(dim)};
    std::memcpy(row.data() + dim, tail, sizeof tail);
    const std::vector<std::int8_t> codes(dim, static_cast<std::int8_t>(127 * sign));
    const Query query{codes.data(), 1.0F, tail[1], static_cast<std::int32_t>(dim) * 127 * sign};
    float out = 0.0F;
    table.score_rows[3][0](query, {row.data(), row.size(), dim}, nullptr, 1, &out);
    CHECK(out == -tail[1] * static_cast<float>(sign));
  }
}

// Halves of the largest codes, and rows cut into two planes against the rows they were cut from.
void planes(const KernelTable& table) {
  constexpr auto i8 = static_cast<std::size_t>(RowFormat::i8), i4 = static_cast<std::size_t>(RowFormat::i4);
  constexpr auto i4x2 = static_cast<std::size_t>(RowFormat::i4x2);
  for (std::size_t dim : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{8}, std::size_t{9},
                          std::size_t{63}, std::size_t{129}, std::size_t{384}, kMaxDimI8}) {
    std::vector<float> x(3 * dim);
    std::generate(x.begin(), x.end(), normal);
    std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(dim), dim, -1.0F);
    std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(2 * dim), dim, 0.0F);
    const std::size_t whole = i8_row_bytes(dim), cut = i4x2_row_bytes(dim);
    std::vector<std::byte> rows(3 * whole), cut_rows(3 * cut), front(i4_row_bytes(dim)), truth(cut);
    table.encode_rows[i8](x.data(), 3, dim, rows.data(), whole);
    table.encode_rows[i4x2](x.data(), 3, dim, cut_rows.data(), cut);
    std::vector<float> decoded(3 * dim), cut_decoded(3 * dim), by_half(3 * dim);
    table.decode_rows[i8]({rows.data(), whole, dim}, 3, decoded.data());
    table.decode_rows[i4x2]({cut_rows.data(), cut, dim}, 3, cut_decoded.data());
    table.decode_rows[i4]({cut_rows.data(), cut, dim}, 3, by_half.data());
    CHECK(std::memcmp(decoded.data(), cut_decoded.data(), decoded.size() * sizeof(float)) == 0);
    for (std::size_t i = 0; i < 3; ++i) {
      reference::encode_i4(RowFormat::i4x2, &x[i * dim], dim, truth.data());
      CHECK(std::memcmp(truth.data(), &cut_rows[i * cut], cut) == 0);
      table.encode_rows[i4](&x[i * dim], 1, dim, front.data(), front.size());
      CHECK(std::memcmp(front.data(), &cut_rows[i * cut], front.size()) == 0);
      for (std::size_t j = 0; j < dim; ++j)
        CHECK(static_cast<double>(by_half[i * dim + j]) ==
              static_cast<double>(static_cast<float>(reference::value(RowFormat::i4, front.data(), dim, j))));
    }
    std::vector<std::int8_t> codes(2 * i4_plane_bytes(dim));
    std::fill_n(codes.begin(), dim, std::int8_t{-127});
    const auto count = static_cast<std::int32_t>(dim);
    const Query query{codes.data(), 1.0F, 127.0F * 127.0F * static_cast<float>(count), -127 * count};
    for (std::size_t s : {0U, 1U}) {
      float want[3], got[3];
      table.score_rows[i8][s](query, {rows.data(), whole, dim}, nullptr, 3, want);
      table.score_rows[i4x2][s](query, {cut_rows.data(), cut, dim}, nullptr, 3, got);
      CHECK(std::memcmp(want, got, sizeof want) == 0);
    }
    float out = 0.0F;  // a row of equal values loses nothing
    table.score_rows[i4][0](query, {&cut_rows[cut], cut, dim}, nullptr, 1, &out);
    CHECK(std::fabs(out + 127.0F * static_cast<float>(count)) <= 1e-4F * static_cast<float>(count));
  }
}

void empty_bits(const KernelTable& table) {
  constexpr auto kBits = static_cast<std::size_t>(RowFormat::bits);
  const std::vector<std::byte> none(16), all(16, std::byte{255});
  float out = NAN;
  table.score_rows[kBits][3]({none.data()}, {none.data(), 16, 128}, nullptr, 1, &out);
  CHECK(out == 0.0F);
  table.score_rows[kBits][3]({none.data()}, {all.data(), 16, 128}, nullptr, 1, &out);
  CHECK(out == 1.0F);
}

void tile(const KernelTable& table, std::size_t n_queries, std::size_t n_rows, std::size_t dim) {
  test::Guarded queries(n_queries * dim * 4), rows(n_rows * dim * 4), out(n_queries * n_rows * 4);
  auto* q = queries.tail_of<float>(n_queries * dim);
  auto* r = rows.tail_of<float>(n_rows * dim);
  std::generate_n(q, n_queries * dim, normal);
  std::generate_n(r, n_rows * dim, normal);
  std::vector<float> alone(n_rows);
  for (int metric : {0, 1}) {
    auto* tiled = out.tail_of<float>(n_queries * n_rows);
    table.score_tile[metric](q, n_queries, r, n_rows, dim, tiled);
    for (std::size_t i = 0; i < n_queries; ++i) {
      table.score_rows[0][metric]({q + i * dim}, {reinterpret_cast<std::byte*>(r), dim * 4, dim}, nullptr, n_rows,
                                  alone.data());
      CHECK(n_rows == 0 || std::memcmp(alone.data(), tiled + i * n_rows, n_rows * sizeof(float)) == 0);
    }
  }
}

void tiles(const KernelTable& table) {
  for (std::size_t n_queries : {0U, 1U, 2U, 3U, 4U, 5U, 9U})
    for (std::size_t n_rows : {0U, 1U, 3U, 4U, 5U, 8U, 33U})
      for (std::size_t dim : {0U, 1U, 3U, 15U, 16U, 17U, 100U, 384U}) tile(table, n_queries, n_rows, dim);
  tile(table, 300, 70, 384);  // several blocks each way
  for (std::size_t dim : {1U, 15U, 17U, 101U}) tile(table, 37, 70, dim);
  tile(table, 5, 6, 20000);  // rows larger than a block
}

void names() {
  Isa isa{};
  CHECK(find_isa("avx512vnni", isa) && isa == Isa::avx512vnni);
  CHECK(!find_isa("", isa) && !find_isa("AVX2", isa) && !find_isa("sse9", isa));
  CHECK(table_for(static_cast<Isa>(200)) == nullptr);
  for (std::size_t i = 0; i < kIsas; ++i) {
    CHECK(find_isa(isa_name(static_cast<Isa>(i)), isa) && static_cast<std::size_t>(isa) == i);
    if (const KernelTable* table = table_for(isa)) CHECK(std::strcmp(table->name, isa_name(isa)) == 0);
  }
  CHECK(active_table() != nullptr || requested_isa()[0] != '\0');
}

}  // namespace

int main() {
  names();
  const auto tables = test::all_tables();
  scores(tables);
  for (const KernelTable* table : tables) {
    near_duplicates(*table);
    extreme_codes(*table);
    planes(*table);
    empty_bits(*table);
    tiles(*table);
  }
}
