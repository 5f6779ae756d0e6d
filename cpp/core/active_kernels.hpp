// The kernels that all native work goes through.
#pragma once

#include <string>

#include "kernel_table.hpp"

namespace semblance {

// The table in use. Throws ArgumentError where SEMBLANCE_ISA names no instruction set at all, UnsupportedError where it
// names one that this build or this machine lacks; both say which there are.
const kernels::KernelTable& require_table();

// The table of a named instruction set, with the same errors; `where` is the argument or variable that named it.
const kernels::KernelTable& require_table(const std::string& where, const std::string& isa);

}  // namespace semblance
