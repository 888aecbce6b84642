// What grows with the work, and what must not: memory, time per element, the stack, threads.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <sys/resource.h>

#include <algorithm>  // for max
#include <atomic>     // for atomic
#include <chrono>     // for seconds
#include <cstddef>    // for size_t
#include <cstdint>    // for int64_t
#include <optional>   // for optional
#include <string>     // for string
#include <thread>     // for this_thread
#include <utility>    // for move
#include <vector>     // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

TEST_CASE("a million elements go through a map in the memory of its buffer", "[R8]") {
  const int count = scaled(1'000'000);
  AsyncExecutor executor(2);
  auto run_through = [&](int elements) {
    auto body = [&, elements]() -> Task<std::int64_t> {
      std::int64_t sum = 0;
      ResultStream<int> stream = executor.map(immediately, Numbers(nullptr, elements));
      while (std::optional<int> value = co_await stream.next()) sum += *value;
      co_return sum;
    };
    return run_on(executor, body);
  };
  (void)run_through(10'000);  // what it needs once
  const Growth growth;
  const std::int64_t sum = run_through(count);
  INFO("grew by " << growth.now() << " KiB");
  REQUIRE(sum == std::int64_t{count} * (count - 1) / 2);
  REQUIRE(growth.now() < 8 * 1024);
}

TEST_CASE("a large map in chunks, read by a blocking loop") {
  const int count = scaled(1'000'000);
  AsyncExecutor executor(2);
  const Growth growth;
  std::int64_t sum = 0;
  for (const int& value :
       executor.map(MapOptions{.buffer_size = 4096, .chunk_size = 128}, identity, Numbers(nullptr, count)))
    sum += value;
  INFO("grew by " << growth.now() << " KiB");
  REQUIRE(sum == std::int64_t{count} * (count - 1) / 2);
  REQUIRE(growth.now() < 16 * 1024);
}

TEST_CASE("a million tasks that nobody keeps") {
  const int count = scaled(1'000'000);
  std::atomic<std::int64_t> sum{0};
  AsyncExecutor executor(2);
  auto add = [&](int x) { sum += x; };
  for (int i = 0; i < count; ++i) (void)executor.submit(add, i);
  executor.shutdown();
  REQUIRE(sum == std::int64_t{count} * (count - 1) / 2);
  REQUIRE(executor.stats().succeeded == static_cast<std::uint64_t>(count));
}

TEST_CASE("a million tasks one after another need no more memory than one", "[R8]") {
  const int count = scaled(1'000'000);
  AsyncExecutor executor(1);
  auto body = [&](int rounds) -> Task<std::int64_t> {
    std::int64_t sum = 0;
    for (int i = 0; i < rounds; ++i) {
      int value = co_await executor.submit(immediately, i);
      sum += value;
    }
    co_return sum;
  };
  (void)executor.submit(body, 1000).get();
  const Growth growth;
  const std::int64_t sum = executor.submit(body, count).get();
  INFO("grew by " << growth.now() << " KiB");
  REQUIRE(sum == std::int64_t{count} * (count - 1) / 2);
  REQUIRE(growth.now() < 4 * 1024);
}

TEST_CASE("a hundred thousand suspended tasks cost their frames and little more", "[R8]") {
  const int count = scaled(100'000);
  AsyncExecutor executor(2);
  AsyncGate gate;
  std::atomic<int> waiting{0};
  auto body = [&]() -> Task<> {
    ++waiting;
    co_await gate.passed();
  };
  const Growth growth;
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < count; ++i) futures.push_back(executor.submit(body));
  REQUIRE(eventually([&] { return waiting == count; }));
  const long kib = growth.now();
  INFO("took " << kib << " KiB");
  REQUIRE(kib < count);  // a KiB each
  const Clock::time_point begin = Clock::now();
  gate.open();
  for (const AsyncFuture<void>& future : futures) future.wait();
  REQUIRE(Clock::now() - begin < 20s);
}

TEST_CASE("as_completed and wait over a hundred thousand futures") {
  const int count = scaled(100'000);
  AsyncExecutor executor(2);
  const Clock::time_point begin = Clock::now();
  std::vector<AsyncFuture<int>> futures;
  for (int i = 0; i < count; ++i) futures.push_back(executor.submit(immediately, i));
  std::int64_t sum = 0;
  for (AsyncFuture<int>& future : executor.as_completed(futures, 60s)) sum += future.get();
  REQUIRE(sum == std::int64_t{count} * (count - 1) / 2);
  const WaitResult<int> result = sync_wait(executor.wait(futures, WaitOptions{.timeout = 60s}));
  REQUIRE(result.done.size() == static_cast<std::size_t>(count));
  REQUIRE(Clock::now() - begin < 20s);
}

TEST_CASE("one future with a hundred thousand waiters and as many callbacks") {
  const int count = scaled(100'000);
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  std::atomic<int> waiting{0}, resumed{0}, called{0};
  auto body = [&]() -> Task<> {
    ++waiting;
    const int& value = co_await future;
    resumed += value;
  };
  for (int i = 0; i < count; ++i) (void)executor.submit(body);
  for (int i = 0; i < count; ++i) future.add_done_callback([&](const AsyncFuture<int>&) { ++called; });
  REQUIRE(eventually([&] { return waiting == count; }));
  const Clock::time_point begin = Clock::now();
  promise.set_result(1);
  executor.shutdown();
  REQUIRE(Clock::now() - begin < 20s);
  REQUIRE(resumed == count);
  REQUIRE(called == count);
}

TEST_CASE("fifty thousand waiters leave one future out of order, each at once") {
  const int count = scaled(50'000);
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  std::atomic<int> waiting{0};
  auto body = [&]() -> Task<> {
    ++waiting;
    int value = co_await future;
    (void)value;
  };
  std::vector<AsyncFuture<void>> waiters;
  for (int i = 0; i < count; ++i) waiters.push_back(executor.submit(body));
  REQUIRE(eventually([&] { return waiting == count; }));
  const Clock::time_point begin = Clock::now();
  for (std::size_t start = 0; start < 7; ++start)
    for (std::size_t i = start; i < waiters.size(); i += 7) waiters[i].cancel();
  for (const AsyncFuture<void>& waiter : waiters) waiter.wait();
  REQUIRE(Clock::now() - begin < 20s);
  int cancelled = 0;
  for (const AsyncFuture<void>& waiter : waiters) cancelled += waiter.cancelled();
  REQUIRE(cancelled == count);
  promise.set_result(1);
}

TEST_CASE("fifty thousand waiters leave a semaphore's queue out of order, each at once") {
  const int count = scaled(50'000);
  Semaphore semaphore(0);
  AsyncExecutor executor(2);
  std::atomic<int> waiting{0};
  auto body = [&]() -> Task<> {
    ++waiting;
    auto permit = co_await semaphore.acquire();
  };
  std::vector<AsyncFuture<void>> waiters;
  for (int i = 0; i < count; ++i) waiters.push_back(executor.submit(body));
  REQUIRE(eventually([&] { return waiting == count; }));
  const Clock::time_point begin = Clock::now();
  for (std::size_t start = 0; start < 7; ++start)
    for (std::size_t i = start; i < waiters.size(); i += 7) waiters[i].cancel();
  for (const AsyncFuture<void>& waiter : waiters) waiter.wait();
  REQUIRE(Clock::now() - begin < 20s);
  semaphore.release();
  REQUIRE(semaphore.try_acquire());
}

TEST_CASE("when_all and when_any of a hundred thousand") {
  const int count = scaled(100'000);
  AsyncExecutor executor(2);
  auto child = [](int x) -> Task<int> {
    co_await cohort::yield();
    co_return x;
  };
  auto all = [&](int children) -> Task<std::int64_t> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < children; ++i) tasks.push_back(child(i));
    std::vector<int> values = co_await when_all(std::move(tasks));
    std::int64_t sum = 0;
    for (const int value : values) sum += value;
    co_return sum;
  };
  REQUIRE(executor.submit(all, count).get() == std::int64_t{count} * (count - 1) / 2);
  auto sleeper = [](int x) -> Task<int> {
    co_await sleep_for(1h);
    co_return x;
  };
  auto any = [&](int children) -> Task<int> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < children; ++i) tasks.push_back(i == 77 ? child(i) : sleeper(i));
    auto first = co_await when_any(std::move(tasks));
    co_return first.value;
  };
  const Clock::time_point begin = Clock::now();
  REQUIRE(executor.submit(any, count).get() == 77);
  REQUIRE(Clock::now() - begin < 20s);
}

TEST_CASE("fifty thousand timers are armed and disarmed quickly") {
  const int count = scaled(50'000);
  AsyncExecutor executor(2);
  std::atomic<int> asleep{0};
  auto body = [&](int i) -> Task<> {
    ++asleep;
    co_await sleep_for(std::chrono::seconds(1000 + i * 37 % 100'000));
  };
  const Clock::time_point begin = Clock::now();
  std::vector<AsyncFuture<void>> sleeps;
  for (int i = 0; i < count; ++i) sleeps.push_back(executor.submit(body, i));
  REQUIRE(eventually([&] { return asleep == count; }));
  executor.submit(identity, 1).wait();
  for (const AsyncFuture<void>& sleep : sleeps) sleep.cancel();
  for (const AsyncFuture<void>& sleep : sleeps) sleep.wait();
  REQUIRE(Clock::now() - begin < 20s);
}

TEST_CASE("timed waits that succeed leave no timers behind", "[R8]") {
  const int count = scaled(100'000);
  AsyncExecutor executor(1);
  auto body = [&](int rounds) -> Task<std::int64_t> {
    std::int64_t sum = 0;
    for (int i = 0; i < rounds; ++i) {
      AsyncFuture<int> future = executor.submit(immediately, i);
      int value = co_await future.result(1h);
      sum += value;
    }
    co_return sum;
  };
  (void)executor.submit(body, 1000).get();
  const Growth growth;
  REQUIRE(executor.submit(body, count).get() == std::int64_t{count} * (count - 1) / 2);
  REQUIRE(growth.now() < 4 * 1024);
}

TEST_CASE("a stream that is read slowly keeps its memory bounded", "[R8]") {
  AsyncExecutor executor(2);
  auto block = [](int) { return std::vector<char>(1024 * 1024, 'x'); };
  const Growth growth;
  ResultStream<std::vector<char>> stream = executor.map(MapOptions{.buffer_size = 4}, block, Numbers());
  long most = 0;
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(1ms);
    std::optional<std::vector<char>> value = sync_wait(stream.next());
    REQUIRE(value->size() == 1024 * 1024);
    most = std::max(most, growth.now());
  }
  INFO("grew by " << most << " KiB");
  REQUIRE(most < 24 * 1024);
}

TEST_CASE("executors with waiting tasks use no processor time", "[R15]") {
  AsyncExecutor executor(16);
  AsyncGate gate;
  auto wait_long = [&]() -> Task<> { co_await gate.passed(); };
  auto sleep_long = []() -> Task<> { co_await sleep_for(1h); };
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < 100; ++i) {
    futures.push_back(executor.submit(wait_long));
    futures.push_back(executor.submit(sleep_long));
  }
  std::this_thread::sleep_for(100ms);
  const double before = processor_seconds();
  std::this_thread::sleep_for(500ms);
  const double used = processor_seconds() - before;
  INFO("used " << used << " s in half a second");
  REQUIRE(used < 0.1);
  gate.open();
  for (const AsyncFuture<void>& future : futures) future.cancel();
  executor.shutdown();
}
