// 64-bit keys of strings. Saved tables hold these keys, so the function never changes.
#pragma once

#include <cstdint>
#include <string_view>

namespace semblance {

// Multiplies to 128 bits and folds the halves, eight bytes at a time. Not meant to withstand an adversary: a table
// checks its own strings for collisions when it is built.
std::int64_t string_key(std::string_view bytes, std::uint64_t seed);

}  // namespace semblance
