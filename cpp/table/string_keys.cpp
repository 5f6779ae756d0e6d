#include "table/string_keys.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace semblance {
namespace {

constexpr std::uint64_t kLengthFactor = 0x9E3779B97F4A7C15U;  // odd words with half their bits set
constexpr std::uint64_t kWordFactor = 0xD6E8FEB86659FD93U;
constexpr std::uint64_t kEndFactor = 0xA0761D6478BD642FU;

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::int64_t string_key(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = (seed + 1) * kLengthFactor ^ bytes.size() * kWordFactor;
  for (std::size_t i = 0; i < bytes.size(); i += sizeof hash) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min(sizeof word, bytes.size() - i));
    hash = fold(hash ^ word, kWordFactor) + kLengthFactor;
  }
  return static_cast<std::int64_t>(fold(hash ^ kEndFactor, kEndFactor));
}

}  // namespace semblance
