// Runs a fuzz target without libFuzzer: `target [-runs=N] [-max_total_time=SECONDS] [-seed=S] [-max_len=BYTES]
// FOLDER...` reads every file of the folders as an input, then changes and mixes them N times (libFuzzer's own options,
// so that one command fits both). What an input was when the target ended the process is in ./crash.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "input.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

struct Options {
  std::size_t runs = 0, max_len = 4096, seed = 1;
  double seconds = 0;
  std::vector<std::string> folders;
};

Options read(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string value = word.substr(word.find('=') + 1);
    if (word.starts_with("-runs=")) out.runs = std::stoul(value);
    if (word.starts_with("-max_total_time=")) out.seconds = std::stod(value);
    if (word.starts_with("-seed=")) out.seed = std::stoul(value);
    if (word.starts_with("-max_len=")) out.max_len = std::stoul(value);
    if (!word.starts_with("-")) out.folders.push_back(word);
  }
  return out;
}

std::vector<Bytes> corpus(const std::vector<std::string>& folders) {
  std::vector<std::filesystem::path> paths;
  for (const std::string& folder : folders)
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.is_regular_file()) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> out;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    out.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return out;
}

// Bits, bytes and numbers changed, pieces moved, cut out or taken from another input.
Bytes mutated(const std::vector<Bytes>& all, std::size_t max_len, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  Bytes out = all[below(all.size())];
  for (std::size_t changes = 1 + below(6); changes > 0; --changes) {
    const std::size_t at = below(out.size()), count = below(std::min<std::size_t>(out.size() - at, 32) + 1);
    const auto place = out.begin() + static_cast<std::ptrdiff_t>(at);
    const Bytes& other = all[below(all.size())];
    switch (below(6)) {
      case 0:
        if (!out.empty()) out[at] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:
        if (!out.empty()) out[at] = std::array<std::uint8_t, 5>{0, 1, 0x7F, 0x80, 0xFF}[below(5)];
        break;
      case 2:
        out.erase(place, place + static_cast<std::ptrdiff_t>(count));
        break;
      case 3:
        out.insert(place, 1 + below(16), static_cast<std::uint8_t>(random()));
        break;
      case 4:
        std::generate_n(place, count, [&] { return static_cast<std::uint8_t>(random()); });
        break;
      default:
        out.resize(at);
        out.insert(out.end(), other.begin() + static_cast<std::ptrdiff_t>(std::min(at, other.size())), other.end());
    }
  }
  if (out.size() > max_len) out.resize(max_len);
  return out;
}

void run(const Bytes& input) {
  std::ofstream("crash", std::ios::binary)
      .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read(argc, argv);
  std::vector<Bytes> inputs = corpus(options.folders);
  CHECK(!inputs.empty());
  for (const Bytes& input : inputs) run(input);
  std::mt19937_64 random(options.seed);
  const auto begun = Clock::now();
  const auto in_time = [&] {
    return options.seconds <= 0 || std::chrono::duration<double>(Clock::now() - begun).count() < options.seconds;
  };
  std::size_t runs = 0;
  while ((options.runs == 0 ? options.seconds > 0 : runs < options.runs) && in_time()) {
    run(mutated(inputs, options.max_len, random));
    ++runs;
  }
  std::filesystem::remove("crash");
  std::printf("%zu inputs and %zu changed ones\n", inputs.size(), runs);
}
