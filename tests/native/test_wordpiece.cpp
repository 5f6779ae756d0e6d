// The native tokenizer: the rules one by one, texts of every width at the end of memory, and random bytes as texts.
// An argument is the number of random texts of each width.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "guarded.hpp"
#include "table/embedding_table.hpp"
#include "table/row_codec.hpp"
#include "text/text_pooling.hpp"
#include "text/unicode.hpp"
#include "text/wordpiece.hpp"

using namespace semblance;
using namespace std::literals;

namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::size_t kAll = 1 << 20;
constexpr std::uint32_t kUnknown = 0, kCls = 1, kUn = 2, kRun = 3, kS = 4, kBang = 5, kChinese = 6, kA = 7, kE = 8;
constexpr std::uint32_t kPieces = 9;

WordPiece make(WordPieceRules rules = {}) {
  WordPiece made(std::move(rules));
  const std::string_view pieces[] = {"[UNK]", "[CLS]", "un", "##run", "##s", "!", "\xE4\xB8\xAD", "a", "e"};
  for (std::uint32_t id = 0; id < kPieces; ++id) made.add_piece(pieces[id], id);
  made.add_token({U"[CLS]", kCls});
  return made;
}

template <class Unit>
Ids ids_of_units(const WordPiece& tokenizer, std::span<const Unit> text, std::size_t limit = kAll) {
  const test::Guarded memory(text.size_bytes() + 1);
  const std::byte* data = memory.copy(text.data(), text.size_bytes());
  Ids found;
  tokenizer.encode({data, text.size(), sizeof(Unit)}, limit, found);
  return found;
}

Ids ids_of(const WordPiece& tokenizer, std::u32string_view text, std::size_t limit = kAll) {
  return ids_of_units<char32_t>(tokenizer, text, limit);
}

void words_are_split_greedily() {
  const WordPiece tokenizer = make();
  CHECK((ids_of(tokenizer, U"UnRuns a!") == Ids{kUn, kRun, kS, kA, kBang}));
  CHECK((ids_of(tokenizer, U"unrunx a") == Ids{kUnknown, kA}));  // a word is known as a whole or not at all
  CHECK((ids_of(tokenizer, U"run") == Ids{kUnknown}));           // known only as a word's continuation
  CHECK(ids_of(tokenizer, U"").empty());
  CHECK(ids_of(tokenizer, U" \t\n\u00A0\u200B\u0000"sv).empty());
}

void the_normaliser_is_bert_s() {
  const WordPiece tokenizer = make();
  CHECK((ids_of(tokenizer, U"\u00C9e\u0301a\u4E2Da") == Ids{kUnknown, kChinese, kA}));
  CHECK((ids_of(tokenizer, U"\u00C9 e\u0301 \u212B") == Ids{kE, kE, kA}));  // the sign of the ångström is an a
  CHECK((ids_of(tokenizer, U"a\u0000\uFFFDa"sv) == Ids{kUnknown}));         // dropped: the word is "aa"
  WordPieceRules plain;
  plain.clean_text = plain.chinese = plain.strip_accents = plain.lowercase = false;
  CHECK((ids_of(make(plain), U"A") == Ids{kUnknown}));
  CHECK((ids_of(make(plain), U"a\u0301") == Ids{kUnknown}));
  CHECK((ids_of(make(plain), U"a\u4E2D") == Ids{kUnknown}));
}

void marks_come_in_canonical_order() {
  WordPiece tokenizer{WordPieceRules{}};
  tokenizer.add_piece("a\xF0\x9D\x85\xA5\xE3\x80\xAE", 1);         // a, U+1D165 (class 216), U+302E (class 224)
  const std::u32string_view swapped = U"a\u302E\U0001D165";        // to be sorted
  const std::u32string_view between = U"a\u302E\u0301\U0001D165";  // a mark that is removed does not stand between
  const std::u32string_view starter = U"a\u302E\u0488\U0001D165";  // one that is no combining mark does
  CHECK((ids_of(tokenizer, swapped) == Ids{1}));
  CHECK((ids_of(tokenizer, between) == Ids{1}));
  CHECK((ids_of(tokenizer, starter) == Ids{0}));
}

void long_words_are_unknown() {
  const WordPiece tokenizer = make();
  for (const std::size_t size : {99, 100, 101, 5000}) {
    WordPiece own = make();
    own.add_piece(std::string(size, 'x'), 77);
    CHECK((ids_of(own, std::u32string(size, U'X')) == Ids{size <= 100 ? 77 : kUnknown}));
    CHECK((ids_of(tokenizer, std::u32string(size, U'\u302E') + U" a") == Ids{kUnknown, kA}));
  }
}

void added_tokens_come_first() {
  WordPiece tokenizer = make();
  tokenizer.add_token({U"[CLS]!", 50});
  CHECK((ids_of(tokenizer, U"a[CLS]a [cls]") == Ids{kA, kCls, kA, kUnknown, kUnknown, kUnknown}));
  CHECK((ids_of(tokenizer, U"[CLS]![CLS]") == Ids{50, kCls}));  // the longest
  CHECK((ids_of(tokenizer, U"[CLS") == Ids{kUnknown, kUnknown}));
  bool refused = false;
  try {
    tokenizer.add_token({U"", 1});
  } catch (const ArgumentError&) {
    refused = true;
  }
  CHECK(refused);
}

void limits_cut() {
  const WordPiece tokenizer = make();
  const std::u32string_view text = U"unruns[CLS]a";
  const Ids all = ids_of(tokenizer, text);
  CHECK(all.size() == 5);
  for (std::size_t limit = 0; limit <= 6; ++limit)
    CHECK((ids_of(tokenizer, text, limit) == Ids(all.begin(), all.begin() + std::min<std::ptrdiff_t>(limit, 5))));
  CHECK((ids_of(tokenizer, text, ~std::size_t{0}) == all));
  const TextView view{"ab cd\nef gh", 11, 1};
  CHECK(clipped(view, 11).size == 11);
  CHECK(clipped(view, 10).size == 8);
  CHECK(clipped(view, 4).size == 4);  // the only space is not in the second half
  CHECK(clipped(view, 0).size == 0);
}

void surrogates_are_pairs_or_nothing() {
  WordPiece tokenizer = make();
  tokenizer.add_piece("\xF0\x9F\x98\x80", 60);
  const char16_t pair[] = {0xD83D, 0xDE00}, alone[] = {'a', 0xD83D, ' ', 0xDE00, 0xD83D};
  CHECK((ids_of_units<char16_t>(tokenizer, pair) == Ids{60}));
  CHECK((ids_of(tokenizer, U"\U0001F600") == Ids{60}));
  CHECK((ids_of_units<char16_t>(tokenizer, alone) == Ids{kA}));  // U+FFFD is dropped
}

void every_number_has_flags() {
  for (std::uint64_t point = 0; point <= 0xFFFFFFFF; point += point < 0x110100 ? 1 : 0x10001) {
    const auto c = static_cast<char32_t>(point);
    const std::uint8_t flags = unicode::flags(c);
    CHECK(point <= 0x10FFFF || flags == 0);
    const unicode::Expansion bare = unicode::strip(c), small = unicode::lower(c);
    CHECK(bare.count >= 1 && bare.count <= 3 && small.count >= 1 && small.count <= 2);
    CHECK(((flags & unicode::kStripped) != 0) == (bare.count > 1 || bare.points[0] != c));
    CHECK(((flags & unicode::kLowered) != 0) == (small.count > 1 || small.points[0] != c));
  }
}

class Rng {
 public:
  explicit Rng(std::uint64_t seed) : seed_(mix64(seed)) {}
  std::uint64_t next() { return mix64(seed_ ^ mix64(counter_++)); }

 private:
  std::uint64_t seed_, counter_ = 0;
};

// Half of the code points are of the kinds that do something.
char32_t random_point(Rng& rng) {
  constexpr char32_t kKinds[][2] = {{0, 0x80},        {0x300, 0x370},   {0x1E00, 0x2100},   {0x3000, 0x3400},
                                    {0xAC00, 0xAD00}, {0xD800, 0xE000}, {0x1D150, 0x1D180}, {0x110000, 0xFFFFFFFF}};
  const auto& kind = kKinds[rng.next() % 16 % 8];
  return rng.next() % 4 == 0 ? static_cast<char32_t>(rng.next())
                             : kind[0] + static_cast<char32_t>(rng.next() % (kind[1] - kind[0]));
}

template <class Unit>
void random_texts(std::uint64_t seed) {
  Rng rng(seed);
  WordPieceRules rules;
  rules.clean_text = rng.next() % 2;
  rules.chinese = rng.next() % 2;
  rules.strip_accents = rng.next() % 2;
  rules.lowercase = rng.next() % 2;
  rules.max_word_points = rng.next() % 2 == 0 ? 100 : rng.next() % 8;
  const WordPiece tokenizer = make(rules);
  std::vector<Unit> text;
  for (std::size_t size = rng.next() % 300; text.size() < size;) {
    if (rng.next() % 32 == 0)
      for (const char c : {'[', 'C', 'L', 'S', ']'}) text.push_back(static_cast<Unit>(c));
    text.push_back(static_cast<Unit>(random_point(rng)));
  }
  const Ids all = ids_of_units<Unit>(tokenizer, text);
  CHECK(all.size() <= 2 * text.size() + 2);
  for (const std::int64_t id : all) CHECK(id >= 0 && id < kPieces);
  const std::size_t limit = rng.next() % (all.size() + 1);
  CHECK((ids_of_units<Unit>(tokenizer, text, limit) ==
         Ids(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(limit))));
}

void threads_change_nothing() {
  const WordPiece tokenizer = make();
  std::vector<float> weights(kPieces * 5);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 13) / 7;
  TableParts parts;
  parts.format = TableFormat::i8;
  parts.dim = 5;
  std::vector<std::byte> rows(kPieces * kernels::table_row_bytes(parts.format, parts.dim));
  encode_table_rows(parts.format, {weights.data(), kPieces, 5}, rows.data(), 1, nullptr);
  parts.rows = rows.data();
  parts.row_count = kPieces;
  const EmbeddingTable table(parts);
  std::vector<TextView> texts;
  const std::string_view words[] = {"unruns a!", "", "a", "[CLS] [CLS] un", "xyz"};
  for (std::size_t i = 0; i < 1000; ++i) texts.push_back({words[i % 5].data(), words[i % 5].size(), 1});
  std::vector<float> alone(1000 * 5), shared(1000 * 5), pooled(5);
  pool_texts({tokenizer, table, kBang}, texts, {8, 100}, {alone.data(), 5}, 1, nullptr);
  pool_texts({tokenizer, table, kBang}, texts, {8, 100}, {shared.data(), 5}, 4, nullptr);
  CHECK(alone == shared);
  const JaggedIds one = encode_texts(tokenizer, texts, {8, 100}, 1, nullptr);
  const JaggedIds four = encode_texts(tokenizer, texts, {8, 100}, 4, nullptr);
  CHECK(one.values == four.values && one.offsets == four.offsets);
  const std::int64_t bang[] = {kBang}, ends[] = {0, 1};
  table.pool({bang, nullptr, ends, Pooling::mean}, {pooled.data(), 5}, 1, nullptr);
  CHECK(std::equal(pooled.begin(), pooled.end(), alone.begin() + 5));  // the text without tokens
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t seeds = argc > 1 ? std::stoull(argv[1]) : 2000;
  words_are_split_greedily();
  the_normaliser_is_bert_s();
  marks_come_in_canonical_order();
  long_words_are_unknown();
  added_tokens_come_first();
  limits_cut();
  surrogates_are_pairs_or_nothing();
  every_number_has_flags();
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    random_texts<std::uint8_t>(seed);
    random_texts<char16_t>(seed);
    random_texts<char32_t>(seed);
  }
  threads_change_nothing();
}
