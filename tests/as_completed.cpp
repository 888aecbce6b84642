// as_completed and CompletionStream: order of completion, one deadline, destruction, cost.
#include <cohort/as_completed.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <algorithm>      // for shuffle, sort
#include <atomic>         // for atomic
#include <chrono>         // for milliseconds
#include <ctime>          // for clock
#include <exception>      // for make_exception_ptr
#include <future>         // for future_error
#include <iterator>       // for default_sentinel_t
#include <latch>          // for latch
#include <list>           // for list
#include <memory>         // for unique_ptr
#include <optional>       // for optional
#include <random>         // for mt19937
#include <stdexcept>      // for runtime_error
#include <stop_token>     // for stop_token
#include <string>         // for string
#include <thread>         // for thread
#include <unordered_set>  // for unordered_set
#include <utility>        // for move
#include <vector>         // for vector

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
  [[nodiscard]] const AsyncFuture<int>& future(int i) const { return futures[static_cast<std::size_t>(i)]; }

  std::vector<AsyncPromise<int>> promises;
  std::vector<AsyncFuture<int>> futures;
};

/// The result of the next future: -1 at the end.
int next_value(CompletionStream<int>& stream) {
  std::optional<AsyncFuture<int>> future = sync_wait(stream.next());
  return future ? future->get() : -1;
}

std::vector<int> all_values(CompletionStream<int>& stream) {
  std::vector<int> values;
  for (int value = next_value(stream); value != -1; value = next_value(stream)) values.push_back(value);
  return values;
}

std::vector<int> values_of(CompletionStream<int> stream) { return all_values(stream); }

Task<int> twice(int x) {
  co_await cohort::yield();
  co_return 2 * x;
}

}  // namespace

TEST_CASE("as_completed yields those done already in input order, then the others in order of completion") {
  Bench bench(7);
  bench.complete(5);
  bench.complete(2);
  bench.complete(3);
  CompletionStream<int> stream = as_completed(bench.futures);
  bench.complete(6);  // done after the call: not among those done already, though nobody has asked yet
  REQUIRE(next_value(stream) == 2);
  bench.complete(0);
  REQUIRE(next_value(stream) == 3);
  REQUIRE(next_value(stream) == 5);
  REQUIRE(next_value(stream) == 6);
  bench.complete(4);
  bench.complete(1);
  REQUIRE(next_value(stream) == 0);
  REQUIRE(next_value(stream) == 4);
  REQUIRE(next_value(stream) == 1);
  for (int i = 0; i < 3; ++i) {
    std::optional<AsyncFuture<int>> end = sync_wait(stream.next());
    REQUIRE_FALSE(end.has_value());
  }
}

TEST_CASE("as_completed waits for a future that is not done yet") {
  Bench bench(3);
  CompletionStream<int> stream = as_completed(bench.futures);
  std::thread completer([&] {
    for (const int i : {1, 2, 0}) {
      std::this_thread::sleep_for(5ms);
      bench.complete(i);
    }
  });
  const std::vector<int> values = all_values(stream);
  completer.join();
  REQUIRE(values == std::vector{1, 2, 0});
}

TEST_CASE("as_completed yields the very futures it was given, duplicates once") {
  Bench bench(3);
  const AsyncFuture<int> copy = bench.future(1);
  std::vector<AsyncFuture<int>> futures{bench.future(2), copy,           bench.future(2), bench.future(0),
                                        bench.future(1), bench.future(2)};
  CompletionStream<int> stream = as_completed(futures);
  for (const int i : {1, 0, 2}) {
    bench.complete(i);
    std::optional<AsyncFuture<int>> future = sync_wait(stream.next());
    REQUIRE((future && *future == bench.future(i)));
  }
  REQUIRE(next_value(stream) == -1);

  CompletionStream<int> again = as_completed(futures);  // all done: input order, duplicates still once
  REQUIRE(all_values(again) == std::vector{2, 1, 0});
}

TEMPLATE_TEST_CASE("as_completed of nothing ends at once", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  const std::vector<AsyncFuture<int>> none;
  CompletionStream<int> stream = as_completed(none);
  REQUIRE(next_value(stream) == -1);
  REQUIRE(next_value(stream) == -1);
  CompletionStream<int> timed = executor.as_completed(none, 0ms);
  REQUIRE(next_value(timed) == -1);
}

TEST_CASE("as_completed yields failed and cancelled futures as futures") {
  AsyncExecutor executor(1);
  AsyncGate gate;
  auto fail = [](int x) -> Task<int> {
    co_await cohort::yield();
    throw std::runtime_error("failed " + std::to_string(x));
  };
  auto hang = [&]() -> Task<int> {
    co_await gate.passed();
    co_return 1;
  };
  std::vector<AsyncFuture<int>> futures{executor.submit(hang), executor.submit(fail, 1), executor.submit(twice, 1)};
  CompletionStream<int> stream = executor.as_completed(futures);
  futures[0].cancel();
  int failed = 0, cancelled = 0, succeeded = 0;
  while (std::optional<AsyncFuture<int>> future = sync_wait(stream.next())) {
    REQUIRE(future->done());
    if (future->cancelled())
      ++cancelled;
    else if (future->exception())
      ++failed;
    else
      ++succeeded;
  }
  REQUIRE((failed == 1 && cancelled == 1 && succeeded == 1));
}

TEST_CASE("as_completed refuses a future without a state") {
  Bench bench(1);
  const std::vector<AsyncFuture<int>> futures{bench.future(0), AsyncFuture<int>()};
  auto call = [&] {
    CompletionStream<int> stream = as_completed(futures);
    (void)sync_wait(stream.next());
  };
  REQUIRE_THROWS_AS(call(), std::future_error);
}

TEMPLATE_TEST_CASE("as_completed takes a member's and a free function's form, and ranges other than vectors", "",
                   AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  std::list<AsyncFuture<int>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(executor.submit(twice, i));
  for (const bool member : {false, true}) {
    CompletionStream<int> stream = member ? executor.as_completed(futures, 10s) : as_completed(futures, 10s);
    std::vector<int> values = all_values(stream);
    std::sort(values.begin(), values.end());
    REQUIRE(values == std::vector{0, 2, 4, 6, 8});
  }
}

TEST_CASE("as_completed takes ranges that keep their futures, though they are rvalues") {
  AsyncExecutor executor(1);
  AsyncFuture<int> future = executor.submit(twice, 4);
  const std::vector<AsyncFuture<int>> constant{future};
  REQUIRE(values_of(as_completed(std::initializer_list<AsyncFuture<int>>{future, future})) == std::vector{8});
  REQUIRE(values_of(as_completed(std::unordered_set<AsyncFuture<int>>{future})) == std::vector{8});
  REQUIRE(values_of(as_completed(std::move(constant))) ==
          std::vector{8});  // NOLINT: it is no move, and that is the point
  REQUIRE(constant.front().get() == 8);
}

TEST_CASE("of two futures that are done one after the other, as_completed never gives the second first") {
  const std::size_t count = 5000;
  for (int round = 0; round < scaled(100); ++round) {
    std::vector<AsyncPromise<int>> promises(count);
    std::vector<AsyncFuture<int>> futures;
    for (AsyncPromise<int>& promise : promises) futures.push_back(promise.get_future());
    std::latch together(2);
    std::jthread completer([&] {
      together.arrive_and_wait();
      std::atomic<int> delay = 0;
      while (delay < round * 20) ++delay;
      promises.front().set_result(1);
      promises.back().set_result(2);
    });
    together.arrive_and_wait();
    CompletionStream<int> stream = as_completed(futures);
    REQUIRE(next_value(stream) == 1);
    REQUIRE(next_value(stream) == 2);
  }
}

TEMPLATE_TEST_CASE("as_completed takes futures of void, of movable and of constant things", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(1);
  auto nothing = [] {};
  std::vector<AsyncFuture<void>> voids{executor.submit(nothing), executor.submit(nothing)};
  int count = 0;
  for (AsyncFuture<void>& future : as_completed(voids)) count += future.done();
  REQUIRE(count == 2);
  auto own = [](int x) { return std::make_unique<int>(x); };
  std::vector<AsyncFuture<std::unique_ptr<int>>> owners{executor.submit(own, 3)};
  for (auto& future : as_completed(std::move(owners))) REQUIRE(*future.get() == 3);
}

TEST_CASE("as_completed has one deadline for all, and counts what is unfinished") {
  SECTION("some are done") {
    Bench bench(4);
    bench.complete(3);
    bench.complete(1);
    const Clock::time_point begin = Clock::now();
    CompletionStream<int> stream = as_completed(bench.futures, 30ms);
    REQUIRE(next_value(stream) == 1);
    REQUIRE(next_value(stream) == 3);
    std::string text;
    try {
      (void)sync_wait(stream.next());
    } catch (const TimeoutError& error) {
      text = error.what();
    }
    REQUIRE(Clock::now() - begin >= 30ms);
    REQUIRE(text == "2 (of 4) futures unfinished");
    for (const AsyncFuture<int>& future : bench.futures) REQUIRE_FALSE(future.cancelled());
  }
  SECTION("duplicates count once") {
    Bench bench(2);
    std::vector<AsyncFuture<int>> futures{bench.future(0), bench.future(0), bench.future(1)};
    CompletionStream<int> stream = as_completed(futures, 1ms);
    REQUIRE_THROWS_WITH(sync_wait(stream.next()), "2 (of 2) futures unfinished");
  }
  SECTION("it runs from the call, not from each next") {
    Bench bench(3);
    ManualExecutor executor;  // its time is exact
    const TimePoint begin = executor.pool().now();
    auto body = [&]() -> Task<std::string> {
      CompletionStream<int> stream = as_completed(bench.futures, 500ms);
      bench.complete(0);
      co_await sleep_for(300ms);
      const std::optional<AsyncFuture<int>> first = co_await stream.next();
      std::string text = std::to_string(first->get());
      try {
        static_cast<void>(co_await stream.next());
      } catch (const TimeoutError& error) {
        text += std::string(": ") + error.what();
      }
      co_return text;
    };
    REQUIRE(executor.submit(body).get() == "0: 2 (of 3) futures unfinished");
    REQUIRE(executor.pool().now() - begin == 500ms);
  }
  SECTION("a future that nobody has taken is finished all the same") {
    Bench bench(3);
    CompletionStream<int> stream = as_completed(bench.futures, 20ms);
    REQUIRE_THROWS_WITH(sync_wait(stream.next()), "3 (of 3) futures unfinished");
    bench.complete(2);
    REQUIRE(next_value(stream) == 2);
    REQUIRE_THROWS_WITH(sync_wait(stream.next()), "2 (of 3) futures unfinished");
    bench.complete(0);
    bench.complete(1);
    REQUIRE(all_values(stream) == std::vector{0, 1});
  }
  SECTION("in a blocking loop") {
    Bench bench(2);
    bench.complete(0);
    int seen = 0;
    auto loop = [&] {
      for (AsyncFuture<int>& future : as_completed(bench.futures, 10ms)) seen += 1 + future.get();
    };
    REQUIRE_THROWS_WITH(loop(), "1 (of 2) futures unfinished");
    REQUIRE(seen == 1);
  }
}

TEST_CASE("a timeout of as_completed that is zero, negative or past yields what is done and then throws") {
  for (const Duration timeout : {Duration::zero(), Duration(-1), Duration::min()}) {
    Bench bench(3);
    bench.complete(2);
    CompletionStream<int> stream = as_completed(bench.futures, timeout);
    REQUIRE(next_value(stream) == 2);
    REQUIRE_THROWS_WITH(sync_wait(stream.next()), "2 (of 3) futures unfinished");
  }
  Bench bench(2);
  bench.complete(0);
  bench.complete(1);
  CompletionStream<int> stream = as_completed(bench.futures, 1ms);
  std::this_thread::sleep_for(5ms);
  REQUIRE(all_values(stream) == std::vector{0, 1});  // nothing is unfinished: no timeout, at the end neither
}

TEST_CASE("what is done when the deadline of as_completed passes is given out") {
  ManualExecutor executor;
  AsyncPromise<int> promise;
  std::vector<AsyncFuture<int>> futures{promise.get_future()};
  auto keep = [&]() -> Task<> {
    co_await cohort::sleep_for(1s);
    promise.set_result(3);
  };
  auto consume = [&]() -> Task<int> {
    CompletionStream<int> stream = as_completed(std::move(futures), 1s);
    const std::optional<AsyncFuture<int>> next = co_await stream.next();
    co_return next->get();
  };
  // Both times are over at once: the task that keeps the promise goes on first, when the wait is over already.
  (void)executor.submit(keep);
  REQUIRE(executor.submit(consume).get() == 3);
}

TEST_CASE("a huge timeout of as_completed saturates") {
  Bench bench(4);
  CompletionStream<int> first = as_completed(bench.futures, Duration::max());
  CompletionStream<int> second = as_completed(bench.futures, std::chrono::hours::max());
  CompletionStream<int> third = as_completed(bench.futures, std::chrono::duration<double>(1e300));
  std::thread completer([&] {
    std::this_thread::sleep_for(20ms);
    for (int i = 0; i < 4; ++i) bench.complete(i);
  });
  const std::vector<int> a = all_values(first);
  const std::vector<int> b = all_values(second);
  const std::vector<int> c = all_values(third);
  completer.join();
  REQUIRE(a == std::vector{0, 1, 2, 3});
  REQUIRE(b == a);
  REQUIRE(c == a);
}

TEST_CASE("collecting a completion stream gives the futures in order of completion, failed ones included") {
  Bench bench(4);
  CompletionStream<int> stream = as_completed(bench.futures, 20s);
  bench.complete(2);
  bench.promises[3].set_exception(std::make_exception_ptr(std::runtime_error("three")));
  bench.complete(0);
  bench.complete(1);
  std::vector<AsyncFuture<int>> futures = sync_wait(std::move(stream));
  REQUIRE((futures.size() == 4 && futures[0] == bench.future(2) && futures[1] == bench.future(3) &&
           futures[2] == bench.future(0) && futures[3] == bench.future(1)));
  REQUIRE_THROWS_WITH(futures[1].get(), "three");
}

TEST_CASE("collecting a completion stream past its deadline cancels the rest and throws") {
  AsyncExecutor executor(1);
  auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
  std::vector<AsyncFuture<void>> futures{executor.submit(sleeper), executor.submit(sleeper)};
  CompletionStream<void> stream = as_completed(futures, 10ms);
  REQUIRE_THROWS_WITH(sync_wait(std::move(stream)), "2 (of 2) futures unfinished");
  REQUIRE(eventually([&] { return futures[0].cancelled() && futures[1].cancelled(); }));
}

TEMPLATE_TEST_CASE("as_completed works inside a task on a pool of one", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  SECTION("awaited") {
    auto body = [&]() -> Task<int> {
      std::vector<AsyncFuture<int>> futures;
      for (int i = 0; i < 20; ++i) futures.push_back(executor.submit(twice, i));
      int sum = 0;
      CompletionStream<int> stream = executor.as_completed(futures, 20s);
      while (std::optional<AsyncFuture<int>> future = co_await stream.next()) sum += co_await *future;
      co_return sum;
    };
    REQUIRE(run_on(executor, body) == 380);
  }
  SECTION("blocking, in a plain function") {
    auto body = [&] {
      std::vector<AsyncFuture<int>> futures;
      for (int i = 0; i < 20; ++i) futures.push_back(executor.submit(twice, i));
      int sum = 0;
      for (AsyncFuture<int>& future : executor.as_completed(futures)) sum += future.get();
      return sum;
    };
    REQUIRE(executor.submit(body).get() == 380);
  }
}

TEST_CASE("destroying a completion stream cancels what has not started") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  std::atomic<int> ran{0};
  auto work = [&] { ++ran; };
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < 4; ++i) futures.push_back(executor.submit(work));
  { CompletionStream<void> stream = as_completed(futures); }
  for (const AsyncFuture<void>& future : futures) REQUIRE(future.cancelled());
  occupied.release();
  executor.shutdown();
  REQUIRE(ran == 0);
}

TEST_CASE("destroying a completion stream requests a stop of what runs, and does not wait") {
  AsyncExecutor executor(2);
  std::atomic<int> running{0};
  std::atomic<bool> release{false};
  auto sleeper = [&]() -> Task<> {
    ++running;
    co_await sleep_for(1h);
  };
  auto deaf = [&](const std::stop_token& token) {
    ++running;
    while (!release) std::this_thread::sleep_for(100us);
    if (!token.stop_requested()) throw std::runtime_error("not asked to stop");
  };
  auto quick = [] {};
  std::vector<AsyncFuture<void>> futures{executor.submit(sleeper), executor.submit(sleeper), executor.submit(deaf),
                                         executor.submit(quick)};
  {
    CompletionStream<void> stream = as_completed(futures);
    std::optional<AsyncFuture<void>> first = sync_wait(stream.next());
    REQUIRE((first && *first == futures[3]));
    REQUIRE(eventually([&] { return running == 3; }));
  }
  REQUIRE_FALSE(futures[2].done());
  REQUIRE(eventually([&] { return futures[0].cancelled() && futures[1].cancelled(); }));
  release = true;
  REQUIRE_NOTHROW(futures[2].get());  // a body that ends anyhow else keeps that outcome
  REQUIRE_FALSE(futures[3].cancelled());
}

TEST_CASE("a completion stream that has been moved from has nothing to give") {
  Bench bench(1);
  bench.complete(0);
  CompletionStream<int> stream = as_completed(bench.futures);
  const std::vector<AsyncFuture<int>> all = sync_wait(std::move(stream));
  REQUIRE(all.size() == 1);
  const std::optional<AsyncFuture<int>> end = sync_wait(stream.next());  // NOLINT: after the move
  REQUIRE_FALSE(end.has_value());
}

TEST_CASE("a completion stream that has been moved from cancels nothing") {
  Bench bench(2);
  std::optional<CompletionStream<int>> outer;
  {
    CompletionStream<int> stream = as_completed(bench.futures);
    outer.emplace(std::move(stream));
  }
  REQUIRE_FALSE(bench.future(0).cancelled());
  bench.complete(1);
  bench.complete(0);
  REQUIRE(all_values(*outer) == std::vector{1, 0});
}

TEMPLATE_TEST_CASE("a completion stream keeps no handle to what it has yielded", "[R8]", AsyncExecutor,
                   ManualExecutor) {
  Tracked::live = 0;
  TestType executor(2);
  auto track = [](int x) { return Tracked(x); };
  std::vector<AsyncFuture<Tracked>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(track, i));
  executor.shutdown();
  Tracked::copies = 0;
  CompletionStream<Tracked> stream = as_completed(std::move(futures));
  futures.clear();
  int sum = 0;
  for (int left = 10; left > 0; --left) {
    REQUIRE(Tracked::live == left);
    std::optional<AsyncFuture<Tracked>> future = sync_wait(stream.next());
    const Tracked value = std::move(*future).get();  // moved out by the last handle
    sum += value.value;
  }
  REQUIRE(sum == 45);
  REQUIRE(Tracked::copies == 0);
  REQUIRE(Tracked::live == 0);
}

TEST_CASE("two streams over the same futures do not disturb each other") {
  Bench bench(3);
  CompletionStream<int> first = as_completed(bench.futures);
  CompletionStream<int> second = as_completed(bench.futures);
  bench.complete(1);
  REQUIRE(next_value(first) == 1);
  bench.complete(2);
  bench.complete(0);
  REQUIRE(all_values(second) == std::vector{1, 2, 0});
  REQUIRE(all_values(first) == std::vector{2, 0});
}

TEST_CASE("as_completed over many futures costs time in proportion") {
  auto seconds = [](int count) {
    Bench bench(count);
    std::vector<int> order;
    for (int i = 0; i < count; ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));  // NOLINT: the same order each time
    const std::clock_t begin = std::clock();  // of the processor: what else the machine does is no cost of ours
    CompletionStream<int> stream = as_completed(bench.futures);
    std::size_t wrong = 0;
    for (const int i : order) {
      bench.complete(i);
      std::optional<AsyncFuture<int>> future = sync_wait(stream.next());
      if (!future || *future != bench.future(i)) ++wrong;
    }
    REQUIRE(wrong == 0);
    REQUIRE(next_value(stream) == -1);
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double total = seconds(scaled(100'000));
  INFO("took " << total << " s");
  REQUIRE(total < 10.0);
}

TEMPLATE_TEST_CASE("as_completed collects what many workers complete, each once", "", AsyncExecutor, ManualExecutor) {
  TestType executor(4);
  for (int round = 0; round < scaled(50); ++round) {
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 200; ++i) futures.push_back(executor.submit(twice, i));
    CompletionStream<int> stream = executor.as_completed(futures, 20s);
    std::vector<int> values = all_values(stream);
    std::sort(values.begin(), values.end());
    bool each_once = values.size() == 200;
    for (std::size_t i = 0; each_once && i < values.size(); ++i) each_once = values[i] == 2 * static_cast<int>(i);
    REQUIRE(each_once);
  }
}

namespace {

/// A range that has but one element at a time, which the next overwrites.
struct Overwriting {
  struct Iterator {
    using value_type = AsyncFuture<int>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    Overwriting* range;
    AsyncFuture<int>& operator*() const { return range->current; }
    Iterator& operator++() {
      range->current = --range->left > 0 ? std::move(range->source) : AsyncFuture<int>();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return range->left == 0; }
  };
  Iterator begin() { return {this}; }
  std::default_sentinel_t end() const { return {}; }

  AsyncFuture<int> source;
  int left = 2;
  AsyncFuture<int> current = source;
};

}  // namespace

TEST_CASE("a future that a range gives twice, one after the other, comes once") {
  AsyncExecutor executor(1);
  Overwriting range{.source = executor.submit([] { return 1; })};
  int count = 0;
  for (const AsyncFuture<int>& future : as_completed(range)) count += future.get();
  REQUIRE(count == 1);
}
