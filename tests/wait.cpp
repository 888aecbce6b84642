// wait: its three strategies, its timeouts, and that it leaves nothing behind.
#include <cohort/wait.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>     // for atomic
#include <chrono>     // for milliseconds
#include <exception>  // for make_exception_ptr
#include <future>     // for future_error
#include <list>       // for list
#include <optional>   // for optional
#include <stdexcept>  // for runtime_error
#include <thread>     // for thread
#include <utility>    // for move
#include <vector>     // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

/// Promises whose futures a test completes in the order it likes; each result is the index.
struct Bench {
  explicit Bench(int count) : promises(static_cast<std::size_t>(count)) {
    for (AsyncPromise<int>& promise : promises) futures.push_back(promise.get_future());
  }
  void complete(int i) { promises[static_cast<std::size_t>(i)].set_result(i); }
  void fail(int i) {
    promises[static_cast<std::size_t>(i)].set_exception(std::make_exception_ptr(std::runtime_error("failed")));
  }
  [[nodiscard]] const AsyncFuture<int>& future(int i) const { return futures[static_cast<std::size_t>(i)]; }

  /// Which of the futures a list holds, in the order it holds them.
  [[nodiscard]] std::vector<int> indices(const std::vector<AsyncFuture<int>>& list) const {
    std::vector<int> found;
    for (const AsyncFuture<int>& future : list)
      for (std::size_t i = 0; i < futures.size(); ++i)
        if (futures[i] == future) found.push_back(static_cast<int>(i));
    return found;
  }

  std::vector<AsyncPromise<int>> promises;
  std::vector<AsyncFuture<int>> futures;
};

constexpr WaitOptions all{.timeout = {}, .return_when = WaitStrategy::all_completed};
constexpr WaitOptions first{.timeout = {}, .return_when = WaitStrategy::first_completed};
constexpr WaitOptions failure{.timeout = {}, .return_when = WaitStrategy::first_exception};

WaitOptions within(Duration timeout, WaitOptions options) {
  options.timeout = timeout;
  return options;
}

using Indices = std::vector<int>;

}  // namespace

TEST_CASE("wait for all returns every future, in input order, when all are done") {
  Bench bench(4);
  std::thread completer([&] {
    for (const int i : {2, 0, 3, 1}) {
      std::this_thread::sleep_for(3ms);
      if (i == 3)
        bench.fail(i);  // an exception does not end this strategy
      else
        bench.complete(i);
    }
  });
  const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, all));
  completer.join();
  REQUIRE(bench.indices(result.done) == Indices{0, 1, 2, 3});
  REQUIRE(result.not_done.empty());
}

TEST_CASE("wait waits for all when nothing else is said") {
  Bench bench(2);
  bench.complete(0);
  std::atomic<bool> completed{false};
  std::thread completer([&] {
    std::this_thread::sleep_for(10ms);
    completed = true;
    bench.complete(1);
  });
  const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, {}));
  const bool waited = completed;
  completer.join();
  REQUIRE(waited);
  REQUIRE(bench.indices(result.done) == Indices{0, 1});
}

TEST_CASE("wait for the first returns when one is done") {
  Bench bench(3);
  std::thread completer([&] {
    std::this_thread::sleep_for(10ms);
    bench.complete(1);
  });
  const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, first));
  completer.join();
  REQUIRE(bench.indices(result.done) == Indices{1});
  REQUIRE(bench.indices(result.not_done) == Indices{0, 2});
}

TEST_CASE("every future that is done at that moment is in done, whatever the strategy") {
  SECTION("the first") {
    Bench bench(5);
    for (const int i : {4, 1, 3}) bench.complete(i);
    const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, first));
    REQUIRE(bench.indices(result.done) == Indices{1, 3, 4});
    REQUIRE(bench.indices(result.not_done) == Indices{0, 2});
  }
  SECTION("the first exception") {
    Bench bench(5);
    bench.complete(4);
    bench.fail(2);
    bench.complete(0);
    const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, failure));
    REQUIRE(bench.indices(result.done) == Indices{0, 2, 4});
    REQUIRE(bench.indices(result.not_done) == Indices{1, 3});
  }
  SECTION("those done while it was resuming") {
    AsyncExecutor executor(1);
    Bench bench(3);
    std::atomic<bool> waiting{false};
    auto body = [&]() -> Task<std::vector<std::size_t>> {
      waiting = true;
      WaitResult<int> result = co_await cohort::wait(bench.futures, first);
      std::vector<std::size_t> sizes;
      sizes.push_back(result.done.size());
      sizes.push_back(result.not_done.size());
      for (const AsyncFuture<int>& future : result.not_done) sizes.push_back(future.done());
      co_return sizes;
    };
    AsyncFuture<std::vector<std::size_t>> waiter = executor.submit(body);
    REQUIRE(eventually([&] { return waiting.load(); }));
    Occupy occupied(executor);  // the waiter cannot resume before the others are done too
    bench.complete(2);
    bench.complete(0);
    bench.complete(1);
    occupied.release();
    const std::vector<std::size_t> sizes = waiter.get();
    REQUIRE(sizes == std::vector<std::size_t>{3, 0});
  }
}

TEST_CASE("wait for the first exception ignores successes") {
  SECTION("and returns at an exception") {
    Bench bench(3);
    bench.complete(2);
    std::atomic<bool> failed{false};
    std::thread completer([&] {
      std::this_thread::sleep_for(10ms);
      failed = true;
      bench.fail(1);
    });
    const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, failure));
    const bool waited = failed;
    completer.join();
    REQUIRE(waited);
    REQUIRE(bench.indices(result.done) == Indices{1, 2});
    REQUIRE(bench.indices(result.not_done) == Indices{0});
  }
  SECTION("and returns when all are done and none has failed") {
    Bench bench(3);
    bench.complete(2);
    std::thread completer([&] {
      for (const int i : {1, 0}) {
        std::this_thread::sleep_for(5ms);
        bench.complete(i);
      }
    });
    const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, failure));
    completer.join();
    REQUIRE(bench.indices(result.done) == Indices{0, 1, 2});
    REQUIRE(result.not_done.empty());
  }
  SECTION("and takes a cancelled future for an exception") {
    Bench bench(3);
    std::thread canceller([&] {
      std::this_thread::sleep_for(10ms);
      bench.future(1).cancel();
    });
    const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, failure));
    canceller.join();
    REQUIRE(bench.indices(result.done) == Indices{1});
    REQUIRE(bench.indices(result.not_done) == Indices{0, 2});

    const WaitResult<int> again = sync_wait(cohort::wait(bench.futures, failure));  // cancelled already
    REQUIRE(bench.indices(again.done) == Indices{1});
  }
}

TEST_CASE("duplicates are waited for once and returned once") {
  Bench bench(3);
  std::vector<AsyncFuture<int>> futures{bench.future(2), bench.future(0), bench.future(2), bench.future(1),
                                        bench.future(0)};
  bench.complete(0);
  const WaitResult<int> some = sync_wait(cohort::wait(futures, first));
  REQUIRE(bench.indices(some.done) == Indices{0});
  REQUIRE(bench.indices(some.not_done) == Indices{2, 1});
  bench.complete(1);
  bench.complete(2);
  const WaitResult<int> rest = sync_wait(cohort::wait(futures, all));
  REQUIRE(bench.indices(rest.done) == Indices{2, 0, 1});
  REQUIRE(rest.not_done.empty());
}

TEMPLATE_TEST_CASE("waiting for no futures returns at once", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  const std::vector<AsyncFuture<int>> none;
  for (const WaitOptions& options : {all, first, failure, within(0ms, all), within(0ms, first), within(1h, failure)}) {
    const WaitResult<int> result = sync_wait(cohort::wait(none, options));
    REQUIRE((result.done.empty() && result.not_done.empty()));
    const WaitResult<int> member = sync_wait(executor.wait(none, options));
    REQUIRE((member.done.empty() && member.not_done.empty()));
  }
}

TEST_CASE("past its timeout, waiting for all throws, and never early", "[R11]") {
  Bench bench(2);
  bench.complete(0);
  const Clock::time_point begin = Clock::now();
  REQUIRE_THROWS_AS(sync_wait(cohort::wait(bench.futures, within(25ms, all))), TimeoutError);
  REQUIRE(Clock::now() - begin >= 25ms);
  REQUIRE_FALSE(bench.future(1).done());  // waiting never cancels
  bench.complete(1);
  const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, within(25ms, all)));
  REQUIRE(bench.indices(result.done) == Indices{0, 1});
}

TEST_CASE("past their timeout, the other strategies return what there is, and never early") {
  Bench bench(3);
  Clock::time_point begin = Clock::now();
  const WaitResult<int> nothing = sync_wait(cohort::wait(bench.futures, within(25ms, first)));
  REQUIRE(Clock::now() - begin >= 25ms);
  REQUIRE(nothing.done.empty());
  REQUIRE(bench.indices(nothing.not_done) == Indices{0, 1, 2});

  bench.complete(1);
  begin = Clock::now();
  const WaitResult<int> some = sync_wait(cohort::wait(bench.futures, within(25ms, failure)));
  REQUIRE(Clock::now() - begin >= 25ms);
  REQUIRE(bench.indices(some.done) == Indices{1});
  REQUIRE(bench.indices(some.not_done) == Indices{0, 2});
  for (const int i : {0, 2}) REQUIRE_FALSE(bench.future(i).done());
}

TEST_CASE("a timeout that is zero or negative polls") {
  for (const Duration timeout : {Duration::zero(), Duration(-1), Duration::min()}) {
    Bench bench(2);
    REQUIRE_THROWS_AS(sync_wait(cohort::wait(bench.futures, within(timeout, all))), TimeoutError);
    const WaitResult<int> none = sync_wait(cohort::wait(bench.futures, within(timeout, first)));
    REQUIRE((none.done.empty() && none.not_done.size() == 2));
    bench.complete(1);
    const WaitResult<int> one = sync_wait(cohort::wait(bench.futures, within(timeout, failure)));
    REQUIRE(bench.indices(one.done) == Indices{1});
    REQUIRE(bench.indices(one.not_done) == Indices{0});
    bench.complete(0);
    const WaitResult<int> both = sync_wait(cohort::wait(bench.futures, within(timeout, all)));
    REQUIRE(bench.indices(both.done) == Indices{0, 1});
  }
}

TEST_CASE("the longest timeout of a wait saturates", "[R11]") {
  Bench bench(1);
  std::thread completer([&] {
    std::this_thread::sleep_for(20ms);
    bench.complete(0);
  });
  const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, within(Duration::max(), all)));
  completer.join();
  REQUIRE(bench.indices(result.done) == Indices{0});
}

TEMPLATE_TEST_CASE("waiting can be done again, with the same answer", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto twice = [](int x) { return 2 * x; };
  std::vector<AsyncFuture<int>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(executor.submit(twice, i));
  for (int round = 0; round < 3; ++round) {
    const WaitResult<int> result = sync_wait(executor.wait(futures, WaitOptions{.timeout = 20s}));
    REQUIRE(result.done == futures);
    REQUIRE(result.not_done.empty());
  }
  for (int i = 0; i < 5; ++i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == 2 * i);
}

TEMPLATE_TEST_CASE("waiting loses no future: what was not done can be waited for until all are", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  auto slow = [](int x) -> Task<int> {
    co_await sleep_for(std::chrono::milliseconds(x % 5));
    if (x % 3 == 0) throw std::runtime_error("third");
    co_return x;
  };
  std::vector<AsyncFuture<int>> pending;
  for (int i = 0; i < 50; ++i) pending.push_back(executor.submit(slow, i));
  std::size_t done = 0;
  while (!pending.empty()) {
    WaitResult<int> result = sync_wait(cohort::wait(pending, first));
    REQUIRE_FALSE(result.done.empty());
    REQUIRE(result.done.size() + result.not_done.size() == pending.size());
    for (const AsyncFuture<int>& future : result.done) REQUIRE(future.done());
    done += result.done.size();
    pending = std::move(result.not_done);
  }
  REQUIRE(done == 50);
}

TEMPLATE_TEST_CASE("wait works inside a task on a pool of one", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  auto child = [](int x) -> Task<int> {
    co_await cohort::yield();
    co_return x;
  };
  auto body = [&]() -> Task<std::size_t> {
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(child, i));
    WaitResult<int> result =
        co_await executor.wait(futures, WaitOptions{.timeout = 20s, .return_when = WaitStrategy::first_exception});
    WaitResult<int> again = co_await cohort::wait(futures, WaitOptions{});
    co_return 100 * result.done.size() + again.done.size();
  };
  REQUIRE(run_on(executor, body) == 1010);
}

TEMPLATE_TEST_CASE("wait takes futures of void and ranges other than vectors", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  auto nothing = [] {};
  std::list<AsyncFuture<void>> futures{executor.submit(nothing), executor.submit(nothing)};
  const WaitResult<void> result = sync_wait(cohort::wait(futures, all));
  REQUIRE(result.done.size() == 2);
}

TEST_CASE("wait refuses a future without a state") {
  const std::vector<AsyncFuture<int>> futures{AsyncFuture<int>()};
  auto call = [&] { (void)sync_wait(cohort::wait(futures, within(10ms, first))); };
  REQUIRE_THROWS_AS(call(), std::future_error);
}

TEMPLATE_TEST_CASE("many may wait for the same futures at once", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  Bench bench(3);
  auto body = [&](WaitOptions options) -> Task<std::size_t> {
    WaitResult<int> result = co_await cohort::wait(bench.futures, options);
    co_return result.done.size();
  };
  std::vector<AsyncFuture<std::size_t>> waiters;
  for (int i = 0; i < 100; ++i) waiters.push_back(executor.submit(body, i % 2 == 0 ? all : first));
  bench.complete(1);
  for (std::size_t i = 1; i < 100; i += 2) REQUIRE(waiters[i].get() >= 1);
  for (std::size_t i = 0; i < 100; i += 2) REQUIRE_FALSE(waiters[i].done());
  bench.complete(2);
  bench.complete(0);
  for (std::size_t i = 0; i < 100; i += 2) REQUIRE(waiters[i].get() == 3);
}

TEST_CASE("an abandoned wait leaves nothing behind") {
  const int rounds = scaled(10'000);
  AsyncExecutor executor(1);
  Bench bench(16);
  auto body = [&]() -> Task<> {
    WaitResult<int> result = co_await cohort::wait(bench.futures, first);
    (void)result;
  };
  SECTION("one after another") {
    std::optional<long> before;
    for (int i = 0; i < rounds; ++i) {
      if (i == rounds / 10) before = process_status("VmRSS:");
      AsyncFuture<void> waiter = executor.submit(body);
      if (i % 2 == 0) std::this_thread::yield();
      waiter.cancel();
      waiter.wait();
      REQUIRE(waiter.cancelled());
      if (i % 100 == 0) executor.submit([] {}).wait();  // the worker is done with those cancelled in its queue, too
    }
    const std::optional<long> after = process_status("VmRSS:");
    if (before && after && !sanitized) {
      INFO("grew by " << *after - *before << " KiB");
      REQUIRE(*after - *before < 2048);
    }
  }
  SECTION("all at once, leaving from the middle") {
    std::atomic<int> waiting{0};
    auto counted = [&]() -> Task<> {
      ++waiting;
      WaitResult<int> result = co_await cohort::wait(bench.futures, first);
      (void)result;
    };
    std::vector<AsyncFuture<void>> waiters;
    for (int i = 0; i < rounds; ++i) waiters.push_back(executor.submit(counted));
    REQUIRE(eventually([&] { return waiting == rounds; }));
    const Clock::time_point begin = Clock::now();
    for (std::size_t i = 0; i < waiters.size(); i += 2) waiters[i].cancel();
    for (std::size_t i = 0; i < waiters.size(); i += 2) waiters[i].wait();
    REQUIRE(Clock::now() - begin < 10s);
    for (std::size_t i = 0; i < waiters.size(); ++i) REQUIRE(waiters[i].cancelled() == (i % 2 == 0));
    bench.complete(0);
    for (std::size_t i = 1; i < waiters.size(); i += 2) waiters[i].wait();
    for (std::size_t i = 1; i < waiters.size(); i += 2) REQUIRE_FALSE(waiters[i].exception());
  }
  SECTION("timed out") {
    std::optional<long> before;
    for (int i = 0; i < rounds; ++i) {
      if (i == rounds / 10) before = process_status("VmRSS:");
      const WaitResult<int> result = sync_wait(cohort::wait(bench.futures, within(i % 100 == 0 ? 100us : 0us, first)));
      REQUIRE(result.not_done.size() == 16);
    }
    const std::optional<long> after = process_status("VmRSS:");
    if (before && after && !sanitized) {
      INFO("grew by " << *after - *before << " KiB");
      REQUIRE(*after - *before < 2048);
    }
  }
  REQUIRE_FALSE(bench.future(1).done());  // waiting never cancels
  bench.complete(1);
  REQUIRE(bench.future(1).get() == 1);
}

TEMPLATE_TEST_CASE("a wait that times out while its futures complete gives one consistent answer", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(2);
  auto child = [](int x) -> Task<int> {
    co_await sleep_for(std::chrono::microseconds(50 * (x % 8)));
    co_return x;
  };
  for (int round = 0; round < scaled(1000); ++round) {
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 8; ++i) futures.push_back(executor.submit(child, i));
    const auto timeout = std::chrono::microseconds(round % 400);
    const WaitResult<int> result = sync_wait(executor.wait(futures, within(timeout, failure)));
    REQUIRE(result.done.size() + result.not_done.size() == 8);
    for (const AsyncFuture<int>& future : result.done) REQUIRE(future.done());
    try {
      const WaitResult<int> complete = sync_wait(executor.wait(futures, within(timeout, all)));
      REQUIRE(complete.done.size() == 8);
    } catch (const TimeoutError&) {  // as good an answer
    }
    const WaitResult<int> complete = sync_wait(executor.wait(futures, all));
    REQUIRE(complete.done.size() == 8);
  }
}
