#include "bind/bind.hpp"

namespace semblance::bind {

void register_index(py::module_& m) { m.def_submodule("index"); }

}  // namespace semblance::bind
