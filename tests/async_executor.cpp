#include <cohort/async_executor.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <algorithm>
#include <chrono>
#include <cohort/cohort.hpp>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

int twice(int x) { return 2 * x; }

Task<int> twice_later(int x) {
  co_await sleep_for(1ms);
  co_return 2 * x;
}

Task<std::size_t> length_later(const std::string& text) {
  co_await sleep_for(1ms);
  co_return text.size();
}

Task<std::string> taken_later(std::string&& text) {
  co_await sleep_for(1ms);
  co_return std::move(text);
}

struct Account {
  int balance = 0;
  int deposit(int amount) { return balance += amount; }
  Task<int> deposit_later(int amount) {
    co_await sleep_for(1ms);
    co_return balance += amount;
  }
};

/// Accepts a stop token, and can do without.
struct EitherWay {
  std::string operator()(std::stop_token, int) const { return "with"; }
  std::string operator()(int) const { return "without"; }
};

struct ThrowsWhenCopied {
  ThrowsWhenCopied() = default;
  ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("will not be copied"); }
  ThrowsWhenCopied(ThrowsWhenCopied&&) = default;
};

struct alignas(64) Wide {
  int value = 0;
  [[nodiscard]] bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(this) % alignof(Wide) == 0; }
};

/// Waits as a coroutine that knows nothing of cohort.
Detached await_into(AsyncFuture<int> future, std::atomic<int>& value) { value = co_await future; }

/// What an argument or a captured object saw when it was destroyed: was its future done?
struct Witness {
  std::atomic<bool> destroyed = false;
  std::atomic<bool> was_done = false;
  AsyncFuture<int> future;

  auto object() {
    return when_destroyed([this] {
      // Long enough for a future that became ready too early to be noticed.
      std::this_thread::sleep_for(5ms);
      was_done = future.done();
      destroyed = true;
    });
  }
};

}  // namespace

// ---- Making one ----------------------------------------------------------------------------------------------------

TEST_CASE("an executor is made from a number of workers or from options", "[executor]") {
  STATIC_REQUIRE(std::is_same_v<AsyncExecutor, BasicAsyncExecutor<>>);
  STATIC_REQUIRE(std::is_same_v<AsyncExecutor, BasicAsyncExecutor<ThreadPool>>);
  STATIC_REQUIRE(std::is_default_constructible_v<AsyncExecutor>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<std::size_t, AsyncExecutor>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<ExecutorOptions, AsyncExecutor>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<AsyncExecutor>);

  REQUIRE(AsyncExecutor(3).max_workers() == 3);
  REQUIRE(AsyncExecutor(ExecutorOptions{.max_workers = 2}).max_workers() == 2);
  AsyncExecutor executor;
  REQUIRE(executor.max_workers() == default_worker_count());
  REQUIRE(executor.submit(twice, 21).get() == 42);
}

TEST_CASE("the options have the documented defaults", "[executor]") {
  const ExecutorOptions options;
  REQUIRE(options.max_workers == default_worker_count());
  REQUIRE(options.max_concurrent_tasks == unlimited);
  REQUIRE(options.name == "cohort");
  REQUIRE_FALSE(options.on_worker_start);
  REQUIRE(default_worker_count() == std::max(1U, std::thread::hardware_concurrency()));
}

TEST_CASE("an executor without workers or without room for a task is refused", "[executor]") {
  const std::string workers = "invalid argument: max_workers must be at least 1";
  REQUIRE(thrown_by([] { AsyncExecutor executor(0); }) == workers);
  REQUIRE(thrown_by([] { AsyncExecutor executor(ExecutorOptions{.max_workers = 0}); }) == workers);
  REQUIRE(thrown_by([] { AsyncExecutor executor(ExecutorOptions{.max_workers = 1, .max_concurrent_tasks = 0}); }) ==
          "invalid argument: max_concurrent_tasks must be at least 1");
}

// ---- What can be submitted -----------------------------------------------------------------------------------------

TEST_CASE("submit takes a plain function", "[executor][submit]") {
  AsyncExecutor executor(1);
  AsyncFuture<int> future = executor.submit(twice, 21);
  REQUIRE(future.get() == 42);
  REQUIRE(executor.submit([] { return std::string("lambda"); }).get() == "lambda");
  REQUIRE(executor.submit(std::plus<>(), 1, 2).get() == 3);
}

TEST_CASE("what a function captures and is given may need any alignment", "[executor][submit][arguments]") {
  AsyncExecutor executor(1);
  const Wide wide{.value = 20};
  auto future = executor.submit(
      [wide](const Wide& other) {
        REQUIRE(wide.is_aligned());
        REQUIRE(other.is_aligned());
        return Wide{.value = wide.value + other.value};
      },
      Wide{.value = 1});
  REQUIRE(future.get().value == 21);
  REQUIRE(future.get().value == 21);
}

TEST_CASE("a function is run on the spot by a task that awaits it", "[executor][submit]") {
  AsyncExecutor executor(1);
  SECTION("it returns, and what it captured is gone") {
    executor
        .submit([&]() -> Task<> {
          auto captured = std::make_shared<int>(5);
          const std::weak_ptr<int> watched = captured;
          auto function = [captured = std::move(captured)] { return *captured; };
          const int value = co_await executor.submit(std::move(function));
          REQUIRE(value == 5);
          REQUIRE(watched.expired());
        })
        .get();
  }
  SECTION("it throws") {
    executor
        .submit([&]() -> Task<> {
          std::string what;
          try {
            co_await executor.submit([] { throw std::runtime_error("thrown"); });
          } catch (const std::runtime_error& error) {
            what = error.what();
          }
          REQUIRE(what == "thrown");
        })
        .get();
  }
  SECTION("it blocks in get() for another") {
    executor
        .submit([&]() -> Task<> {
          const int value = co_await executor.submit([&] { return executor.submit(twice, 4).get() + 1; });
          REQUIRE(value == 9);
        })
        .get();
  }
  SECTION("it is one that others have a handle to") {
    executor
        .submit([&]() -> Task<> {
          const AsyncFuture<int> future = executor.submit(twice, 4);
          const int read = co_await future;
          AsyncFuture<int> copy = future;
          const int taken = co_await std::move(copy);
          REQUIRE(read == 8);
          REQUIRE(taken == 8);
        })
        .get();
  }
  SECTION("a stranger's coroutine that it starts waits for something") {
    AsyncPromise<int> promise;
    std::atomic<int> seen = 0;
    executor
        .submit([&]() -> Task<> {
          const int value = co_await executor.submit([&] {
            await_into(promise.get_future(), seen);
            return twice(4);
          });
          REQUIRE(value == 8);
          REQUIRE(seen == 0);
          promise.set_result(7);
          while (seen == 0) co_await yield();
          REQUIRE(seen == 7);
        })
        .get();
  }
  SECTION("it cancels itself, by the handle that is awaited") {
    executor
        .submit([&]() -> Task<> {
          AsyncFuture<std::string> future;
          const std::string text(100, 'x');
          future = executor.submit([&future, text] {
            REQUIRE(future.running());
            REQUIRE(future.cancel());
            return text;
          });
          const std::string taken = co_await std::move(future);
          REQUIRE(taken == text);
        })
        .get();
  }
  SECTION("the handle that is awaited is copied meanwhile") {
    AsyncFuture<std::string> copy;
    std::atomic<int> called = 0;
    executor
        .submit([&]() -> Task<> {
          AsyncFuture<std::string> future;
          future = executor.submit([&] {
            copy = future;
            copy.add_done_callback([&](const AsyncFuture<std::string>&) { ++called; });
            return std::string(100, 'x');
          });
          const std::string taken = co_await std::move(future);
          REQUIRE(taken.size() == 100);
          REQUIRE(called == 1);
        })
        .get();
    REQUIRE(copy.done());
    REQUIRE(copy.get().size() == 100);
  }
  SECTION("a stranger's coroutine that its argument starts as it goes waits for something") {
    AsyncPromise<int> promise;
    std::atomic<int> seen = 0;
    executor
        .submit([&]() -> Task<> {
          auto argument = when_destroyed([&] { await_into(promise.get_future(), seen); });
          auto future = executor.submit([](const std::shared_ptr<void>&) { return 7; }, std::move(argument));
          const int value = co_await std::move(future);
          REQUIRE(value == 7);
          promise.set_result(3);
          while (seen == 0) co_await yield();
          REQUIRE(seen == 3);
        })
        .get();
  }
  SECTION("it has a token, and suspends") {
    executor
        .submit([&]() -> Task<> {
          auto future = executor.submit([](std::stop_token token) -> Task<bool> {
            co_await sleep_for(1ms);
            co_return token.stop_possible();
          });
          const bool possible = co_await std::move(future);
          REQUIRE(possible);
        })
        .get();
  }
  SECTION("the task that awaits it is cancelled meanwhile, from inside") {
    AsyncPromise<AsyncFuture<int>> own;
    const AsyncFuture<AsyncFuture<int>> told = own.get_future();
    AsyncFuture<int> outer = executor.submit(
        [&]() -> Task<int> { co_return co_await executor.submit([&] { return told.get().cancel() ? 1 : 2; }); });
    own.set_result(outer);
    REQUIRE(outer.get() == 1);  // asked to stop while its part was running: it got the value
  }
  executor.shutdown();
  const ExecutorStats stats = executor.stats();
  REQUIRE(stats.submitted == stats.succeeded + stats.failed);
  REQUIRE(stats.running == 0);
}

TEST_CASE("submit takes a coroutine function", "[executor][submit]") {
  AsyncExecutor executor(1);
  AsyncFuture<int> future = executor.submit(twice_later, 21);
  REQUIRE(future.get() == 42);
}

TEST_CASE("submit takes a task", "[executor][submit]") {
  AsyncExecutor executor(1);
  AsyncFuture<int> future = executor.submit(twice_later(21));
  REQUIRE(future.get() == 42);
  Task<int> named = twice_later(4);
  REQUIRE(executor.submit(std::move(named)).get() == 8);
}

TEST_CASE("submit takes a function that returns a future and ends as that future does", "[executor][submit]") {
  AsyncExecutor executor(1);
  AsyncExecutor other(1);
  auto elsewhere = [&](int x) { return other.submit(twice_later, x); };
  AsyncFuture<int> future = executor.submit(elsewhere, 21);
  REQUIRE(future.get() == 42);
  auto here = [&](int x) { return executor.submit(twice_later, x); };
  REQUIRE(executor.submit(here, 21).get() == 42);
  auto failing = [&] { return other.submit([]() -> int { throw 42; }); };
  REQUIRE(thrown_by([&] { return executor.submit(failing).get(); }) == "int 42");
  auto cancelled = [&] { return other.submit([]() -> int { throw CancelledError("inner"); }); };
  auto outer = executor.submit(cancelled);
  REQUIRE_THROWS_AS(outer.get(), CancelledError);
  REQUIRE(outer.cancelled());
  auto move_only = [&] { return other.submit([] { return std::make_unique<int>(7); }); };
  REQUIRE(*executor.submit(move_only).get() == 7);
  auto nothing = [&] { return other.submit([] {}); };
  AsyncFuture<void> none = executor.submit(nothing);
  REQUIRE_NOTHROW(none.get());
}

TEST_CASE("submit takes a member function", "[executor][submit]") {
  AsyncExecutor executor(1);
  Account account;
  REQUIRE(executor.submit(&Account::deposit, &account, 1).get() == 1);
  REQUIRE(executor.submit(&Account::deposit, std::ref(account), 2).get() == 3);
  REQUIRE(executor.submit(&Account::deposit_later, &account, 3).get() == 6);
  REQUIRE(account.balance == 6);
  REQUIRE(executor.submit(&Account::deposit, account, 10).get() == 16);  // a copy
  REQUIRE(account.balance == 6);
}

TEST_CASE("submit takes callables and arguments that only move", "[executor][submit]") {
  AsyncExecutor executor(1);
  auto owner = [owned = std::make_unique<int>(40)](std::unique_ptr<int> x) { return *owned + *x; };
  REQUIRE(executor.submit(std::move(owner), std::make_unique<int>(2)).get() == 42);
  auto coroutine = [owned = std::make_unique<int>(40)](std::unique_ptr<int> x) -> Task<int> {
    co_await sleep_for(1ms);
    co_return *owned + *x;
  };
  REQUIRE(executor.submit(std::move(coroutine), std::make_unique<int>(2)).get() == 42);
  auto by_options = [owned = std::make_unique<int>(40)](std::unique_ptr<int> x) { return *owned + *x; };
  REQUIRE(executor.submit(SubmitOptions{.timeout = 1h}, std::move(by_options), std::make_unique<int>(2)).get() == 42);
}

TEST_CASE("a callable may change itself", "[executor][submit]") {
  AsyncExecutor executor(1);
  auto counter = [count = 41]() mutable { return ++count; };
  REQUIRE(executor.submit(counter).get() == 42);
  REQUIRE(executor.submit(counter).get() == 42);  // it was a copy that changed
}

TEST_CASE("a callable that takes a stop token first is given the task's own", "[executor][submit]") {
  AsyncExecutor executor(1);
  Gate gate;
  std::atomic<int> started = 0;
  auto function = [&](std::stop_token token, int x) {
    ++started;
    while (!token.stop_requested()) std::this_thread::sleep_for(100us);
    return x;
  };
  auto coroutine = [&](std::stop_token token, int x) -> Task<int> {
    const std::stop_token own = co_await get_stop_token();
    if (own != token) co_return -1;
    ++started;
    while (!token.stop_requested()) co_await yield();
    co_return x;
  };
  auto future_function = [&](std::stop_token token, int x) {
    while (!token.stop_requested()) std::this_thread::sleep_for(100us);
    return executor.submit(twice, x);
  };
  auto first = executor.submit(function, 1);
  REQUIRE(eventually([&] { return started == 1; }));
  REQUIRE(first.cancel());
  REQUIRE(first.get() == 1);
  auto second = executor.submit(coroutine, 2);
  REQUIRE(eventually([&] { return started == 2; }));
  REQUIRE(second.cancel());
  REQUIRE(second.get() == 2);
  auto third = executor.submit(future_function, 3);
  REQUIRE(eventually([&] { return third.running(); }));
  REQUIRE(third.cancel());
  third.wait();
  REQUIRE(executor.submit(EitherWay(), 1).get() == "with");
}

// ---- Callables and arguments ---------------------------------------------------------------------------------------

TEST_CASE("arguments are copied or moved into the task", "[executor][arguments]") {
  AsyncExecutor executor(1);
  std::string text = "before";
  AsyncFuture<std::size_t> future;
  {
    Occupy occupied(executor);
    future = executor.submit(length_later, text);
    text = "something else afterwards";
  }
  REQUIRE(future.get() == 6);
  REQUIRE(text == "something else afterwards");
}

TEST_CASE("arguments taken by reference are alive until the task ends", "[executor][arguments]") {
  AsyncExecutor executor(1);
  const std::string text = "a text that is kept on the heap somewhere";
  REQUIRE(executor.submit(length_later, std::string(text)).get() == text.size());
  REQUIRE(executor.submit(taken_later, std::string(text)).get() == text);
  // Both references are looked at when nobody but the task can keep their objects alive.
  auto coroutine = [](const std::shared_ptr<int>& x, const std::vector<int>& y) -> Task<int> {
    co_await sleep_for(5ms);
    co_return x.use_count() == 1 ? *x + y.back() : -1;
  };
  auto future = executor.submit(coroutine, std::make_shared<int>(7), std::vector<int>(1000, 8));
  REQUIRE(future.get() == 15);
}

namespace {

Task<std::size_t> length(const std::string& text) {
  co_await sleep_for(2ms);
  co_return text.size();
}
Task<std::size_t> length_of_rvalue(std::string&& text) {
  co_await sleep_for(2ms);
  co_return text.size();
}
Task<std::size_t> length_with_token(std::stop_token, const std::string& text) { return length(text); }
struct Prefix {
  std::size_t size = 0;
  Task<std::size_t> with(const std::string& text) const {
    co_await sleep_for(2ms);
    co_return size + text.size();
  }
};

}  // namespace

TEST_CASE("an argument that is converted for a reference parameter is kept converted", "[executor][arguments]") {
  AsyncExecutor executor(2);
  constexpr const char* text = "longer than what a string keeps within itself";
  const std::size_t size = std::string(text).size();
  SECTION("of a function") { REQUIRE(executor.submit(length, text).get() == size); }
  SECTION("of a function that takes an rvalue") { REQUIRE(executor.submit(length_of_rvalue, text).get() == size); }
  SECTION("after a stop token") { REQUIRE(executor.submit(length_with_token, text).get() == size); }
  SECTION("of a member function") { REQUIRE(executor.submit(&Prefix::with, Prefix{1}, text).get() == 1 + size); }
  SECTION("of a lambda with captures") {
    const auto capturing = [more = std::size_t{2}](const std::string& s) -> Task<std::size_t> {
      co_await sleep_for(2ms);
      co_return s.size() + more;
    };
    REQUIRE(executor.submit(capturing, text).get() == size + 2);
  }
  SECTION("with options") {
    Semaphore semaphore(1);
    REQUIRE(executor.submit({.retries = 1, .semaphore = &semaphore}, length, text).get() == size);
  }
  SECTION("of map") {
    std::vector<std::size_t> sizes;
    for (const std::size_t each : executor.map(length, std::vector{text, text})) sizes.push_back(each);
    REQUIRE(sizes == std::vector{size, size});
  }
}

TEST_CASE("a capturing coroutine lambda is alive until the task ends", "[executor][arguments]") {
  AsyncExecutor executor(1);
  AsyncFuture<std::string> future;
  {
    auto text = std::make_shared<std::string>("a text that is kept on the heap somewhere");
    future = executor.submit([text]() -> Task<std::string> {
      co_await sleep_for(5ms);
      co_await yield();
      co_return *text;
    });
  }
  REQUIRE(future.get() == "a text that is kept on the heap somewhere");
}

TEST_CASE("a reference wrapper passes the object itself", "[executor][arguments]") {
  AsyncExecutor executor(1);
  int object = 1;
  executor.submit([](int& x) { x = 2; }, std::ref(object)).get();
  REQUIRE(object == 2);
  auto coroutine = [](int& x) -> Task<> {
    co_await yield();
    x = 3;
  };
  executor.submit(coroutine, std::ref(object)).get();
  REQUIRE(object == 3);
  REQUIRE(executor.submit([](const int& x) { return &x; }, std::cref(object)).get() == &object);
}

TEST_CASE("callable and arguments are destroyed before the future is ready", "[executor][arguments][R8]") {
  Witness witness;
  AsyncExecutor executor(1);
  std::optional<Occupy> occupied(executor);
  SECTION("captured by a function") {
    witness.future = executor.submit([object = witness.object()] { return 1; });
  }
  SECTION("captured by a coroutine") {
    witness.future = executor.submit([object = witness.object()]() -> Task<int> {
      co_await sleep_for(1ms);
      co_return 1;
    });
  }
  SECTION("an argument of a function") {
    witness.future = executor.submit([](const std::shared_ptr<void>&) { return 1; }, witness.object());
  }
  SECTION("an argument that a coroutine takes by reference") {
    auto coroutine = [](const std::shared_ptr<void>&) -> Task<int> {
      co_await sleep_for(1ms);
      co_return 1;
    };
    witness.future = executor.submit(coroutine, witness.object());
  }
  SECTION("an argument that a coroutine takes by value") {
    auto coroutine = [](std::shared_ptr<void>) -> Task<int> {
      co_await sleep_for(1ms);
      co_return 1;
    };
    witness.future = executor.submit(coroutine, witness.object());
  }
  SECTION("captured by a function that fails") {
    witness.future = executor.submit([object = witness.object()]() -> int { throw 42; });
  }
  SECTION("captured by a function that returns a future") {
    witness.future = executor.submit([object = witness.object(), &executor] { return executor.submit(twice, 1); });
  }
  SECTION("captured by a function with options") {
    witness.future = executor.submit(SubmitOptions{.retries = 1}, [object = witness.object()] { return 1; });
  }
  SECTION("an argument of a function with options") {
    witness.future = executor.submit(
        SubmitOptions{.retries = 1}, [](const std::shared_ptr<void>&) { return 1; }, witness.object());
  }
  REQUIRE_FALSE(witness.destroyed);
  occupied.reset();
  witness.future.wait();
  REQUIRE(witness.destroyed);
  REQUIRE_FALSE(witness.was_done);
}

TEST_CASE("an argument that cannot be copied leaves submit with nothing submitted", "[executor][arguments][R7]") {
  AsyncExecutor executor(1);
  const ThrowsWhenCopied argument;
  std::atomic<bool> ran = false;
  std::atomic<int> alive = 0;
  auto function = [&ran](const ThrowsWhenCopied&, const Counted&) { ran = true; };
  REQUIRE(thrown_by([&] { return executor.submit(function, argument, Counted(alive)); }) ==
          "runtime_error: will not be copied");
  REQUIRE(alive == 0);
  REQUIRE(executor.submit(twice, 1).sequence_id() == 0);
  executor.shutdown();
  REQUIRE_FALSE(ran);
  REQUIRE(executor.stats().submitted == 1);
}

// ---- When and where ------------------------------------------------------------------------------------------------

TEST_CASE("submit returns at once and does not run the task", "[executor][submit]") {
  AsyncExecutor executor(1);
  std::atomic<int> started = 0;
  Occupy occupied(executor);
  auto body = [&]() -> Task<> {
    ++started;
    co_return;
  };
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < 1000; ++i) {
    futures.push_back(executor.submit([&] { ++started; }));
    futures.push_back(executor.submit(body));
    futures.push_back(executor.submit(body()));
    futures.push_back(executor.submit(SubmitOptions{.retries = 1}, body));
  }
  REQUIRE(started == 0);
  occupied.release();
  for (auto& future : futures) future.get();
  REQUIRE(started == 4000);
}

TEST_CASE("submit on a worker does not run the task either", "[executor][submit]") {
  AsyncExecutor executor(1);
  std::atomic<int> started = 0;
  auto body = [&]() -> Task<> {
    ++started;
    co_return;
  };
  auto parent = [&] {
    (void)executor.submit([&] { ++started; });
    (void)executor.submit(body);
    (void)executor.submit(body());
    return started.load();
  };
  REQUIRE(executor.submit(parent).get() == 0);
  executor.shutdown();
  REQUIRE(started == 3);
}

TEST_CASE("tasks run on the workers", "[executor][submit]") {
  Crew crew;
  AsyncExecutor executor(crew.options(2));
  REQUIRE(crew.size() == 2);
  auto coroutine = [&]() -> Task<bool> {
    const bool before = crew.contains_this_thread();
    co_await sleep_for(1ms);
    const bool after = crew.contains_this_thread();
    co_return (before && after);
  };
  REQUIRE(executor.submit([&] { return crew.contains_this_thread(); }).get());
  REQUIRE(executor.submit(coroutine).get());
  REQUIRE(executor.submit(coroutine()).get());
  REQUIRE_FALSE(crew.contains_this_thread());
}

TEST_CASE("tasks submitted from outside start in submission order", "[executor][order]") {
  AsyncExecutor executor(1);
  Log<int> log;
  auto coroutine = [&](int i) -> Task<> {
    log.add(i);
    co_await yield();
  };
  std::vector<int> expected;
  {
    Occupy occupied(executor);
    for (int i = 0; i < 1000; ++i) {
      switch (i % 4) {
        case 0:
          (void)executor.submit([&log, i] { log.add(i); });
          break;
        case 1:
          (void)executor.submit(coroutine, i);
          break;
        case 2:
          (void)executor.submit(coroutine(i));
          break;
        default:
          (void)executor.submit(SubmitOptions{.retries = 1}, coroutine, i);
          break;
      }
      expected.push_back(i);
    }
  }
  executor.shutdown();
  REQUIRE(log.entries() == expected);
}

TEST_CASE("tasks submitted from outside start in submission order while workers are idle or busy",
          "[executor][order]") {
  AsyncExecutor executor(1);
  Log<int> log;
  std::vector<int> expected;
  for (int i = 0; i < scaled(2000); ++i) {
    (void)executor.submit([&log, i] { log.add(i); });
    expected.push_back(i);
    if (i % 100 == 0) std::this_thread::sleep_for(200us);
  }
  executor.shutdown();
  REQUIRE(log.entries() == expected);
}

TEST_CASE("no more than max_concurrent_tasks are between start and end", "[executor][limit]") {
  const std::size_t limit = GENERATE(std::size_t{1}, std::size_t{3});
  Peak peak;
  ExecutorOptions options;
  options.max_workers = 4;
  options.max_concurrent_tasks = limit;
  AsyncExecutor executor(options);
  auto coroutine = [&]() -> Task<> {
    peak.enter();
    co_await sleep_for(2ms);  // a suspended task counts
    peak.leave();
  };
  std::vector<AsyncFuture<void>> futures;
  // As many as the limit allows wait for each other, so that they are all inside at some time.
  std::latch met(static_cast<std::ptrdiff_t>(limit));
  for (std::size_t i = 0; i < limit; ++i) {
    futures.push_back(executor.submit([&] {
      peak.enter();
      met.arrive_and_wait();
      peak.leave();
    }));
  }
  for (int i = 0; i < 20; ++i) {
    futures.push_back(executor.submit(coroutine));
    futures.push_back(executor.submit(coroutine()));
    futures.push_back(executor.submit([&] {
      peak.enter();
      std::this_thread::sleep_for(1ms);
      peak.leave();
    }));
  }
  for (auto& future : futures) future.get();
  REQUIRE(peak.highest() == static_cast<int>(limit));
}

TEST_CASE("a task that fails or is cancelled makes room for the next", "[executor][limit]") {
  ExecutorOptions options;
  options.max_workers = 2;
  options.max_concurrent_tasks = 1;
  AsyncExecutor executor(options);
  auto failing = executor.submit([]() -> Task<> {
    co_await sleep_for(1ms);
    throw std::runtime_error("failed");
  });
  auto sleeping = executor.submit([]() -> Task<> { co_await sleep_for(1h); });
  auto waiting = executor.submit(twice, 1);
  auto last = executor.submit(twice, 21);
  failing.wait();
  REQUIRE(eventually([&] { return sleeping.running(); }));
  REQUIRE_FALSE(waiting.running());
  REQUIRE(waiting.cancel());  // has not started: done, whatever is before it
  REQUIRE(waiting.cancelled());
  REQUIRE_FALSE(last.wait_for(5ms));
  REQUIRE(sleeping.cancel());
  REQUIRE(last.get() == 42);
}

TEST_CASE("tasks that wait for room start in submission order", "[executor][limit][order]") {
  ExecutorOptions options;
  options.max_workers = 2;
  options.max_concurrent_tasks = 1;
  AsyncExecutor executor(options);
  Log<int> log;
  std::vector<int> expected;
  auto coroutine = [&](int i) -> Task<> {
    log.add(i);
    co_await yield();
  };
  for (int i = 0; i < 200; ++i) {
    (void)executor.submit(coroutine, i);
    expected.push_back(i);
  }
  executor.shutdown();
  REQUIRE(log.entries() == expected);
}

TEST_CASE("any number of tasks may be submitted from any threads at once", "[executor][threads]") {
  AsyncExecutor executor(2);
  constexpr int threads = 4;
  const int each = scaled(5000);
  std::atomic<int> ran = 0;
  std::vector<std::vector<std::uint64_t>> ids(threads);
  {
    std::vector<std::jthread> submitters;
    for (auto& mine : ids) {
      submitters.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          mine.push_back(executor.submit([&] { ++ran; }).sequence_id());
          if (i % 64 == 0) {
            static_cast<void>(executor.stats());
            static_cast<void>(executor.max_workers());
          }
        }
      });
    }
  }
  executor.shutdown();
  REQUIRE(ran == threads * each);
  std::vector<std::uint64_t> all;
  for (const auto& mine : ids) {
    REQUIRE(std::is_sorted(mine.begin(), mine.end()));
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<std::uint64_t> expected(all.size());
  std::iota(expected.begin(), expected.end(), std::uint64_t{0});
  REQUIRE(all == expected);
  REQUIRE(executor.stats().submitted == all.size());
}

TEST_CASE("sequence ids are dense for the first hundred thousand tasks that the workers submit",
          "[executor][threads][scale]") {
  const std::size_t workers = 2;
  const std::size_t each = sanitized ? 20'000 : 60'000;
  AsyncExecutor executor(workers);
  std::vector<std::vector<std::uint64_t>> ids(workers);
  std::latch all(static_cast<std::ptrdiff_t>(workers));
  std::vector<AsyncFuture<void>> futures;
  for (auto& mine : ids) {
    futures.push_back(executor.submit([&] {
      all.arrive_and_wait();
      mine.reserve(each);
      for (std::size_t i = 0; i < each; ++i) mine.push_back(executor.submit([] {}).sequence_id());
    }));
  }
  for (auto& future : futures) future.get();
  REQUIRE(executor.submit([] {}).sequence_id() == workers * each + workers);
  std::vector<bool> seen(workers * each + workers);
  std::size_t wrong = 0;
  for (const auto& mine : ids) {
    for (const std::uint64_t id : mine) {
      if (id >= seen.size() || seen[id]) {
        ++wrong;
      } else {
        seen[id] = true;
      }
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("tasks may submit tasks and await them", "[executor][submit]") {
  AsyncExecutor executor(2);
  std::function<Task<int>(int)> fibonacci = [&](int n) -> Task<int> {
    if (n < 2) co_return n;
    auto left = executor.submit(fibonacci, n - 1);
    const int right = co_await fibonacci(n - 2);
    const int value = co_await std::move(left);
    co_return value + right;
  };
  REQUIRE(executor.submit(std::ref(fibonacci), 16).get() == 987);
}

// ---- Statistics ----------------------------------------------------------------------------------------------------

TEST_CASE("the statistics are exact when the executor is idle", "[executor][stats][R1]") {
  AsyncExecutor executor(2);
  auto stats = executor.stats();
  REQUIRE(stats.submitted == 0);
  REQUIRE(stats.workers.size() == 2);
  {
    Occupy occupied(executor, 2);  // two that succeed
    std::vector<AsyncFuture<void>> cancelled;
    for (int i = 0; i < 3; ++i) (void)executor.submit([] {});
    for (int i = 0; i < 4; ++i) (void)executor.submit([] { throw std::runtime_error("failed"); });
    for (int i = 0; i < 5; ++i) cancelled.push_back(executor.submit([] {}));
    (void)executor.submit([]() -> Task<> {
      co_await sleep_for(1ms);
      throw CancelledError("left");
    });
    (void)executor.submit(twice_later(1));
    stats = executor.stats();
    REQUIRE(stats.submitted == 16);
    REQUIRE(stats.running == 2);
    REQUIRE(stats.pending == 14);
    for (auto& future : cancelled) REQUIRE(future.cancel());
  }
  executor.shutdown();
  stats = executor.stats();
  REQUIRE(stats.submitted == 16);
  REQUIRE(stats.pending == 0);
  REQUIRE(stats.running == 0);
  REQUIRE(stats.succeeded == 6);
  REQUIRE(stats.failed == 4);
  REQUIRE(stats.cancelled == 6);
}

TEST_CASE("the statistics are exact as soon as every future is done", "[executor][stats]") {
  AsyncExecutor executor(2);
  for (std::size_t round = 1; round <= 200; ++round) {
    executor.submit(twice, 1).wait();
    executor.submit([] { throw 42; }).wait();
    const auto stats = executor.stats();
    REQUIRE(stats.submitted == 2 * round);
    REQUIRE(stats.succeeded == round);
    REQUIRE(stats.failed == round);
    REQUIRE(stats.pending + stats.running == 0);
  }
}

TEST_CASE("the statistics count a suspended task as running", "[executor][stats]") {
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  auto future = executor.submit([&]() -> Task<int> {
    const int value = co_await promise.get_future();
    co_return value;
  });
  REQUIRE(eventually([&] { return future.running(); }));
  executor.submit([] {}).get();
  const auto stats = executor.stats();
  REQUIRE(stats.submitted == 2);
  REQUIRE(stats.running == 1);
  REQUIRE(stats.pending == 0);
  promise.set_result(1);
  REQUIRE(future.get() == 1);
}

TEST_CASE("a task counts where it was submitted wherever it ends", "[executor][stats][schedule]") {
  AsyncExecutor other(1);
  AsyncExecutor executor(1);
  auto body = [&](int end) -> Task<> {
    co_await other.schedule();
    if (end == 1) throw std::runtime_error("failed");
    if (end == 2) throw CancelledError("left");
  };
  for (int end = 0; end < 3; ++end) executor.submit(body(end)).wait();
  executor.shutdown();
  other.shutdown();
  const auto stats = executor.stats();
  REQUIRE(stats.submitted == 3);
  REQUIRE(stats.succeeded == 1);
  REQUIRE(stats.failed == 1);
  REQUIRE(stats.cancelled == 1);
  REQUIRE(stats.pending + stats.running == 0);
  REQUIRE(other.stats().submitted == 0);
}

TEST_CASE("each worker counts the tasks that it ran", "[executor][stats]") {
  AsyncExecutor executor(3);
  const std::size_t count = 300;
  for (std::size_t i = 0; i < count; ++i) (void)executor.submit([] {});
  executor.shutdown();
  const auto stats = executor.stats();
  REQUIRE(stats.workers.size() == 3);
  std::size_t run = 0;
  for (const WorkerStats& worker : stats.workers) {
    run += worker.run;
    REQUIRE(worker.stolen <= worker.run);
  }
  REQUIRE(run == count);
}

TEST_CASE("each worker counts the tasks that it stole", "[executor][stats]") {
  AsyncExecutor executor(2);
  const int count = 100;
  std::atomic<int> ran = 0;
  // The first worker queues tasks and does not get to them: only the second can run them.
  auto parent = [&] {
    for (int i = 0; i < count; ++i) (void)executor.submit([&] { ++ran; });
    return eventually([&] { return ran == count; });
  };
  REQUIRE(executor.submit(parent).get());
  executor.shutdown();
  std::size_t stolen = 0;
  for (const WorkerStats& worker : executor.stats().workers) stolen += worker.stolen;
  REQUIRE(stolen >= 1);
  REQUIRE(stolen <= static_cast<std::size_t>(count) + 1);
}
