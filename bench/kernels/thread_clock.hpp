// Processor time of the calling thread: waiting for a core on a busy machine does not count, waiting for memory does.
#pragma once

#include <ctime>

namespace semblance::bench {

inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace semblance::bench
