// Portable: whatever the baseline of the build offers.
#include "row_words_scalar.hpp"
#include "simd_scalar.hpp"
#include "table.inc"

namespace semblance::kernels {
extern const KernelTable kScalarTable;
constinit const KernelTable kScalarTable = make_table(Isa::scalar, "scalar");
}  // namespace semblance::kernels
