// Many results in one coroutine: map over a million elements, one call each and in chunks; as_completed and wait over
// ten thousand to a million futures, which are all done (`done`), or none of which has started (`pending`; then the
// time is that of running them, too).

#include "contenders/cohort.hpp"
#include "suite/submit_and_collect.hpp"
#include "suite/suite.hpp"

#include <chrono>    // for std::chrono::duration
#include <cstddef>   // for std::size_t
#include <numeric>   // for std::iota
#include <optional>  // for std::optional
#include <string>    // for std::string
#include <utility>   // for std::pair
#include <vector>    // for std::vector

#if COHORT_BENCHMARK_TBB
#include "contenders/tbb.hpp"

#include <tbb/parallel_pipeline.h>
#endif

namespace {

using contenders::Cohort;
using suite::Clock;
using suite::Echo;

long same(long value) { return value; }

cohort::Task<long> sum_of_map(cohort::AsyncExecutor* executor, const std::vector<long>* input, std::size_t chunk) {
  cohort::MapOptions options;
  options.chunk_size = chunk;
  options.buffer_size = 1024;
  cohort::ResultStream<long> stream = executor->map(options, same, *input);
  long sum = 0;
  for (;;) {
    const std::optional<long> value = co_await stream.next();
    if (!value.has_value()) break;
    sum += *value;
  }
  co_return sum;
}

void add_map(const std::string& workload, std::size_t workers, std::size_t count, std::size_t chunk) {
  suite::add_case<Cohort>(workload, workers, count, [=](benchmark::State& state, Cohort& contender) {
    std::vector<long> input(count);
    std::iota(input.begin(), input.end(), 0);
    const long expected = suite::sum_below(count);
    long result = expected;
    for (auto _ : state) {
      const long once = contender.executor().submit(sum_of_map, &contender.executor(), &input, chunk).get();
      if (once != expected) result = once;
    }
    return std::pair(result, expected);
  });
}

#if COHORT_BENCHMARK_TBB
// What comes nearest: results in order, with as many elements under way.
class TbbPipeline : public contenders::Tbb {
 public:
  using Tbb::Tbb;
  long sum(std::size_t count) {
    return execute([count] {
      std::size_t next = 0;
      long sum = 0;
      tbb::parallel_pipeline(
          1024,
          tbb::make_filter<void, long>(tbb::filter_mode::serial_in_order, [&](tbb::flow_control& control) {
            if (next == count) control.stop();
            return static_cast<long>(next++);
          }) & tbb::make_filter<long, long>(tbb::filter_mode::parallel, [](long value) {
            return same(value);
          }) & tbb::make_filter<long, void>(tbb::filter_mode::serial_in_order, [&](long value) { sum += value; }));
      return sum;
    });
  }
};
#endif

enum class Are : bool { pending, done };

struct Timed {
  long sum;
  Clock::duration time;
};

// The worker that runs this is the only one: nothing submitted here starts before this coroutine waits.
template <class Use>
cohort::Task<Timed> with_futures(cohort::AsyncExecutor* executor, std::size_t count, Are are, Use use) {
  std::vector<cohort::AsyncFuture<long>> futures;
  futures.reserve(count);
  for (std::size_t i = 0; i < count; ++i) futures.push_back(executor->submit(Echo{static_cast<long>(i)}));
  if (are == Are::done) {
    for (const cohort::AsyncFuture<long>& future : futures) co_await future;
  }
  const Clock::time_point start = Clock::now();
  const long sum = co_await use(std::move(futures));
  co_return Timed{sum, Clock::now() - start};
}

cohort::Task<long> use_as_completed(std::vector<cohort::AsyncFuture<long>> futures) {
  cohort::CompletionStream<long> stream = cohort::as_completed(std::move(futures));
  long sum = 0;
  for (;;) {
    const std::optional<cohort::AsyncFuture<long>> future = co_await stream.next();
    if (!future.has_value()) break;
    sum += future->get();
  }
  co_return sum;
}

cohort::Task<long> use_wait(std::vector<cohort::AsyncFuture<long>> futures) {
  const cohort::WaitResult<long> result = co_await cohort::wait(std::move(futures));
  long sum = 0;
  for (const cohort::AsyncFuture<long>& future : result.done) sum += future.get();
  co_return sum;
}

template <class Use>
void add_futures(const std::string& workload, std::size_t count, Are are, Use use) {
  const auto run = [=](benchmark::State& state) {
    Cohort contender(1);
    for (auto _ : state) {
      const Timed timed = contender.executor().submit(with_futures<Use>, &contender.executor(), count, are, use).get();
      state.SetIterationTime(std::chrono::duration<double>(timed.time).count());
      if (timed.sum != suite::sum_below(count)) {
        suite::wrong_result(state, timed.sum, suite::sum_below(count));
        break;
      }
    }
    state.counters["elements"] = static_cast<double>(count);
  };
  benchmark::RegisterBenchmark(suite::name_of(workload, Cohort::name, 1).c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

void suite::add_cases() {
  const std::size_t million = scaled(1'000'000, 100);
  for (const std::size_t workers : {std::size_t{1}, std::size_t{2}}) {
    add_map("map", workers, million, 1);
    add_map("map_chunks", workers, million, 256);
#if COHORT_BENCHMARK_TBB
    add_call<TbbPipeline>("map", workers, million, sum_below(million),
                          [=](TbbPipeline& contender) { return contender.sum(million); });
#endif
  }
  for (const auto& [size, text] :
       {std::pair(10'000UL, "1e4"), std::pair(100'000UL, "1e5"), std::pair(1'000'000UL, "1e6")}) {
    const std::size_t count = scaled(size, 100);
    const std::string end = std::string("_") + text;
    add_futures("as_completed_done" + end, count, Are::done, use_as_completed);
    add_futures("as_completed_pending" + end, count, Are::pending, use_as_completed);
    add_futures("wait_done" + end, count, Are::done, use_wait);
    add_futures("wait_pending" + end, count, Are::pending, use_wait);
  }
}
