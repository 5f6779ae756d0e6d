// What memory itself allows: streaming, and rows at random asked for ahead of time, read and added but not decoded.
//   c++ -std=c++20 -O3 -march=native -pthread memory_bounds.cpp -o memory_bounds && ./memory_bounds ROWS ROW_BYTES
//   THREADS
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;
constexpr std::size_t kRounds = 200, kStreamBytes = 8 << 20, kReads = 8192, kSets = 64;
constexpr std::size_t kHugePage = 2 << 20;
static volatile std::uint64_t sink;

static std::uint64_t sum(const char* p, std::size_t bytes) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) total += *reinterpret_cast<const std::uint64_t*>(p + i);
  return total;
}

static std::uint64_t gather(const char* rows, std::size_t row_bytes, const std::uint32_t* ids, std::size_t ahead) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kReads; ++i) {
    const char* next = rows + std::size_t{ids[std::min(i + ahead, kReads - 1)]} * row_bytes;
    for (std::size_t b = 0; b < row_bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
    __builtin_prefetch(next + row_bytes - 1, 0, 2);
    total += sum(rows + std::size_t{ids[i]} * row_bytes, row_bytes);
  }
  return total;
}

// The shortest of many short rounds, each of which other work rarely interrupts.
static double best_seconds(int threads, const std::function<std::uint64_t(int, std::size_t)>& work) {
  double best = 1e9;
  for (std::size_t round = 0; round < kRounds; ++round) {
    std::vector<std::thread> others;
    std::vector<double> seconds(static_cast<std::size_t>(threads));
    std::barrier start(threads);
    const auto timed = [&](int t) {
      start.arrive_and_wait();
      const auto begin = Clock::now();
      sink = work(t, round);
      seconds[static_cast<std::size_t>(t)] = std::chrono::duration<double>(Clock::now() - begin).count();
    };
    for (int t = 1; t < threads; ++t) others.emplace_back(timed, t);
    timed(0);
    for (std::thread& other : others) other.join();
    best = std::min(best, *std::max_element(seconds.begin(), seconds.end()));
  }
  return best;
}

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: memory_bounds ROWS ROW_BYTES THREADS\n"), 2;
  const std::size_t rows = std::strtoull(argv[1], nullptr, 10), row_bytes = std::strtoull(argv[2], nullptr, 10);
  const int threads = std::atoi(argv[3]);
  const std::size_t bytes = rows * row_bytes + 64;
  void* raw = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return std::perror("mmap"), 1;
  char* memory = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(raw) + kHugePage - 1) & ~(kHugePage - 1));
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::fill_n(memory, bytes, 1);
  std::mt19937 random(1);
  std::vector<std::uint32_t> ids(static_cast<std::size_t>(threads) * kSets * kReads);
  for (auto& id : ids) id = static_cast<std::uint32_t>(random() % rows);

  const std::size_t slices = bytes / kStreamBytes;
  const double stream = best_seconds(threads, [&](int t, std::size_t round) {
    return sum(memory + (round * 7 + static_cast<std::size_t>(t) * slices / 2) % slices * kStreamBytes, kStreamBytes);
  });
  double least = 1e9;
  for (const std::size_t ahead : {8, 16, 32, 64, 128})
    least = std::min(least, best_seconds(threads, [&](int t, std::size_t round) {
                       const std::size_t set = static_cast<std::size_t>(t) * kSets + round % kSets;
                       return gather(memory, row_bytes, ids.data() + set * kReads, ahead);
                     }));
  std::printf("%.3f %.3f\n", threads * static_cast<double>(kStreamBytes) / stream / 1e9,
              threads * static_cast<double>(kReads * row_bytes) / least / 1e9);
}
