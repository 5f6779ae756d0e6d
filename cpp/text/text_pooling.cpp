#include "text/text_pooling.hpp"

#include <algorithm>

namespace semblance {
namespace {

constexpr std::size_t kGrain = 64;  // texts, about 100 µs

}  // namespace

JaggedIds encode_texts(const WordPiece& tokenizer, std::span<const TextView> texts, const TextLimits& limits,
                       std::size_t threads, Monitor* monitor) {
  std::vector<JaggedIds> parts((texts.size() + kGrain - 1) / kGrain);
  parallel_for(
      texts.size(), threads, kGrain,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        JaggedIds& part = parts[begin / kGrain];
        for (std::size_t i = begin; i < end; ++i) {
          tokenizer.encode(clipped(texts[i], limits.points), limits.tokens, part.values);
          part.offsets.push_back(static_cast<std::int64_t>(part.values.size()));
        }
      },
      monitor);
  JaggedIds all{{}, {0}};
  for (const JaggedIds& part : parts) {
    const auto base = static_cast<std::int64_t>(all.values.size());
    all.values.insert(all.values.end(), part.values.begin(), part.values.end());
    for (const std::int64_t end : part.offsets) all.offsets.push_back(base + end);
  }
  return all;
}

void pool_texts(const PooledTexts& how, std::span<const TextView> texts, const TextLimits& limits, OutputRows out,
                std::size_t threads, Monitor* monitor) {
  parallel_for(
      texts.size(), threads, kGrain,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        std::vector<std::int64_t> ids, offsets{0};
        for (std::size_t i = begin; i < end; ++i) {
          const std::size_t before = ids.size();
          how.tokenizer.encode(clipped(texts[i], limits.points), limits.tokens, ids);
          if (ids.size() == before) ids.push_back(how.empty_id);
          offsets.push_back(static_cast<std::int64_t>(ids.size()));
        }
        how.table.check_keys(ids);
        how.table.count(ids.size());
        how.table.pool_range({ids.data(), nullptr, offsets, Pooling::mean}, 0, end - begin,
                             {out.data + begin * out.stride, out.stride});
      },
      monitor);
}

}  // namespace semblance
