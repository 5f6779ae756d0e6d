#include "table/table_group.hpp"

#include <algorithm>
#include <vector>

namespace semblance {
namespace {

constexpr std::size_t kFieldsAhead = 8;
// Output that stays in the second-level cache. Neighbouring fields share lines (an output row need not be aligned): a
// line that was evicted between its two writes costs several times the look-up. Smaller blocks make shorter tasks.
constexpr std::size_t kBlockBytes = 256 * 1024;
constexpr std::size_t kTaskBytes = 128 * 1024;  // of row memory: what is worth handing to another thread

struct Task {
  std::size_t field, begin, end;  // examples
};

std::size_t field_bytes(const GroupField& field) {
  return field.keys.size() * (field.table->row_bytes() + sizeof(std::int64_t));
}

// Blocks of examples outside, fields inside: a block's output stays in the cache until all its fields are written.
std::vector<Task> split(std::size_t fields, std::size_t batch, std::size_t bytes, std::size_t width) {
  const std::size_t cached = kBlockBytes / (width * sizeof(float));
  const std::size_t enough = batch * fields * kTaskBytes / std::max<std::size_t>(bytes, 1);
  const std::size_t block = std::clamp<std::size_t>(std::min(cached, enough), 1, batch);
  std::vector<Task> tasks;
  tasks.reserve(fields * ((batch + block - 1) / block));
  for (std::size_t begin = 0; begin < batch; begin += block)
    for (std::size_t f = 0; f < fields; ++f) tasks.push_back({f, begin, std::min(batch, begin + block)});
  return tasks;
}

std::span<const std::int64_t> keys_of(const GroupField& field, const Task& task) {
  if (field.offsets.empty()) return field.keys.subspan(task.begin, task.end - task.begin);
  const auto first = static_cast<std::size_t>(field.offsets[task.begin]);
  return field.keys.subspan(first, static_cast<std::size_t>(field.offsets[task.end]) - first);
}

void run(const GroupField& field, const Task& task, OutputRows out) {
  out.data += field.column;
  if (field.offsets.empty()) {
    field.table->lookup_range(keys_of(field, task), {out.data + task.begin * out.stride, out.stride});
  } else {
    field.table->pool_range({field.keys.data(), field.weights, field.offsets, field.pooling}, task.begin, task.end,
                            out);
  }
}

void run_tasks(std::span<const GroupField> fields, std::span<const Task> tasks, OutputRows out) {
  const auto prefetch = [&](std::size_t t) {
    if (t < tasks.size()) fields[tasks[t].field].table->prefetch(keys_of(fields[tasks[t].field], tasks[t]));
  };
  for (std::size_t t = 0; t < kFieldsAhead; ++t) prefetch(t);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    prefetch(t + kFieldsAhead);
    run(fields[tasks[t].field], tasks[t], out);
  }
}

}  // namespace

void lookup_group(std::span<const GroupField> fields, std::size_t batch, OutputRows out, std::size_t threads,
                  Monitor* monitor) {
  if (batch == 0) return;
  std::size_t bytes = 0;
  for (const GroupField& field : fields) {
    bytes += field_bytes(field);
    field.table->count(field.keys.size());
  }
  const std::vector<Task> tasks = split(fields.size(), batch, bytes, out.stride);
  if (threads == 1 || bytes < 2 * kTaskBytes) return run_tasks(fields, tasks, out);
  const std::size_t grain = std::max<std::size_t>(1, tasks.size() * kTaskBytes / bytes);
  parallel_for(
      tasks.size(), threads, grain,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        run_tasks(fields, std::span(tasks).subspan(begin, end - begin), out);
      },
      monitor);
}

}  // namespace semblance
