// Bits that readers test while writers set and clear them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/arena.hpp"
#include "core/atomic_word.hpp"

namespace semblance {

inline constexpr std::size_t kWordBits = 64;
inline constexpr std::size_t words_for(std::size_t bits) { return (bits + kWordBits - 1) / kWordBits; }

// Grows in place; never shrinks. One writer at a time, any number of readers.
class AtomicBitset {
 public:
  AtomicBitset() : words_(sizeof(std::uint64_t)) {}

  void grow(std::size_t bits) { words_.grow(words_for(bits) + 1); }
  bool test(std::size_t i) const { return (word(i / kWordBits) >> (i % kWordBits)) & 1U; }
  std::uint64_t word(std::size_t w) const { return load_acquire(cell(w)); }
  void set(std::size_t i) { or_release(cell(i / kWordBits), mask(i)); }
  void clear(std::size_t i) { and_release(cell(i / kWordBits), ~mask(i)); }

 private:
  static std::uint64_t mask(std::size_t i) { return std::uint64_t{1} << (i % kWordBits); }
  std::uint64_t* cell(std::size_t w) const { return words_.as<std::uint64_t>(w); }
  Arena words_;
};

// A plain bitset of fixed size, one owner.
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
