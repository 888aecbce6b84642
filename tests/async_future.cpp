#include <cohort/async_future.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <array>
#include <chrono>
#include <cohort/cohort.hpp>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

int answer() { return 42; }

Task<int> answer_later() {
  co_await sleep_for(20ms);
  co_return 42;
}

/// Counts how it got where it is.
struct Tracked {
  explicit Tracked(int v) : value(v) {}
  Tracked(const Tracked& other) : value(other.value), copies(other.copies + 1), moves(other.moves) {}
  Tracked(Tracked&& other) noexcept
      : value(std::exchange(other.value, -1)), copies(other.copies), moves(other.moves + 1) {}
  Tracked& operator=(const Tracked&) = delete;
  Tracked& operator=(Tracked&&) = delete;
  int value;
  int copies = 0;
  int moves = 0;
};

Tracked make_tracked(int value) { return Tracked(value); }

struct alignas(64) Aligned {
  int value = 0;
};

struct NoDefault {
  explicit NoDefault(int v) : value(v) {}
  int value;
};

/// Moves twice at most: into the future, and not out of it again.
struct StaysPut {
  explicit StaysPut(int moves) : moves_left(moves) {}
  StaysPut(StaysPut&& other) : moves_left(other.moves_left - 1) {
    if (moves_left < 0) throw std::runtime_error("will not move");
  }
  StaysPut& operator=(StaysPut&&) = delete;
  int moves_left;
};

/// A promise that is never kept, and its future.
struct Pending {
  AsyncPromise<int> promise;
  AsyncFuture<int> future = promise.get_future();
};

}  // namespace

// ---- Handles -------------------------------------------------------------------------------------------------------

TEST_CASE("a future is a handle that can be copied and compared", "[future]") {
  STATIC_REQUIRE(std::is_copy_constructible_v<AsyncFuture<std::unique_ptr<int>>>);
  STATIC_REQUIRE(std::is_copy_assignable_v<AsyncFuture<std::unique_ptr<int>>>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<AsyncFuture<int>>);
  STATIC_REQUIRE(std::is_nothrow_move_assignable_v<AsyncFuture<int>>);
  STATIC_REQUIRE(std::is_default_constructible_v<AsyncFuture<int>>);

  AsyncExecutor executor(1);
  const AsyncFuture<int> first = executor.submit(answer);
  const AsyncFuture<int> second = executor.submit(answer);
  const AsyncFuture<int> copy = first;
  REQUIRE(first == copy);
  REQUIRE_FALSE(first != copy);
  REQUIRE(first != second);
  REQUIRE(AsyncFuture<int>() == AsyncFuture<int>());
  REQUIRE(first != AsyncFuture<int>());
  REQUIRE(std::hash<AsyncFuture<int>>()(first) == std::hash<AsyncFuture<int>>()(copy));
  const std::unordered_set<AsyncFuture<int>> set = {first, copy, second};
  REQUIRE(set.size() == 2);
  REQUIRE(set.count(copy) == 1);
}

TEST_CASE("copies of a future share its result", "[future]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  const AsyncFuture<std::string> first = executor.submit([] { return std::string("shared"); });
  AsyncFuture<std::string> second;
  second = first;
  REQUIRE_FALSE(second.done());
  occupied.release();
  REQUIRE(&first.get() == &second.get());
  REQUIRE(second.get() == "shared");
  REQUIRE(first.sequence_id() == second.sequence_id());
}

TEST_CASE("dropping every copy of a future neither cancels nor leaks its task", "[future]") {
  std::atomic<int> finished = 0;
  std::atomic<int> alive = 0;
  {
    AsyncExecutor executor(2);
    {
      Occupy occupied(executor, 2);
      for (int i = 0; i < 10; ++i) {
        // One handle is dropped before its task starts, one has a copy.
        AsyncFuture<Counted> future = executor.submit([&]() -> Task<Counted> {
          co_await sleep_for(1ms);
          ++finished;
          co_return Counted(alive);
        });
        const AsyncFuture<Counted> copy = future;
        (void)executor.submit([&] { ++finished; });
      }
    }
  }
  REQUIRE(finished == 20);
  REQUIRE(alive == 0);
}

TEST_CASE("using a future without a state throws no_state", "[future]") {
  AsyncFuture<int> empty;
  REQUIRE_FALSE(empty.valid());
  REQUIRE(thrown_by([&] { return empty.get(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.get(1ms); }) == "no state");
  REQUIRE(thrown_by([&] { return AsyncFuture<int>().get(); }) == "no state");
  REQUIRE(thrown_by([&] { empty.wait(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.wait_for(1ms); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.done(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.running(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.cancelled(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.exception(); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.cancel(); }) == "no state");
  REQUIRE(thrown_by([&] { empty.add_done_callback([](AsyncFuture<int>) {}); }) == "no state");
  REQUIRE(thrown_by([&] { empty.cancel_when(std::stop_token()); }) == "no state");
  REQUIRE(thrown_by([&] { return empty.sequence_id(); }) == "no state");

  auto lvalue = [&]() -> Task<int> {
    const int value = co_await empty;
    co_return value;
  };
  auto rvalue = [&]() -> Task<int> {
    const int value = co_await std::move(empty);
    co_return value;
  };
  auto result = [&]() -> Task<int> {
    const int value = co_await empty.result();
    co_return value;
  };
  auto timed = [&]() -> Task<int> {
    const int value = co_await empty.result(1ms);
    co_return value;
  };
  REQUIRE(thrown_by([&] { return sync_wait(lvalue()); }) == "no state");
  REQUIRE(thrown_by([&] { return sync_wait(rvalue()); }) == "no state");
  REQUIRE(thrown_by([&] { return sync_wait(result()); }) == "no state");
  REQUIRE(thrown_by([&] { return sync_wait(timed()); }) == "no state");
}

TEST_CASE("a submitted task's future is valid until it is moved from", "[future]") {
  AsyncExecutor executor(1);
  AsyncFuture<int> future = executor.submit(answer);
  REQUIRE(future.valid());
  const AsyncFuture<int> target = std::move(future);
  REQUIRE(target.valid());
  REQUIRE_FALSE(future.valid());
  REQUIRE(target.get() == 42);
  REQUIRE(target.valid());
}

TEST_CASE("sequence ids count the submissions of one executor", "[future]") {
  AsyncExecutor first(2);
  AsyncExecutor second(1);
  for (std::size_t i = 0; i < 5; ++i) {
    REQUIRE(first.submit(answer).sequence_id() == 3 * i);
    REQUIRE(first.submit(answer_later()).sequence_id() == 3 * i + 1);
    REQUIRE(first.submit(SubmitOptions{.retries = 1}, answer).sequence_id() == 3 * i + 2);
  }
  REQUIRE(second.submit(answer).sequence_id() == 0);
}

// ---- Reading the result --------------------------------------------------------------------------------------------

TEST_CASE("an lvalue future gives a reference to the value it keeps", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit(make_tracked, 7);
  const Tracked& gotten = future.get();
  const Tracked& gotten_in_time = future.get(1h);
  STATIC_REQUIRE(std::is_same_v<decltype(future.get()), const Tracked&>);
  STATIC_REQUIRE(std::is_same_v<decltype(future.get(1s)), const Tracked&>);
  const Tracked* awaited = nullptr;
  const Tracked* again = nullptr;
  auto body = [&]() -> Task<> {
    auto&& first = co_await future;
    static_assert(std::is_same_v<decltype(first), const Tracked&>);
    awaited = &first;
    const AsyncFuture<Tracked>& constant = future;
    const Tracked& second = co_await constant;
    again = &second;
  };
  sync_wait(body());
  REQUIRE(&gotten == awaited);
  REQUIRE(&gotten == again);
  REQUIRE(&gotten == &gotten_in_time);
  REQUIRE(gotten.value == 7);
  REQUIRE(gotten.copies == 0);
}

TEST_CASE("the last handle as an rvalue gives the value itself by moving it", "[future]") {
  AsyncExecutor executor(1);
  SECTION("awaited") {
    auto body = [&]() -> Task<Tracked> {
      auto future = executor.submit(make_tracked, 7);
      auto&& value = co_await std::move(future);
      static_assert(std::is_same_v<decltype(value), Tracked&&>);
      co_return std::move(value);
    };
    const Tracked value = sync_wait(body());
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 0);
  }
  SECTION("awaited when it was done before") {
    auto body = [&]() -> Task<Tracked> {
      auto future = executor.submit(make_tracked, 7);
      future.wait();
      Tracked value = co_await std::move(future);
      co_return std::move(value);
    };
    const Tracked value = sync_wait(body());
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 0);
  }
  SECTION("awaited from submit") {
    auto body = [&]() -> Task<Tracked> {
      Tracked value = co_await executor.submit(make_tracked, 7);
      co_return std::move(value);
    };
    const Tracked value = sync_wait(body());
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 0);
  }
  SECTION("blocking") {
    auto future = executor.submit(make_tracked, 7);
    STATIC_REQUIRE(std::is_same_v<decltype(std::move(future).get()), Tracked>);
    const Tracked value = std::move(future).get();
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 0);
  }
  SECTION("blocking with a timeout") {
    const Tracked value = executor.submit(make_tracked, 7).get(1h);
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 0);
  }
}

TEST_CASE("an rvalue future copies the value when other handles share it", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit(make_tracked, 7);
  const auto other = future;
  SECTION("awaited") {
    auto body = [&]() -> Task<Tracked> {
      Tracked value = co_await std::move(future);
      co_return std::move(value);
    };
    const Tracked value = sync_wait(body());
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 1);
  }
  SECTION("blocking") {
    const Tracked value = std::move(future).get();
    REQUIRE(value.value == 7);
    REQUIRE(value.copies == 1);
  }
  REQUIRE(other.get().value == 7);
}

TEST_CASE("a value that only moves leaves by an rvalue and other handles find it gone", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit([] { return std::make_unique<int>(7); });
  const auto other = future;
  REQUIRE(*other.get() == 7);  // an lvalue takes nothing
  std::unique_ptr<int> value;
  SECTION("awaited") {
    auto body = [&]() -> Task<std::unique_ptr<int>> {
      std::unique_ptr<int> moved = co_await std::move(future);
      co_return moved;
    };
    value = sync_wait(body());
  }
  SECTION("blocking") { value = std::move(future).get(); }
  REQUIRE(*value == 7);
  REQUIRE(thrown_by([&] { (void)other.get(); }) == "invalid state");
  REQUIRE(thrown_by([&] { (void)other.get(1s); }) == "invalid state");
  REQUIRE(thrown_by([&] { (void)AsyncFuture<std::unique_ptr<int>>(other).get(); }) == "invalid state");
  REQUIRE(sync_wait(outcome(other)) == "invalid state");
  auto result = [&]() -> Task<> {
    const std::unique_ptr<int>& gone = co_await other.result(1s);
    static_cast<void>(gone);
  };
  REQUIRE(thrown_by([&] { sync_wait(result()); }) == "invalid state");
  // It was a success all the same.
  other.wait();
  REQUIRE(other.done());
  REQUIRE_FALSE(other.cancelled());
  REQUIRE(other.exception() == nullptr);
}

TEST_CASE("a future may have no value", "[future]") {
  AsyncExecutor executor(1);
  std::atomic<int> runs = 0;
  AsyncFuture<void> future = executor.submit([&] { ++runs; });
  future.get();
  future.get(1s);
  auto body = [&]() -> Task<> {
    co_await future;
    co_await future.result();
    co_await future.result(1s);
    co_await executor.submit([&] { ++runs; });
    co_await std::move(future);
  };
  sync_wait(body());
  REQUIRE(runs == 2);
}

TEST_CASE("a future's value may be a reference", "[future]") {
  AsyncExecutor executor(1);
  int object = 1;
  auto coroutine = [](int& x) -> Task<int&> { co_return x; };
  auto function = [](int& x) -> int& { return x; };
  AsyncFuture<int&> first = executor.submit(coroutine, std::ref(object));
  AsyncFuture<int&> second = executor.submit(function, std::ref(object));
  STATIC_REQUIRE(std::is_same_v<decltype(first.get()), int&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::move(first).get()), int&>);
  REQUIRE(&first.get() == &object);
  REQUIRE(&second.get() == &object);
  auto body = [&]() -> Task<bool> {
    int& lvalue = co_await first;
    int& timed = co_await first.result(1s);
    int& rvalue = co_await std::move(first);
    lvalue = 2;
    co_return (&lvalue == &object && &timed == &object && &rvalue == &object);
  };
  REQUIRE(sync_wait(body()));
  REQUIRE(object == 2);
}

TEST_CASE("a future's value needs no default constructor", "[future]") {
  AsyncExecutor executor(1);
  REQUIRE(executor.submit([] { return NoDefault(5); }).get().value == 5);
  REQUIRE(executor.submit([]() -> Task<NoDefault> { co_return NoDefault(6); }).get().value == 6);
}

TEST_CASE("a future's value may need more alignment than a frame has", "[future]") {
  AsyncExecutor executor(1);
  std::vector<AsyncFuture<Aligned>> futures;
  for (int i = 0; i < 16; ++i) {
    futures.push_back(executor.submit([i]() -> Task<Aligned> { co_return Aligned{i}; }));
    futures.push_back(executor.submit([i] { return Aligned{i}; }));
  }
  int misaligned = 0;
  int wrong = 0;
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const Aligned& value = futures[i].get();
    if (reinterpret_cast<std::uintptr_t>(&value) % alignof(Aligned) != 0) ++misaligned;
    if (value.value != static_cast<int>(i / 2)) ++wrong;
  }
  REQUIRE(misaligned == 0);
  REQUIRE(wrong == 0);
}

TEST_CASE("a value that cannot be moved into its future fails the task", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit([]() -> Task<StaysPut> {
    StaysPut value(0);
    co_return std::move(value);
  });
  REQUIRE(thrown_by([&] { (void)future.get(); }) == "runtime_error: will not move");
  REQUIRE(future.done());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(describe(future.exception()) == "runtime_error: will not move");
  REQUIRE(executor.submit(answer).get() == 42);
}

TEST_CASE("result waits like co_await and leaves the value in the future", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit(answer_later);
  auto body = [&]() -> Task<int> {
    const int first = co_await future.result();
    const int second = co_await future.result();
    co_return first + second;
  };
  REQUIRE(sync_wait(body()) == 84);
  REQUIRE(future.get() == 42);
}

TEST_CASE("get waits until the value is there", "[future]") {
  AsyncExecutor executor(1);
  const Stopwatch watch;
  REQUIRE(executor.submit(answer_later).get() == 42);
  REQUIRE(watch.elapsed() >= 20ms);
}

TEST_CASE("every read of a failed future throws its exception as it was thrown", "[future]") {
  AsyncExecutor executor(1);
  auto future = executor.submit([]() -> int { throw std::out_of_range("far"); });
  for (int i = 0; i < 3; ++i) {
    REQUIRE_THROWS_AS(future.get(), std::out_of_range);
    REQUIRE_THROWS_AS(future.get(1s), std::out_of_range);
    REQUIRE(thrown_by([&] { return sync_wait(future); }) == "exception: far");
    REQUIRE(sync_wait(outcome(future)) == "exception: far");
  }
  auto result = [&]() -> Task<int> {
    const int value = co_await future.result(1s);
    co_return value;
  };
  REQUIRE_THROWS_AS(sync_wait(result()), std::out_of_range);
  REQUIRE_THROWS_AS(std::move(future).get(), std::out_of_range);
}

// ---- Timeouts ------------------------------------------------------------------------------------------------------

TEST_CASE("get with a timeout throws TimeoutError and leaves the task running", "[future][timeout]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  auto future = executor.submit(answer);
  for (int i = 0; i < 3; ++i) {
    const Stopwatch watch;
    REQUIRE_THROWS_AS(future.get(10ms), TimeoutError);
    REQUIRE(watch.elapsed() >= 10ms);
    REQUIRE_FALSE(future.done());
  }
  REQUIRE_THROWS_AS(AsyncFuture<int>(future).get(1ms), TimeoutError);
  occupied.release();
  REQUIRE(future.get(1h) == 42);
}

TEST_CASE("result with a timeout throws TimeoutError again and again and leaves the task running",
          "[future][timeout]") {
  AsyncExecutor executor(2);
  Gate gate;
  std::atomic<bool> stopped = false;
  auto future = executor.submit([&](std::stop_token token) {
    gate.wait();
    stopped = token.stop_requested();
    return 42;
  });
  bool early = false;
  auto body = [&]() -> Task<int> {
    int timeouts = 0;
    for (int i = 0; i < 5; ++i) {
      const Stopwatch watch;
      try {
        static_cast<void>(co_await future.result(5ms));
      } catch (const TimeoutError&) {
        ++timeouts;
        early = early || watch.elapsed() < 5ms;
      }
    }
    gate.open();
    const int value = co_await future.result(1h);
    co_return value + timeouts;
  };
  REQUIRE(executor.submit(body).get() == 47);
  REQUIRE_FALSE(early);
  REQUIRE_FALSE(stopped);
}

TEST_CASE("a timeout of zero polls", "[future][timeout][R11]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  auto future = executor.submit(answer);
  auto poll = [&](Duration timeout) -> Task<int> {
    const int value = co_await future.result(timeout);
    co_return value;
  };
  const std::array<Duration, 4> timeouts = {0ns, -1ns, -1h, Duration::min()};
  for (const Duration timeout : timeouts) {
    REQUIRE_THROWS_AS(future.get(timeout), TimeoutError);
    REQUIRE_THROWS_AS(sync_wait(poll(timeout)), TimeoutError);
    REQUIRE_FALSE(future.wait_for(timeout));
  }
  occupied.release();
  future.wait();
  for (const Duration timeout : timeouts) {
    REQUIRE(future.get(timeout) == 42);
    REQUIRE(sync_wait(poll(timeout)) == 42);
    REQUIRE(future.wait_for(timeout));
  }
}

TEST_CASE("a timeout too long to count waits for ever instead of overflowing", "[future][timeout][R11]") {
  AsyncExecutor executor(2);
  REQUIRE(executor.submit(answer_later).get(std::chrono::hours::max()) == 42);
  REQUIRE(executor.submit(answer_later).get(Duration::max()) == 42);
  REQUIRE(executor.submit(answer_later).get(std::chrono::duration<double>(1e300)) == 42);
  REQUIRE(executor.submit(answer_later).get(std::chrono::duration<double>(std::numeric_limits<double>::infinity())) ==
          42);
  REQUIRE(executor.submit(answer_later).wait_for(std::chrono::years::max()));
  REQUIRE(executor.submit(answer_later).wait_for(std::chrono::duration<float, std::ratio<3600>>(1e30F)));
  auto body = [&]() -> Task<int> {
    auto first = executor.submit(answer_later);
    auto second = executor.submit(answer_later);
    const int one = co_await first.result(std::chrono::hours::max());
    const int two = co_await second.result(std::chrono::nanoseconds::max());
    co_return one + two;
  };
  REQUIRE(sync_wait(body()) == 84);
}

TEST_CASE("wait_for says whether the future is done and never ends early", "[future][timeout][R11]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  auto future = executor.submit(answer);
  const Stopwatch watch;
  REQUIRE_FALSE(future.wait_for(20ms));
  REQUIRE(watch.elapsed() >= 20ms);
  occupied.release();
  REQUIRE(future.wait_for(1h));
}

TEST_CASE("waiting does not throw what the task threw", "[future]") {
  AsyncExecutor executor(1);
  auto failed = executor.submit([] { throw std::runtime_error("failed"); });
  REQUIRE_NOTHROW(failed.wait());
  REQUIRE(failed.wait_for(0ms));
  auto cancelled = executor.submit([] { throw CancelledError("left"); });
  REQUIRE_NOTHROW(cancelled.wait());
  REQUIRE(cancelled.wait_for(0ms));
}

TEST_CASE("waiting on a worker with a timeout does not overstay it", "[future][timeout]") {
  AsyncExecutor executor(1);
  Pending pending;
  auto outcome_of_get = executor.submit([&] { return thrown_by([&] { return pending.future.get(10ms); }); });
  REQUIRE(outcome_of_get.get() == "timeout");
  REQUIRE_FALSE(executor.submit([&] { return pending.future.wait_for(10ms); }).get());
}

// ---- Blocking on a worker ------------------------------------------------------------------------------------------

TEST_CASE("get on a worker keeps the worker working", "[future][nested][R3]") {
  AsyncExecutor executor(1);
  SECTION("on what it submitted") {
    auto outer = [&] { return executor.submit(answer).get() + 1; };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("on what it submitted and sleeps") {
    auto outer = [&] { return executor.submit(answer_later).get() + 1; };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("with a timeout") {
    auto outer = [&] { return executor.submit(answer_later).get(1h) + 1; };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("in a coroutine") {
    auto outer = [&]() -> Task<int> {
      co_await yield();
      const int value = executor.submit(answer_later).get();
      co_await yield();
      co_return value + 1;
    };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("waiting") {
    auto outer = [&] {
      auto future = executor.submit(answer_later);
      future.wait();
      return future.done() ? 43 : 0;
    };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("waiting with a timeout") {
    auto outer = [&] { return executor.submit(answer_later).wait_for(1h) ? 43 : 0; };
    REQUIRE(executor.submit(outer).get() == 43);
  }
  SECTION("on a task that fails") {
    auto outer = [&] { return thrown_by([&] { executor.submit([] { throw std::runtime_error("inner"); }).get(); }); };
    REQUIRE(executor.submit(outer).get() == "runtime_error: inner");
  }
}

TEST_CASE("get on a worker does the work of others that its future depends on", "[future][nested][R3]") {
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  std::atomic<bool> waiting = false;
  auto waiter = executor.submit([&, future = promise.get_future()] {
    waiting = true;
    return future.get();
  });
  REQUIRE(eventually([&] { return waiting.load(); }));
  (void)executor.submit([&] { promise.set_result(7); });
  REQUIRE(waiter.get() == 7);
}

TEST_CASE("get on a worker of another executor's future blocks neither", "[future][nested]") {
  AsyncExecutor first(1);
  AsyncExecutor second(1);
  auto there_and_back = [&] { return second.submit([&] { return first.submit(answer).get() + 1; }).get() + 1; };
  REQUIRE(first.submit(there_and_back).get() == 44);
}

TEST_CASE("get of a task's own future throws resource_deadlock_would_occur", "[future][nested][R3]") {
  AsyncExecutor executor(2);
  Gate gate;
  AsyncFuture<std::string> own;
  SECTION("in a function") {
    own = executor.submit([&] {
      gate.wait();
      return thrown_by([&] { return own.get(); }) + " " + thrown_by([&] { own.wait(); });
    });
    gate.open();
    REQUIRE(own.get() == "deadlock deadlock");
  }
  SECTION("in a coroutine") {
    own = executor.submit([&]() -> Task<std::string> {
      gate.wait();
      co_await yield();
      co_return thrown_by([&] { return own.get(); }) + " " + thrown_by([&] { return own.get(1h); });
    });
    gate.open();
    REQUIRE(own.get() == "deadlock deadlock");
  }
  SECTION("in an awaited task") {
    auto child = [&]() -> Task<std::string> {
      co_await yield();
      co_return thrown_by([&] { return own.get(); });
    };
    own = executor.submit([&]() -> Task<std::string> {
      gate.wait();
      std::string result = co_await child();
      co_return result;
    });
    gate.open();
    REQUIRE(own.get() == "deadlock");
  }
}

// ---- States --------------------------------------------------------------------------------------------------------

TEST_CASE("a future is pending then running then done", "[future][states]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  Gate gate;
  std::atomic<bool> started = false;
  auto future = executor.submit([&]() -> Task<int> {
    started = true;
    gate.wait();
    co_return 1;
  });
  REQUIRE_FALSE(future.done());
  REQUIRE_FALSE(future.running());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(future.exception() == nullptr);

  occupied.release();
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE_FALSE(future.done());
  REQUIRE(future.running());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(future.exception() == nullptr);

  gate.open();
  future.wait();
  REQUIRE(future.done());
  REQUIRE_FALSE(future.running());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(future.exception() == nullptr);
}

TEST_CASE("a suspended task counts as running", "[future][states]") {
  AsyncExecutor executor(1);
  Pending pending;
  std::atomic<bool> started = false;
  auto future = executor.submit([&]() -> Task<int> {
    started = true;
    const int value = co_await pending.future;
    co_return value;
  });
  REQUIRE(eventually([&] { return started.load(); }));
  executor.submit([] {}).get();  // the only worker has left the body by now
  REQUIRE(future.running());
  REQUIRE_FALSE(future.done());
  pending.promise.set_result(1);
  REQUIRE(future.get() == 1);
}

TEST_CASE("a future ends in exactly one way", "[future][states][R1]") {
  AsyncExecutor executor(1);
  auto value = executor.submit(answer);
  auto failed = executor.submit([]() -> int { throw std::runtime_error("failed"); });
  auto left = executor.submit([]() -> Task<int> {
    co_await yield();
    throw CancelledError("left");
  });
  for (int i = 0; i < 2; ++i) {  // and stays so
    for (auto* future : {&value, &failed, &left}) {
      future->wait();
      REQUIRE(future->done());
      REQUIRE_FALSE(future->running());
      REQUIRE_FALSE(future->cancel());
    }
    REQUIRE_FALSE(value.cancelled());
    REQUIRE(value.exception() == nullptr);
    REQUIRE(value.get() == 42);
    REQUIRE_FALSE(failed.cancelled());
    REQUIRE(describe(failed.exception()) == "runtime_error: failed");
    REQUIRE_THROWS_AS(failed.get(), std::runtime_error);
    REQUIRE(left.cancelled());
    REQUIRE(describe(left.exception()) == "cancelled");
    REQUIRE_THROWS_AS(left.get(), CancelledError);
  }
}

TEST_CASE("exception does not wait", "[future][states]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);  // for as long as the test lasts: waiting would never end
  auto future = executor.submit([]() -> int { throw std::runtime_error("failed"); });
  REQUIRE(future.exception() == nullptr);
}

TEST_CASE("a task that throws something that is no std exception fails with it", "[future][states]") {
  AsyncExecutor executor(1);
  auto function = executor.submit([]() -> int { throw 42; });
  auto coroutine = executor.submit([]() -> Task<> {
    co_await yield();
    throw std::string("text");
  });
  REQUIRE(thrown_by([&] { return function.get(); }) == "int 42");
  REQUIRE(describe(function.exception()) == "int 42");
  REQUIRE_THROWS_AS(coroutine.get(), std::string);
  REQUIRE_FALSE(coroutine.cancelled());
}

// ---- Cancelling ----------------------------------------------------------------------------------------------------

TEST_CASE("cancelling a task that has not started ends it at once", "[future][cancel][R6]") {
  AsyncExecutor executor(1);
  Occupy occupied(executor);
  std::atomic<int> alive = 0;
  std::atomic<int> runs = 0;
  auto function = executor.submit([&, counted = Counted(alive)] { ++runs; });
  auto coroutine = executor.submit(
      [&](const Counted&) -> Task<> {
        ++runs;
        co_return;
      },
      Counted(alive));
  auto by_value = executor.submit(
      [](Counted, std::atomic<int>& count) -> Task<> {
        ++count;
        co_return;
      },
      Counted(alive), std::ref(runs));
  auto body = [&](Counted) -> Task<> {
    ++runs;
    co_return;
  };
  auto task = executor.submit(body(Counted(alive)));
  REQUIRE(alive >= 4);
  std::vector<AsyncFuture<void>> futures = {function, coroutine, by_value, task};
  for (auto& future : futures) {
    REQUIRE(future.cancel());
    // All this while the only worker is still busy with something else.
    REQUIRE(future.done());
    REQUIRE(future.cancelled());
    REQUIRE_FALSE(future.running());
    REQUIRE(describe(future.exception()) == "cancelled");
    REQUIRE_THROWS_AS(future.get(), CancelledError);
    REQUIRE(sync_wait(outcome(future)) == "cancelled");
    REQUIRE_FALSE(future.cancel());
  }
  REQUIRE(alive <= 1);  // callables and arguments are gone; a task's own frame may stay as long as its future
  futures.clear();
  function = coroutine = by_value = task = {};
  occupied.release();
  executor.shutdown();
  REQUIRE(alive == 0);
  REQUIRE(runs == 0);
}

TEST_CASE("cancelling a running task asks it to stop", "[future][cancel][R6]") {
  AsyncExecutor executor(1);
  std::atomic<bool> started = false;
  std::atomic<bool> saw_stop = false;
  auto wait_for_stop = [&](std::stop_token token) {
    started = true;
    while (!token.stop_requested()) std::this_thread::sleep_for(100us);
    saw_stop = true;
  };
  SECTION("and it is cancelled when it leaves by CancelledError") {
    auto future = executor.submit([&](std::stop_token token) {
      wait_for_stop(token);
      throw CancelledError("stopped");
    });
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE_THROWS_AS(future.get(), CancelledError);
    REQUIRE(future.cancelled());
  }
  SECTION("and its value counts when it ends with one") {
    auto future = executor.submit([&](std::stop_token token) {
      wait_for_stop(token);
      return 42;
    });
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE(future.get() == 42);
    REQUIRE_FALSE(future.cancelled());
    REQUIRE_FALSE(future.cancel());
  }
  SECTION("and its exception counts when it ends with another one") {
    auto future = executor.submit([&](std::stop_token token) {
      wait_for_stop(token);
      throw std::runtime_error("other");
    });
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE(thrown_by([&] { future.get(); }) == "runtime_error: other");
    REQUIRE_FALSE(future.cancelled());
  }
  SECTION("and it is not done before it has ended") {
    Gate gate;
    auto future = executor.submit([&](std::stop_token token) {
      wait_for_stop(token);
      gate.wait();
      throw CancelledError("stopped");
    });
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE(eventually([&] { return saw_stop.load(); }));
    REQUIRE_FALSE(future.done());
    REQUIRE_FALSE(future.cancelled());
    REQUIRE(future.running());
    gate.open();
    future.wait();
    REQUIRE(future.cancelled());
  }
  REQUIRE(saw_stop);
}

TEST_CASE("a cancelled task stops sleeping or waiting for a future or a promise", "[future][cancel]") {
  AsyncExecutor executor(1);
  Pending pending;
  std::atomic<int> started = 0;
  std::atomic<int> caught = 0;
  auto sleeper = [&]() -> Task<> {
    ++started;
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
      ++caught;
      throw;
    }
  };
  auto waiter = [&]() -> Task<> {
    ++started;
    try {
      static_cast<void>(co_await pending.future);
    } catch (const CancelledError&) {
      ++caught;
      throw;
    }
  };
  auto timed_waiter = [&]() -> Task<> {
    ++started;
    try {
      static_cast<void>(co_await pending.future.result(1h));
    } catch (const CancelledError&) {
      ++caught;
      throw;
    }
  };
  std::vector<AsyncFuture<void>> futures = {executor.submit(sleeper), executor.submit(waiter),
                                            executor.submit(timed_waiter)};
  REQUIRE(eventually([&] { return started == 3; }));
  for (auto& future : futures) {
    REQUIRE(future.cancel());
    REQUIRE_THROWS_AS(future.get(1min), CancelledError);
    REQUIRE(future.cancelled());
  }
  REQUIRE(caught == 3);
  // The future that they waited for knows nothing of it.
  REQUIRE_FALSE(pending.future.done());
  pending.promise.set_result(1);
  REQUIRE(pending.future.get() == 1);
}

TEST_CASE("a task that was asked to stop throws at its next cancellation point", "[future][cancel]") {
  AsyncExecutor executor(1);
  Gate gate;
  std::atomic<bool> started = false;
  bool after_sleep = false;
  auto future = executor.submit([&]() -> Task<> {
    started = true;
    gate.wait();
    co_await sleep_for(1ms);
    after_sleep = true;
  });
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  gate.open();
  REQUIRE_THROWS_AS(future.get(1min), CancelledError);
  REQUIRE_FALSE(after_sleep);
}

TEST_CASE("a task may cancel itself", "[future][cancel]") {
  AsyncExecutor executor(2);
  Gate gate;
  AsyncFuture<void> own;
  std::atomic<bool> asked = false;
  own = executor.submit([&]() -> Task<> {
    gate.wait();
    asked = own.cancel();
    co_await sleep_for(1h);
  });
  gate.open();
  REQUIRE_THROWS_AS(own.get(1min), CancelledError);
  REQUIRE(own.cancelled());
  REQUIRE(asked);
}

TEST_CASE("one of many calls cancels a task that has not started", "[future][cancel][R6]") {
  AsyncExecutor executor(1);
  for (int round = 0; round < scaled(200); ++round) {
    Occupy occupied(executor);
    const auto future = executor.submit(answer);
    std::atomic<int> successes = 0;
    {
      std::latch ready(3);
      std::vector<std::jthread> threads;
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
          ready.arrive_and_wait();
          if (future.cancel()) ++successes;
        });
      }
    }
    REQUIRE(successes == 1);
    REQUIRE(future.cancelled());
  }
}

TEST_CASE("cancelling and starting race for a task and one wins", "[future][cancel][R6]") {
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int i = 0; i < scaled(5000); ++i) {
    std::atomic<bool> ran = false;
    auto future = executor.submit([&] { ran = true; });
    const bool asked = future.cancel();
    future.wait();
    // Done as cancelled: never ran. Otherwise it ran to its end. A refused cancel found it done.
    if (future.cancelled() == ran) ++wrong;
    if (future.cancelled() && !asked) ++wrong;
    (void)executor.submit([&] {});
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a stop of a token cancels the futures that were told to watch it", "[future][cancel]") {
  AsyncExecutor executor(1);
  std::stop_source source;
  std::stop_source never;
  SECTION("not started") {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    future.cancel_when(never.get_token());
    future.cancel_when(source.get_token());
    REQUIRE_FALSE(future.done());
    source.request_stop();
    REQUIRE(future.done());
    REQUIRE(future.cancelled());
  }
  SECTION("running") {
    std::atomic<bool> started = false;
    auto future = executor.submit([&]() -> Task<> {
      started = true;
      co_await sleep_for(1h);
    });
    future.cancel_when(source.get_token());
    REQUIRE(eventually([&] { return started.load(); }));
    source.request_stop();
    REQUIRE_THROWS_AS(future.get(1min), CancelledError);
  }
  SECTION("a stop that has happened already") {
    Occupy occupied(executor);
    source.request_stop();
    auto future = executor.submit(answer);
    future.cancel_when(source.get_token());
    REQUIRE(future.cancelled());
  }
  SECTION("a stop after the end changes nothing") {
    auto future = executor.submit(answer);
    future.cancel_when(source.get_token());
    REQUIRE(future.get() == 42);
    source.request_stop();
    REQUIRE_FALSE(future.cancelled());
    REQUIRE(future.get() == 42);
    future.cancel_when(source.get_token());
    REQUIRE(future.get() == 42);
  }
  SECTION("a token that cannot be stopped changes nothing") {
    auto future = executor.submit(answer);
    future.cancel_when(std::stop_token());
    REQUIRE(future.get() == 42);
  }
  SECTION("one token for many with the handles dropped") {
    std::atomic<int> runs = 0;
    {
      Occupy occupied(executor);
      for (int i = 0; i < 10; ++i) executor.submit([&] { ++runs; }).cancel_when(source.get_token());
      source.request_stop();
    }
    executor.shutdown();
    REQUIRE(runs == 0);
  }
  SECTION("the source is gone before the task ends") {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    {
      const std::stop_source gone;
      future.cancel_when(gone.get_token());
    }
    occupied.release();
    REQUIRE(future.get() == 42);
  }
}

TEST_CASE("a stop races with the end of the task that watches the token", "[future][cancel]") {
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int i = 0; i < scaled(2000); ++i) {
    std::stop_source source;
    auto future = executor.submit(answer);
    future.cancel_when(source.get_token());
    source.request_stop();
    future.wait();
    const std::string end = thrown_by([&] { return future.get(); });
    if (end != (future.cancelled() ? "cancelled" : "none")) ++wrong;
  }
  REQUIRE(wrong == 0);
}

// ---- Callbacks -----------------------------------------------------------------------------------------------------

TEST_CASE("callbacks run once each in the order they were added", "[future][callback]") {
  AsyncExecutor executor(1);
  Log<int> log;
  const int count = scaled(10'000);
  std::atomic<int> wrong = 0;
  {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    for (int i = 0; i < count; ++i) {
      future.add_done_callback([&log, &wrong, i, id = future.sequence_id()](AsyncFuture<int> done) {
        if (!done.done() || done.sequence_id() != id || done.get() != 42) ++wrong;
        log.add(i);
      });
    }
    REQUIRE(log.size() == 0);
  }
  executor.shutdown();
  std::vector<int> expected;
  for (int i = 0; i < count; ++i) expected.push_back(i);
  REQUIRE(log.entries() == expected);
  REQUIRE(wrong == 0);
}

TEST_CASE("a callback of a future that is done runs at once in the caller", "[future][callback]") {
  AsyncExecutor executor(1);
  auto future = executor.submit(answer);
  future.wait();
  std::optional<std::thread::id> thread;
  future.add_done_callback([&](AsyncFuture<int> done) {
    thread = this_thread_id();
    REQUIRE(done == future);
  });
  REQUIRE(thread == this_thread_id());
}

TEST_CASE("callbacks hear of failure and cancellation too", "[future][callback]") {
  AsyncExecutor executor(1);
  Log<std::string> log;
  auto note = [&](AsyncFuture<int> future) {
    log.add(describe(future.exception()) + (future.cancelled() ? " yes" : " no"));
  };
  auto failed = executor.submit([]() -> int { throw 42; });
  failed.add_done_callback(note);
  failed.wait();
  REQUIRE(eventually([&] { return log.size() == 1; }));
  {
    Occupy occupied(executor);
    auto cancelled = executor.submit(answer);
    cancelled.add_done_callback(note);
    REQUIRE(cancelled.cancel());
    REQUIRE(eventually([&] { return log.size() == 2; }));
  }
  REQUIRE(log.entries() == std::vector<std::string>{"int 42 no", "cancelled yes"});
}

TEST_CASE("an exception from a callback goes to on_unhandled_exception and the next still runs",
          "[future][callback][R7]") {
  Log<std::string> unhandled;
  Log<int> ran;
  ExecutorOptions options;
  options.max_workers = 1;
  options.on_unhandled_exception = [&](std::exception_ptr exception) { unhandled.add(describe(exception)); };
  AsyncExecutor executor(options);
  {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    future.add_done_callback([&](AsyncFuture<int>) {
      ran.add(1);
      throw std::runtime_error("first");
    });
    future.add_done_callback([&](AsyncFuture<int>) {
      ran.add(2);
      throw 42;
    });
    future.add_done_callback([&](AsyncFuture<int>) { ran.add(3); });
    occupied.release();
    REQUIRE(future.get() == 42);
    REQUIRE(eventually([&] { return ran.size() == 3; }));
    // Added too late to be thrown in the worker: thrown in the caller, and yet not at it.
    REQUIRE_NOTHROW(future.add_done_callback([&](AsyncFuture<int>) {
      ran.add(4);
      throw std::runtime_error("late");
    }));
  }
  REQUIRE(executor.submit(answer).get() == 42);
  executor.shutdown();
  REQUIRE(ran.entries() == std::vector<int>{1, 2, 3, 4});
  REQUIRE(unhandled.entries() == std::vector<std::string>{"runtime_error: first", "int 42", "runtime_error: late"});
}

TEST_CASE("an exception from a callback does not change the result nor stop the worker", "[future][callback][R7]") {
  // The default of on_unhandled_exception: it writes a line to stderr.
  AsyncExecutor executor(1);
  std::atomic<bool> next = false;
  {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    future.add_done_callback([](AsyncFuture<int>) { throw std::runtime_error("expected in this test's output"); });
    future.add_done_callback([&](AsyncFuture<int>) { next = true; });
    occupied.release();
    REQUIRE(future.get() == 42);
  }
  REQUIRE(executor.submit(answer).get() == 42);
  executor.shutdown();
  REQUIRE(next);
}

TEST_CASE("a callback may drop the last handle of its future", "[future][callback]") {
  std::atomic<int> alive = 0;
  std::atomic<bool> ran = false;
  AsyncExecutor executor(1);
  {
    Occupy occupied(executor);
    auto future = std::make_shared<AsyncFuture<Counted>>(executor.submit([&] { return Counted(alive); }));
    auto* handle = future.get();
    handle->add_done_callback([&, future = std::move(future)](AsyncFuture<Counted> done) mutable {
      done = {};
      future.reset();
      ran = true;
    });
  }
  executor.shutdown();
  REQUIRE(ran);
  REQUIRE(alive == 0);
}

TEST_CASE("a callback may add callbacks and submit tasks and block", "[future][callback][R16]") {
  AsyncExecutor executor(1);
  Log<std::string> log;
  std::atomic<int> nested_value = 0;
  {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    future.add_done_callback([&](AsyncFuture<int> done) {
      log.add("outer");
      done.add_done_callback([&](AsyncFuture<int>) { log.add("inner"); });  // done already: at once
      log.add("outer again");
      nested_value = executor.submit(answer_later).get() + done.get();
    });
    future.add_done_callback([&](AsyncFuture<int>) { log.add("last"); });
  }
  REQUIRE(eventually([&] { return log.size() == 4; }));
  REQUIRE(log.entries() == std::vector<std::string>{"outer", "inner", "outer again", "last"});
  REQUIRE(nested_value == 84);
}

TEST_CASE("a callback may only move", "[future][callback]") {
  AsyncExecutor executor(1);
  std::atomic<int> seen = 0;
  auto future = executor.submit(answer);
  future.add_done_callback(
      [&, owned = std::make_unique<int>(1)](AsyncFuture<int> done) { seen = done.get() + *owned; });
  REQUIRE(eventually([&] { return seen == 43; }));
}

TEST_CASE("a callback does not outlive the promise and the future it waits for", "[future][callback]") {
  std::atomic<int> alive = 0;
  {
    const Pending pending;
    auto future = pending.future;
    future.add_done_callback([counted = Counted(alive)](AsyncFuture<int>) {});
    REQUIRE(alive == 1);
  }
  REQUIRE(alive == 0);
}

TEST_CASE("callbacks added while the task ends are all called", "[future][callback]") {
  AsyncExecutor executor(1);
  for (int round = 0; round < scaled(2000); ++round) {
    std::atomic<int> calls = 0;
    const auto future = executor.submit(answer);
    for (int i = 0; i < 4; ++i) future.add_done_callback([&](AsyncFuture<int>) { ++calls; });
    future.wait();
    if (!eventually([&] { return calls == 4; })) FAIL("a callback was lost in round " << round);
  }
}

// ---- Sharing -------------------------------------------------------------------------------------------------------

TEST_CASE("threads and coroutines may share one handle", "[future][threads]") {
  AsyncExecutor executor(2);
  for (int round = 0; round < scaled(50); ++round) {
    const AsyncFuture<std::string> shared = executor.submit([]() -> Task<std::string> {
      co_await sleep_for(1ms);
      co_return std::string("a text that does not fit into the string itself");
    });
    std::atomic<int> wrong = 0;
    std::atomic<int> calls = 0;
    std::vector<AsyncFuture<void>> readers;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
          shared.add_done_callback([&](AsyncFuture<std::string>) { ++calls; });
          if (shared.get().size() != 47 || !shared.done() || shared.exception()) ++wrong;
          const AsyncFuture<std::string> copy = shared;
          if (copy != shared || &copy.get() != &shared.get()) ++wrong;
        });
      }
      for (int i = 0; i < 8; ++i) {
        readers.push_back(executor.submit([&]() -> Task<> {
          const std::string& text = co_await shared;
          if (text.size() != 47) ++wrong;
        }));
      }
    }
    for (auto& reader : readers) reader.get();
    REQUIRE(wrong == 0);
    REQUIRE(eventually([&] { return calls == 3; }));
  }
}

TEST_CASE("distinct copies are independent on any threads", "[future][threads]") {
  AsyncExecutor executor(2);
  std::atomic<int> wrong = 0;
  for (int round = 0; round < scaled(300); ++round) {
    AsyncFuture<std::string> future =
        executor.submit([] { return std::string("a text that is kept on the heap somewhere"); });
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&wrong, i, copy = future]() mutable {
        AsyncFuture<std::string> other = copy;
        if (i == 0) copy = {};
        const std::string text = std::move(other).get();
        if (text.size() != 41) ++wrong;
      });
    }
    future = {};
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a failed future may be read by several threads at once", "[future][threads]") {
  AsyncExecutor executor(2);
  std::atomic<int> wrong = 0;
  for (int round = 0; round < scaled(200); ++round) {
    const auto future = executor.submit([]() -> int { throw std::runtime_error("shared by all"); });
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&wrong, future] {
        if (thrown_by([&] { return future.get(); }) != "runtime_error: shared by all") ++wrong;
      });
    }
  }
  REQUIRE(wrong == 0);
}

// ---- Outliving the executor ----------------------------------------------------------------------------------------

TEST_CASE("futures outlive their executor", "[future][lifetime]") {
  AsyncFuture<std::string> value;
  AsyncFuture<int> failed;
  AsyncFuture<int> cancelled;
  AsyncFuture<std::unique_ptr<int>> owned;
  {
    AsyncExecutor executor(2);
    value = executor.submit([]() -> Task<std::string> {
      co_await sleep_for(1ms);
      co_return std::string("kept");
    });
    failed = executor.submit([]() -> int { throw std::runtime_error("kept"); });
    cancelled = executor.submit([]() -> Task<int> {
      co_await sleep_for(1h);
      co_return 0;
    });
    REQUIRE(cancelled.cancel());
    owned = executor.submit([] { return std::make_unique<int>(7); });
  }
  REQUIRE(value.done());
  REQUIRE(value.get() == "kept");
  REQUIRE(value.get(0ms) == "kept");
  REQUIRE(value.wait_for(0ms));
  REQUIRE(thrown_by([&] { return failed.get(); }) == "runtime_error: kept");
  REQUIRE(describe(failed.exception()) == "runtime_error: kept");
  REQUIRE(cancelled.cancelled());
  REQUIRE_FALSE(value.cancel());
  REQUIRE_FALSE(failed.cancel());
  REQUIRE_FALSE(cancelled.cancel());
  int calls = 0;
  value.add_done_callback([&](AsyncFuture<std::string> done) { calls += done.get() == "kept" ? 1 : 0; });
  failed.add_done_callback([&](AsyncFuture<int>) { ++calls; });
  failed.add_done_callback([](AsyncFuture<int>) { throw std::runtime_error("expected in this test's output"); });
  REQUIRE(calls == 2);
  std::stop_source source;
  value.cancel_when(source.get_token());
  source.request_stop();
  REQUIRE(value.get() == "kept");
  REQUIRE(sync_wait(value) == "kept");
  AsyncExecutor other(1);
  auto reader = [&]() -> Task<std::size_t> {
    const std::string& text = co_await value;
    const std::unique_ptr<int> moved = co_await std::move(owned);
    co_return text.size() + static_cast<std::size_t>(*moved);
  };
  REQUIRE(other.submit(reader).get() == 11);
}

namespace {

template <class>
struct Keeper {
  AsyncFuture<int> future;
  void drop() { future = {}; }
};

}  // namespace

TEST_CASE("a handle that is assigned an empty one in a template lets go of its result", "[future][R8]") {
  // Clang 14 does not destroy the argument of an assignment that takes it by value, there.
  const std::ptrdiff_t before = detail::live_frames();
  AsyncExecutor executor(1);
  Keeper<int> keeper{executor.submit([] { return 1; })};
  keeper.future.wait();
  keeper.drop();
  executor.shutdown();
  REQUIRE(detail::live_frames() == before);
}
