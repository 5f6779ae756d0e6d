// What a fuzz target reads its decisions from: bytes that never run out (zeros follow the last).
//
// A target is one file with LLVMFuzzerTestOneInput. It may throw nothing, and ends the process where a promise is
// broken; the sanitizers see the rest.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "../check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace semblance::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}

  bool done() const { return left_.empty(); }
  std::size_t size() const { return left_.size(); }

  template <class T>
  T take() {
    T value{};
    const std::size_t count = std::min(sizeof(T), left_.size());
    if (count > 0) std::memcpy(&value, left_.data(), count);
    left_ = left_.subspan(count);
    return value;
  }
  // A number of [low, high], from one byte or two.
  std::size_t between(std::size_t low, std::size_t high) {
    const std::size_t drawn = high - low < 256 ? take<std::uint8_t>() : take<std::uint16_t>();
    return low + drawn % (high - low + 1);
  }
  template <class T>
  T pick(std::initializer_list<T> from) {
    return from.begin()[between(0, from.size() - 1)];
  }
  template <class T>
  std::vector<T> several(std::size_t count) {
    std::vector<T> out(count);
    for (T& each : out) each = take<T>();
    return out;
  }
  // Finite values: most small and often equal, some as large or tiny as the bits say.
  std::vector<float> floats(std::size_t count) {
    std::vector<float> out(count);
    const bool wild = between(0, 7) == 7;
    for (float& each : out) {
      each = wild ? take<float>() : static_cast<float>(take<std::int8_t>()) / 16.0F;
      if (!std::isfinite(each)) each = 1.0F;
    }
    return out;
  }

 private:
  std::span<const std::uint8_t> left_;
};

}  // namespace semblance::fuzz
