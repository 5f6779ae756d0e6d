// AVX-512 F, BW, DQ and VL: Skylake-SP, Zen 4 and later.
#include "row_words_avx512.hpp"
#include "simd_avx512.hpp"
#include "table.inc"

namespace semblance::kernels {
extern const KernelTable kAvx512Table;
constinit const KernelTable kAvx512Table = make_table(Isa::avx512, "avx512");
}  // namespace semblance::kernels
