// when_all: results as a tuple or a vector, waiting for all, the first exception, cancellation.
#include <cohort/when_all.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>      // for atomic
#include <chrono>      // for milliseconds
#include <memory>      // for unique_ptr
#include <stdexcept>   // for runtime_error
#include <stop_token>  // for stop_token
#include <string>      // for string
#include <thread>      // for this_thread
#include <tuple>       // for get, tuple_size
#include <utility>     // for move
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

Task<int> twice(int x) {
  co_await cohort::yield();
  co_return 2 * x;
}

Task<std::string> spell(std::string text) {
  co_await sleep_for(1ms);
  co_return text + "!";
}

Task<int&> refer(int& x) {
  co_await cohort::yield();
  co_return x;
}

Task<std::unique_ptr<int>> own(int x) {
  co_await cohort::yield();
  co_return std::make_unique<int>(x);
}

Task<> nothing() { co_await cohort::yield(); }

Task<int> fail(std::string text) {
  co_await cohort::yield();
  throw std::runtime_error(text);
}

/// Sleeps until its task is stopped, then takes a while to end.
Task<int> stubborn(std::atomic<int>* ended) {
  try {
    co_await sleep_for(1h);
  } catch (const CancelledError&) {
    ++*ended;
    throw;
  }
  co_return 0;
}

}  // namespace

TEST_CASE("when_all gives a tuple of the results in the order of its arguments") {
  auto body = []() -> Task<std::tuple<int, std::string, int>> {
    auto results = co_await when_all(twice(1), spell("two"), twice(3));
    static_assert(std::tuple_size_v<decltype(results)> == 3);
    co_return std::tuple<int, std::string, int>(std::get<0>(results), std::get<1>(results), std::get<2>(results));
  };
  const std::tuple<int, std::string, int> expected(2, "two!", 6);
  REQUIRE(sync_wait(body()) == expected);
  AsyncExecutor one(1);
  REQUIRE(run_on(one, body) == expected);
  AsyncExecutor two(2);
  REQUIRE(run_on(two, body) == expected);
}

TEST_CASE("when_all's results may be references, movable only, or nothing at all") {
  int number = 7;
  auto body = [&]() -> Task<bool> {
    auto results = co_await when_all(refer(number), own(5), nothing());
    static_assert(std::tuple_size_v<decltype(results)> == 3);
    int& same = std::get<0>(results);  // a reference, or what wraps one
    bool right = *std::get<1>(results) == 5;
    co_return right&&& same == &number;
  };
  REQUIRE(sync_wait(body()));
}

TEST_CASE("when_all of one awaitable") {
  auto body = []() -> Task<int> {
    auto one = co_await when_all(twice(4));
    co_return std::get<0>(one);
  };
  REQUIRE(sync_wait(body()) == 8);
}

TEST_CASE("when_all of nothing is an empty tuple") {
  auto body = []() -> Task<std::size_t> {
    const auto nothing = co_await when_all();
    co_return std::tuple_size_v<std::remove_const_t<decltype(nothing)>>;
  };
  REQUIRE(sync_wait(body()) == 0);
}

TEMPLATE_TEST_CASE("when_all of a range gives a vector in the order of the range", "", AsyncExecutor, ManualExecutor) {
  auto body = [](int count) -> Task<std::vector<int>> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < count; ++i) tasks.push_back(twice(i));
    std::vector<int> values = co_await when_all(std::move(tasks));
    co_return values;
  };
  REQUIRE(sync_wait(body(4)) == std::vector{0, 2, 4, 6});
  REQUIRE(sync_wait(body(0)).empty());
  TestType executor(2);
  const std::vector<int> values = executor.submit(body, 1000).get();
  REQUIRE((values.size() == 1000 && values[999] == 1998));
}

TEST_CASE("when_all takes ranges of void and movable results") {
  std::atomic<int> ran{0};
  auto count = [&]() -> Task<> {
    co_await cohort::yield();
    ++ran;
  };
  auto body = [&]() -> Task<int> {
    std::vector<Task<>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(count());
    co_await when_all(std::move(tasks));
    std::vector<Task<std::unique_ptr<int>>> owners;
    for (int i = 0; i < 5; ++i) owners.push_back(own(i));
    std::vector<std::unique_ptr<int>> owned = co_await when_all(std::move(owners));
    co_return *owned[4];
  };
  REQUIRE(sync_wait(body()) == 4);
  REQUIRE(ran == 5);
}

TEST_CASE("when_all takes any awaitables: futures, sleeps and a stranger's") {
  Stranger stranger;
  AsyncExecutor executor(2);
  auto body = [&]() -> Task<int> {
    AsyncFuture<int> kept = executor.submit(twice, 1);
    auto results = co_await when_all(kept, executor.submit(twice, 10), sleep_for(1ms), stranger.resume(), twice(2000));
    static_assert(std::tuple_size_v<decltype(results)> == 5);
    co_return std::get<0>(results) + std::get<1>(results) + (std::get<3>(results) == stranger.id() ? 0 : 300) +
        std::get<4>(results);
  };
  REQUIRE(sync_wait(body()) == 4322);
  REQUIRE(run_on(executor, body) == 4322);
}

TEMPLATE_TEST_CASE("when_all takes a range of futures, and of void futures", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto body = [&]() -> Task<std::vector<int>> {
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 4; ++i) futures.push_back(executor.submit(twice, i));
    std::vector<AsyncFuture<void>> voids{executor.submit(nothing), executor.submit(nothing)};
    co_await when_all(voids);
    std::vector<int> values = co_await when_all(futures);
    co_return values;
  };
  REQUIRE(sync_wait(body()) == std::vector{0, 2, 4, 6});
}

TEMPLATE_TEST_CASE("when_all runs its children concurrently", "", AsyncExecutor, ManualExecutor) {
  Meeting meeting(3);
  auto body = [&]() -> Task<> { co_await when_all(meeting.arrive(), meeting.arrive(), meeting.arrive()); };
  SECTION("on a pool of one") {
    TestType executor(1);
    run_on(executor, body);
  }
  SECTION("in sync_wait") { sync_wait(body()); }
  SECTION("as a range") {
    auto range = [&]() -> Task<> {
      std::vector<Task<>> tasks;
      for (int i = 0; i < 3; ++i) tasks.push_back(meeting.arrive());
      co_await when_all(std::move(tasks));
    };
    sync_wait(range());
  }
  SUCCEED("all three were under way at once");
}

TEST_CASE("when_all runs its children on the current executor") {
  Log<std::thread::id> threads;
  auto note = [&]() -> Task<> {
    threads.add(std::this_thread::get_id());
    co_await sleep_for(1ms);
    threads.add(std::this_thread::get_id());
  };
  auto body = [&]() -> Task<std::thread::id> {
    co_await when_all(note(), note(), note());
    co_return std::this_thread::get_id();
  };
  SECTION("a pool") {
    AsyncExecutor executor(1);
    const std::thread::id worker = run_on(executor, body);
    REQUIRE(worker != std::this_thread::get_id());
    REQUIRE(threads.entries() == std::vector<std::thread::id>(6, worker));
  }
  SECTION("sync_wait's thread") {
    REQUIRE(sync_wait(body()) == std::this_thread::get_id());
    REQUIRE(threads.entries() == std::vector<std::thread::id>(6, std::this_thread::get_id()));
  }
  SECTION("the one it has moved to") {
    AsyncExecutor executor(1);
    auto moved = [&]() -> Task<std::thread::id> {
      co_await executor.schedule();
      std::thread::id id = co_await body();
      co_return id;
    };
    const std::thread::id worker = sync_wait(moved());
    REQUIRE(worker != std::this_thread::get_id());
    REQUIRE(threads.entries() == std::vector<std::thread::id>(6, worker));
  }
}

TEST_CASE("two workers share the children of one when_all") {
  AsyncExecutor executor(2);
  std::atomic<int> present{0};
  auto meet = [&]() -> Task<bool> {  // blocks its worker until the other child runs on another
    ++present;
    const Clock::time_point end = Clock::now() + patience;
    while (present < 2 && Clock::now() < end) std::this_thread::yield();
    co_return present == 2;
  };
  auto body = [&]() -> Task<bool> {
    auto results = co_await when_all(meet(), meet());
    co_return std::get<0>(results) && std::get<1>(results);
  };
  REQUIRE(run_on(executor, body));
}

TEST_CASE("when_all waits for all before it throws") {
  std::atomic<int> ended{0};
  auto slow = [&]() -> Task<int> {
    co_await sleep_for(20ms);
    ++ended;
    co_return 1;
  };
  std::atomic<int> at_throw{-1};
  SECTION("arguments") {
    auto body = [&]() -> Task<> {
      try {
        co_await when_all(slow(), fail("now"), slow());
      } catch (...) {
        at_throw = ended.load();
        throw;
      }
    };
    REQUIRE_THROWS_WITH(sync_wait(body()), "now");
    REQUIRE(at_throw == 2);
  }
  SECTION("a range") {
    auto body = [&]() -> Task<> {
      std::vector<Task<int>> tasks;
      tasks.push_back(fail("now"));
      tasks.push_back(slow());
      try {
        co_await when_all(std::move(tasks));
      } catch (...) {
        at_throw = ended.load();
        throw;
      }
    };
    REQUIRE_THROWS_WITH(sync_wait(body()), "now");
    REQUIRE(at_throw == 1);
  }
}

TEST_CASE("when_all throws the first exception") {
  auto late = []() -> Task<int> {
    for (int i = 0; i < 3; ++i) co_await cohort::yield();  // more turns than the other takes, however slow the machine
    throw std::logic_error("late");
  };
  auto body = [&]() -> Task<> { co_await when_all(twice(1), fail("early"), late()); };
  REQUIRE_THROWS_WITH(sync_wait(body()), "early");
  auto strange = []() -> Task<int> {
    co_await cohort::yield();
    throw 42;
  };
  auto other = [&]() -> Task<> { co_await when_all(twice(1), strange()); };
  REQUIRE_THROWS_AS(sync_wait(other()), int);
}

TEMPLATE_TEST_CASE("a child of when_all that fails does not stop the others", "", AsyncExecutor, ManualExecutor) {
  std::atomic<bool> asked{false};
  auto watch = [&]() -> Task<> {
    std::stop_token token = co_await get_stop_token();
    co_await sleep_for(5ms);
    asked = token.stop_requested();
  };
  auto body = [&]() -> Task<> { co_await when_all(fail("now"), watch()); };
  TestType executor(2);
  REQUIRE_THROWS_WITH(run_on(executor, body), "now");
  REQUIRE_FALSE(asked);
}

TEST_CASE("the results of when_all that nobody gets are destroyed") {
  Tracked::live = 0;
  auto track = [](int x) -> Task<Tracked> {
    co_await cohort::yield();
    co_return Tracked(x);
  };
  auto body = [&]() -> Task<> { co_await when_all(track(1), fail("now"), track(2)); };
  REQUIRE_THROWS_WITH(sync_wait(body()), "now");
  REQUIRE(Tracked::live == 0);
}

TEMPLATE_TEST_CASE("the children of when_all inherit the stop token", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  auto token_of = []() -> Task<std::stop_token> {
    co_await cohort::yield();
    std::stop_token token = co_await get_stop_token();
    co_return token;
  };
  auto body = [&]() -> Task<bool> {
    std::stop_token mine = co_await get_stop_token();
    auto theirs = co_await when_all(token_of(), token_of());
    co_return mine.stop_possible() && mine == std::get<0>(theirs) && mine == std::get<1>(theirs);
  };
  REQUIRE(run_on(executor, body));
}

TEST_CASE("cancelling a task that awaits when_all stops the children and waits for them") {
  AsyncExecutor executor(2);
  std::atomic<int> started{0};
  std::atomic<int> ended{0};
  std::atomic<int> at_throw{-1};
  auto child = [&](std::chrono::milliseconds farewell) -> Task<int> {
    ++started;
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
      std::this_thread::sleep_for(farewell);
      ++ended;
      throw;
    }
    co_return 0;
  };
  SECTION("arguments") {
    auto body = [&]() -> Task<> {
      try {
        co_await when_all(child(0ms), child(20ms), stubborn(&ended));
      } catch (...) {
        at_throw = ended.load();
        throw;
      }
    };
    AsyncFuture<void> future = executor.submit(body);
    REQUIRE(eventually([&] { return started == 2; }));
    REQUIRE(future.cancel());
    REQUIRE_THROWS_AS(future.get(), CancelledError);
    REQUIRE(future.cancelled());
    REQUIRE(at_throw == 3);
  }
  SECTION("a range") {
    auto body = [&]() -> Task<> {
      std::vector<Task<int>> tasks;
      for (int i = 0; i < 10; ++i) tasks.push_back(child(1ms));
      try {
        co_await when_all(std::move(tasks));
      } catch (...) {
        at_throw = ended.load();
        throw;
      }
    };
    AsyncFuture<void> future = executor.submit(body);
    REQUIRE(eventually([&] { return started == 10; }));
    REQUIRE(future.cancel());
    REQUIRE_THROWS_AS(future.get(), CancelledError);
    REQUIRE(at_throw == 10);
  }
}

TEMPLATE_TEST_CASE("when_all nests", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  struct Tree {
    static Task<int> leaves(int depth) {
      if (depth == 0) co_return 1;
      auto halves = co_await when_all(leaves(depth - 1), leaves(depth - 1));
      co_return std::get<0>(halves) + std::get<1>(halves);
    }
  };
  REQUIRE(executor.submit(&Tree::leaves, 12).get() == 4096);
  REQUIRE(sync_wait(Tree::leaves(10)) == 1024);
}

TEST_CASE("a task that is never started by when_all leaves nothing behind") {
  { [[maybe_unused]] auto unused = when_all(twice(1), own(2)); }
  SUCCEED("no frame is left, which the listener checks");
}
