// AVX2, FMA and F16C: Haswell, Zen and later.
#include "row_words_avx2.hpp"
#include "simd_avx2.hpp"
#include "table.inc"

namespace semblance::kernels {
extern const KernelTable kAvx2Table;
constinit const KernelTable kAvx2Table = make_table(Isa::avx2, "avx2");
}  // namespace semblance::kernels
