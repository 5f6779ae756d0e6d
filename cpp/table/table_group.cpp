#include "table/table_group.hpp"

#include <algorithm>
#include <vector>

namespace semblance {
namespace {

constexpr std::size_t kRunsAhead = 8;
// Output that stays in the second-level cache. Neighbouring runs share lines (an output row need not be aligned): a
// line that was evicted between its two writes costs several times the look-up. Smaller blocks make shorter tasks.
constexpr std::size_t kBlockBytes = 256 * 1024;
constexpr std::size_t kTaskBytes = 128 * 1024;  // of row memory: what is worth handing to another thread
constexpr std::size_t kGridRows = 4 * 1024;     // addresses of a grid's rows, which stay in the first-level cache
constexpr std::size_t kGridFields = 128;

// Neighbouring fields that are read together: either one field, or several of one key an example whose stored rows have
// one format and width.
using Run = std::span<const GroupField>;

struct Task {
  Run run;
  std::size_t begin, end;  // examples
};

bool is_one_hot(const GroupField& field) { return field.offsets.empty(); }

bool joins(const GroupField& field, const GroupField& next) {
  return is_one_hot(field) && is_one_hot(next) && field.table->gathers_with(*next.table) &&
         field.column + field.table->dim() == next.column;
}

std::vector<Run> runs_of(std::span<const GroupField> fields) {
  std::vector<Run> runs;
  runs.reserve(fields.size());
  for (std::size_t first = 0, end = 1; first < fields.size(); first = end++) {
    while (end < fields.size() && end - first < kGridFields && joins(fields[end - 1], fields[end])) ++end;
    runs.push_back(fields.subspan(first, end - first));
  }
  return runs;
}

std::size_t field_bytes(const GroupField& field) {
  return field.keys.size() * (field.table->row_bytes() + sizeof(std::int64_t));
}

std::size_t block_of(std::size_t runs, std::size_t batch, std::size_t bytes, std::size_t width) {
  const std::size_t cached = kBlockBytes / (width * sizeof(float));
  const std::size_t enough = batch * runs * kTaskBytes / std::max<std::size_t>(bytes, 1);
  return std::clamp<std::size_t>(std::min(cached, enough), 1, batch);
}

// Blocks of examples outside, runs inside: a block's output stays in the cache until all its fields are written.
std::vector<Task> split(std::span<const Run> runs, std::size_t batch, std::size_t bytes, std::size_t width) {
  const std::size_t block = block_of(runs.size(), batch, bytes, width);
  std::vector<Task> tasks;
  tasks.reserve(runs.size() * ((batch + block - 1) / block));
  for (std::size_t begin = 0; begin < batch; begin += block)
    for (const Run& run : runs) tasks.push_back({run, begin, std::min(batch, begin + block)});
  return tasks;
}

std::span<const std::int64_t> keys_of(const GroupField& field, std::size_t begin, std::size_t end) {
  if (is_one_hot(field)) return field.keys.subspan(begin, end - begin);
  const auto first = static_cast<std::size_t>(field.offsets[begin]);
  return field.keys.subspan(first, static_cast<std::size_t>(field.offsets[end]) - first);
}

// Fields' keys lie anywhere in memory, and a processor follows an array of itself only once it is some lines into it,
// afresh on every page.
void prefetch_keys(std::span<const std::int64_t> keys) {
  constexpr std::size_t kLine = 64 / sizeof(std::int64_t), kMost = 2 * 4096 / sizeof(std::int64_t);
  for (std::size_t i = 0; i < std::min(keys.size(), kMost); i += kLine) __builtin_prefetch(&keys[i], 0, 2);
}

// Every field's rows are found first, then written example by example.
void gather(Run run, std::size_t begin, std::size_t end, OutputRows out) {
  RowPointer rows[kGridRows];
  const std::size_t chunk = std::min(kGridRows / run.size(), Table::kChunkRows);
  const auto search = [&](std::size_t f, std::size_t first, std::size_t last) {
    if (f + kRunsAhead < run.size()) prefetch_keys(keys_of(run[f + kRunsAhead], first, last));
    if (f < run.size()) run[f].table->prefetch_search(keys_of(run[f], first, last));
  };
  for (std::size_t first = begin; first < end; first += chunk) {
    const std::size_t last = std::min(end, first + chunk);
    for (std::size_t f = 0; f < kRunsAhead; ++f) search(f, first, last);
    for (std::size_t f = 0; f < run.size(); ++f) {
      search(f + kRunsAhead, first, last);
      run[f].table->resolve(keys_of(run[f], first, last), rows + f * (last - first));
    }
    run[0].table->gather(kernels::grid_by_field(rows, last - first, run.size()), out.from(first));
  }
}

void run_task(const Task& task, OutputRows out) {
  const GroupField& field = task.run[0];
  out.data += field.column;
  if (task.run.size() > 1) {
    gather(task.run, task.begin, task.end, out);
  } else if (is_one_hot(field)) {
    field.table->lookup_range(keys_of(field, task.begin, task.end), out.from(task.begin));
  } else {
    field.table->pool_range({field.keys.data(), field.weights, field.offsets, field.pooling}, task.begin, task.end,
                            out);
  }
}

void run_tasks(std::span<const Task> tasks, OutputRows out) {
  const auto prefetch = [&](std::size_t t) {
    if (t >= tasks.size() || tasks[t].run.size() > 1) return;
    const GroupField& field = tasks[t].run[0];
    field.table->prefetch(keys_of(field, tasks[t].begin, tasks[t].end));
  };
  for (std::size_t t = 0; t < kRunsAhead; ++t) prefetch(t);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    prefetch(t + kRunsAhead);
    run_task(tasks[t], out);
  }
}

// Keys (batch, columns) of tables with plain rows.
struct Matrix {
  const std::int64_t* keys;
  std::vector<Table::PlainRows> columns;
};

// As `in_range` of one table: no sign bit in any key, nor in its distance to the last row of its table.
bool all_in_range(const Matrix& matrix, std::size_t batch) {
  std::uint64_t signs = 0;
  const std::size_t columns = matrix.columns.size();
  std::vector<std::uint64_t> last(columns);
  std::transform(matrix.columns.begin(), matrix.columns.end(), last.begin(), [](const auto& c) { return c.count - 1; });
  const std::int64_t* row = matrix.keys;
  for (std::size_t e = 0; e < batch; ++e, row += columns)
    for (std::size_t c = 0; c < columns; ++c) {
      const auto key = static_cast<std::uint64_t>(row[c]);
      signs |= key | (last[c] - key);
    }
  return signs >> 63 == 0;
}

// Columns [first_column, end_column), whose rows are of one format and width.
struct MatrixRun {
  const Table* table;
  std::size_t first_column, end_column, first_value;
};

std::vector<MatrixRun> runs_of(std::span<const Table* const> tables) {
  std::vector<MatrixRun> runs;
  std::size_t value = 0;
  for (std::size_t c = 0; c < tables.size(); value += tables[c++]->dim()) {
    const bool joined = c > 0 && c - runs.back().first_column < kGridFields && tables[c - 1]->gathers_with(*tables[c]);
    if (!joined) runs.push_back({tables[c], c, c, value});
    runs.back().end_column = c + 1;
  }
  return runs;
}

// Examples [begin, end) of a run, some at a time, whose rows' addresses stay in the first-level cache.
void gather_matrix(const Matrix& matrix, const MatrixRun& run, std::size_t begin, std::size_t end, OutputRows out) {
  RowPointer rows[kGridRows];
  const std::size_t columns = run.end_column - run.first_column, chunk = kGridRows / columns;
  const Table::PlainRows* plain = matrix.columns.data() + run.first_column;
  for (std::size_t first = begin; first < end; first += chunk) {
    const std::size_t count = std::min(chunk, end - first);
    RowPointer* to = rows;
    for (std::size_t e = first; e < first + count; ++e) {
      const std::int64_t* keys = matrix.keys + e * matrix.columns.size() + run.first_column;
      for (std::size_t c = 0; c < columns; ++c)  // bounded: another thread may have changed a key that was in range
        *to++ = plain[c].rows + std::min(static_cast<std::size_t>(keys[c]), plain[c].count - 1) * plain[c].step;
    }
    const OutputRows part = out.from(first);
    run.table->gather(kernels::grid_by_example(rows, count, columns), {part.data + run.first_value, part.stride});
  }
}

}  // namespace

bool lookup_matrix(std::span<const Table* const> tables, const std::int64_t* keys, std::size_t batch, OutputRows out,
                   std::size_t threads, Monitor* monitor) {
  Matrix matrix{keys, {}};
  matrix.columns.reserve(tables.size());
  std::size_t bytes = 0;
  for (const Table* table : tables) {
    const auto plain = table->plain_rows();
    if (!plain) return false;
    matrix.columns.push_back(*plain);
    bytes += batch * (table->row_bytes() + sizeof(std::int64_t));
  }
  if (batch == 0 || !all_in_range(matrix, batch)) return false;
  for (const Table* table : tables) table->count(batch);
  const std::vector<MatrixRun> runs = runs_of(tables);
  const auto block = [&](std::size_t begin, std::size_t end, std::size_t) {
    for (const MatrixRun& run : runs) gather_matrix(matrix, run, begin, end, out);
  };
  const std::size_t grain = block_of(1, batch, bytes, out.stride);
  parallel_for(batch, bytes < 2 * kTaskBytes ? 1 : threads, grain, block, monitor);
  return true;
}

void check_group_keys(std::span<const GroupField> fields) {
  for (std::size_t f = 0; f < fields.size(); ++f) {
    if (f + 1 < fields.size()) prefetch_keys(fields[f + 1].keys);
    fields[f].table->check_keys(fields[f].keys);
  }
}

void lookup_group(std::span<const GroupField> fields, std::size_t batch, OutputRows out, std::size_t threads,
                  Monitor* monitor) {
  if (batch == 0) return;
  std::size_t bytes = 0;
  for (const GroupField& field : fields) {
    bytes += field_bytes(field);
    field.table->count(field.keys.size());
  }
  const std::vector<Run> runs = runs_of(fields);
  const std::vector<Task> tasks = split(runs, batch, bytes, out.stride);
  if (threads == 1 || bytes < 2 * kTaskBytes) return run_tasks(tasks, out);
  const std::size_t grain = std::max<std::size_t>(1, tasks.size() * kTaskBytes / bytes);
  parallel_for(
      tasks.size(), threads, grain,
      [&](std::size_t begin, std::size_t end, std::size_t) {
        run_tasks(std::span(tasks).subspan(begin, end - begin), out);
      },
      monitor);
}

}  // namespace semblance
