// NEON: every aarch64 processor.
#include "row_words_neon.hpp"
#include "simd_neon.hpp"
#include "table.inc"

namespace semblance::kernels {
extern const KernelTable kNeonTable;
constinit const KernelTable kNeonTable = make_table(Isa::neon, "neon");
}  // namespace semblance::kernels
