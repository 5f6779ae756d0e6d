#include "core/parallel.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace semblance {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPollInterval = std::chrono::milliseconds(20);
// The last chunks of a short job end within microseconds of each other, sooner than a thread falls asleep and wakes;
// and where one short job follows another, the next comes before a helper would have slept.
constexpr int kSpins = 500;         // some 10 us
constexpr int kHelperSpins = 1000;  // some 20 us

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

thread_local bool in_parallel_body = false;
thread_local Monitor* watching = nullptr;  // whom `stop_if_asked` polls on this thread
thread_local Clock::time_point last_poll;

// One parallel_for: chunks are handed out by an atomic counter, whoever asks first.
class Job {
 public:
  Job(std::size_t n, std::size_t grain, const ChunkBody& body)
      : n_(n), grain_(grain), chunks_((n + grain - 1) / grain), body_(body) {}

  std::size_t chunks() const { return chunks_; }

  // Runs one chunk; false when none is left.
  bool run_one(std::size_t worker) {
    const std::size_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= chunks_) return false;
    if (!stop_.load(std::memory_order_relaxed)) {
      try {
        body_(chunk * grain_, std::min(n_, (chunk + 1) * grain_), worker);
      } catch (...) {
        fail(std::current_exception());
      }
    }
    done_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  bool stopped() const { return stop_.load(std::memory_order_relaxed); }

  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    stop_.store(true, std::memory_order_relaxed);
  }

  std::size_t items_done() const { return std::min(n_, done_.load(std::memory_order_relaxed) * grain_); }
  std::size_t items() const { return n_; }

  // Helpers register before they touch the job and leave when they are through; the caller outlives them all.
  std::size_t join_as_worker() { return workers_.fetch_add(1, std::memory_order_relaxed); }
  void leave() {
    const std::lock_guard lock(mutex_);
    ++left_;
    finished_.notify_all();
  }
  // Waits for `helpers` to leave, waking at the poll interval; true when they all have.
  bool wait_left(std::size_t helpers) {
    for (int turn = 0; turn < kSpins && left_.load(std::memory_order_relaxed) != helpers; ++turn) relax();
    std::unique_lock lock(mutex_);  // also when all have left: the last one may still hold it
    return finished_.wait_for(lock, kPollInterval, [&] { return left_ == helpers; });
  }
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const std::size_t n_, grain_, chunks_;
  const ChunkBody& body_;
  std::atomic<std::size_t> next_{0}, done_{0}, workers_{1};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable finished_;
  std::atomic<std::size_t> left_{0};  // changed under the mutex
  std::exception_ptr error_;
};

thread_local const Job* running = nullptr;  // whose chunk this thread is in

class Pool {
 public:
  // Asks for up to `helpers` threads; returns how many tickets were queued (0 when no thread could be started).
  std::size_t submit(Job& job, std::size_t helpers) {
    const std::lock_guard lock(mutex_);
    while (threads_ < helpers && start_thread()) {
    }
    helpers = std::min(helpers, threads_);
    std::size_t queued = 0;
    try {
      for (; queued < helpers; ++queued) queue_.push_back(&job);
    } catch (const std::bad_alloc&) {  // those that are queued are waited for
    }
    has_work_.store(!queue_.empty(), std::memory_order_relaxed);
    wake_.notify_all();
    return queued;
  }

  // Takes back the tickets that no thread has picked up; returns how many.
  std::size_t withdraw(Job& job) {
    const std::lock_guard lock(mutex_);
    const auto tickets = static_cast<std::size_t>(std::erase(queue_, &job));
    has_work_.store(!queue_.empty(), std::memory_order_relaxed);
    return tickets;
  }

 private:
  bool start_thread() {
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {  // of the system, or no memory
      return false;
    }
    ++threads_;
    return true;
  }

  Job* next() {
    for (int turn = 0; turn < kHelperSpins && !has_work_.load(std::memory_order_relaxed); ++turn) relax();
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return !queue_.empty(); });
    Job* job = queue_.front();
    queue_.pop_front();
    has_work_.store(!queue_.empty(), std::memory_order_relaxed);
    return job;
  }

  [[noreturn]] void serve() {
    in_parallel_body = true;
    for (;;) {
      Job* job = next();
      const std::size_t worker = job->join_as_worker();
      running = job;
      while (job->run_one(worker)) {
      }
      running = nullptr;
      job->leave();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> queue_;
  std::atomic<bool> has_work_{false};  // of the queue, for a look without the lock; changed under it
  std::size_t threads_ = 0;
};

// Never destroyed: its threads are detached and may still wait on it while the process exits. A forked child has none
// of the parent's threads, so it starts from an empty pool.
std::atomic<Pool*> pool_instance{nullptr};

Pool& pool() {
  if (Pool* existing = pool_instance.load(std::memory_order_acquire)) return *existing;
  static std::once_flag fork_handler;
  std::call_once(fork_handler, [] { pthread_atfork(nullptr, nullptr, [] { pool_instance.store(nullptr); }); });
  auto fresh = std::make_unique<Pool>();
  Pool* none = nullptr;
  if (pool_instance.compare_exchange_strong(none, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
  return *none;
}

// Polls for a job and never throws, since other threads may still work on it: passes on how far it is, or nothing to
// the monitor of a caller further out, and ends the job where the monitor says so.
class JobMonitor final : public Monitor {
 public:
  JobMonitor(Job& job, Monitor* own) : job_(job), own_(own), outer_(watching) {}
  bool poll(std::size_t, std::size_t) override {
    if (job_.stopped()) return true;
    try {
      if (!(own_ != nullptr ? own_->poll(job_.items_done(), job_.items()) : outer_->poll(0, 0))) throw Interrupted();
    } catch (...) {
      job_.fail(std::current_exception());
    }
    return true;
  }
  bool needed() const { return own_ != nullptr || outer_ != nullptr; }

 private:
  Job& job_;
  Monitor *own_, *outer_;
};

// The caller's own chunks.
class BodyScope {
 public:
  BodyScope(const Job& job, Monitor* monitor) : watched_(monitor) { running = &job; }
  BodyScope(const BodyScope&) = delete;
  BodyScope& operator=(const BodyScope&) = delete;
  ~BodyScope() {
    in_parallel_body = before_;
    running = job_before_;
  }

 private:
  bool before_ = std::exchange(in_parallel_body, true);
  const Job* job_before_ = running;
  Watched watched_;
};

// While it polls, nobody is watching: what a callback calls is no part of the work.
void poll_in_time() {
  if (watching == nullptr || Clock::now() - last_poll < kPollInterval) return;
  struct Pause {
    Monitor* monitor = std::exchange(watching, nullptr);
    ~Pause() {
      watching = monitor;
      last_poll = Clock::now();
    }
  } const pause;
  if (!pause.monitor->poll(0, 0)) throw Interrupted();
}

}  // namespace

Watched::Watched(Monitor* monitor) : before_(watching) {
  if (monitor == nullptr) return;
  if (watching == nullptr) last_poll = Clock::now();
  watching = monitor;
}

Watched::~Watched() { watching = before_; }

void stop_if_asked() {
  poll_in_time();
  if (running != nullptr && running->stopped()) throw Interrupted();
}

std::unique_lock<std::timed_mutex> lock_unless_asked(std::timed_mutex& mutex) {
  std::unique_lock lock(mutex, std::try_to_lock);
  // By the system's clock: ThreadSanitizer does not know the lock that waits by the steady one.
  while (!lock.owns_lock() && !lock.try_lock_until(std::chrono::system_clock::now() + kPollInterval)) stop_if_asked();
  return lock;
}

std::size_t available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1U, std::thread::hardware_concurrency());
}

std::size_t resolve_threads(std::size_t threads) { return threads == 0 ? available_cores() : threads; }

void parallel_for(std::size_t n, std::size_t threads, std::size_t grain, const ChunkBody& body, Monitor* monitor) {
  if (n == 0) return;
  Job job(n, std::max<std::size_t>(grain, 1), body);
  JobMonitor of_job(job, monitor);
  const std::size_t wanted = in_parallel_body ? 1 : std::min(resolve_threads(threads), job.chunks());
  std::size_t helpers = wanted > 1 ? pool().submit(job, wanted - 1) : 0;
  {
    const BodyScope scope(job, of_job.needed() ? &of_job : nullptr);
    while (job.run_one(0)) poll_in_time();
    if (helpers > 0) {
      helpers -= pool().withdraw(job);
      while (!job.wait_left(helpers)) poll_in_time();
    }
  }
  job.rethrow();
}

}  // namespace semblance
