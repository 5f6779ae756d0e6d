// AVX-512 with VNNI (the words change under that flag): Cascade Lake, Ice Lake, Zen 4 and later.
#include "row_words_avx512.hpp"
#include "simd_avx512.hpp"
#include "table.inc"

namespace semblance::kernels {
extern const KernelTable kAvx512VnniTable;
constinit const KernelTable kAvx512VnniTable = make_table(Isa::avx512vnni, "avx512vnni");
}  // namespace semblance::kernels
