// A tokenizer of any pieces, rules and added tokens, over texts of every width in memory of exactly their size.
#include <memory>
#include <string>

#include "core/error.hpp"
#include "fuzz/input.hpp"
#include "table/embedding_table.hpp"
#include "text/text_pooling.hpp"
#include "text/wordpiece.hpp"

using namespace semblance;
using fuzz::Input;

namespace {

WordPieceRules any_rules(Input& input) {
  WordPieceRules rules;
  const std::size_t switches = input.between(0, 15);
  rules.clean_text = (switches & 1) != 0;
  rules.chinese = (switches & 2) != 0;
  rules.strip_accents = (switches & 4) != 0;
  rules.lowercase = (switches & 8) != 0;
  rules.max_word_points = input.between(0, 40);
  rules.prefix = input.pick<const char*>({"##", "", "#", "\xE2\x96\x81"});
  return rules;
}

std::string any_piece(Input& input, const std::string& prefix) {
  std::string piece = input.between(0, 1) == 0 ? prefix : "";
  for (std::size_t n = input.between(0, 5); n > 0; --n)
    piece += input.between(0, 4) == 0 ? static_cast<char>(input.take<std::uint8_t>())
                                      : static_cast<char>('a' + input.between(0, 5));
  return piece;
}

std::unique_ptr<WordPiece> any_tokenizer(Input& input) {
  const WordPieceRules rules = any_rules(input);
  auto made = std::make_unique<WordPiece>(rules);
  made->add_piece("[UNK]", 0);
  std::uint32_t id = 1;
  for (std::size_t n = input.between(0, 24); n > 0; --n) made->add_piece(any_piece(input, rules.prefix), id++);
  for (std::size_t n = input.between(0, 3); n > 0; --n) {
    std::u32string token(1, static_cast<char32_t>(input.between('[', 'b')));
    for (std::size_t more = input.between(0, 3); more > 0; --more) token += input.take<char32_t>();
    made->add_token({token, id++});
  }
  return made;
}

// The text's memory, to the byte.
struct Text {
  std::vector<std::uint8_t> bytes;
  TextView view{};

  Text(Input& input, std::size_t points) {
    const std::uint8_t width = input.pick<std::uint8_t>({1, 2, 4});
    bytes = input.several<std::uint8_t>(points * width);
    if (width == 4 && input.between(0, 1) == 0)  // most 32-bit numbers are no code points
      for (std::size_t i = 2; i < bytes.size(); i += 4) bytes[i] &= 1, bytes[i + 1] = 0;
    view = {bytes.data(), points, width};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  try {
    const auto tokenizer = any_tokenizer(input);
    std::vector<float> rows = input.floats((tokenizer->max_id() + 1) * 2);
    TableParts parts;
    parts.dim = 2;
    parts.rows = reinterpret_cast<const std::byte*>(rows.data());
    parts.row_count = tokenizer->max_id() + 1;
    const EmbeddingTable table(parts);
    const TextLimits limits{input.between(0, 30), input.between(0, 200)};
    while (!input.done()) {
      const Text text(input, input.between(0, 120));
      const TextView cut = clipped(text.view, limits.points);
      CHECK(cut.size <= limits.points && cut.data == text.view.data);
      const JaggedIds ids = encode_texts(*tokenizer, {&text.view, 1}, limits, 1, nullptr);
      CHECK(ids.values.size() <= limits.tokens);
      for (const std::int64_t id : ids.values) CHECK(id >= 0 && id <= tokenizer->max_id());
      float out[2];
      pool_texts({*tokenizer, table, 0}, {&text.view, 1}, limits, {out, 2}, 1, nullptr);
    }
  } catch (const Error&) {
  }
  return 0;
}
