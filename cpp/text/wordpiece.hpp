// BERT's tokenizer, id for id as the `tokenizers` library has it: added tokens, BertNormalizer, BertPreTokenizer,
// WordPiece (Schuster and Nakajima, 2012; Devlin et al., 2019).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/piece_trie.hpp"

namespace semblance {

// A text as Python holds it: `size` code points of 1, 2 or 4 bytes each. Borrowed.
// What is no code point counts as U+FFFD; two surrogates that make a pair count as the code point they mean.
struct TextView {
  const void* data;
  std::size_t size;
  std::uint8_t width;
};

struct WordPieceRules {
  bool clean_text = true;
  bool chinese = true;  // handle_chinese_chars
  bool strip_accents = true;
  bool lowercase = true;
  std::size_t max_word_points = 100;  // a longer word is unknown
  std::string prefix = "##";          // of pieces that go on a word
  std::uint32_t unknown = 0;
};

// Found in the raw text before anything else, the longest of those that begin at the first place where one does.
struct AddedToken {
  std::u32string content;  // begins with an ASCII character
  std::uint32_t id;
};

class WordPiece {
 public:
  explicit WordPiece(WordPieceRules rules);
  // UTF-8. Both throw ArgumentError for what they cannot serve; not safe against readers.
  void add_piece(std::string_view piece, std::uint32_t id);
  void add_token(AddedToken token);

  // Appends the ids of a text, without special tokens, the first `limit` of them. Cost: about 1 µs a short text.
  void encode(const TextView& text, std::size_t limit, std::vector<std::int64_t>& ids) const;

  std::uint32_t max_id() const { return max_id_; }

 private:
  template <class Unit>
  friend class WordScanner;

  // Appends the pieces of one normalised word; UTF-8.
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const;

  WordPieceRules rules_;
  PieceTrie first_, going_on_;
  std::vector<AddedToken> added_;         // the longest first
  std::array<std::uint16_t, 128> ascii_;  // what to do with an ASCII character: see wordpiece.cpp
  std::uint32_t max_id_ = 0;
};

// At most `limit` code points, where possible ending at white space in the second half.
TextView clipped(const TextView& text, std::size_t limit);

}  // namespace semblance
