// A bit a row.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace semblance {

inline constexpr std::size_t kWordBits = 64;
inline constexpr std::size_t words_for(std::size_t bits) { return (bits + kWordBits - 1) / kWordBits; }

// Of fixed size, one owner.
class Bitset {
 public:
  Bitset() = default;
  explicit Bitset(std::size_t bits) : words_(words_for(bits)), bits_(bits) {}

  std::size_t size() const { return bits_; }
  bool test(std::size_t i) const { return i < bits_ && ((words_[i / kWordBits] >> (i % kWordBits)) & 1U); }
  void set(std::size_t i) { words_[i / kWordBits] |= std::uint64_t{1} << (i % kWordBits); }
  std::uint64_t word(std::size_t w) const { return words_[w]; }
  std::uint64_t& word(std::size_t w) { return words_[w]; }
  std::size_t words() const { return words_.size(); }
  std::size_t count() const {
    std::size_t total = 0;
    for (const std::uint64_t w : words_) total += static_cast<std::size_t>(std::popcount(w));
    return total;
  }

 private:
  std::vector<std::uint64_t> words_;
  std::size_t bits_ = 0;
};

}  // namespace semblance
