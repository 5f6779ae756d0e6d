// 64-bit keys to row numbers in buckets of one cache line. The buckets are plain bytes: they are saved and mapped as
// is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/parallel.hpp"

namespace semblance {

inline constexpr std::size_t kBucketKeys = 5;
inline constexpr std::uint32_t kNoRow = 0xFFFFFFFFU;

// Slots fill from the front; a free slot has row kNoRow. `passed` is not 0 where a key that belongs here had to go on
// to the next bucket.
struct alignas(8) KeyBucket {
  std::int64_t keys[kBucketKeys];
  std::uint32_t rows[kBucketKeys];
  std::uint32_t passed;
};
static_assert(sizeof(KeyBucket) == 64);

// Buckets for `keys` keys: about 3.5 keys a bucket, never less than one bucket.
std::size_t buckets_for(std::size_t keys);

// Maps keys[i] to row i. Throws ArgumentError naming the key where one comes twice.
void build_key_map(std::span<const std::int64_t> keys, std::span<KeyBucket> buckets, Monitor* monitor = nullptr);

// rows[i] = the row of keys[i], or kNoRow. Reads nothing outside the buckets, whatever they hold.
void find_rows(std::span<const KeyBucket> buckets, const std::int64_t* keys, std::size_t count, std::uint32_t* rows);

// Asks memory for the buckets where a search for the keys begins.
void prefetch_buckets(std::span<const KeyBucket> buckets, const std::int64_t* keys, std::size_t count);

}  // namespace semblance
