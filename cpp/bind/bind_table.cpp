#include "bind/bind.hpp"

namespace semblance::bind {

void register_table(py::module_& m) { m.def_submodule("table"); }

}  // namespace semblance::bind
