#include "kernel_table.hpp"

namespace semblance::kernels {

extern const KernelTable kScalarTable;

const KernelTable* active_table() noexcept { return &kScalarTable; }
const KernelTable* table_for(Isa isa) noexcept { return isa == Isa::scalar ? &kScalarTable : nullptr; }

}  // namespace semblance::kernels
