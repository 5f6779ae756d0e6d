#include "index/input.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>

#include "core/error.hpp"

namespace semblance {
namespace {

constexpr double kMaxSquaredNorm = 8e37;    // four times it, the largest squared distance, is still a finite f32
constexpr std::size_t kCheckedRows = 1024;  // at a time, and between two looks at Ctrl-C

double squared_norm(const float* row, std::size_t dim) {
  double lanes[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= dim; i += 4)
    for (std::size_t l = 0; l < 4; ++l) lanes[l] += double{row[i + l]} * double{row[i + l]};
  for (; i < dim; ++i) lanes[0] += double{row[i]} * double{row[i]};
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

[[noreturn]] void refuse(const float* row, std::size_t i, std::size_t dim, double norm, const char* what) {
  const std::string where = std::string(what) + "[" + std::to_string(i) + "]";
  for (std::size_t j = 0; j < dim; ++j)
    if (!std::isfinite(row[j]))
      throw ArgumentError(
          expected(where, "finite values", std::to_string(row[j]) + " at position " + std::to_string(j)));
  if (norm == 0) throw ArgumentError(expected(where, "a vector with a direction (metric 'cosine')", "a zero vector"));
  throw ArgumentError(expected(where, "a squared norm below 8e37", std::to_string(norm)));
}

}  // namespace

void check_vectors(Matrix<const float> rows, std::size_t begin, std::size_t end, const VectorRules& rules) {
  for (std::size_t i = begin; i < end; ++i) {
    const float* row = rows.row(i);
    const double norm = squared_norm(row, rows.cols);
    if (!(norm < kMaxSquaredNorm) || (norm == 0 && rules.metric == Metric::cosine))
      refuse(row, i, rows.cols, norm, rules.what);
    if (norm <= double{rules.largest} * rules.largest) continue;  // then no value is larger either
    for (std::size_t j = 0; j < rows.cols; ++j)
      if (std::abs(row[j]) > rules.largest)
        throw ArgumentError(expected(std::string(rules.what) + "[" + std::to_string(i) + "]",
                                     "magnitudes that f16 codes hold, up to 65504",
                                     std::to_string(row[j]) + " (codes or rerank 'f32' or 'bf16' hold it)"));
  }
}

void check_vectors(Matrix<const float> rows, const VectorRules& rules, std::size_t threads, Monitor* monitor) {
  std::mutex mutex;
  std::size_t first = rows.rows;
  std::exception_ptr refusal;
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    try {
      check_vectors(rows, begin, end, rules);
    } catch (const ArgumentError&) {
      const std::lock_guard lock(mutex);
      if (begin >= first) return;
      first = begin;
      refusal = std::current_exception();
    }
  };
  StillMonitor still(monitor, 0, rows.rows);
  parallel_for(rows.rows, threads, kCheckedRows, body, &still);
  if (refusal) std::rethrow_exception(refusal);
}

void normalise(const float* row, std::size_t dim, float* out) {
  const double scale = 1.0 / std::sqrt(squared_norm(row, dim));
  for (std::size_t j = 0; j < dim; ++j) out[j] = static_cast<float>(double{row[j]} * scale);
}

}  // namespace semblance
