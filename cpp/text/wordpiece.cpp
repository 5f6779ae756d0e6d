#include "text/wordpiece.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "core/error.hpp"
#include "text/unicode.hpp"

namespace semblance {
namespace {

// Bits above the byte that an ASCII character becomes.
enum Ascii : std::uint16_t { kDrop = 0x100, kEnd = 0x200, kAlone = 0x400, kMayBeAdded = 0x800 };

constexpr std::size_t kMostTokens = std::size_t{1} << 40;  // more than memory holds: sums stay in range
constexpr std::size_t kLongestWord = 4096;                 // bounds the work on one run of combining marks

void append_utf8(char32_t point, std::string& out) {
  const auto byte = [&](char32_t value) { out.push_back(static_cast<char>(value)); };
  const auto rest = [&](unsigned shift) { byte(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) return byte(point);
  if (point < 0x800) {
    byte(0xC0 | point >> 6);
  } else {
    if (point < 0x10000) {
      byte(0xE0 | point >> 12);
    } else {
      byte(0xF0 | point >> 18);
      rest(12);
    }
    rest(6);
  }
  rest(0);
}

}  // namespace

// Reads one text: added tokens out of it, the rest normalised code point by code point into words. Nothing but the
// current word and the marks that NFD may still reorder is kept.
template <class Unit>
class WordScanner {
 public:
  WordScanner(const WordPiece& rules, std::span<const Unit> text, std::size_t limit, std::vector<std::int64_t>& ids)
      : piece_(rules), rules_(rules.rules_), text_(text), end_(ids.size() + std::min(limit, kMostTokens)), ids_(ids) {}

  void run() {
    std::size_t at = 0;
    while (at < text_.size() && ids_.size() < end_) {
      const auto unit = static_cast<std::uint32_t>(text_[at]);
      if (unit < 128) {
        at += ascii(unit, at);
      } else {
        at += other(at);
      }
    }
    finish_word();
    if (ids_.size() > end_) ids_.resize(end_);
  }

 private:
  struct Read {
    char32_t point;
    std::size_t units;
  };
  struct Mark {
    char32_t point;
    std::uint32_t rank;
  };

  Read read(std::size_t at) const {
    const auto unit = static_cast<char32_t>(text_[at]);
    if (unit < 0xD800 || (unit > 0xDFFF && unit <= 0x10FFFF)) return {unit, 1};
    if (unit < 0xDC00 && at + 1 < text_.size()) {
      const auto low = static_cast<char32_t>(text_[at + 1]);
      if (low >= 0xDC00 && low <= 0xDFFF) return {0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), 2};
    }
    return {unicode::kReplacement, 1};
  }

  // Both return how many units they took.
  std::size_t ascii(std::uint32_t unit, std::size_t at) {
    const std::uint16_t action = piece_.ascii_[unit];
    if ((action & kMayBeAdded) != 0) {
      const std::size_t taken = added(at);
      if (taken > 0) return taken;
    }
    if ((action & kDrop) != 0) return 1;
    if ((action & (kEnd | kAlone)) != 0) finish_word();
    if ((action & kEnd) != 0) return 1;
    if (++points_ <= rules_.max_word_points) {  // else unknown whatever it says
      settle_marks();
      word_.push_back(static_cast<char>(action & 0x7F));
    }
    if ((action & kAlone) != 0) finish_word();
    return 1;
  }

  std::size_t other(std::size_t at) {
    const Read got = read(at);
    const std::uint8_t flags = unicode::flags(got.point);
    if (rules_.clean_text && (flags & unicode::kControl) != 0) return got.units;
    const bool apart = rules_.chinese && (flags & unicode::kChinese) != 0;
    if (apart) finish_word();
    strip(got.point, flags);
    if (apart) finish_word();
    return got.units;
  }

  void strip(char32_t point, std::uint8_t flags) {
    if (!rules_.strip_accents) return lower(point, flags);
    if ((flags & unicode::kRemoved) != 0) {
      if ((flags & unicode::kNonStarter) == 0) settle_marks();
    } else if ((flags & unicode::kStripped) != 0) {
      const unicode::Expansion bare = unicode::strip(point);
      for (std::uint32_t i = 0; i < bare.count; ++i) lower(bare.points[i], unicode::flags(bare.points[i]));
    } else {
      lower(point, flags);
    }
  }

  void lower(char32_t point, std::uint8_t flags) {
    if (!rules_.lowercase || (flags & unicode::kLowered) == 0) return put(point, flags);
    const unicode::Expansion small = unicode::lower(point);
    for (std::uint32_t i = 0; i < small.count; ++i) put(small.points[i], unicode::flags(small.points[i]));
  }

  // A normalised code point: the end of a word, a word of its own, or a part of one.
  void put(char32_t point, std::uint8_t flags) {
    if ((flags & (unicode::kSpace | unicode::kPunctuation)) != 0) finish_word();
    if ((flags & unicode::kSpace) != 0) return;
    if (++points_ <= rules_.max_word_points) append(point, flags);
    if ((flags & unicode::kPunctuation) != 0) finish_word();
  }

  void append(char32_t point, std::uint8_t flags) {
    if (rules_.strip_accents && (flags & unicode::kNonStarter) != 0) return add_mark(point);
    settle_marks();
    append_utf8(point, word_);
  }

  // NFD's canonical order: marks between two starters are sorted by class, equal ones stay as they came.
  void add_mark(char32_t point) {
    const Mark mark{point, unicode::combining_class(point)};
    const auto later = [](std::uint32_t rank, const Mark& other) { return rank < other.rank; };
    marks_.insert(std::upper_bound(marks_.begin(), marks_.end(), mark.rank, later), mark);
  }

  void settle_marks() {
    for (const Mark& mark : marks_) append_utf8(mark.point, word_);
    marks_.clear();
  }

  void finish_word() {
    if (points_ == 0) return;
    settle_marks();
    if (points_ > rules_.max_word_points) {
      ids_.push_back(rules_.unknown);
    } else {
      piece_.encode_word(word_, ids_);
    }
    word_.clear();
    points_ = 0;
  }

  bool begins_with(std::size_t at, const std::u32string& content) const {
    for (const char32_t point : content) {
      if (at == text_.size()) return false;
      const Read got = read(at);
      if (got.point != point) return false;
      at += got.units;
    }
    return true;
  }

  std::size_t added(std::size_t at) {
    for (const AddedToken& token : piece_.added_) {
      if (!begins_with(at, token.content)) continue;
      finish_word();
      if (ids_.size() < end_) ids_.push_back(token.id);
      std::size_t units = 0;
      for (std::size_t i = 0; i < token.content.size(); ++i) units += read(at + units).units;
      return units;
    }
    return 0;
  }

  const WordPiece& piece_;
  const WordPieceRules& rules_;
  const std::span<const Unit> text_;
  const std::size_t end_;
  std::vector<std::int64_t>& ids_;
  std::string word_;  // UTF-8, normalised
  std::size_t points_ = 0;
  std::vector<Mark> marks_;  // they follow the word
};

WordPiece::WordPiece(WordPieceRules rules) : rules_(std::move(rules)), max_id_(rules_.unknown) {
  if (rules_.max_word_points > kLongestWord)
    throw ArgumentError(expected("max_input_chars_per_word", "at most " + std::to_string(kLongestWord),
                                 std::to_string(rules_.max_word_points)));
  for (std::uint16_t c = 0; c < 128; ++c) {
    const std::uint8_t flags = unicode::flags(c);
    const bool control = rules_.clean_text && (flags & unicode::kControl) != 0;
    const bool lowered = rules_.lowercase && (flags & unicode::kLowered) != 0;
    ascii_[c] = lowered ? static_cast<std::uint16_t>(unicode::lower(c).points[0]) : c;
    if (control) ascii_[c] |= kDrop;
    if ((flags & unicode::kSpace) != 0) ascii_[c] |= kEnd;
    if ((flags & unicode::kPunctuation) != 0) ascii_[c] |= kAlone;
  }
}

void WordPiece::add_piece(std::string_view piece, std::uint32_t id) {
  if (id == PieceTrie::kNoPiece) throw ArgumentError(expected("id", "less than 2^32 - 1", std::to_string(id)));
  max_id_ = std::max(max_id_, id);
  if (!piece.empty()) first_.add(piece, id);
  if (piece.size() > rules_.prefix.size() && piece.starts_with(rules_.prefix))
    going_on_.add(piece.substr(rules_.prefix.size()), id);
}

void WordPiece::add_token(AddedToken token) {
  if (token.content.empty() || token.content.front() >= 128)
    throw ArgumentError(expected("added token", "content that begins with an ASCII character", "another"));
  max_id_ = std::max(max_id_, token.id);
  ascii_[token.content.front()] |= kMayBeAdded;
  const auto shorter = [&](const AddedToken& other) { return other.content.size() < token.content.size(); };
  added_.insert(std::find_if(added_.begin(), added_.end(), shorter), std::move(token));
}

void WordPiece::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  const std::size_t before = ids.size();
  const PieceTrie* trie = &first_;
  while (!word.empty()) {
    const PieceTrie::Match match = trie->longest(word);
    if (match.id == PieceTrie::kNoPiece) {
      ids.resize(before);
      ids.push_back(rules_.unknown);
      return;
    }
    ids.push_back(match.id);
    word.remove_prefix(match.size);
    trie = &going_on_;
  }
}

namespace {

// Calls f with the text's code points as a span of their own type.
template <class F>
auto with_units(const TextView& text, F&& f) {
  if (text.width == 1) return f(std::span{static_cast<const std::uint8_t*>(text.data), text.size});
  if (text.width == 2) return f(std::span{static_cast<const std::uint16_t*>(text.data), text.size});
  return f(std::span{static_cast<const std::uint32_t*>(text.data), text.size});
}

}  // namespace

void WordPiece::encode(const TextView& text, std::size_t limit, std::vector<std::int64_t>& ids) const {
  with_units(text, [&]<class Unit>(std::span<const Unit> units) { WordScanner<Unit>(*this, units, limit, ids).run(); });
}

TextView clipped(const TextView& text, std::size_t limit) {
  if (text.size <= limit) return text;
  return with_units(text, [&](auto units) {
    for (std::size_t end = limit; end-- > limit / 2 + 1;)
      if (units[end] == ' ' || units[end] == '\n') return TextView{text.data, end, text.width};
    return TextView{text.data, limit, text.width};
  });
}

}  // namespace semblance
