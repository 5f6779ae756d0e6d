#include "text/unicode.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

namespace semblance::unicode {
namespace {

struct Mapping {
  char32_t from;
  std::uint32_t to;  // a code point; with the highest bit, index << 3 | count into kStrippedPool
};
struct LowerRun {
  char32_t first, last;
  std::uint32_t stride;
  std::int32_t delta;
};

#include "text/unicode_tables.inc"

constexpr std::uint32_t kPooled = 1U << 31;
constexpr char32_t kDottedI = 0x130, kDotAbove = 0x307;

// The Unicode Standard, section 3.12: Conjoining Jamo Behavior.
constexpr char32_t kSyllables = 0xAC00, kSyllablesEnd = 0xD7A4, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr std::uint32_t kTails = 28, kVowels = 21;

constexpr std::size_t kDense = 0x20000;  // two planes looked up at once; what is beyond is rare and searched for

std::uint8_t search_flags(char32_t point) {
  const auto* after =
      std::upper_bound(std::begin(kFlagRanges), std::end(kFlagRanges), static_cast<std::uint32_t>(point) << 8 | 0xFF);
  return static_cast<std::uint8_t>(after[-1]);
}

// 128 KiB, filled at first use.
const std::array<std::uint8_t, kDense>& dense_flags() {
  static const auto table = [] {
    std::array<std::uint8_t, kDense> made;
    const std::size_t ranges = std::size(kFlagRanges);
    for (std::size_t i = 0; i < ranges && kFlagRanges[i] >> 8 < kDense; ++i) {
      const std::size_t end = i + 1 < ranges ? kFlagRanges[i + 1] >> 8 : kDense;
      std::fill(made.begin() + (kFlagRanges[i] >> 8), made.begin() + static_cast<std::ptrdiff_t>(std::min(end, kDense)),
                static_cast<std::uint8_t>(kFlagRanges[i]));
    }
    return made;
  }();
  return table;
}

template <std::size_t n>
const Mapping* find(const Mapping (&table)[n], char32_t point) {
  const Mapping* found =
      std::lower_bound(table, table + n, point, [](const Mapping& m, char32_t p) { return m.from < p; });
  return found != table + n && found->from == point ? found : nullptr;
}

Expansion jamo(char32_t syllable) {
  const std::uint32_t s = syllable - kSyllables;
  const Expansion made{{kLead + s / (kVowels * kTails), kVowel + s / kTails % kVowels, kTail + s % kTails}, 3};
  return s % kTails == 0 ? Expansion{{made.points[0], made.points[1], 0}, 2} : made;
}

}  // namespace

std::uint8_t flags(char32_t point) {
  static const auto& dense = dense_flags();
  if (point < kDense) return dense[point];
  return point > 0x10FFFF ? 0 : search_flags(point);
}

Expansion strip(char32_t point) {
  if (point >= kSyllables && point < kSyllablesEnd) return jamo(point);
  const Mapping* found = find(kStrippedForms, point);
  if (found == nullptr) return {{point, 0, 0}, 1};
  if ((found->to & kPooled) == 0) return {{found->to, 0, 0}, 1};
  const std::uint32_t count = found->to & 7, first = (found->to & ~kPooled) >> 3;
  Expansion made{{}, count};
  std::copy_n(kStrippedPool + first, count, made.points);
  return made;
}

Expansion lower(char32_t point) {
  if (point == kDottedI) return {{U'i', kDotAbove, 0}, 2};
  const auto* after = std::upper_bound(std::begin(kLowerRuns), std::end(kLowerRuns), point,
                                       [](char32_t p, const LowerRun& run) { return p < run.first; });
  if (after == std::begin(kLowerRuns)) return {{point, 0, 0}, 1};
  const LowerRun& run = after[-1];
  if (point > run.last || (point - run.first) % run.stride != 0) return {{point, 0, 0}, 1};
  return {{static_cast<char32_t>(static_cast<std::int32_t>(point) + run.delta), 0, 0}, 1};
}

std::uint32_t combining_class(char32_t point) {
  const Mapping* found = find(kCombiningClasses, point);
  return found == nullptr ? 0 : found->to;
}

}  // namespace semblance::unicode
