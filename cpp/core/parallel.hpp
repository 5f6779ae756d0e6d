// One lazily made thread pool for all native work.
//
// The calling thread always takes part, so `threads = 1` uses no other thread, and a pool that could start fewer
// threads than asked for (a full cgroup, a fork) only makes the work slower. After fork the child makes its own pool.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>

namespace semblance {

// Watches long work from the thread that called it. `poll` returns false to stop; it may throw. A total of 0 tells
// nothing about how far the work is.
class Monitor {
 public:
  virtual ~Monitor() = default;
  virtual bool poll(std::size_t done, std::size_t total) = 0;
};

// Passes polls on without their progress: for a part of long work that the user does not count.
class StillMonitor : public Monitor {
 public:
  StillMonitor(Monitor* monitor, std::size_t done, std::size_t total) : monitor_(monitor), done_(done), total_(total) {}
  bool poll(std::size_t, std::size_t) override { return monitor_ == nullptr || monitor_->poll(done_, total_); }

 private:
  Monitor* monitor_;
  std::size_t done_, total_;
};

// While it lives, `stop_if_asked` on this thread polls the monitor; null changes nothing.
class Watched {
 public:
  explicit Watched(Monitor* monitor);
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched();

 private:
  Monitor* before_;
};

// For the inside of anything that can take longer than a twentieth of a second, every few microseconds or more: polls
// this thread's monitor, if it has one, at most every 20 ms, and throws Interrupted (or what `poll` throws) where the
// work is to end; in a parallel_for's body also where another thread's chunk has ended it. Costs a look at the clock.
void stop_if_asked();
// The same at every 256th turn of a loop whose turns are short.
inline void stop_if_asked(std::size_t turn) {
  if (turn % 256 == 0) stop_if_asked();
}

// As std::unique_lock(mutex), with `stop_if_asked` while another thread holds it.
std::unique_lock<std::timed_mutex> lock_unless_asked(std::timed_mutex& mutex);

// Cores this process may use (affinity), at least 1.
std::size_t available_cores();

// 0 = all cores; anything else is taken as given.
std::size_t resolve_threads(std::size_t threads);

// Calls body(begin, end, worker) over disjoint chunks of [0, n) of at most `grain` items, on up to `threads` threads;
// `worker` < resolve_threads(threads) and no two chunks run under one worker at once. The first exception is rethrown
// here after all running chunks ended. With a monitor, `poll` is called between the caller's chunks, at most every
// 20 ms; when it returns false, chunks not begun are dropped and Interrupted is thrown.
// A call from inside a body runs on that thread alone.
using ChunkBody = std::function<void(std::size_t begin, std::size_t end, std::size_t worker)>;
void parallel_for(std::size_t n, std::size_t threads, std::size_t grain, const ChunkBody& body,
                  Monitor* monitor = nullptr);

}  // namespace semblance
