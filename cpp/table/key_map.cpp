#include "table/key_map.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "core/error.hpp"

namespace semblance {
namespace {

constexpr std::size_t kKeysAhead = 32;
constexpr std::size_t kPollKeys = 1 << 16;

// The high word of hash * buckets: even for any number of buckets, without a division (Lemire 2016).
std::size_t home_bucket(std::int64_t key, std::size_t buckets) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::size_t>(static_cast<Wide>(mix64(static_cast<std::uint64_t>(key))) * buckets >> 64);
}

std::size_t next_bucket(std::size_t bucket, std::size_t buckets) { return bucket + 1 == buckets ? 0 : bucket + 1; }

// The slot of the key, or of the first free one, or kBucketKeys.
std::size_t slot_for(const KeyBucket& bucket, std::int64_t key) {
  for (std::size_t s = 0; s < kBucketKeys; ++s)
    if (bucket.rows[s] == kNoRow || bucket.keys[s] == key) return s;
  return kBucketKeys;
}

void insert(std::span<KeyBucket> buckets, std::int64_t key, std::uint32_t row) {
  std::size_t at = home_bucket(key, buckets.size());
  std::size_t slot = slot_for(buckets[at], key);
  for (; slot == kBucketKeys; slot = slot_for(buckets[at], key)) {
    buckets[at].passed = 1;
    at = next_bucket(at, buckets.size());
  }
  if (buckets[at].rows[slot] != kNoRow)
    throw ArgumentError(expected("keys", "every key once",
                                 "key " + std::to_string(key) + " in rows " + std::to_string(buckets[at].rows[slot]) +
                                     " and " + std::to_string(row)));
  buckets[at].keys[slot] = key;
  buckets[at].rows[slot] = row;
}

// Free slots hold kNoRow, so a stale key in one cannot give a row. In arithmetic: a branch on where the key is would be
// mispredicted at every other key.
std::uint32_t row_in(const KeyBucket& bucket, std::int64_t key) {
  std::uint32_t row = kNoRow;
  for (std::size_t s = 0; s < kBucketKeys; ++s) {
    const std::uint32_t miss = std::uint32_t{0} - static_cast<std::uint32_t>(bucket.keys[s] != key);
    row = std::min(row, bucket.rows[s] | miss);
  }
  return row;
}

std::uint32_t find_row(std::span<const KeyBucket> buckets, std::size_t at, std::int64_t key) {
  for (std::size_t probes = 0; probes < buckets.size(); ++probes) {
    const std::uint32_t row = row_in(buckets[at], key);
    if (row != kNoRow || buckets[at].passed == 0) return row;
    at = next_bucket(at, buckets.size());
  }
  return kNoRow;
}

}  // namespace

std::size_t buckets_for(std::size_t keys) { return std::max<std::size_t>(1, (keys * 2 + 6) / 7); }

void build_key_map(std::span<const std::int64_t> keys, std::span<KeyBucket> buckets, Monitor* monitor) {
  KeyBucket empty{};
  std::fill(std::begin(empty.rows), std::end(empty.rows), kNoRow);
  std::fill(buckets.begin(), buckets.end(), empty);
  parallel_for(
      keys.size(), 1, kPollKeys,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t i = begin; i < end; ++i) {
          if (i + kKeysAhead < end) __builtin_prefetch(&buckets[home_bucket(keys[i + kKeysAhead], buckets.size())], 1);
          insert(buckets, keys[i], static_cast<std::uint32_t>(i));
        }
      },
      monitor);
}

KeyFilter::KeyFilter(std::span<const KeyBucket> buckets)
    : shift_(64 - static_cast<unsigned>(std::bit_width(std::max<std::size_t>(64, buckets.size() * kBucketKeys * 8)))),
      bits_((std::size_t{1} << (64 - shift_)) / 64) {
  for (const KeyBucket& bucket : buckets) {
    for (std::size_t s = 0; s < kBucketKeys; ++s) {
      if (bucket.rows[s] == kNoRow) continue;
      const std::uint64_t bit = mix64(static_cast<std::uint64_t>(bucket.keys[s])) >> shift_;
      bits_[bit / 64] |= std::uint64_t{1} << (bit % 64);
    }
  }
}

void prefetch_buckets(std::span<const KeyBucket> buckets, const std::int64_t* keys, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) __builtin_prefetch(&buckets[home_bucket(keys[i], buckets.size())]);
}

void find_rows(std::span<const KeyBucket> buckets, const std::int64_t* keys, std::size_t count, std::uint32_t* rows) {
  std::size_t home[kKeysAhead];  // of the keys to come, in turn
  const auto ask = [&](std::size_t i) {
    home[i % kKeysAhead] = home_bucket(keys[i], buckets.size());
    __builtin_prefetch(&buckets[home[i % kKeysAhead]]);
  };
  for (std::size_t i = 0; i < kKeysAhead && i < count; ++i) ask(i);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = home[i % kKeysAhead];
    if (i + kKeysAhead < count) ask(i + kKeysAhead);
    rows[i] = find_row(buckets, at, keys[i]);
  }
}

}  // namespace semblance
