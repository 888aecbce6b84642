// What the basic operations cost: a serial coroutine call, a future submitted and awaited from a worker, a submission
// from outside, and a round trip. At the end it prints the cost of fib with futures as a multiple of fib with serial
// calls.
//
// The two fibs are run in turn, many times, and the medians compared, so that a noisy machine disturbs both alike.

#include <cohort/cohort.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <vector>

namespace {

constexpr int fib_argument = 22;

// How often fib calls itself for this argument, the first call included.
constexpr long calls_of_fib(int n) { return n < 2 ? 1 : 1 + calls_of_fib(n - 1) + calls_of_fib(n - 2); }

cohort::Task<long> serial_fib(int n) {
  if (n < 2) co_return n;
  const long left = co_await serial_fib(n - 1);
  const long right = co_await serial_fib(n - 2);
  co_return left + right;
}

// One eager future per call: one half is submitted, the other done meanwhile.
cohort::Task<long> future_fib(cohort::AsyncExecutor* executor, int n) {
  if (n < 2) co_return n;
  cohort::AsyncFuture<long> left = executor->submit(future_fib, executor, n - 1);
  const long right = co_await future_fib(executor, n - 2);
  const long value = co_await std::move(left);
  co_return value + right;
}

// Every call a future: both halves are submitted.
cohort::Task<long> all_futures_fib(cohort::AsyncExecutor* executor, int n) {
  if (n < 2) co_return n;
  cohort::AsyncFuture<long> left = executor->submit(all_futures_fib, executor, n - 1);
  cohort::AsyncFuture<long> right = executor->submit(all_futures_fib, executor, n - 2);
  const long second = co_await std::move(right);
  const long first = co_await std::move(left);
  co_return first + second;
}

// The cost per call, with one worker: what there is to gain from more is another question.
void count_calls(benchmark::State& state) {
  state.counters["per call"] =
      benchmark::Counter(static_cast<double>(calls_of_fib(fib_argument)),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void serial_call(benchmark::State& state) {
  cohort::AsyncExecutor executor(1);
  for (auto _ : state) benchmark::DoNotOptimize(executor.submit(serial_fib, fib_argument).get());
  count_calls(state);
}
BENCHMARK(serial_call)->UseRealTime();

void submit_and_await_on_a_worker(benchmark::State& state) {
  cohort::AsyncExecutor executor(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(executor.submit(future_fib, &executor, fib_argument).get());
  count_calls(state);
}
BENCHMARK(submit_and_await_on_a_worker)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

void every_call_a_future(benchmark::State& state) {
  cohort::AsyncExecutor executor(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(executor.submit(all_futures_fib, &executor, fib_argument).get());
  count_calls(state);
}
BENCHMARK(every_call_a_future)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

void submit_from_outside(benchmark::State& state) {
  cohort::AsyncExecutor executor(1);
  constexpr int batch = 1024;
  for (auto _ : state) {
    for (int i = 0; i < batch - 1; ++i) executor.submit([] {});
    executor.submit([] {}).get();  // the last: the queue does not grow without bounds
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(submit_from_outside)->UseRealTime();

void round_trip(benchmark::State& state) {
  cohort::AsyncExecutor executor(1);
  for (auto _ : state) executor.submit([] {}).get();
}
BENCHMARK(round_trip)->UseRealTime();

void round_trip_in_a_task(benchmark::State& state) {
  cohort::AsyncExecutor executor(1);
  const auto trips = [](cohort::AsyncExecutor* own, benchmark::State* run) -> cohort::Task<> {
    for (auto _ : *run) {
      cohort::AsyncFuture<void> future = own->submit([] {});
      co_await std::move(future);
    }
  };
  executor.submit(trips, &executor, &state).get();
}
BENCHMARK(round_trip_in_a_task)->UseRealTime();

template <class F>
double seconds(F work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print_ratio() {
  cohort::AsyncExecutor executor(1);
  std::vector<double> serial;
  std::vector<double> one;
  std::vector<double> all;
  for (int round = 0; round < 101; ++round) {
    serial.push_back(seconds([&] { executor.submit(serial_fib, fib_argument).get(); }));
    one.push_back(seconds([&] { executor.submit(future_fib, &executor, fib_argument).get(); }));
    all.push_back(seconds([&] { executor.submit(all_futures_fib, &executor, fib_argument).get(); }));
  }
  const auto median = [](std::vector<double>& times) {
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
  };
  const double base = median(serial);
  const double to_ns = 1e9 / static_cast<double>(calls_of_fib(fib_argument));
  std::printf("\nfib, a serial coroutine call: %.1f ns\n", base * to_ns);
  std::printf("fib, an eager future per call: %.2f times a serial call\n", median(one) / base);
  std::printf("fib, every call a future: %.2f times a serial call\n", median(all) / base);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  print_ratio();
  return 0;
}
