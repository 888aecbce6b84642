// when_any: the first result with its index, losers stopped and waited for.
#include <cohort/when_any.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>       // for atomic
#include <chrono>       // for milliseconds
#include <memory>       // for unique_ptr
#include <stdexcept>    // for runtime_error, invalid_argument
#include <stop_token>   // for stop_token
#include <string>       // for string
#include <thread>       // for this_thread
#include <type_traits>  // for is_same
#include <utility>      // for move
#include <variant>      // for variant, get, get_if
#include <vector>       // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

Task<int> now(int x) {
  co_await cohort::yield();
  co_return x;
}

Task<int> never(std::atomic<int>* stopped = nullptr) {
  try {
    co_await sleep_for(1h);
  } catch (const CancelledError&) {
    if (stopped) ++*stopped;
    throw;
  }
  co_return -1;
}

Task<std::string> never_text() {
  co_await sleep_for(1h);
  co_return "never";
}

Task<int> fail_soon() {
  co_await sleep_for(1ms);
  throw std::runtime_error("failed");
}

}  // namespace

TEMPLATE_TEST_CASE("when_any gives the index and the value of the first", "", AsyncExecutor, ManualExecutor) {
  auto second = []() -> Task<int> {
    auto first = co_await when_any(never(), now(5), never());
    static_assert(std::is_same_v<decltype(first.value), int>);
    co_return 10 * static_cast<int>(first.index) + first.value;
  };
  auto last = []() -> Task<int> {
    auto first = co_await when_any(never(), never(), now(6));
    co_return 10 * static_cast<int>(first.index) + first.value;
  };
  REQUIRE(sync_wait(second()) == 15);
  REQUIRE(sync_wait(last()) == 26);
  TestType executor(2);
  REQUIRE(run_on(executor, second) == 15);
  REQUIRE(run_on(executor, last) == 26);
}

TEST_CASE("when_any's value is a variant where types differ") {
  auto text = []() -> Task<std::string> {
    co_await cohort::yield();
    co_return "text";
  };
  auto words = [&]() -> Task<std::string> {
    auto first = co_await when_any(never(), text());
    static_assert(std::is_same_v<decltype(first.value), std::variant<int, std::string>>);
    const std::string* value = std::get_if<std::string>(&first.value);
    co_return (first.index == 1 && value) ? *value : std::string("wrong");
  };
  auto numbers = []() -> Task<int> {
    auto first = co_await when_any(now(3), never_text());
    const int* value = std::get_if<int>(&first.value);
    co_return (first.index == 0 && value) ? *value : -1;
  };
  REQUIRE(sync_wait(words()) == "text");
  REQUIRE(sync_wait(numbers()) == 3);
}

TEMPLATE_TEST_CASE("when_any of a range gives the index and the value of the first", "", AsyncExecutor,
                   ManualExecutor) {
  auto body = [](int count, int winner) -> Task<int> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < count; ++i) tasks.push_back(i == winner ? now(i) : never());
    auto first = co_await when_any(std::move(tasks));
    co_return 1000 * static_cast<int>(first.index) + first.value;
  };
  REQUIRE(sync_wait(body(3, 2)) == 2002);
  REQUIRE(sync_wait(body(1, 0)) == 0);
  TestType executor(2);
  REQUIRE(executor.submit(body, 500, 321).get() == 321'321);
}

TEST_CASE("when_any of an empty range is an invalid argument") {
  auto body = []() -> Task<> {
    std::vector<Task<int>> none;
    auto first = co_await when_any(std::move(none));
    (void)first;
  };
  REQUIRE_THROWS_AS(sync_wait(body()), std::invalid_argument);
}

TEST_CASE("when_any takes results that are movable only, and none at all") {
  auto own = []() -> Task<std::unique_ptr<int>> {
    co_await cohort::yield();
    co_return std::make_unique<int>(4);
  };
  auto body = [&]() -> Task<int> {
    auto first = co_await when_any(own());
    co_return *first.value;
  };
  REQUIRE(sync_wait(body()) == 4);
  auto timeout = []() -> Task<int> {
    auto first = co_await when_any(never(), sleep_for(2ms));
    co_return static_cast<int>(first.index);
  };
  REQUIRE(sync_wait(timeout()) == 1);
  auto voids = []() -> Task<int> {
    auto first = co_await when_any(sleep_for(1h), sleep_for(1ms), sleep_for(2h));
    co_return static_cast<int>(first.index);
  };
  REQUIRE(sync_wait(voids()) == 1);
}

TEST_CASE("when_any asks the others to stop, and waits for them") {
  AsyncExecutor executor(2);
  std::atomic<int> stopped{0};
  std::atomic<int> ended{0};
  auto slow_to_end = [&]() -> Task<int> {
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
      ++stopped;
    }
    std::this_thread::sleep_for(20ms);
    ++ended;
    co_return -1;
  };
  auto deaf = [&]() -> Task<int> {
    std::this_thread::sleep_for(10ms);
    std::stop_token token = co_await get_stop_token();
    const Clock::time_point limit = Clock::now() + patience;  // the winner may be slow
    while (!token.stop_requested() && Clock::now() < limit) co_await cohort::yield();
    ++ended;
    co_return -2;
  };
  std::atomic<int> ended_at_return{-1};
  auto body = [&]() -> Task<int> {
    auto first = co_await when_any(slow_to_end(), now(7), deaf(), never(&stopped));
    ended_at_return = ended.load();
    co_return 10 * static_cast<int>(first.index) + first.value;
  };
  REQUIRE(run_on(executor, body) == 17);
  REQUIRE(ended_at_return == 2);
  REQUIRE(stopped == 2);
}

TEST_CASE("when_any's winner may win by an exception, which is thrown when the others have ended") {
  std::atomic<int> stopped{0};
  std::atomic<int> at_throw{-1};
  auto body = [&]() -> Task<> {
    try {
      auto first = co_await when_any(never(&stopped), fail_soon(), never(&stopped));
      (void)first;
    } catch (...) {
      at_throw = stopped.load();
      throw;
    }
  };
  REQUIRE_THROWS_WITH(sync_wait(body()), "failed");
  REQUIRE(at_throw == 2);
}

TEST_CASE("what the losers of when_any return or throw is dropped") {
  Tracked::live = 0;
  auto loser = [](bool fails) -> Task<Tracked> {
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
    }
    if (fails) throw std::runtime_error("too late");
    co_return Tracked(1);
  };
  auto winner = []() -> Task<Tracked> {
    co_await cohort::yield();
    co_return Tracked(2);
  };
  auto body = [&]() -> Task<int> {
    auto first = co_await when_any(loser(true), winner(), loser(false));
    co_return first.value.value;
  };
  REQUIRE(sync_wait(body()) == 2);
  REQUIRE(Tracked::live == 0);
}

TEST_CASE("when_any takes futures, and asks the tasks of the losing ones to stop") {
  AsyncExecutor executor(2);
  std::atomic<int> stopped{0};
  AsyncFuture<int> loser = executor.submit(never, &stopped);
  REQUIRE(test::eventually([&] { return loser.running(); }));  // before that it would be cancelled without a word
  AsyncFuture<int> winner = executor.submit(now, 8);
  auto body = [&]() -> Task<int> {
    auto first = co_await when_any(loser, winner);
    co_return 10 * static_cast<int>(first.index) + first.value;
  };
  REQUIRE(run_on(executor, body) == 18);
  REQUIRE(loser.cancelled());
  REQUIRE(stopped == 1);
  REQUIRE(winner.get() == 8);
}

TEMPLATE_TEST_CASE("when_any does not stop the task that awaits it", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  auto body = []() -> Task<bool> {
    std::stop_token token = co_await get_stop_token();
    for (int i = 0; i < 3; ++i) {
      auto first = co_await when_any(never(), now(1));
      (void)first;
    }
    co_await sleep_for(1ms);
    int value = co_await now(5);
    co_return value == 5 && !token.stop_requested();
  };
  REQUIRE(run_on(executor, body));
}

TEST_CASE("cancelling a task that awaits when_any stops all its children and waits for them") {
  AsyncExecutor executor(2);
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  std::atomic<int> at_throw{-1};
  auto child = [&]() -> Task<int> {
    ++started;
    int value = co_await never(&stopped);
    co_return value;
  };
  auto body = [&]() -> Task<> {
    try {
      auto first = co_await when_any(child(), child(), child());
      (void)first;
    } catch (...) {
      at_throw = stopped.load();
      throw;
    }
  };
  AsyncFuture<void> future = executor.submit(body);
  REQUIRE(eventually([&] { return started == 3; }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(future.cancelled());
  REQUIRE(at_throw == 3);
}

TEMPLATE_TEST_CASE("when_any's index and value agree when several are done at once", "", AsyncExecutor,
                   ManualExecutor) {
  TestType executor(3);
  auto ready = [](int x) -> Task<int> { co_return x; };
  auto body = [&](int count) -> Task<bool> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < count; ++i) tasks.push_back(ready(i));
    auto first = co_await when_any(std::move(tasks));
    co_return static_cast<int>(first.index) == first.value;
  };
  for (int round = 0; round < scaled(2000); ++round) REQUIRE(executor.submit(body, 1 + round % 5).get());
}

TEST_CASE("when_any runs its children concurrently on the current executor") {
  Meeting meeting(2);
  std::thread::id where;
  auto child = [&]() -> Task<int> {
    co_await meeting.arrive();
    where = std::this_thread::get_id();
    co_return 1;
  };
  auto body = [&]() -> Task<std::size_t> {
    auto first = co_await when_any(child(), child());
    co_return first.index;
  };
  REQUIRE(sync_wait(body()) <= 1);
  REQUIRE(where == std::this_thread::get_id());
}
