// What BERT's normaliser and pre-tokenizer know of a code point; tables made by make_unicode_tables.py.
#pragma once

#include <cstdint>

namespace semblance::unicode {

enum Flag : std::uint8_t {
  kControl = 1,      // dropped by clean_text
  kSpace = 2,        // ends a word
  kPunctuation = 4,  // a word of its own
  kChinese = 8,      // put between spaces by handle_chinese_chars
  kStripped = 16,    // decomposes
  kLowered = 32,     // has another lower case
  kRemoved = 64,     // a mark without width, dropped by strip_accents
  kNonStarter = 128  // its combining class is not 0: sorted among its neighbours of that kind by NFD
};

inline constexpr char32_t kReplacement = 0xFFFD;  // stands for what is no code point

// A few code points in place of one.
struct Expansion {
  char32_t points[3];
  std::uint32_t count;
};

// Any number is taken; beyond U+10FFFF there are no flags.
std::uint8_t flags(char32_t point);

// The canonical decomposition without its kRemoved marks, of a point that is kStripped.
Expansion strip(char32_t point);

// The lower case of a point that is kLowered.
Expansion lower(char32_t point);

// The canonical combining class of a point that is kNonStarter and not kRemoved.
std::uint32_t combining_class(char32_t point);

}  // namespace semblance::unicode
