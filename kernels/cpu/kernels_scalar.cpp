// Placeholder words until the vocabulary lands: f32 inner product and squared distance only.
#include "../kernel_table.hpp"
#include "row_words_scalar.hpp"
//
#include "table_rows.inc"

namespace semblance::kernels {
namespace {

template <bool kL2>
void score(const Query& query, const Rows& rows, const std::uint32_t* ids, std::size_t count, float* out) {
  const auto* q = static_cast<const float*>(query.values);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* r = reinterpret_cast<const float*>(rows.data + (ids ? ids[i] : i) * rows.stride);
    float sum = 0;
    for (std::size_t j = 0; j < rows.dim; ++j) sum += kL2 ? (q[j] - r[j]) * (q[j] - r[j]) : -q[j] * r[j];
    out[i] = sum;
  }
}

}  // namespace

extern const KernelTable kScalarTable;
const KernelTable kScalarTable = {Isa::scalar, "scalar", {{score<false>, score<true>}}, {}, {}, {}, rows::kTableRows};

}  // namespace semblance::kernels
