#include "catch.hpp"
#include "support.hpp"

#include <chrono>
#include <cohort/cohort.hpp>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

struct alignas(64) Aligned {
  int value = 0;
};

struct NoDefault {
  explicit NoDefault(int v) : value(v) {}
  int value;
};

std::exception_ptr error(const char* text) { return std::make_exception_ptr(std::runtime_error(text)); }

}  // namespace

// ---- Keeping a promise ---------------------------------------------------------------------------------------------

TEST_CASE("a promise gives its future a value", "[promise]") {
  AsyncPromise<std::string> promise;
  AsyncFuture<std::string> future = promise.get_future();
  REQUIRE(future.valid());
  REQUIRE_FALSE(future.done());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(future.exception() == nullptr);
  REQUIRE_FALSE(future.wait_for(1ms));
  REQUIRE_THROWS_AS(future.get(0ms), TimeoutError);
  promise.set_result("kept");
  REQUIRE(future.done());
  REQUIRE_FALSE(future.running());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE_FALSE(future.cancel());
  REQUIRE(future.exception() == nullptr);
  REQUIRE(future.get() == "kept");
}

TEST_CASE("a promise gives its future an exception", "[promise]") {
  AsyncPromise<int> promise;
  AsyncFuture<int> future = promise.get_future();
  promise.set_exception(error("broken off"));
  REQUIRE(future.done());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(describe(future.exception()) == "runtime_error: broken off");
  REQUIRE(thrown_by([&] { return future.get(); }) == "runtime_error: broken off");
}

TEST_CASE("a promise may be of any result", "[promise]") {
  SECTION("void") {
    AsyncPromise<void> promise;
    auto future = promise.get_future();
    REQUIRE_FALSE(future.done());
    promise.set_result();
    REQUIRE_NOTHROW(future.get());
  }
  SECTION("a reference") {
    int object = 1;
    AsyncPromise<int&> promise;
    auto future = promise.get_future();
    promise.set_result(object);
    REQUIRE(&future.get() == &object);
  }
  SECTION("a type that only moves") {
    AsyncPromise<std::unique_ptr<int>> promise;
    auto future = promise.get_future();
    promise.set_result(std::make_unique<int>(7));
    REQUIRE(*std::move(future).get() == 7);
  }
  SECTION("a type without a default constructor") {
    AsyncPromise<NoDefault> promise;
    auto future = promise.get_future();
    promise.set_result(NoDefault(7));
    REQUIRE(future.get().value == 7);
  }
  SECTION("an aligned type") {
    std::vector<AsyncPromise<Aligned>> promises(8);
    int wrong = 0;
    for (int i = 0; i < 8; ++i) {
      auto& promise = promises[static_cast<std::size_t>(i)];
      auto future = promise.get_future();
      promise.set_result(Aligned{i});
      const Aligned& value = future.get();
      if (value.value != i || reinterpret_cast<std::uintptr_t>(&value) % alignof(Aligned) != 0) ++wrong;
    }
    REQUIRE(wrong == 0);
  }
  SECTION("an lvalue is copied") {
    const std::string text = "still here";
    AsyncPromise<std::string> promise;
    auto future = promise.get_future();
    promise.set_result(text);
    REQUIRE(text == "still here");
    REQUIRE(future.get() == "still here");
  }
}

TEST_CASE("a promise may be kept before anybody asks for it and after nobody does", "[promise]") {
  SECTION("before") {
    AsyncPromise<int> promise;
    promise.set_result(1);
    REQUIRE(promise.get_future().get() == 1);
  }
  SECTION("after") {
    AsyncPromise<int> promise;
    promise.get_future() = {};
    REQUIRE_NOTHROW(promise.set_result(1));
  }
  SECTION("the future outlives the promise") {
    AsyncFuture<int> future;
    {
      AsyncPromise<int> promise;
      future = promise.get_future();
      promise.set_result(1);
    }
    REQUIRE(future.get() == 1);
  }
}

TEST_CASE("a thread that belongs to no executor may keep a promise", "[promise][threads]") {
  SECTION("that a thread waits for") {
    AsyncPromise<int> promise;
    auto future = promise.get_future();
    const std::jthread thread([&] {
      std::this_thread::sleep_for(5ms);
      promise.set_result(1);
    });
    REQUIRE(future.get() == 1);
  }
  SECTION("that a task waits for") {
    AsyncPromise<int> promise;
    Crew crew;
    AsyncExecutor executor(crew.options(1));
    std::atomic<bool> waiting = false;
    auto task = executor.submit([&, future = promise.get_future()]() -> Task<bool> {
      waiting = true;
      const int value = co_await future;
      co_return value == 1 && crew.contains_this_thread();
    });
    REQUIRE(eventually([&] { return waiting.load(); }));
    promise.set_result(1);
    REQUIRE(task.get());
  }
  SECTION("that a coroutine outside an executor waits for") {
    AsyncPromise<int> promise;
    const auto main_thread = this_thread_id();
    const std::jthread thread([&] {
      std::this_thread::sleep_for(5ms);
      promise.set_exception(std::make_exception_ptr(42));
    });
    std::thread::id continued_on;
    auto body = [&]() -> Task<int> {
      int number = 0;
      try {
        static_cast<void>(co_await promise.get_future());
      } catch (int thrown) {
        number = thrown;
      }
      continued_on = this_thread_id();
      co_return number;
    };
    REQUIRE(sync_wait(body()) == 42);
    REQUIRE(continued_on == main_thread);
  }
}

TEST_CASE("keeping a promise calls the callbacks of its future in order", "[promise][callback]") {
  AsyncPromise<int> promise;
  auto future = promise.get_future();
  Log<int> log;
  future.add_done_callback([&](AsyncFuture<int> done) { log.add(done.get()); });
  future.add_done_callback([&](AsyncFuture<int>) { throw std::runtime_error("expected in this test's output"); });
  future.add_done_callback([&](AsyncFuture<int> done) { log.add(done.get() + 1); });
  REQUIRE(log.size() == 0);
  REQUIRE_NOTHROW(promise.set_result(1));
  REQUIRE(log.entries() == std::vector<int>{1, 2});
}

TEST_CASE("one promise resumes everybody who waits for it", "[promise][threads]") {
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  const auto future = promise.get_future();
  std::atomic<int> waiting = 0;
  std::vector<AsyncFuture<int>> waiters;
  for (int i = 0; i < 100; ++i) {
    waiters.push_back(executor.submit([&]() -> Task<int> {
      ++waiting;
      const int value = co_await future;
      co_return value;
    }));
  }
  REQUIRE(eventually([&] { return waiting == 100; }));
  promise.set_result(1);
  int sum = 0;
  for (auto& waiter : waiters) sum += waiter.get();
  REQUIRE(sum == 100);
}

// ---- Setting twice -------------------------------------------------------------------------------------------------

TEST_CASE("a second set of a promise throws InvalidStateError and the first stays", "[promise]") {
  AsyncPromise<int> promise;
  auto future = promise.get_future();
  SECTION("a value first") {
    promise.set_result(1);
    REQUIRE_THROWS_AS(promise.set_result(2), InvalidStateError);
    REQUIRE_THROWS_AS(promise.set_exception(error("late")), InvalidStateError);
    REQUIRE(future.get() == 1);
    REQUIRE(future.exception() == nullptr);
  }
  SECTION("an exception first") {
    promise.set_exception(error("first"));
    REQUIRE_THROWS_AS(promise.set_result(2), InvalidStateError);
    REQUIRE_THROWS_AS(promise.set_exception(error("late")), InvalidStateError);
    REQUIRE(describe(future.exception()) == "runtime_error: first");
  }
}

TEST_CASE("when threads race to keep a promise one succeeds", "[promise][threads]") {
  constexpr int threads = 3;
  for (int round = 0; round < scaled(500); ++round) {
    AsyncPromise<int> promise;
    const auto future = promise.get_future();
    std::vector<std::string> outcomes(threads);
    std::latch ready(threads);
    {
      std::vector<std::jthread> setters;
      for (int i = 0; i < threads; ++i) {
        setters.emplace_back([&, i] {
          ready.arrive_and_wait();
          outcomes[static_cast<std::size_t>(i)] = thrown_by([&] {
            if (i == threads - 1) {
              promise.set_exception(std::make_exception_ptr(i));
            } else {
              promise.set_result(i);
            }
          });
        });
      }
    }
    int winners = 0;
    int winner = -1;
    for (int i = 0; i < threads; ++i) {
      if (outcomes[static_cast<std::size_t>(i)] == "none") {
        ++winners;
        winner = i;
      } else {
        REQUIRE(outcomes[static_cast<std::size_t>(i)] == "invalid state");
      }
    }
    REQUIRE(winners == 1);
    if (winner == threads - 1) {
      REQUIRE(describe(future.exception()) == "int 2");
    } else {
      REQUIRE(future.get() == winner);
    }
  }
}

// ---- Breaking a promise --------------------------------------------------------------------------------------------

TEST_CASE("a promise that is dropped unset is broken", "[promise]") {
  AsyncFuture<int> future;
  SECTION("by its end") {
    const AsyncPromise<int> promise = [&] {
      AsyncPromise<int> made;
      future = made.get_future();
      return made;
    }();
    REQUIRE_FALSE(future.done());
  }
  SECTION("by another taking its place") {
    AsyncPromise<int> promise;
    future = promise.get_future();
    promise = AsyncPromise<int>();
    REQUIRE_FALSE(promise.get_future().done());
  }
  REQUIRE(future.done());
  REQUIRE_FALSE(future.cancelled());
  REQUIRE(describe(future.exception()) == "broken promise");
  REQUIRE(thrown_by([&] { return future.get(); }) == "broken promise");
  REQUIRE(sync_wait(outcome(future)) == "broken promise");
}

TEST_CASE("a broken promise resumes those who wait for it", "[promise]") {
  AsyncExecutor executor(1);
  auto promise = std::make_unique<AsyncPromise<void>>();
  const auto future = promise->get_future();
  std::atomic<bool> waiting = false;
  std::atomic<int> calls = 0;
  future.add_done_callback([&](AsyncFuture<void>) { ++calls; });
  auto waiter = executor.submit([&]() -> Task<std::string> {
    waiting = true;
    std::string end = co_await outcome(future);
    co_return end;
  });
  REQUIRE(eventually([&] { return waiting.load(); }));
  promise.reset();
  REQUIRE(waiter.get() == "broken promise");
  REQUIRE(eventually([&] { return calls == 1; }));
}

TEST_CASE("a promise that was kept or moved away breaks nothing at its end", "[promise]") {
  AsyncFuture<int> kept;
  AsyncFuture<int> moved;
  AsyncPromise<int> target;
  {
    AsyncPromise<int> promise;
    kept = promise.get_future();
    promise.set_result(1);
    AsyncPromise<int> source;
    moved = source.get_future();
    target = std::move(source);
  }
  REQUIRE(kept.get() == 1);
  REQUIRE_FALSE(moved.done());
  target.set_result(2);
  REQUIRE(moved.get() == 2);
}

// ---- Cancelling ----------------------------------------------------------------------------------------------------

TEST_CASE("the future of a promise that was not kept can be cancelled", "[promise][cancel]") {
  AsyncFuture<int> future;
  {
    AsyncPromise<int> promise;
    future = promise.get_future();
    REQUIRE(future.cancel());
    REQUIRE(future.done());
    REQUIRE(future.cancelled());
    REQUIRE_FALSE(future.cancel());
  }
  REQUIRE(future.cancelled());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
}

// ---- Lifetimes -----------------------------------------------------------------------------------------------------

TEST_CASE("whoever has the result may destroy the promise while the setter is still returning", "[promise][threads]") {
  Stranger setter;
  int sum = 0;
  const int rounds = scaled(5000);
  for (int i = 0; i < rounds; ++i) {
    auto* promise = new AsyncPromise<int>;
    {
      const auto future = promise->get_future();
      setter.post([promise] { promise->set_result(1); });
      sum += future.get();
    }
    delete promise;
  }
  REQUIRE(sum == rounds);
}

TEST_CASE("waiting for a promise on a worker keeps the worker working", "[promise][nested]") {
  Stranger stranger;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  std::atomic<bool> waiting = false;
  auto waiter = executor.submit([&] {
    waiting = true;
    return promise.get_future().get();
  });
  REQUIRE(eventually([&] { return waiting.load(); }));
  REQUIRE(executor.submit([] { return 1; }).get() == 1);
  REQUIRE_FALSE(waiter.done());
  stranger.post([&] { promise.set_result(2); });
  REQUIRE(waiter.get() == 2);
}
