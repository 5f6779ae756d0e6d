// The errors that cross into Python. One sentence form: "where: expected X, got Y".
#pragma once

#include <stdexcept>
#include <string>

namespace semblance {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ArgumentError : Error {
  using Error::Error;
};
struct FormatError : Error {
  using Error::Error;
};
struct NotFoundError : Error {
  using Error::Error;
};
struct UnsupportedError : Error {
  using Error::Error;
};
struct CapacityError : Error {
  using Error::Error;
};

// Long work was asked to stop by its monitor; the binding re-raises what the monitor saw (Ctrl-C, a failing callback).
struct Interrupted : Error {
  Interrupted() : Error("interrupted") {}
};

inline std::string expected(const std::string& where, const std::string& want, const std::string& got) {
  return where + ": expected " + want + ", got " + got;
}

}  // namespace semblance
