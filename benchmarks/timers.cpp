// A million sleeps at once, of 0 to 1000 ms (timers), and a million suspended tasks (pending): time, lateness, memory.

#include "contenders/cohort.hpp"
#include "suite/suite.hpp"

#include <algorithm>  // for std::fill
#include <chrono>     // for std::chrono::microseconds
#include <cstddef>    // for std::size_t
#include <cstdint>    // for std::uint32_t
#include <memory>     // for std::unique_ptr
#include <utility>    // for std::pair
#include <vector>     // for std::vector

#if COHORT_BENCHMARK_ASIO
#include "contenders/asio.hpp"
#endif

namespace {

using contenders::Cohort;
using suite::Clock;

constexpr std::uint64_t not_run = static_cast<std::uint64_t>(-1);

// Evenly spread over a second, in no order.
Clock::duration sleep_of(std::size_t i) { return std::chrono::microseconds(i * 7'368'787 % 1'000'001); }

cohort::Task<void> sleeper(Clock::duration duration, std::uint64_t* late) {
  const Clock::time_point due = Clock::now() + duration;
  co_await cohort::sleep_until(due);
  *late = suite::nanoseconds(Clock::now() - due);
}

// Starts all and returns when all are over. `late` is written by the sleepers.
void sleep_all(Cohort& contender, std::vector<std::uint64_t>& late) {
  for (std::size_t i = 0; i < late.size(); ++i)
    static_cast<void>(contender.executor().submit(sleeper(sleep_of(i), &late[i])));
  contender.executor().shutdown();
}

#if COHORT_BENCHMARK_ASIO
namespace asio = contenders::asio;
using contenders::Asio;

asio::awaitable<void> asio_sleeper(Clock::duration duration, std::uint64_t* late) {
  const Clock::time_point due = Clock::now() + duration;
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, due);
  co_await timer.async_wait(asio::use_awaitable);
  *late = suite::nanoseconds(Clock::now() - due);
}

void sleep_all(Asio& contender, std::vector<std::uint64_t>& late) {
  for (std::size_t i = 0; i < late.size(); ++i)
    asio::co_spawn(contender.pool(), asio_sleeper(sleep_of(i), &late[i]), asio::detached);
  contender.pool().join();
}
#endif

// One iteration: the pool is over after it.
template <class Contender>
void add_timers(std::size_t workers, std::size_t count) {
  const auto run = [=](benchmark::State& state) {
    std::vector<std::uint64_t> late(count);
    double bytes = 0;
    for (auto _ : state) {
      std::fill(late.begin(), late.end(), not_run);
      const std::size_t before = suite::settled_memory();
      suite::reset_peak_memory();
      auto contender = std::make_unique<Contender>(workers);
      const Clock::time_point start = Clock::now();
      sleep_all(*contender, late);
      state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
      bytes = suite::bytes_each(before, suite::peak_memory(), count);
    }
    long missing = 0;
    for (const std::uint64_t each : late) missing += each == not_run ? 1 : 0;
    if (missing != 0) suite::wrong_result(state, missing, 0);
    suite::count_percentiles(state, late);
    state.counters["bytes"] = bytes;
    state.counters["elements"] = static_cast<double>(count);
  };
  benchmark::RegisterBenchmark(suite::name_of("timers", Contender::name, workers).c_str(), run)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

// What waits, and how it is let go: `wait_all` returns when all are suspended.
cohort::Task<void> waiter(const cohort::AsyncFuture<void>* gate, std::size_t* passed) {
  co_await *gate;
  ++*passed;
}

class CohortGate {
 public:
  explicit CohortGate(Cohort& contender) : executor_(contender.executor()), gate_(promise_.get_future()) {}
  void wait_all(std::size_t count, std::size_t* passed) {
    for (std::size_t i = 0; i < count; ++i) static_cast<void>(executor_.submit(waiter(&gate_, passed)));
    executor_.submit([] {}).get();  // the one worker takes them in order
  }
  void open() {
    promise_.set_result();
    executor_.shutdown();
  }

 private:
  cohort::AsyncExecutor& executor_;
  cohort::AsyncPromise<void> promise_;
  cohort::AsyncFuture<void> gate_;
};

#if COHORT_BENCHMARK_ASIO
asio::awaitable<void> asio_waiter(asio::steady_timer* gate, std::size_t* passed) {
  boost::system::error_code cancelled;
  co_await gate->async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  ++*passed;
}

class AsioGate {
 public:
  explicit AsioGate(Asio& contender) : pool_(contender.pool()), gate_(pool_, Clock::time_point::max()) {}
  void wait_all(std::size_t count, std::size_t* passed) {
    for (std::size_t i = 0; i < count; ++i) asio::co_spawn(pool_, asio_waiter(&gate_, passed), asio::detached);
    asio::post(pool_, asio::use_future([] {})).get();
  }
  void open() {
    asio::post(pool_, [this] { gate_.cancel(); });
    pool_.join();
  }

 private:
  asio::thread_pool& pool_;
  asio::steady_timer gate_;
};
#endif

template <class Contender, class Gate>
void add_pending(std::size_t count) {
  const auto run = [=](benchmark::State& state) {
    double bytes = 0;
    std::size_t passed = 0;
    for (auto _ : state) {
      passed = 0;
      Contender contender(1);
      Gate gate(contender);
      const std::size_t before = suite::settled_memory();
      const Clock::time_point start = Clock::now();
      gate.wait_all(count, &passed);
      bytes = suite::bytes_each(before, suite::resident_memory(), count);
      gate.open();
      state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
    }
    if (passed != count) suite::wrong_result(state, static_cast<long>(passed), static_cast<long>(count));
    state.counters["bytes"] = bytes;
    state.counters["elements"] = static_cast<double>(count);
  };
  benchmark::RegisterBenchmark(suite::name_of("pending", Contender::name, 1).c_str(), run)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

void suite::add_cases() {
  const std::size_t million = scaled(1'000'000, 1000);
  for (const std::size_t workers : {std::size_t{1}, std::size_t{2}}) {
    add_timers<Cohort>(workers, million);
#if COHORT_BENCHMARK_ASIO
    add_timers<Asio>(workers, million);
#endif
  }
  add_pending<Cohort, CohortGate>(million);
#if COHORT_BENCHMARK_ASIO
  add_pending<Asio, AsioGate>(million);
#endif
}
