// Tables over any bytes: rows, key maps and deltas that no checksum vouches for, every format, every policy.
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/aligned.hpp"
#include "core/error.hpp"
#include "fuzz/input.hpp"
#include "table/embedding_table.hpp"
#include "table/made_table.hpp"
#include "table/row_codec.hpp"
#include "table/row_source.hpp"
#include "table/string_keys.hpp"
#include "table/table_group.hpp"

using namespace semblance;
using fuzz::Input;

namespace {

std::vector<std::int64_t> some_keys(Input& input, std::size_t count) {
  std::vector<std::int64_t> keys(count);
  for (auto& key : keys) key = input.between(0, 9) == 0 ? input.take<std::int64_t>() : input.take<std::uint8_t>() % 40;
  return keys;
}

// Buckets of distinct keys, then bytes changed anywhere.
struct Buckets {
  AlignedVector<KeyBucket> buckets;

  explicit Buckets(Input& input) {
    const std::size_t count = input.between(0, 40);
    std::map<std::int64_t, std::uint32_t> rows;
    std::vector<std::int64_t> keys;
    for (const std::int64_t key : some_keys(input, count))
      if (rows.emplace(key, static_cast<std::uint32_t>(keys.size())).second) keys.push_back(key);
    buckets.resize(buckets_for(keys.size()));
    build_key_map(keys, buckets);
    std::vector<std::uint32_t> found(keys.size());
    find_rows(buckets, keys.data(), keys.size(), found.data());
    for (std::size_t i = 0; i < keys.size(); ++i) CHECK(found[i] == rows[keys[i]]);
    auto* bytes = reinterpret_cast<std::uint8_t*>(buckets.data());
    for (std::size_t changes = input.between(0, 3); changes > 0; --changes)
      bytes[input.take<std::uint16_t>() % (buckets.size() * sizeof(KeyBucket))] = input.take<std::uint8_t>();
  }
};

// What all tables offer, by keys that pass their check, each result the same another way.
void use(const Table& table, Input& input) {
  const std::size_t dim = table.dim(), count = input.between(0, 30);
  const std::vector<std::int64_t> keys = some_keys(input, count);
  table.prefetch(keys);
  table.check_keys(keys);
  std::vector<float> rows(count * dim), pooled(count * dim), scores(count);
  const std::vector<float> query = input.floats(dim), weights = input.floats(count);
  table.lookup(keys, {rows.data(), dim}, 1, nullptr);
  table.score(query.data(), keys, scores.data(), 1, nullptr);
  std::vector<std::int64_t> offsets{0};
  for (std::size_t bag = input.between(0, 8); bag > 0; --bag)
    offsets.push_back(static_cast<std::int64_t>(input.between(static_cast<std::size_t>(offsets.back()), count)));
  offsets.push_back(static_cast<std::int64_t>(count));
  const std::size_t bags = offsets.size() - 1;
  check_offsets(offsets, count);
  std::vector<float> out(bags * dim);
  for (const Pooling mode : {Pooling::sum, Pooling::mean, Pooling::max})
    table.pool({keys.data(), mode == Pooling::max ? nullptr : weights.data(), offsets, mode}, {out.data(), dim}, 1,
               nullptr);
  std::vector<std::int64_t> each(count + 1);
  for (std::size_t i = 0; i <= count; ++i) each[i] = static_cast<std::int64_t>(i);
  table.pool({keys.data(), nullptr, each, Pooling::sum}, {pooled.data(), dim}, 1, nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i)
    CHECK(pooled[i] == rows[i] || (pooled[i] != pooled[i] && rows[i] != rows[i]));
  if (count == 0) return;
  std::vector<float> grouped(count * 2 * dim);
  const GroupField fields[] = {{&table, keys, {}, nullptr, Pooling::sum, 0},
                               {&table, keys, each, nullptr, Pooling::mean, dim}};
  lookup_group(fields, count, {grouped.data(), 2 * dim}, 1, nullptr);
}

void stored(Input& input) {
  TableParts parts;
  parts.format = static_cast<TableFormat>(input.between(0, kernels::kTableFormats - 1));
  parts.dim = input.between(1, 70);
  const std::size_t row_bytes = kernels::table_row_bytes(parts.format, parts.dim);
  parts.row_count = input.between(0, 40);
  const Buckets base(input), changes(input);
  const auto remap = input.several<std::int32_t>(40);
  auto missing_row = input.several<std::byte>(row_bytes);
  parts.policy = {static_cast<Missing>(input.between(0, 2)), missing_row.data(), {}};
  if (input.between(0, 2) == 0) parts.policy.padding = input.take<std::uint8_t>() % 40;
  const std::size_t how = input.between(0, 2);
  if (how == 1) parts.buckets = base.buckets;
  if (how == 2) parts.remap = remap;
  auto rows = input.several<std::byte>(parts.row_count * row_bytes);
  parts.rows = rows.data();
  auto newer = input.several<std::byte>(input.between(0, 6) * row_bytes);
  if (input.between(0, 1) == 0) {
    parts.delta = changes.buckets;
    parts.delta_rows = newer.data();
    parts.delta_count = newer.size() / row_bytes;
  }
  use(EmbeddingTable(parts), input);
}

std::unique_ptr<EmbeddingTable> plain(const std::vector<float>& rows, std::size_t dim) {
  TableParts parts;
  parts.format = TableFormat::f32;
  parts.dim = dim;
  parts.rows = reinterpret_cast<const std::byte*>(rows.data());
  parts.row_count = rows.size() / dim;
  return std::make_unique<EmbeddingTable>(parts);
}

void made(Input& input) {
  const std::size_t dim = input.between(1, 20), rows = input.between(1, 20);
  const std::vector<float> some = input.floats(rows * dim), more = input.floats(7 * dim);
  const auto first = plain(some, dim), second = plain(more, dim);
  std::unique_ptr<RowSource> source;
  MadeKeys keys;
  keys.policy.missing = static_cast<Missing>(input.between(0, 1));
  switch (input.between(0, 3)) {
    case 0:
      source =
          composed_rows({{first.get(), PartRule::hash, input.take<std::uint64_t>()}, {second.get(), PartRule::hash, 1}},
                        static_cast<Combine>(input.between(0, 2)));
      break;
    case 1:
      source = composed_rows({{first.get(), PartRule::quotient, 7}, {second.get(), PartRule::remainder, 7}},
                             static_cast<Combine>(input.between(0, 2)));
      keys.rows = rows * 7;
      break;
    case 2:
      source = mixed_rows({first.get(), second.get()},
                          {0, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(rows + 7)});
      keys.rows = rows + 7;
      break;
    default:
      source = seeded_rows({dim, input.take<std::uint64_t>(), 0.5F, static_cast<Distribution>(input.between(0, 1))});
  }
  const Buckets map(input);
  if (input.between(0, 1) == 0) keys.buckets = map.buckets;
  use(MadeTable(std::move(source), keys), input);
}

void encoded(Input& input) {
  const std::size_t dim = input.between(1, 40), rows = input.between(1, 6);
  const std::vector<float> values = input.floats(rows * dim);
  const auto format = static_cast<TableFormat>(input.between(0, kernels::kTableFormats - 1));
  std::vector<std::byte> out(rows * kernels::table_row_bytes(format, dim));
  encode_table_rows(format, {values.data(), rows, dim}, out.data(), 1);
  const std::string_view text(reinterpret_cast<const char*>(out.data()), input.between(0, out.size()));
  CHECK(string_key(text, rows) == string_key(std::string(text), rows));  // wherever it lies
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  try {
    switch (input.between(0, 3)) {
      case 0:
        made(input);
        break;
      case 1:
        encoded(input);
        break;
      default:
        stored(input);
    }
  } catch (const Error&) {
  }
  return 0;
}
