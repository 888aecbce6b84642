#include <cohort/sync_wait.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <chrono>
#include <cohort/cohort.hpp>
#include <coroutine>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

Task<int> twice_later(int x) {
  co_await sleep_for(1ms);
  co_return 2 * x;
}

struct Ready {
  int value;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return value; }
};

struct HasMember {
  int value;
  Ready operator co_await() const noexcept { return Ready{value}; }
};

}  // namespace

// ---- What it gives -------------------------------------------------------------------------------------------------

TEST_CASE("sync_wait returns the value of what it waits for", "[sync_wait]") {
  REQUIRE(sync_wait(twice_later(21)) == 42);
  auto nothing = []() -> Task<> { co_await sleep_for(1ms); };
  STATIC_REQUIRE(std::is_void_v<decltype(sync_wait(nothing()))>);
  sync_wait(nothing());
  auto owner = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  REQUIRE(*sync_wait(owner()) == 7);
  int object = 1;
  auto reference = [&]() -> Task<int&> {
    co_await yield();
    co_return object;
  };
  STATIC_REQUIRE(std::is_same_v<decltype(sync_wait(reference())), int&>);
  REQUIRE(&sync_wait(reference()) == &object);
}

TEST_CASE("sync_wait takes any awaitable", "[sync_wait]") {
  AsyncExecutor executor(1);
  auto future = executor.submit(twice_later, 21);
  REQUIRE(sync_wait(future) == 42);
  REQUIRE(sync_wait(std::move(future)) == 42);
  REQUIRE(sync_wait(executor.submit(twice_later, 4)) == 8);
  REQUIRE(sync_wait(executor.submit(twice_later, 4).result(1h)) == 8);
  REQUIRE(sync_wait(Ready{7}) == 7);
  REQUIRE(sync_wait(HasMember{8}) == 8);
  REQUIRE(std::get<1>(sync_wait(when_all(twice_later(1), twice_later(2)))) == 4);
  const Stopwatch watch;
  sync_wait(sleep_for(5ms));
  REQUIRE(watch.elapsed() >= 5ms);
  Stranger stranger;
  static_cast<void>(sync_wait(stranger.resume()));
}

TEST_CASE("sync_wait throws the exception of what it waits for", "[sync_wait]") {
  auto failing = []() -> Task<int> {
    co_await sleep_for(1ms);
    throw std::out_of_range("far");
  };
  auto number = []() -> Task<> {
    throw 42;
    co_return;
  };
  REQUIRE(thrown_by([&] { return sync_wait(failing()); }) == "exception: far");
  REQUIRE(thrown_by([&] { sync_wait(number()); }) == "int 42");
  AsyncExecutor executor(1);
  REQUIRE(thrown_by([&] { return sync_wait(executor.submit(failing)); }) == "exception: far");
}

TEST_CASE("sync_wait returns only when the coroutine is done", "[sync_wait]") {
  AsyncPromise<int> promise;
  std::atomic<bool> set = false;
  const std::jthread thread([&] {
    std::this_thread::sleep_for(20ms);
    set = true;
    promise.set_result(1);
  });
  auto body = [&]() -> Task<bool> {
    static_cast<void>(co_await promise.get_future());
    co_return set.load();
  };
  REQUIRE(sync_wait(body()));
}

TEST_CASE("sync_wait may be called again and again and from several threads", "[sync_wait]") {
  AsyncExecutor executor(1);
  std::atomic<long> sum = 0;
  auto body = [&](int x) -> Task<int> {
    auto future = executor.submit([x] { return x; });
    const int value = co_await future;
    co_await yield();
    co_return value;
  };
  const int rounds = scaled(2000);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < rounds; ++round) sum += sync_wait(body(1));
      });
    }
  }
  REQUIRE(sum == 3 * rounds);
}

// ---- Where it runs -------------------------------------------------------------------------------------------------

TEST_CASE("sync_wait runs everything on the calling thread", "[sync_wait][threads]") {
  const auto here = this_thread_id();
  Stranger stranger;
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  Log<std::thread::id> log;
  auto note = [&] { log.add(this_thread_id()); };
  auto child = [&](int i) -> Task<int> {
    note();
    co_await sleep_for(std::chrono::milliseconds(i));
    note();
    co_return i;
  };
  auto body = [&]() -> Task<> {
    note();
    static_cast<void>(co_await child(1));
    note();
    co_await sleep_for(1ms);
    note();
    co_await sleep_until(Clock::now() + 1ms);
    note();
    co_await yield();
    note();
    const std::tuple<int, int, int> values = co_await when_all(child(3), child(2), child(1));
    static_cast<void>(values);
    note();
    static_cast<void>(co_await stranger.resume());
    note();
    auto future = executor.submit(twice_later, 1);
    static_cast<void>(co_await future);
    note();
    stranger.post([&] {
      std::this_thread::sleep_for(2ms);
      promise.set_result(1);
    });
    static_cast<void>(co_await promise.get_future());
    note();
  };
  sync_wait(body());
  REQUIRE(log.size() == 17);
  int elsewhere = 0;
  for (const std::thread::id thread : log.entries()) elsewhere += thread == here ? 0 : 1;
  REQUIRE(elsewhere == 0);
}

TEST_CASE("children in sync_wait run concurrently", "[sync_wait]") {
  bool in_time = false;
  // With more time where the machine is so busy that the first time was past before all slept.
  for (Duration ahead = 100ms; !in_time; ahead *= 2) {
    const Clock::time_point base = Clock::now() + ahead;
    std::string order;
    auto child = [&](char name, Duration delay) -> Task<> {
      order += name;
      co_await sleep_until(base + delay);
      order += name;
    };
    auto last = [&]() -> Task<> {
      in_time = Clock::now() < base;
      co_return;
    };
    auto body = [&]() -> Task<> { co_await when_all(child('a', 40ms), child('b', 20ms), child('c', 0ms), last()); };
    sync_wait(body());
    // All begin before the first ends, and the timers fire in their order.
    if (in_time) {
      REQUIRE(order == "abccba");
    }
  }
}

TEST_CASE("a sleep in sync_wait is never early", "[sync_wait][R11]") {
  int early = 0;
  auto body = [&]() -> Task<> {
    for (int i = 0; i < 10; ++i) {
      const Stopwatch watch;
      co_await sleep_for(std::chrono::microseconds(300 * i));
      if (watch.elapsed() < std::chrono::microseconds(300 * i)) ++early;
    }
  };
  sync_wait(body());
  REQUIRE(early == 0);
}

TEST_CASE("a coroutine in sync_wait may move to an executor and finish there", "[sync_wait][schedule]") {
  const auto here = this_thread_id();
  Crew crew;
  AsyncExecutor executor(crew.options(2));
  bool began_here = false;
  bool moved = false;
  bool stayed = false;
  auto body = [&]() -> Task<int> {
    began_here = this_thread_id() == here;
    co_await executor.schedule();
    moved = crew.contains_this_thread();
    co_await sleep_for(5ms);
    stayed = crew.contains_this_thread();
    co_return 42;
  };
  SECTION("a value") { REQUIRE(sync_wait(body()) == 42); }
  SECTION("an exception") {
    auto failing = [&]() -> Task<> {
      static_cast<void>(co_await body());
      co_await executor.schedule();
      throw std::runtime_error("from there");
    };
    REQUIRE(thrown_by([&] { sync_wait(failing()); }) == "runtime_error: from there");
  }
  REQUIRE(began_here);
  REQUIRE(moved);
  REQUIRE(stayed);
}

TEST_CASE("the calling thread does nothing that was submitted elsewhere", "[sync_wait][threads]") {
  Crew crew;
  std::atomic<int> strayed = 0;
  AsyncExecutor executor(crew.options(1));
  auto body = [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) {
      auto future = executor.submit([&] {
        if (!crew.contains_this_thread()) ++strayed;
      });
      co_await future;
    }
  };
  sync_wait(body());
  REQUIRE(strayed == 0);
}

// ---- Nested --------------------------------------------------------------------------------------------------------

TEST_CASE("sync_wait within sync_wait runs on the same thread", "[sync_wait][nested]") {
  const auto here = this_thread_id();
  auto inner = [&]() -> Task<bool> {
    co_await sleep_for(1ms);
    co_return this_thread_id() == here;
  };
  auto outer = [&]() -> Task<bool> {
    const bool in_place = sync_wait(inner());
    co_await sleep_for(1ms);
    co_return (in_place && this_thread_id() == here);
  };
  REQUIRE(sync_wait(outer()));
}

TEST_CASE("sync_wait on a worker keeps the worker working", "[sync_wait][nested][R3]") {
  Crew crew;
  AsyncExecutor executor(crew.options(1));
  bool on_the_worker = false;
  auto coroutine = [&]() -> Task<int> {
    auto future = executor.submit(twice_later, 20);
    const int value = co_await future;
    co_await sleep_for(1ms);
    on_the_worker = crew.contains_this_thread();
    co_return value + 2;
  };
  SECTION("in a function") {
    REQUIRE(executor.submit([&] { return sync_wait(coroutine()); }).get() == 42);
    REQUIRE(on_the_worker);
  }
  SECTION("in a coroutine") {
    auto outer = [&]() -> Task<int> {
      co_await yield();
      const int value = sync_wait(coroutine());
      co_await yield();
      co_return value;
    };
    REQUIRE(executor.submit(outer).get() == 42);
    REQUIRE(on_the_worker);
  }
  SECTION("for what others must do first") {
    AsyncPromise<int> promise;
    std::atomic<bool> waiting = false;
    auto waiter = executor.submit([&] {
      waiting = true;
      return sync_wait(promise.get_future());
    });
    REQUIRE(eventually([&] { return waiting.load(); }));
    (void)executor.submit([&] { promise.set_result(7); });
    REQUIRE(waiter.get() == 7);
  }
  SECTION("many deep") {
    const int depth = scaled(300);
    std::function<int(int)> nest = [&](int n) -> int {
      if (n == 0) return 0;
      auto body = [&]() -> Task<int> {
        auto future = executor.submit(std::ref(nest), n - 1);
        const int below = co_await future;
        co_return below + 1;
      };
      return sync_wait(body());
    };
    REQUIRE(executor.submit(std::ref(nest), depth).get() == depth);
  }
}

TEST_CASE("a stop token is there in sync_wait", "[sync_wait][cancel]") {
  auto child = []() -> Task<std::stop_token> {
    std::stop_token token = co_await get_stop_token();
    co_return token;
  };
  auto body = [&]() -> Task<bool> {
    const std::stop_token own = co_await get_stop_token();
    const std::stop_token childs = co_await child();
    co_return own == childs && !own.stop_requested();
  };
  REQUIRE(sync_wait(body()));
}

// ---- run -----------------------------------------------------------------------------------------------------------

TEST_CASE("run gives a task an executor of its own", "[run]") {
  const auto here = this_thread_id();
  std::thread::id first;
  std::thread::id second;
  auto body = [&]() -> Task<int> {
    first = this_thread_id();
    co_await sleep_for(1ms);
    second = this_thread_id();
    const std::tuple<int, int> values = co_await when_all(twice_later(10), twice_later(11));
    co_return std::get<0>(values) + std::get<1>(values);
  };
  const std::ptrdiff_t threads = settled_thread_count();
  REQUIRE(run(body()) == 42);
  REQUIRE(first != here);
  REQUIRE(second != here);
  REQUIRE(eventually([&] { return thread_count() == threads; }));
}

TEST_CASE("run returns values of every kind and throws the exception", "[run]") {
  int runs = 0;
  auto nothing = [&]() -> Task<> {
    ++runs;
    co_return;
  };
  STATIC_REQUIRE(std::is_void_v<decltype(run(nothing()))>);
  run(nothing());
  REQUIRE(runs == 1);
  auto owner = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  REQUIRE(*run(owner()) == 7);
  auto failing = []() -> Task<int> {
    co_await yield();
    throw 42;
  };
  REQUIRE(thrown_by([&] { return run(failing()); }) == "int 42");
}
