// How neighbour codes tell the difference between two rows: signs of a random rotation, which suit any rows, or levels
// along axes learned from an index's own differences, which say as much in fewer bytes where those lie mostly along
// few. Signs of a part of a rotation say less, of any rows, in as few bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/codec.hpp"
#include "codec/rotation.hpp"
#include "core/aligned.hpp"
#include "core/parallel.hpp"
#include "kernel_table.hpp"

namespace semblance {

class DifferenceCodec {
 public:
  virtual ~DifferenceCodec() = default;

  // What one thread needs.
  struct Scratch {
    AlignedVector<float> row, rotated, room;
    PreparedQuery query;
  };
  // A row as codes are made of it and scored against it: `values()` floats.
  virtual void place(const float* row, float* out, Scratch& scratch) const = 0;
  virtual kernels::LinkQuery tabulate(const float* placed, std::uint8_t* tables) const = 0;
  // Both placed.
  virtual kernels::DifferenceSums write(const float* neighbour, const float* node, unsigned shift,
                                        std::uint8_t* lane) const = 0;

  // The part of a difference's square that its values are expected to have.
  virtual float usual_share() const = 0;

  std::size_t values() const { return values_; }
  std::size_t groups() const { return groups_; }

 protected:
  DifferenceCodec(std::size_t values, std::size_t groups) : values_(values), groups_(groups) {}

 private:
  std::size_t values_, groups_;
};

class SignCodec final : public DifferenceCodec {
 public:
  SignCodec(std::size_t dim, std::uint64_t seed) : SignCodec(dim, RandomRotation(dim, seed)) {}
  // Of the first values of a rotation, four a group.
  SignCodec(std::size_t dim, std::uint64_t seed, std::size_t groups)
      : SignCodec(dim, RandomRotation(dim, seed), groups * kernels::kLinkGroup) {}

  void place(const float* row, float* out, Scratch& scratch) const override;
  kernels::LinkQuery tabulate(const float* placed, std::uint8_t* tables) const override;
  kernels::DifferenceSums write(const float* neighbour, const float* node, unsigned shift,
                                std::uint8_t* lane) const override;
  float usual_share() const override {
    return static_cast<float>(values()) / static_cast<float>(rotation_.rotated_dim());
  }

 private:
  SignCodec(std::size_t dim, RandomRotation rotation) : SignCodec(dim, rotation, rotation.rotated_dim()) {}
  SignCodec(std::size_t dim, RandomRotation rotation, std::size_t values)
      : DifferenceCodec(values, values / kernels::kLinkGroup), dim_(dim), rotation_(std::move(rotation)) {}

  std::size_t dim_;
  RandomRotation rotation_;
};

// Axes of unit length, those of most variance first.
struct Axes {
  std::array<std::uint32_t, 3> words{};  // kernels::LinkAxes: fine, middle, coarse
  AlignedVector<std::byte> basis;        // an i8 row an axis
  AlignedVector<float> offset, spread;   // of an axis: where zero is, and kernels::LinkAxes
};

class LevelCodec final : public DifferenceCodec {
 public:
  LevelCodec(std::size_t dim, Axes axes);
  // Of axes from a file; FormatError where rows of `dim` values cannot have them.
  static std::unique_ptr<LevelCodec> checked(std::size_t dim, Axes axes);

  const Axes& axes() const { return axes_; }
  std::size_t basis_row_bytes() const { return codec_->row_bytes(); }
  static std::size_t basis_row_bytes(std::size_t dim) { return make_i8_codec("i8", dim, Metric::ip)->row_bytes(); }

  void place(const float* row, float* out, Scratch& scratch) const override;
  kernels::LinkQuery tabulate(const float* placed, std::uint8_t* tables) const override;
  kernels::DifferenceSums write(const float* neighbour, const float* node, unsigned shift,
                                std::uint8_t* lane) const override;
  float usual_share() const override { return reach_ * reach_; }

 private:
  kernels::LinkAxes plan() const {
    return {axes_.spread.data(), reach_, axes_.words[0], axes_.words[1], axes_.words[2]};
  }

  std::unique_ptr<Codec> codec_;
  Axes axes_;
  float reach_;
};

// Two differences from one row each, of length 1, and the mean of the rows. The last fifth is measured on.
struct DifferenceSample {
  std::size_t dim, count;
  AlignedVector<float> first, second;  // (count, dim)
  AlignedVector<float> mean;
};

// The levels that make walks cheapest, by the bytes that a visit reads and by how much estimates err over the sample;
// null where signs do about as well. `other_lines`: cache lines that a visit reads beside each 32 neighbours' codes.
// Principal axes by orthogonal iteration, bits by variance. The same at any thread count.
std::unique_ptr<LevelCodec> learn_levels(const DifferenceSample& sample, const SignCodec& signs, double other_lines,
                                         std::size_t threads, Monitor* monitor);

}  // namespace semblance
