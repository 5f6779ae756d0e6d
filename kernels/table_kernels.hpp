// Kernels of quantised embedding tables: function-pointer types and their part of the kernel table.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semblance::kernels {

struct TableKernels {};

}  // namespace semblance::kernels
