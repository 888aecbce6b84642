// What all programs of the suite share: sizes that scale, cases that are registered and checked alike, and looks at the
// process's memory and processors. Each program implements `add_cases()`; `main` is in suite.cpp.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>   // for std::chrono::steady_clock
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::uint64_t
#include <string>   // for std::string
#include <utility>  // for std::pair
#include <vector>   // for std::vector

namespace suite {

/// Registers the cases of this program; each program has its own.
void add_cases();

/// What COHORT_BENCHMARK_SCALE says, more than 0 and at most 1: by how much sizes are multiplied. 1 unless set.
[[nodiscard]] double scale();
/// A size multiplied by the scale.
[[nodiscard]] std::size_t scaled(std::size_t full, std::size_t least = 1);

/// "workload/contender/workers".
[[nodiscard]] std::string name_of(const std::string& workload, const std::string& contender, std::size_t workers);

/// Ends a case whose result is wrong; the program, too, will fail then.
void wrong_result(benchmark::State& state, long is, long should_be);

/// Registers a case. `body(state, contender)` loops over the state, and returns what came out wrong and what should
/// have: equal if all is well. `elements` is what the time of an iteration is divided by in the tables.
template <class Contender, class Body>
void add_case(const std::string& workload, std::size_t workers, std::size_t elements, Body body) {
  const auto run = [workers, elements, body](benchmark::State& state) {
    Contender contender(workers);
    const std::pair<long, long> results = body(state, contender);
    if (results.first != results.second) wrong_result(state, results.first, results.second);
    state.counters["elements"] = static_cast<double>(elements);
  };
  benchmark::RegisterBenchmark(name_of(workload, Contender::name, workers).c_str(), run)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

/// Registers a case that is a call, `run(contender)`, with one right result.
template <class Contender, class Run>
void add_call(const std::string& workload, std::size_t workers, std::size_t elements, long expected, Run run) {
  add_case<Contender>(workload, workers, elements, [expected, run](benchmark::State& state, Contender& contender) {
    long result = expected;
    for (auto _ : state) {
      const long once = run(contender);
      if (once != expected) result = once;
    }
    return std::pair(result, expected);
  });
}

using Clock = std::chrono::steady_clock;
[[nodiscard]] inline std::uint64_t nanoseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

/// Sets the counters `p50` and `p99`, in nanoseconds.
void count_percentiles(benchmark::State& state, std::vector<std::uint64_t>& samples);

/// The bytes of memory that the process has resident now, after what malloc does not need has gone back, and less what it
/// has offered to the system.
[[nodiscard]] std::size_t settled_memory();
/// The bytes of memory that the process has resident now.
[[nodiscard]] std::size_t resident_memory();
/// From here on, peak_memory() is the most that was resident since.
void reset_peak_memory();
[[nodiscard]] std::size_t peak_memory();
/// How much came in addition, per element.
[[nodiscard]] inline double bytes_each(std::size_t before, std::size_t after, std::size_t count) {
  return after > before ? static_cast<double>(after - before) / static_cast<double>(count) : 0.0;
}

/// Keeps every thread that the process has on one processor, and those they start.
class PinnedToOneCpu {
 public:
  PinnedToOneCpu();
  PinnedToOneCpu(const PinnedToOneCpu&) = delete;
  PinnedToOneCpu& operator=(const PinnedToOneCpu&) = delete;
  ~PinnedToOneCpu();
};

}  // namespace suite
