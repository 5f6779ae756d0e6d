#include "bind/bind.hpp"

namespace semblance::bind {

void register_kernels(py::module_& m) { m.def_submodule("kernels"); }

}  // namespace semblance::bind
