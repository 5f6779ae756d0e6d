// What a codec must offer: rows to codes, codes back to rows, and queries in the form the codes are scored against.
// Virtual calls happen once a batch; inside a loop over rows there is only the kernel's function pointer.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/aligned.hpp"
#include "kernel_table.hpp"

namespace semblance {

enum class Metric : std::uint8_t { cosine, ip, l2, hamming, jaccard };

Metric parse_metric(std::string_view name);  // ArgumentError where unknown
inline bool is_binary(Metric metric) { return metric == Metric::hamming || metric == Metric::jaccard; }
kernels::Score score_of(Metric metric);  // cosine rows and queries are unit vectors, so it scores as ip

// Owns the values that a kernels::Query points to, unless they can be borrowed from a code row.
struct PreparedQuery {
  kernels::Query query{};
  AlignedVector<std::byte> values;
};

class Codec {
 public:
  virtual ~Codec() = default;

  // An input row holds `dim` f32 values, or `dim` packed bits for the bits codec.
  virtual std::size_t input_bytes() const = 0;
  virtual std::size_t row_bytes() const = 0;
  virtual void encode(const std::byte* rows, std::size_t n, std::byte* codes) const = 0;
  virtual void decode(const std::byte* codes, std::size_t n, std::byte* rows) const = 0;
  virtual void prepare(const std::byte* query, PreparedQuery& out) const = 0;
  // A stored row as a query; `out` may point into `codes`, which must stay where it is.
  virtual void prepare_row(const std::byte* codes, PreparedQuery& out) const = 0;
  virtual kernels::ScoreRows scorer() const = 0;
  // Whether decoded rows and plain queries score the same as codes and prepared queries.
  virtual bool scores_as_decoded() const { return false; }

  std::size_t dim() const { return dim_; }
  const std::string& name() const { return name_; }

 protected:
  Codec(std::string name, std::size_t dim) : name_(std::move(name)), dim_(dim) {}

 private:
  std::string name_;
  std::size_t dim_;
};

// The codec of that name ("f32", "f16", "bf16", "i8", "i4", "b1") for a metric; ArgumentError where the two do not go
// together.
std::unique_ptr<Codec> make_codec(std::string_view name, std::size_t dim, Metric metric);

// One factory a codec file; the registry lists them.
std::unique_ptr<Codec> make_dense_codec(kernels::RowFormat format, std::string name, std::size_t dim, Metric metric);
std::unique_ptr<Codec> make_i8_codec(std::string name, std::size_t dim, Metric metric);
std::unique_ptr<Codec> make_i4_codec(std::string name, std::size_t dim, Metric metric);
// i8 rows whose fronts are the rows of make_i4_codec.
std::unique_ptr<Codec> make_i4x2_codec(std::string name, std::size_t dim, Metric metric);
std::unique_ptr<Codec> make_bits_codec(std::string name, std::size_t dim, Metric metric);

}  // namespace semblance
