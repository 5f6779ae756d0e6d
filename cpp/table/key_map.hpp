// 64-bit keys to row numbers in buckets of one cache line. The buckets are plain bytes: they are saved and mapped as
// is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "core/rng.hpp"

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

// Says of a key that it is in none of the buckets, or that it may be in one: a bit for each of eight to sixteen hashes
// a key, so that about one key in ten that is not there is let through.
class KeyFilter {
 public:
  explicit KeyFilter(std::span<const KeyBucket> buckets);
  bool may_hold(std::int64_t key) const {
    const std::uint64_t bit = mix64(static_cast<std::uint64_t>(key)) >> shift_;
    return (bits_[bit / 64] >> (bit % 64) & 1) != 0;
  }

 private:
  unsigned shift_;
  std::vector<std::uint64_t> bits_;
};

// Asks memory for the buckets where a search for the keys begins.
void prefetch_buckets(std::span<const KeyBucket> buckets, const std::int64_t* keys, std::size_t count);

}  // namespace semblance
