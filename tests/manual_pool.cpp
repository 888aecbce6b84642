#include <cohort/manual_pool.hpp>

#include <algorithm>  // for is_sorted
#include <chrono>     // for steady_clock
#include <cohort/cohort.hpp>
#include <memory>        // for optional
#include <numeric>       // for iota
#include <optional>      // for optional
#include <stdexcept>     // for runtime_error
#include <string>        // for string
#include <system_error>  // for system_error
#include <thread>        // for jthread
#include <utility>       // for move
#include <vector>        // for vector

#include "catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using cohort::AsyncFuture;
using cohort::ManualExecutor;
using cohort::Task;
using test::describe;
using test::thrown_by;

namespace {

Task<int> after(cohort::Duration pause, int value) {
  co_await cohort::sleep_for(pause);
  co_return value;
}

Task<> note(std::vector<int>& order, int number, int turns) {
  for (int turn = 0; turn < turns; ++turn) {
    order.push_back(number);
    co_await cohort::yield();
  }
}

// The order in which ten tasks of three turns each take them.
std::vector<int> course(std::optional<std::uint64_t> seed) {
  std::vector<int> order;
  ManualExecutor executor;
  if (seed.has_value()) executor.pool().seed(*seed);
  for (int number = 0; number < 10; ++number) executor.submit(note, std::ref(order), number, 3);
  executor.pool().run_until_idle();
  return order;
}

// A task that only ends when it is asked to stop.
Task<> serve(int& turns) {
  while (true) {
    co_await cohort::sleep_for(1s);
    ++turns;
  }
}

Task<int> wait_for(AsyncFuture<int> future) { co_return co_await future; }

}  // namespace

TEST_CASE("nothing runs before it is told to") {
  ManualExecutor executor;
  int runs = 0;
  auto future = executor.submit([&runs] { return ++runs; });
  CHECK(runs == 0);
  CHECK_FALSE(future.done());
  CHECK(executor.stats().pending == 1);
  CHECK(executor.pool().run_one());
  CHECK(runs == 1);
  CHECK(future.done());
  CHECK_FALSE(executor.pool().run_one());
  CHECK(executor.stats().succeeded == 1);
}

TEST_CASE("run_until_idle runs what can be run and says how much it was") {
  ManualExecutor executor;
  auto soon = executor.submit([] {});
  auto later = executor.submit(after, 1h, 1);
  const auto before = executor.pool().now();
  CHECK(executor.pool().run_until_idle() == 2);
  CHECK(executor.pool().run_until_idle() == 0);
  CHECK(soon.done());
  CHECK_FALSE(later.done());
  CHECK(later.running());
  CHECK(executor.pool().now() == before);
}

TEST_CASE("without a seed tasks take turns in the order in which they came") {
  std::vector<int> expected;
  for (int turn = 0; turn < 3; ++turn)
    for (int number = 0; number < 10; ++number) expected.push_back(number);
  CHECK(course(std::nullopt) == expected);
}

TEST_CASE("a seed draws one order, the same each time") {
  const std::vector<int> first = course(1);
  CHECK(course(1) == first);
  CHECK(course(2) != first);
  CHECK_FALSE(std::is_sorted(first.begin(), first.end()));
  // The same on every machine, with every compiler.
  CHECK(std::vector<int>(first.begin(), first.begin() + 8) == std::vector<int>{5, 5, 0, 9, 1, 8, 0, 3});
}

TEST_CASE("seeds reach every order of three tasks") {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<int> order;
    ManualExecutor executor;
    executor.pool().seed(seed);
    for (int number = 0; number < 3; ++number) executor.submit(note, std::ref(order), number, 1);
    executor.pool().run_until_idle();
    orders.insert(order);
  }
  CHECK(orders.size() == 6);
}

TEST_CASE("advance stops at each timer and is exact there") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  std::vector<cohort::Duration> times;
  const auto sleeper = [&](cohort::Duration pause) -> Task<> {
    co_await cohort::sleep_for(pause);
    times.push_back(executor.pool().now() - start);
  };
  executor.submit(sleeper, cohort::Duration(3s));
  executor.submit(sleeper, cohort::Duration(1ns));
  executor.submit(sleeper, cohort::Duration(70s));
  executor.submit(sleeper, cohort::Duration(1s));
  executor.pool().advance(0s);
  CHECK(times.empty());
  executor.pool().advance(1s - 1ns);
  CHECK(times == std::vector<cohort::Duration>{1ns});
  executor.pool().advance(1ns);
  CHECK(times == std::vector<cohort::Duration>{1ns, 1s});
  executor.pool().advance(1min);
  CHECK(times == std::vector<cohort::Duration>{1ns, 1s, 3s});
  CHECK(executor.pool().now() - start == 61s);
  executor.shutdown();
  CHECK(times == std::vector<cohort::Duration>{1ns, 1s, 3s, 70s});
  CHECK(executor.pool().now() - start == 70s);
}

TEST_CASE("timers of one instant fire in the order in which they were set") {
  ManualExecutor executor;
  std::vector<int> order;
  for (int number = 0; number < 100; ++number) {
    executor.submit([&order, number]() -> Task<> {
      co_await cohort::sleep_for(1s);
      order.push_back(number);
    });
  }
  executor.pool().advance(1s);
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(order == expected);
}

TEST_CASE("thousands of timers fire in the order of their times") {
  ManualExecutor executor;
  std::vector<long> order;
  std::uint64_t random = 1;
  for (int number = 0; number < test::scaled(20'000); ++number) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    const auto pause = std::chrono::nanoseconds(static_cast<long>(random >> 20U));
    executor.submit([&order, pause]() -> Task<> {
      co_await cohort::sleep_for(pause);
      order.push_back(pause.count());
    });
  }
  executor.shutdown();
  CHECK(order.size() == static_cast<std::size_t>(test::scaled(20'000)));
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a day of sleeping takes no time") {
  const test::Stopwatch watch;
  ManualExecutor executor;
  CHECK(executor.submit(after, 24h, 7).get() == 7);
  CHECK(watch.elapsed() < test::patience);
}

TEST_CASE("get runs what can be run and moves the time when there is nothing") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  auto later = executor.submit(after, 5s, 5);
  auto soon = executor.submit(after, 2s, 2);
  CHECK(soon.get() == 2);
  CHECK(executor.pool().now() - start == 2s);
  CHECK_FALSE(later.done());
  CHECK(later.get() == 5);
  CHECK(executor.pool().now() - start == 5s);
}

TEST_CASE("get with a timeout moves the time no further than that") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  auto future = executor.submit(after, 5s, 5);
  CHECK(thrown_by([&] { return future.get(2s); }) == "timeout");
  CHECK(executor.pool().now() - start == 2s);
  CHECK_FALSE(future.wait_for(0s));
  CHECK(executor.pool().now() - start == 2s);
  CHECK(future.get(3s) == 5);  // what is due by then is done
  CHECK(executor.pool().now() - start == 5s);
}

TEST_CASE("a wait that nothing can end fails at once") {
  ManualExecutor executor;
  cohort::AsyncPromise<int> promise;
  auto future = executor.submit(wait_for, promise.get_future());
  CHECK(thrown_by([&] { return future.get(); }) == "deadlock");
  CHECK(thrown_by([&] { return promise.get_future().get(); }) == "deadlock");
  CHECK(thrown_by([&] {
          auto other = executor.submit(wait_for, promise.get_future());  // cancelled with the stream
          for (auto& done : cohort::as_completed(std::vector{other})) static_cast<void>(done);
        }) == "deadlock");
  CHECK(thrown_by([&] { return cohort::sync_wait(future); }) == "deadlock");
  promise.set_result(3);
  CHECK(future.get() == 3);
}

TEST_CASE("two tasks that wait for each other are found") {
  ManualExecutor executor;
  cohort::Semaphore left(1);
  cohort::Semaphore right(1);
  const auto take = [](cohort::Semaphore& first, cohort::Semaphore& second) -> Task<> {
    const cohort::Permit one = co_await first.acquire();
    co_await cohort::sleep_for(1ms);
    const cohort::Permit two = co_await second.acquire();
  };
  auto a = executor.submit(take, std::ref(left), std::ref(right));
  auto b = executor.submit(take, std::ref(right), std::ref(left));
  CHECK(thrown_by([&] { a.get(); }) == "deadlock");
  CHECK(a.cancel());
  b.get();
  CHECK(thrown_by([&] { a.get(); }) == "cancelled");
}

TEST_CASE("another thread may complete a promise when it is given time") {
  ManualExecutor executor;
  executor.pool().patience(test::patience);
  cohort::AsyncPromise<int> promise;
  auto future = executor.submit(wait_for, promise.get_future());
  std::jthread thread([&promise] {
    std::this_thread::sleep_for(5ms);
    promise.set_result(4);
  });
  CHECK(future.get() == 4);
}

TEST_CASE("other threads submit, wait and cancel while one drives") {
  ManualExecutor executor;
  executor.pool().patience(test::patience);
  std::atomic<int> sum{0};
  cohort::AsyncPromise<> all_there;
  auto there = all_there.get_future();
  {
    std::atomic<int> missing{4};
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&] {
        for (int each = 0; each < 100; ++each) {
          auto future = executor.submit(after, 1ms, 1);
          auto dropped = executor.submit(after, 1h, 1);
          dropped.cancel();
          sum += future.get();
        }
        if (--missing == 0) all_there.set_result();
      });
    }
    there.get();
  }
  CHECK(sum == 400);
  executor.shutdown();
  const auto stats = executor.stats();
  CHECK(stats.submitted == 800);
  CHECK(stats.succeeded >= 400);  // an hour may pass before the cancellation comes
  CHECK(stats.succeeded + stats.cancelled == 800);
}

TEST_CASE("a thread may wait for the shutdown that another drives") {
  ManualExecutor executor;
  auto future = executor.submit(after, 1h, 1);
  std::atomic<bool> over{false};
  std::jthread thread([&] {
    executor.shutdown();
    over = true;
  });
  while (thrown_by([&] { executor.submit([] {}); }) != "shutdown") std::this_thread::yield();
  executor.shutdown();
  thread.join();
  CHECK(over);
  CHECK(future.done());
}

TEST_CASE("only the thread that made it drives it") {
  ManualExecutor executor;
  std::jthread([&executor] {
    CHECK(thrown_by([&] { return executor.pool().run_one(); }) == "invalid state");
    CHECK(thrown_by([&] { return executor.pool().run_until_idle(); }) == "invalid state");
    CHECK(thrown_by([&] { return executor.pool().advance(1s); }) == "invalid state");
  }).join();
}

TEST_CASE("a thread has one manual executor at a time, made outside of tasks") {
  {
    ManualExecutor executor;
    CHECK(thrown_by([] { ManualExecutor second; }) == "invalid state");
  }
  ManualExecutor next;
  cohort::AsyncExecutor threads(1);
  CHECK(thrown_by([&] { threads.submit([] { ManualExecutor inside; }).get(); }) == "invalid state");
}

TEST_CASE("a task moves to an executor with threads and back") {
  ManualExecutor executor;
  executor.pool().patience(test::patience);
  cohort::AsyncExecutor threads(1);
  const auto home = test::this_thread_id();
  const auto travel = [&]() -> Task<bool> {
    const bool began_here = test::this_thread_id() == home;
    co_await threads.schedule();
    const bool was_away = test::this_thread_id() != home;
    co_await executor.schedule();
    co_return began_here&& was_away&& test::this_thread_id() == home;
  };
  auto future = executor.submit(travel);
  CHECK(future.get());
  const auto visit = [&]() -> Task<bool> {
    co_await executor.schedule();
    co_return test::this_thread_id() == home;
  };
  CHECK(threads.submit(visit).get());
}

TEST_CASE("waiting for another executor's future takes its time") {
  ManualExecutor executor;
  cohort::AsyncExecutor threads(1);
  const auto slow = [] {
    std::this_thread::sleep_for(20ms);
    return 1;
  };
  CHECK(threads.submit(slow).get() == 1);
  test::Gate gate;
  auto stuck = threads.submit([&gate] {
    gate.wait();
    std::this_thread::sleep_for(200ms);
  });
  CHECK(thrown_by([&] { stuck.get(1ms); }) == "timeout");
  gate.open();
  // Its time goes on meanwhile, for what may be needed.
  CHECK(threads.submit([&]() -> Task<int> { co_return co_await executor.submit(after, 1h, 2); }).get() == 2);
  for (auto& done : cohort::as_completed(std::vector{threads.submit(slow)})) CHECK(done.get() == 1);
}

TEST_CASE("a get in a task runs the others on top of it") {
  ManualExecutor executor;
  const auto outer = [&executor] {
    auto inner = executor.submit(after, 1s, 20);
    return inner.get() + 1;
  };
  CHECK(executor.submit(outer).get() == 21);

  std::function<int(int)> nested = [&](int depth) -> int {
    return depth == 0 ? 0 : 1 + executor.submit(nested, depth - 1).get();
  };
  CHECK(nested(200) == 200);
  AsyncFuture<void> self;
  self = executor.submit([&self] { self.get(); });
  CHECK(thrown_by([&] { self.get(); }) == "deadlock");
}

TEST_CASE("sync_wait runs on it") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  const auto body = [&]() -> Task<int> {
    co_await cohort::sleep_for(1h);
    const int other = co_await executor.submit(after, 1h, 4);
    co_return other;
  };
  CHECK(cohort::sync_wait(body()) == 4);
  CHECK(executor.pool().now() - start == 2h);
}

TEST_CASE("timeouts and retries pass in its time") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  int attempts = 0;
  const auto flaky = [&attempts]() -> Task<int> {
    if (++attempts < 3) throw std::runtime_error("not yet");
    co_await cohort::sleep_for(30s);
    co_return attempts;
  };
  auto retried = executor.submit({.retries = 5, .retry_delay = 1min}, flaky);
  CHECK(retried.get() == 3);
  CHECK(executor.pool().now() - start == 3min + 30s);
  auto late = executor.submit({.timeout = 10s}, after, 1h, 1);
  CHECK(thrown_by([&] { late.get(); }) == "timeout");
  CHECK(executor.pool().now() - start == 3min + 40s);
}

TEST_CASE("the jitter of retries is the seed's too") {
  const auto time_of_retries = [](std::uint64_t seed) {
    ManualExecutor executor;
    executor.pool().seed(seed);
    const auto start = executor.pool().now();
    executor.submit({.retries = 4, .jitter = 0.5}, [] { throw 1; }).wait();
    return executor.pool().now() - start;
  };
  CHECK(time_of_retries(1) == time_of_retries(1));
  CHECK(time_of_retries(1) != time_of_retries(2));
}

TEST_CASE("a limit on tasks lets the next in when one ends") {
  cohort::ExecutorOptions options;
  options.max_concurrent_tasks = 2;
  ManualExecutor executor(options);
  std::vector<AsyncFuture<int>> futures;
  for (int number = 0; number < 4; ++number) futures.push_back(executor.submit(after, 1s, number));
  executor.pool().run_until_idle();
  CHECK(executor.stats().running == 2);
  CHECK(executor.stats().pending == 2);
  CHECK(futures[3].cancel());
  executor.pool().advance(1s);
  CHECK(futures[1].done());
  CHECK_FALSE(futures[2].done());
  executor.pool().advance(1s);
  CHECK(futures[2].done());
  CHECK(executor.stats().succeeded == 3);
}

TEST_CASE("options, counts and names are as in other pools") {
  cohort::ExecutorOptions options;
  options.max_workers = 3;
  std::vector<std::size_t> workers;
  std::string reported;
  options.on_worker_start = [&](std::size_t worker) { workers.push_back(worker); };
  options.on_unhandled_exception = [&](std::exception_ptr error) { reported = describe(error); };
  ManualExecutor executor(options);
  CHECK(workers == std::vector<std::size_t>{0});
  CHECK(executor.max_workers() == 1);
  auto future = executor.submit([] {});
  future.add_done_callback([](const auto&) { throw std::runtime_error("from a callback"); });
  future.get();
  CHECK(reported == "runtime_error: from a callback");
  CHECK(future.sequence_id() == 0);
  auto failing = executor.submit([] { throw 1; });
  failing.wait();
  CHECK(executor.stats().failed == 1);
  CHECK(executor.stats().workers.size() == 1);
  CHECK(thrown_by([] { ManualExecutor none(0); }) == "invalid argument: max_workers must be at least 1");
}

TEST_CASE("a failing start leaves nothing behind") {
  cohort::ExecutorOptions options;
  options.on_worker_start = [](std::size_t) { throw std::runtime_error("no start"); };
  CHECK(thrown_by([&] { ManualExecutor executor(options); }) == "runtime_error: no start");
  options.on_worker_start = nullptr;
  ManualExecutor executor(options);
  CHECK(executor.submit([] { return 1; }).get() == 1);
}

TEST_CASE("the destructor runs what was submitted to its end") {
  std::vector<int> order;
  {
    ManualExecutor executor;
    executor.submit(note, std::ref(order), 1, 1);
    executor.submit([&order]() -> Task<> {
      co_await cohort::sleep_for(1h);
      order.push_back(2);
    });
  }
  CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("shutdown cancels what has not started") {
  ManualExecutor executor;
  auto started = executor.submit(after, 1s, 1);
  executor.pool().run_until_idle();
  auto queued = executor.submit(after, 1s, 2);
  executor.shutdown({.wait = false, .cancel_futures = true});
  CHECK(queued.cancelled());
  CHECK_FALSE(started.done());
  CHECK(thrown_by([&] { executor.submit([] {}); }) == "shutdown");
  CHECK(started.get() == 1);
}

TEST_CASE("shutdown with a seed cancels what has been drawn from and what waits for its first permit") {
  ManualExecutor executor;
  executor.pool().seed(3);
  cohort::Semaphore none(0);
  std::vector<AsyncFuture<int>> futures;
  for (int number = 0; number < 20; ++number) futures.push_back(executor.submit(after, 1s, number));
  auto waiting = executor.submit({.semaphore = &none}, after, 1s, 1);
  for (int each = 0; each < 5; ++each) executor.pool().run_one();
  executor.shutdown({.wait = true, .cancel_futures = true});
  const auto stats = executor.stats();
  CHECK(stats.succeeded + stats.cancelled == 21);
  CHECK(stats.succeeded <= 5);
  CHECK(waiting.cancelled());
}

TEST_CASE("tasks that cannot end are asked to stop at the end") {
  AsyncFuture<int> stuck;
  AsyncFuture<void> restless;
  AsyncFuture<void> spinning;
  int turns = 0;
  cohort::AsyncPromise<int> promise;
  {
    ManualExecutor executor;
    stuck = executor.submit(wait_for, promise.get_future());
    restless = executor.submit(serve, std::ref(turns));
    spinning = executor.submit([]() -> Task<> {
      const std::stop_token token = co_await cohort::get_stop_token();
      while (!token.stop_requested()) co_await cohort::yield();
    });
  }
  CHECK(stuck.cancelled());
  CHECK(restless.cancelled());
  CHECK(turns > 0);
  CHECK(spinning.done());
}

TEST_CASE("shutdown says so when a task does not end even so") {
  struct Never {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
  };
  const auto lost = []() -> Task<> { co_await Never(); };
  CHECK(test::in_child([&] {
          ::close(STDERR_FILENO);
          ManualExecutor executor;
          executor.submit(lost);
          return thrown_by([&] { executor.shutdown(); }) == "deadlock" ? 0 : 1;
        }) == 0);
}

TEST_CASE("a loop of yields does not hold the time") {
  ManualExecutor executor;
  bool stop = false;
  auto spinning = executor.submit([&stop]() -> Task<> {
    while (!stop) co_await cohort::yield();
  });
  CHECK(executor.pool().run_until_idle() == 1'000'000);
  CHECK(thrown_by([&] { spinning.get(1s); }) == "timeout");
  CHECK(executor.submit(after, 1s, 1).get() == 1);
  stop = true;
  spinning.get();
}

TEST_CASE("shutdown from a task does not wait, and an executor may be destroyed by its last task") {
  auto executor = std::make_unique<ManualExecutor>();
  std::vector<int> order;
  auto& pool = executor->pool();
  executor->submit(note, std::ref(order), 1, 2);
  executor->submit(
      [&order](std::unique_ptr<ManualExecutor>& owner) {
        owner->shutdown();
        order.push_back(2);
        owner.reset();
        order.push_back(3);
      },
      std::ref(executor));
  pool.run_until_idle();
  CHECK(order == std::vector<int>{1, 2, 3, 1});
  ManualExecutor next;  // the thread is free again
}

TEST_CASE("a stream of a map is consumed by plain code") {
  ManualExecutor executor;
  const auto start = executor.pool().now();
  std::vector<int> results;
  for (int& value : executor.map(after, std::vector<cohort::Duration>{3s, 1s, 2s}, std::vector{3, 1, 2}))
    results.push_back(value);
  CHECK(results == std::vector{3, 1, 2});
  CHECK(executor.pool().now() - start == 3s);
  std::vector<int> completed;
  const std::vector<AsyncFuture<int>> futures{executor.submit(after, 3s, 3), executor.submit(after, 1s, 1)};
  for (auto& future : cohort::as_completed(futures)) completed.push_back(future.get());
  CHECK(completed == std::vector{1, 3});
  const auto result = cohort::sync_wait(cohort::wait(futures));
  CHECK(result.done.size() == 2);
  auto timed = cohort::as_completed(std::vector{executor.submit(after, 1h, 1)}, 1min);
  CHECK(thrown_by([&] {
          for (auto& future : timed) static_cast<void>(future);
        }) == "timeout");
}

TEST_CASE("a race in user code is found by a seed and shows again with it") {
  // Reads, suspends, writes: two of them lose an increment when their turns interleave.
  const auto total = [](std::uint64_t seed) {
    int counter = 0;
    ManualExecutor executor;
    executor.pool().seed(seed);
    const auto increment = [&counter]() -> Task<> {
      const int seen = counter;
      co_await cohort::yield();
      counter = seen + 1;
    };
    auto first = executor.submit(increment);
    auto second = executor.submit(increment);
    first.get();
    second.get();
    return counter;
  };
  std::set<int> totals;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    CHECK(total(seed) == total(seed));
    totals.insert(total(seed));
  }
  CHECK(totals == std::set<int>{1, 2});
}

TEST_CASE("in the child of a fork a manual executor is inert") {
  int runs = 0;
  ManualExecutor executor;
  executor.submit([&runs] { ++runs; });
  CHECK(test::in_child([&] {
          if (thrown_by([&] { executor.submit([] {}); }) != "shutdown") return 1;
          executor.shutdown();
          return runs;
        }) == 0);
}
