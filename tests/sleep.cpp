// sleep_for, sleep_until and yield: never early, saturating, fair, cancellable, cheap by the hundred thousand.
#include <cohort/sleep.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <algorithm>  // for max, shuffle
#include <atomic>     // for atomic
#include <chrono>     // for durations
#include <coroutine>  // for coroutine_handle
#include <exception>  // for terminate
#include <limits>     // for numeric_limits
#include <optional>   // for optional
#include <random>     // for mt19937
#include <ratio>      // for nano, ratio
#include <string>     // for string
#include <thread>     // for this_thread
#include <utility>    // for exchange
#include <vector>     // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

template <class Rep, class Period>
Task<Duration> measure(std::chrono::duration<Rep, Period> duration) {
  const Clock::time_point begin = Clock::now();
  co_await sleep_for(duration);
  co_return Clock::now() - begin;
}

template <class Rep, class Period>
bool never_early(std::chrono::duration<Rep, Period> duration) {
  for (int i = 0; i < 5; ++i)
    if (sync_wait(measure(duration)) < duration) return false;
  return true;
}

/// Whether a sleep is over within a moment, generously measured.
template <class Rep, class Period>
bool is_momentary(std::chrono::duration<Rep, Period> duration) {
  return sync_wait(measure(duration)) < 10s;
}

template <class Time>
Task<Duration> measure_until(Time time) {
  const Clock::time_point begin = Clock::now();
  co_await sleep_until(time);
  co_return Clock::now() - begin;
}

}  // namespace

TEST_CASE("a sleep is never over early") {
  REQUIRE(never_early(1ns));
  REQUIRE(never_early(999ns));
  REQUIRE(never_early(1us));
  REQUIRE(never_early(1500us));
  REQUIRE(never_early(3ms));
  REQUIRE(never_early(std::chrono::duration<double>(0.0021)));
  REQUIRE(never_early(std::chrono::duration<float>(0.0017F)));
  REQUIRE(never_early(std::chrono::duration<double, std::nano>(1000.5)));
  REQUIRE(never_early(std::chrono::duration<int, std::ratio<1, 3000>>(5)));
  for (const auto ahead : {0us, 1us, 700us, 2000us}) {
    const Clock::time_point time = Clock::now() + ahead;
    (void)sync_wait(measure_until(time));
    REQUIRE(Clock::now() >= time);
  }
}

TEST_CASE("many sleeps at once are never over early") {
  AsyncExecutor executor(3);
  std::atomic<int> early{0};
  auto body = [&](int i) -> Task<> {
    const auto duration = std::chrono::microseconds(i * 37 % 5000);
    for (int round = 0; round < 5; ++round) {
      const Clock::time_point begin = Clock::now();
      co_await sleep_for(duration);
      if (Clock::now() - begin < duration) ++early;
    }
  };
  for (int i = 0; i < 1000; ++i) (void)executor.submit(body, i);
  executor.shutdown();
  REQUIRE(early == 0);
}

TEST_CASE("a sleep of no or negative length does not last") {
  REQUIRE(is_momentary(0ns));
  REQUIRE(is_momentary(0h));
  REQUIRE(is_momentary(-1ns));
  REQUIRE(is_momentary(-1h));
  REQUIRE(is_momentary(Duration::min()));
  REQUIRE(is_momentary(std::chrono::hours::min()));
  REQUIRE(is_momentary(std::chrono::years::min()));
  REQUIRE(is_momentary(std::chrono::duration<double>(-1e300)));
  REQUIRE(is_momentary(std::chrono::duration<double>(-std::numeric_limits<double>::infinity())));
  REQUIRE(is_momentary(std::chrono::duration<float>(-0.5F)));
}

TEST_CASE("a sleep until a time that is past does not last") {
  REQUIRE(sync_wait(measure_until(Clock::now() - 1h)) < 10s);
  REQUIRE(sync_wait(measure_until(Clock::time_point())) < 10s);
  REQUIRE(sync_wait(measure_until(Clock::time_point::min())) < 10s);
  REQUIRE(sync_wait(measure_until(std::chrono::time_point<Clock, std::chrono::hours>::min())) < 10s);
  REQUIRE(sync_wait(measure_until(std::chrono::time_point<Clock, std::chrono::duration<double>>(
              std::chrono::duration<double>(-1e300)))) < 10s);
}

TEST_CASE("the longest sleeps saturate instead of overflowing") {
  AsyncExecutor executor(1);
  std::vector<AsyncFuture<Duration>> sleeps;
  auto add = [&](auto duration) {
    sleeps.push_back(
        executor.submit(measure<typename decltype(duration)::rep, typename decltype(duration)::period>, duration));
  };
  add(1h);
  add(Duration::max());
  add(Duration::max() - 1ns);
  add(std::chrono::hours::max());
  add(std::chrono::seconds::max());
  add(std::chrono::years::max());
  add(std::chrono::duration<unsigned long long>::max());
  add(std::chrono::duration<double>(1e300));
  add(std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
  add(std::chrono::duration<float>::max());
  add(std::chrono::duration<float, std::nano>(std::numeric_limits<float>::max()));
  add(std::chrono::duration<long double, std::ratio<86400>>::max());
  sleeps.push_back(executor.submit(measure_until<Clock::time_point>, Clock::time_point::max()));
  using Hours = std::chrono::time_point<Clock, std::chrono::hours>;
  sleeps.push_back(executor.submit(measure_until<Hours>, Hours::max()));
  using Real = std::chrono::time_point<Clock, std::chrono::duration<double>>;
  sleeps.push_back(executor.submit(measure_until<Real>, Real::max()));

  std::this_thread::sleep_for(50ms);
  auto meanwhile = [] { return 1; };
  REQUIRE(executor.submit(meanwhile).get() == 1);  // no worker is held
  for (std::size_t i = 0; i < sleeps.size(); ++i) {
    INFO("sleep number " << i);
    REQUIRE_FALSE(sleeps[i].done());
    REQUIRE(sleeps[i].cancel());
  }
  for (const AsyncFuture<Duration>& sleep : sleeps) {
    sleep.wait();
    REQUIRE(sleep.cancelled());
  }
}

TEST_CASE("sleeping suspends the coroutine and never its thread") {
  AsyncExecutor executor(1);
  auto body = [](int) -> Task<> { co_await sleep_for(50ms); };
  const Clock::time_point begin = Clock::now();
  std::vector<AsyncFuture<void>> sleeps;
  for (int i = 0; i < 1000; ++i) sleeps.push_back(executor.submit(body, i));
  for (const AsyncFuture<void>& sleep : sleeps) sleep.wait();
  REQUIRE(Clock::now() - begin >= 50ms);
  REQUIRE(Clock::now() - begin < 25s);  // one after the other they would take 50 s
}

TEST_CASE("a task continues on its own executor after a sleep") {
  AsyncExecutor executor(1);
  auto body = [](int rounds) -> Task<bool> {
    const std::thread::id home = std::this_thread::get_id();
    bool stayed = true;
    for (int i = 0; i < rounds; ++i) {
      co_await sleep_for(200us);
      stayed = stayed && std::this_thread::get_id() == home;
      co_await cohort::yield();
      stayed = stayed && std::this_thread::get_id() == home;
    }
    co_return stayed;
  };
  REQUIRE(executor.submit(body, 20).get());
  REQUIRE(sync_wait(body(20)));
}

TEST_CASE("sleepers wake in the order of their times") {
  AsyncExecutor executor(1);
  bool in_time = false;
  // With more time where the machine is so busy that the first times were past before all slept.
  for (Duration ahead = 100ms; !in_time; ahead *= 2) {
    Log<int> order;
    auto body = [&](Clock::time_point time, int number) -> Task<> {
      co_await sleep_until(time);
      order.add(number);
    };
    const Clock::time_point base = Clock::now() + ahead;
    std::vector<AsyncFuture<void>> sleeps;
    for (const int i : {4, 0, 6, 2, 5, 1, 3}) sleeps.push_back(executor.submit(body, base + i * 20ms, i));
    executor.submit(identity, 1).wait();  // its only worker is through with them
    in_time = Clock::now() < base;
    for (const AsyncFuture<void>& sleep : sleeps) sleep.wait();
    if (in_time) {
      REQUIRE(order.entries() == std::vector{0, 1, 2, 3, 4, 5, 6});
    }
  }
}

TEST_CASE("a sleeper is woken in time when the worker beside it has come to an end of its work") {
  // One worker waits in a get() and sleeps through it; the timer is for the other to watch.
  AsyncExecutor executor(2);
  AsyncFuture<void> outer = executor.submit([&executor] {
    AsyncFuture<int> inner = executor.submit([]() -> Task<int> {
      co_await sleep_for(20ms);
      co_return 1;
    });
    (void)inner.get();
  });
  const Stopwatch watch;
  executor.submit([]() -> Task<> { co_await sleep_for(200ms); }).get();
  outer.get();
  REQUIRE(watch.elapsed() >= 200ms);
  REQUIRE(watch.elapsed() < patience / 3);
}

TEST_CASE("a hundred thousand sleepers wake in order, hold no threads, and are never early", "[R11]") {
  const int count = scaled(100'000);
  AsyncExecutor executor(1);
  Log<int> order;
  std::atomic<int> early{0};
  std::atomic<int> asleep{0};
  const Clock::time_point base = Clock::now() + 600ms;
  auto body = [&](int number) -> Task<> {
    ++asleep;
    const Clock::time_point time = base + std::chrono::microseconds(number);
    co_await sleep_until(time);
    if (Clock::now() < time) ++early;
    order.add(number);
  };
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937(7));  // NOLINT: the same order each time
  for (const int number : numbers) (void)executor.submit(body, number);
  REQUIRE(eventually([&] { return asleep == count; }));
  executor.submit(identity, 1).wait();       // its only worker is through with the last of them, too
  const bool in_time = Clock::now() < base;  // or else too busy a machine: some were past when they were told
  const std::optional<long> threads = process_status("Threads:");
  if (threads) {
    REQUIRE(*threads < 20);
  }
  executor.shutdown();
  REQUIRE(early == 0);
  const std::vector<int> woken = order.entries();
  REQUIRE(woken.size() == static_cast<std::size_t>(count));
  if (!in_time) return;
  int latest = 0;
  int disorder = 0;  // by how many microseconds somebody was overtaken
  for (const int number : woken) {
    latest = std::max(latest, number);
    disorder = std::max(disorder, latest - number);
  }
  INFO("disorder " << disorder << " us");
  REQUIRE(disorder < 20'000);
}

TEST_CASE("cancelling wakes a sleeper promptly") {
  AsyncExecutor executor(2);
  SECTION("one") {
    std::atomic<bool> asleep{false};
    auto body = [&]() -> Task<> {
      asleep = true;
      co_await sleep_for(1h);
    };
    AsyncFuture<void> sleep = executor.submit(body);
    REQUIRE(eventually([&] { return asleep.load(); }));
    const Clock::time_point begin = Clock::now();
    REQUIRE(sleep.cancel());
    REQUIRE_THROWS_AS(sleep.get(), CancelledError);
    REQUIRE(Clock::now() - begin < 10s);
  }
  SECTION("many, out of order") {
    const int count = scaled(20'000);
    std::atomic<int> asleep{0};
    auto body = [&](int i) -> Task<> {
      ++asleep;
      co_await sleep_for(1h + std::chrono::milliseconds(i));
    };
    std::vector<AsyncFuture<void>> sleeps;
    for (int i = 0; i < count; ++i) sleeps.push_back(executor.submit(body, i));
    REQUIRE(eventually([&] { return asleep == count; }));
    std::shuffle(sleeps.begin(), sleeps.end(), std::mt19937(3));  // NOLINT: the same order each time
    const Clock::time_point begin = Clock::now();
    for (const AsyncFuture<void>& sleep : sleeps) sleep.cancel();
    for (const AsyncFuture<void>& sleep : sleeps) sleep.wait();
    REQUIRE(Clock::now() - begin < 10s);
    int cancelled = 0;
    for (const AsyncFuture<void>& sleep : sleeps) cancelled += sleep.cancelled();
    REQUIRE(cancelled == count);
  }
}

TEST_CASE("a sleeper whose time comes while it is cancelled ends one way or the other") {
  AsyncExecutor executor(2);
  for (int round = 0; round < scaled(3000); ++round) {
    bool completed = false;
    auto body = [&](int length) -> Task<> {
      co_await sleep_for(std::chrono::microseconds(length));
      completed = true;
    };
    AsyncFuture<void> sleep = executor.submit(body, round % 120);
    for (int spin = 0; spin < round % 60; ++spin) std::this_thread::yield();
    const bool asked = sleep.cancel();
    sleep.wait();
    REQUIRE(sleep.cancelled() == !completed);
    if (!asked) {
      REQUIRE(completed);
    }
  }
}

TEST_CASE("yield lets others run on a pool of one") {
  AsyncExecutor executor(1);
  const Clock::time_point limit = Clock::now() + patience;
  SECTION("one that was submitted before it") {
    std::atomic<bool> flag{false};
    auto spin = [&]() -> Task<bool> {
      while (!flag && Clock::now() < limit) co_await cohort::yield();
      co_return flag;
    };
    auto raise = [&] { flag = true; };
    Occupy occupied(executor);
    AsyncFuture<bool> spinning = executor.submit(spin);
    AsyncFuture<void> raising = executor.submit(raise);
    occupied.release();
    REQUIRE(spinning.get());
    raising.wait();
  }
  SECTION("one that is submitted from outside meanwhile") {
    std::atomic<bool> flag{false};
    std::atomic<int> turns{0};
    auto spin = [&]() -> Task<bool> {
      while (!flag && Clock::now() < limit) {
        ++turns;
        co_await cohort::yield();
      }
      co_return flag;
    };
    AsyncFuture<bool> spinning = executor.submit(spin);
    REQUIRE(eventually([&] { return turns > 100; }));
    auto raise = [&] { flag = true; };
    executor.submit(raise).wait();
    REQUIRE(spinning.get());
  }
  SECTION("one that sleeps") {
    bool flag = false;
    auto sleep = [&]() -> Task<> {
      co_await sleep_for(5ms);
      flag = true;
    };
    auto spin = [&]() -> Task<bool> {
      AsyncFuture<void> sleeping = executor.submit(sleep);
      while (!flag && Clock::now() < limit) co_await cohort::yield();
      bool raised = flag;
      co_await sleeping;
      co_return raised;
    };
    REQUIRE(run_on(executor, spin));
  }
  SECTION("one that it submitted itself") {
    bool flag = false;
    auto raise = [&] { flag = true; };
    auto spin = [&]() -> Task<bool> {
      AsyncFuture<void> raising = executor.submit(raise);
      while (!flag && Clock::now() < limit) co_await cohort::yield();
      bool raised = flag;
      co_await raising;
      co_return raised;
    };
    REQUIRE(run_on(executor, spin));
  }
  SECTION("one that yields as well: neither finishes long before the other") {
    Log<char> turns;
    auto take_turns = [&](char name) -> Task<> {
      for (int i = 0; i < 1000; ++i) {
        turns.add(name);
        co_await cohort::yield();
      }
    };
    Occupy occupied(executor);
    AsyncFuture<void> a = executor.submit(take_turns, 'a');
    AsyncFuture<void> b = executor.submit(take_turns, 'b');
    occupied.release();
    a.wait();
    b.wait();
    int lead = 0;
    int greatest = 0;
    for (const char name : turns.entries()) {
      lead += name == 'a' ? 1 : -1;
      greatest = std::max({greatest, lead, -lead});
    }
    INFO("one was " << greatest << " turns ahead");
    REQUIRE(greatest < 200);
  }
}

TEST_CASE("yield lets others run in sync_wait") {
  bool flag = false;
  auto raise = [&]() -> Task<> {
    co_await sleep_for(1ms);
    flag = true;
  };
  const Clock::time_point limit = Clock::now() + patience;
  auto spin = [&]() -> Task<bool> {
    while (!flag && Clock::now() < limit) co_await cohort::yield();
    co_return flag;
  };
  auto body = [&]() -> Task<bool> {
    auto results = co_await when_all(spin(), raise());
    co_return std::get<0>(results);
  };
  REQUIRE(sync_wait(body()));
}

TEMPLATE_TEST_CASE("a million yields in a loop do not grow the stack", "[R12]", AsyncExecutor, ManualExecutor) {
  auto body = [](int rounds) -> Task<int> {
    for (int i = 0; i < rounds; ++i) co_await cohort::yield();
    co_return rounds;
  };
  const int rounds = scaled(1'000'000);
  TestType executor(1);
  REQUIRE(executor.submit(body, rounds).get() == rounds);
  REQUIRE(sync_wait(body(rounds)) == rounds);
}

TEMPLATE_TEST_CASE("a loop of sleeps of no length does not grow the stack", "", AsyncExecutor, ManualExecutor) {
  auto body = [](int rounds) -> Task<int> {
    for (int i = 0; i < rounds; ++i) co_await sleep_for(0ms);
    co_return rounds;
  };
  const int rounds = scaled(300'000);
  TestType executor(1);
  REQUIRE(executor.submit(body, rounds).get() == rounds);
  REQUIRE(sync_wait(body(rounds)) == rounds);
}

namespace {

/// A coroutine that knows nothing of cohort, and that goes with this object.
class Stranded {
 public:
  struct promise_type {
    Stranded get_return_object() noexcept { return Stranded(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
  Stranded(Stranded&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stranded& operator=(Stranded&&) = delete;
  ~Stranded() {
    if (handle_) handle_.destroy();
  }
  [[nodiscard]] bool done() const { return handle_.done(); }

 private:
  explicit Stranded(std::coroutine_handle<> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<> handle_;
};

Stranded sleep_in_vain() { co_await sleep_for(std::chrono::nanoseconds::max()); }

}  // namespace

TEST_CASE("an endless sleep that nobody can stop does not end") {
  AsyncExecutor executor(1);
  std::optional<Stranded> sleeper;
  executor.submit([&] { sleeper.emplace(sleep_in_vain()); }).get();
  REQUIRE_FALSE(sleeper->done());
}
