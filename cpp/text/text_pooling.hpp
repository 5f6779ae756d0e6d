// Texts to vectors in one pass: each text's ids, then the mean of their rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "table/table.hpp"
#include "text/wordpiece.hpp"

namespace semblance {

// What is looked at of a text.
struct TextLimits {
  std::size_t tokens;
  std::size_t points;  // of code points: those beyond are cut off, see `clipped`
};

struct JaggedIds {
  std::vector<std::int64_t> values;
  std::vector<std::int64_t> offsets;  // texts + 1
};

JaggedIds encode_texts(const WordPiece& tokenizer, std::span<const TextView> texts, const TextLimits& limits,
                       std::size_t threads, Monitor* monitor);

// out[i] = the mean of the rows of text i's ids; of the row `empty_id` where it has none. The same bits whatever the
// threads. Throws what `Table::check_keys` throws; `out` is then unfinished.
struct PooledTexts {
  const WordPiece& tokenizer;
  const Table& table;
  std::int64_t empty_id;
};
void pool_texts(const PooledTexts& how, std::span<const TextView> texts, const TextLimits& limits, OutputRows out,
                std::size_t threads, Monitor* monitor);

}  // namespace semblance
