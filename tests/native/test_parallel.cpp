// parallel_for: every item once, exceptions and stops reach the caller, nesting and two callers at once.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"

using namespace semblance;

namespace {

void every_item_once(std::size_t n, std::size_t threads, std::size_t grain) {
  std::vector<std::atomic<int>> seen(n);
  parallel_for(n, threads, grain, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    CHECK(worker < resolve_threads(threads));
    for (std::size_t i = begin; i < end; ++i) seen[i].fetch_add(1);
  });
  for (const auto& count : seen) CHECK(count.load() == 1);
}

struct StopAtOnce : Monitor {
  bool poll(std::size_t, std::size_t) override { return false; }
};

void stops() {
  StopAtOnce monitor;
  bool interrupted = false;
  std::atomic<int> ran{0};
  try {
    parallel_for(
        100000, 3, 1,
        [&](std::size_t, std::size_t, std::size_t) {
          ran.fetch_add(1);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        &monitor);
  } catch (const Interrupted&) {
    interrupted = true;
  }
  CHECK(interrupted && ran.load() < 1000);
}

void rethrows() {
  bool caught = false;
  try {
    parallel_for(1000, 4, 1, [](std::size_t begin, std::size_t, std::size_t) {
      if (begin == 500) throw ArgumentError("boom");
    });
  } catch (const ArgumentError&) {
    caught = true;
  }
  CHECK(caught);
}

}  // namespace

int main() {
  for (std::size_t n : {0U, 1U, 7U, 1000U})
    for (std::size_t threads : {0U, 1U, 2U, 8U})
      for (std::size_t grain : {1U, 3U, 5000U}) every_item_once(n, threads, grain);
  rethrows();
  stops();
  std::thread other([] {
    for (int i = 0; i < 50; ++i) every_item_once(500, 4, 1);
  });
  for (int i = 0; i < 50; ++i) every_item_once(500, 4, 1);
  other.join();
  parallel_for(8, 4, 1, [](std::size_t, std::size_t, std::size_t) { every_item_once(100, 4, 1); });
}
