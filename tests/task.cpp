#include <cohort/task.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <atomic>
#include <chrono>
#include <cohort/cohort.hpp>
#include <coroutine>
#include <functional>
#include <memory>
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

Task<int> identity(int x) { co_return x; }

// ---- Results of every kind -----------------------------------------------------------------------------------------

struct NoDefault {
  explicit NoDefault(int v) : value(v) {}
  int value;
};

struct alignas(64) Aligned {
  int value = 0;
};

bool is_aligned(const Aligned& object) { return reinterpret_cast<std::uintptr_t>(&object) % alignof(Aligned) == 0; }

/// Cannot be moved to the place where results are kept.
struct ThrowsWhenMoved {
  ThrowsWhenMoved() = default;
  ThrowsWhenMoved(ThrowsWhenMoved&&) { throw std::runtime_error("will not move"); }
  ThrowsWhenMoved& operator=(ThrowsWhenMoved&&) = delete;
};

Task<ThrowsWhenMoved> will_not_move() {
  ThrowsWhenMoved result;
  co_return std::move(result);
}

// ---- Awaitables that know nothing of cohort ------------------------------------------------------------------------

struct Ready {
  int value;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return value; }
};

/// Changes its mind in await_suspend.
struct AfterAll {
  int value;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
  int await_resume() const noexcept { return value; }
};

/// Resumes by symmetric transfer.
struct Transfer {
  int value;
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> coroutine) const noexcept { return coroutine; }
  int await_resume() const noexcept { return value; }
};

/// Resumes from within await_suspend.
struct ResumeInside {
  int value;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) const { coroutine.resume(); }
  int await_resume() const noexcept { return value; }
};

struct HasMember {
  int value;
  Ready operator co_await() const noexcept { return Ready{value}; }
};

struct HasFree {
  int value;
};
Ready operator co_await(const HasFree& awaitable) noexcept { return Ready{awaitable.value}; }

struct Immovable {
  explicit Immovable(int v) : value(v) {}
  Immovable(const Immovable&) = delete;
  Immovable& operator=(const Immovable&) = delete;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) noexcept { return false; }
  int& await_resume() noexcept { return value; }
  int value;
};

enum class Step { ready, suspend, resume };

struct Throwing {
  Step step;
  bool await_ready() const {
    if (step == Step::ready) throw std::runtime_error("ready");
    return false;
  }
  bool await_suspend(std::coroutine_handle<>) const {
    if (step == Step::suspend) throw std::runtime_error("suspend");
    return false;
  }
  void await_resume() const { throw std::runtime_error("resume"); }
};

// ---- Chains --------------------------------------------------------------------------------------------------------

/// Calls the next, down to the bottom.
Task<int> descend(int depth, StackMeter& meter) {
  meter.look();
  if (depth == 0) co_return 0;
  const int below = co_await descend(depth - 1, meter);
  meter.look();
  co_return below + 1;
}

/// The same, but something is waited for at the bottom.
Task<int> descend_and_sleep(int depth, StackMeter& meter) {
  if (depth == 0) {
    co_await sleep_for(1ms);
    co_return 0;
  }
  const int below = co_await descend_and_sleep(depth - 1, meter);
  meter.look();
  co_return below + 1;
}

Task<> throw_from(int depth) {
  if (depth == 0) throw std::runtime_error("from the bottom");
  co_await throw_from(depth - 1);
}

/// A task that owns the next one from its birth.
Task<int> wrap(Task<int> inner, Counted, StackMeter& meter) {
  meter.look();
  const int value = co_await std::move(inner);
  co_return value + 1;
}

Task<int> chain(int length, Counted counted, StackMeter& meter) {
  Task<int> task = identity(0);
  for (int i = 0; i < length; ++i) task = wrap(std::move(task), counted, meter);
  return task;
}

}  // namespace

// ---- Laziness ------------------------------------------------------------------------------------------------------

TEST_CASE("a task does not start before it is awaited", "[task]") {
  bool started = false;
  auto body = [&]() -> Task<> {
    started = true;
    co_return;
  };
  Task<> task = body();
  REQUIRE_FALSE(started);
  bool started_before_await = true;
  auto parent = [&]() -> Task<> {
    Task<> moved = std::move(task);
    started_before_await = started;
    co_await std::move(moved);
  };
  sync_wait(parent());
  REQUIRE_FALSE(started_before_await);
  REQUIRE(started);
}

TEST_CASE("a task that nobody awaits never runs and gives back its arguments", "[task]") {
  std::atomic<int> alive = 0;
  bool started = false;
  {
    auto body = [&](Counted) -> Task<> {
      started = true;
      co_return;
    };
    Task<> task = body(Counted(alive));
    REQUIRE(alive == 1);
  }
  REQUIRE(alive == 0);
  REQUIRE_FALSE(started);
}

TEST_CASE("a task can be moved and not copied", "[task]") {
  STATIC_REQUIRE(std::is_same_v<Task<>, Task<void>>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<Task<int>>);
  STATIC_REQUIRE(std::is_nothrow_move_assignable_v<Task<int>>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Task<int>>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<Task<int>>);

  Task<int> first = identity(1);
  Task<int> second = std::move(first);
  REQUIRE(sync_wait(std::move(second)) == 1);
}

TEST_CASE("a task that is assigned to gives up the task it had", "[task]") {
  std::atomic<int> alive = 0;
  auto body = [](Counted, int x) -> Task<int> { co_return x; };
  Task<int> task = body(Counted(alive), 1);
  task = body(Counted(alive), 2);
  REQUIRE(alive == 1);
  REQUIRE(sync_wait(std::move(task)) == 2);
  REQUIRE(alive == 0);
}

TEST_CASE("an awaited task starts on the spot", "[task]") {
  // On one worker a queued task would otherwise have its turn first.
  AsyncExecutor executor(1);
  std::string order;
  auto child = [&]() -> Task<int> {
    order += "child ";
    co_return 7;
  };
  auto parent = [&]() -> Task<int> {
    (void)executor.submit([&] { order += "other "; });
    order += "parent ";
    const int value = co_await child();
    order += "value ";
    co_return value;
  };
  REQUIRE(executor.submit(parent).get() == 7);
  executor.shutdown();
  REQUIRE(order.substr(0, 13) == "parent child ");
  REQUIRE(order.find("value ") != std::string::npos);
}

TEST_CASE("what a task's body owns is destroyed before its awaiter continues", "[task]") {
  std::atomic<int> alive = 0;
  int alive_afterwards = -1;
  auto child = [&]() -> Task<> {
    const Counted local(alive);
    co_await yield();
  };
  auto parent = [&]() -> Task<> {
    co_await child();
    alive_afterwards = alive;
  };
  sync_wait(parent());
  REQUIRE(alive_afterwards == 0);
}

// ---- Results -------------------------------------------------------------------------------------------------------

TEST_CASE("an awaited task gives its value", "[task]") {
  auto parent = []() -> Task<int> {
    const int one = co_await identity(20);
    Task<int> named = identity(22);
    const int two = co_await std::move(named);
    co_return one + two;
  };
  REQUIRE(sync_wait(parent()) == 42);
}

TEST_CASE("a task may have no value", "[task]") {
  int runs = 0;
  auto child = [&]() -> Task<> {
    ++runs;
    co_return;
  };
  auto parent = [&]() -> Task<void> {
    co_await child();
    co_await child();
  };
  sync_wait(parent());
  REQUIRE(runs == 2);
}

TEST_CASE("a task's value may be a type that only moves", "[task]") {
  auto child = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
  auto parent = [&]() -> Task<std::unique_ptr<int>> {
    std::unique_ptr<int> value = co_await child();
    ++*value;
    co_return value;
  };
  REQUIRE(*sync_wait(parent()) == 6);
}

TEST_CASE("a task's value may be a type without a default constructor", "[task]") {
  auto child = []() -> Task<NoDefault> { co_return NoDefault(5); };
  auto parent = [&]() -> Task<NoDefault> {
    const NoDefault value = co_await child();
    co_return NoDefault(value.value + 1);
  };
  REQUIRE(sync_wait(parent()).value == 6);
}

TEST_CASE("a task's value may be a reference", "[task]") {
  int object = 1;
  const std::string text = "text";
  auto child = [](int& x) -> Task<int&> { co_return x; };
  auto constant = [](const std::string& s) -> Task<const std::string&> { co_return s; };
  const int* seen = nullptr;
  auto parent = [&]() -> Task<int&> {
    int& reference = co_await child(object);
    seen = &reference;
    reference = 2;
    co_return reference;
  };
  int& result = sync_wait(parent());
  REQUIRE(seen == &object);
  REQUIRE(&result == &object);
  REQUIRE(object == 2);
  REQUIRE(&sync_wait(constant(text)) == &text);
}

TEST_CASE("a task's value may need more alignment than a frame has", "[task]") {
  auto child = [](int x) -> Task<Aligned> {
    co_await yield();
    co_return Aligned{x};
  };
  std::vector<Task<Aligned>> tasks;  // several at once, so that none is aligned by luck
  for (int i = 0; i < 16; ++i) tasks.push_back(child(i));
  int wrong = 0;
  for (int i = 0; i < 16; ++i) {
    const Aligned value = sync_wait(std::move(tasks[static_cast<std::size_t>(i)]));
    if (!is_aligned(value) || value.value != i) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a value that cannot be moved into place is an exception of the task", "[task]") {
  std::string caught;
  auto parent = [&]() -> Task<> {
    try {
      static_cast<void>(co_await will_not_move());
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
  };
  sync_wait(parent());
  REQUIRE(caught == "will not move");
}

TEST_CASE("an awaited task's exception reaches its awaiter as it was thrown", "[task]") {
  struct Own {
    int number;
  };
  auto std_error = []() -> Task<int> {
    throw std::out_of_range("far");
    co_return 0;
  };
  auto number = []() -> Task<int> {
    co_await sleep_for(1ms);
    throw 42;
  };
  auto own = []() -> Task<> {
    throw Own{43};
    co_return;
  };
  std::string text;
  int first = 0;
  int second = 0;
  auto parent = [&]() -> Task<> {
    try {
      static_cast<void>(co_await std_error());
    } catch (const std::out_of_range& error) {
      text = error.what();
    }
    try {
      static_cast<void>(co_await number());
    } catch (int thrown) {
      first = thrown;
    }
    try {
      co_await own();
    } catch (const Own& thrown) {
      second = thrown.number;
    }
  };
  sync_wait(parent());
  REQUIRE(text == "far");
  REQUIRE(first == 42);
  REQUIRE(second == 43);
}

// ---- Any awaitable -------------------------------------------------------------------------------------------------

TEST_CASE("a task may await what knows nothing of cohort", "[task]") {
  auto body = []() -> Task<std::vector<int>> {
    std::vector<int> values;
    const int ready = co_await Ready{1};
    values.push_back(ready);
    const int after_all = co_await AfterAll{2};
    values.push_back(after_all);
    const int transfer = co_await Transfer{3};
    values.push_back(transfer);
    const int inside = co_await ResumeInside{4};
    values.push_back(inside);
    const int member = co_await HasMember{5};
    values.push_back(member);
    const int free = co_await HasFree{6};
    values.push_back(free);
    Immovable immovable(0);
    int& reference = co_await immovable;
    reference = 7;
    values.push_back(immovable.value);
    co_await std::suspend_never{};
    co_return values;
  };
  const std::vector<int> expected = {1, 2, 3, 4, 5, 6, 7};
  REQUIRE(sync_wait(body()) == expected);
  AsyncExecutor executor(1);
  REQUIRE(executor.submit(body).get() == expected);
}

TEST_CASE("an exception from any step of awaiting reaches the task that awaits", "[task]") {
  auto body = []() -> Task<std::string> {
    std::string caught;
    for (const Step step : {Step::ready, Step::suspend, Step::resume}) {
      try {
        co_await Throwing{step};
      } catch (const std::runtime_error& error) {
        caught += error.what();
        caught += ' ';
      }
    }
    co_return caught;
  };
  REQUIRE(sync_wait(body()) == "ready suspend resume ");
  AsyncExecutor executor(1);
  REQUIRE(executor.submit(body).get() == "ready suspend resume ");
}

TEST_CASE("a task continues on its own executor when a stranger resumes it", "[task]") {
  Stranger stranger;
  Crew crew;
  std::atomic<int> strayed = 0;
  AsyncExecutor executor(crew.options(2));
  auto child = [&]() -> Task<> {
    // What the awaitable itself reports is not promised: only where the body goes on.
    static_cast<void>(co_await stranger.resume());
    if (!crew.contains_this_thread()) ++strayed;
  };
  auto body = [&]() -> Task<> {
    static_cast<void>(co_await stranger.resume());
    if (!crew.contains_this_thread()) ++strayed;
    co_await child();
    if (!crew.contains_this_thread()) ++strayed;
  };
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < scaled(2000); ++i) futures.push_back(executor.submit(body));
  for (auto& future : futures) future.get();
  REQUIRE(strayed == 0);
}

namespace {

Task<int> resumed_by(Stranger& stranger, int x) {
  static_cast<void>(co_await stranger.resume());
  co_return x;
}
Task<int> deep_below(Stranger& stranger, int depth) {
  if (depth == 0) co_return co_await resumed_by(stranger, 0);
  const int below = co_await deep_below(stranger, depth - 1);
  co_return below + 1;
}

}  // namespace

TEST_CASE("a stranger's coroutine may await tasks outside any executor", "[task]") {
  std::atomic<int> sum = 0;
  Gate gate;
  Stranger stranger;
  const auto body = [](Stranger& thread, std::atomic<int>& total, Gate& done) -> Detached {
    for (int i = 0; i < 300; ++i) {
      const int depth = co_await deep_below(thread, i % 7);
      total += depth;
    }
    done.open();
  };
  body(stranger, sum, gate);
  gate.wait();
  int expected = 0;
  for (int i = 0; i < 300; ++i) expected += i % 7;
  REQUIRE(sum == expected);
}

TEST_CASE("a task continues on its own executor when a stranger keeps the promise it waits for", "[task]") {
  Stranger stranger;
  Crew crew;
  AsyncExecutor executor(crew.options(2));
  std::atomic<int> strayed = 0;
  std::atomic<int> sum = 0;
  auto body = [&](AsyncFuture<int> future) -> Task<> {
    sum += co_await std::move(future);
    if (!crew.contains_this_thread()) ++strayed;
  };
  std::vector<AsyncFuture<void>> futures;
  const int count = scaled(2000);
  for (int i = 0; i < count; ++i) {
    auto promise = std::make_shared<AsyncPromise<int>>();
    futures.push_back(executor.submit(body, promise->get_future()));
    stranger.post([promise] { promise->set_result(1); });
  }
  for (auto& future : futures) future.get();
  REQUIRE(sum == count);
  REQUIRE(strayed == 0);
}

TEST_CASE("a task continues on its own executor when it waits for another executor's task", "[task]") {
  Crew crew;
  Crew others;
  AsyncExecutor other(others.options(1));
  AsyncExecutor executor(crew.options(1));
  std::atomic<int> strayed = 0;
  auto elsewhere = [&]() -> Task<int> {
    co_await sleep_for(1ms);
    if (!others.contains_this_thread()) ++strayed;
    co_return 1;
  };
  auto body = [&]() -> Task<int> {
    auto future = other.submit(elsewhere);
    const int value = co_await future;
    if (!crew.contains_this_thread()) ++strayed;
    co_return value;
  };
  REQUIRE(executor.submit(body).get() == 1);
  REQUIRE(strayed == 0);
}

// ---- Moving between executors --------------------------------------------------------------------------------------

TEST_CASE("schedule moves a task to another executor and there it stays", "[task][schedule]") {
  Stranger stranger;
  Crew left_crew;
  Crew right_crew;
  AsyncExecutor left(left_crew.options(1));
  AsyncExecutor right(right_crew.options(1));
  std::string way;
  auto note = [&] { way += left_crew.contains_this_thread() ? 'l' : right_crew.contains_this_thread() ? 'r' : '?'; };
  auto body = [&]() -> Task<std::string> {
    note();
    co_await left.schedule();  // where it is already
    note();
    co_await right.schedule();
    note();
    co_await sleep_for(1ms);
    note();
    static_cast<void>(co_await stranger.resume());
    note();
    co_await yield();
    note();
    co_await left.schedule();
    note();
    static_cast<void>(co_await stranger.resume());
    note();
    co_return way;
  };
  REQUIRE(left.submit(body).get() == "llrrrrll");
}

TEST_CASE("a task continues on its own executor when the task it awaited has moved away", "[task][schedule]") {
  Crew left_crew;
  Crew right_crew;
  AsyncExecutor left(left_crew.options(1));
  AsyncExecutor right(right_crew.options(1));
  bool child_moved = false;
  bool parent_stayed = false;
  auto child = [&]() -> Task<> {
    co_await right.schedule();
    child_moved = right_crew.contains_this_thread();
  };
  auto parent = [&]() -> Task<> {
    co_await child();
    parent_stayed = left_crew.contains_this_thread();
  };
  left.submit(parent).get();
  REQUIRE(child_moved);
  REQUIRE(parent_stayed);
}

TEST_CASE("many tasks may move to and fro at once", "[task][schedule]") {
  AsyncExecutor left(2);
  AsyncExecutor right(2);
  auto body = [&](int rounds) -> Task<int> {
    int moves = 0;
    for (int i = 0; i < rounds; ++i) {
      co_await right.schedule();
      co_await left.schedule();
      moves += 2;
    }
    co_return moves;
  };
  std::vector<AsyncFuture<int>> futures;
  for (int i = 0; i < 16; ++i) futures.push_back(left.submit(body, scaled(200)));
  int moves = 0;
  for (auto& future : futures) moves += future.get();
  REQUIRE(moves == 16 * 2 * scaled(200));
}

// ---- The stack -----------------------------------------------------------------------------------------------------

TEST_CASE("awaiting a million ready tasks in a row does not grow the stack", "[task][scale][R12]") {
  const int rounds = sanitized ? 300'000 : 1'000'000;
  StackMeter meter;
  auto body = [&]() -> Task<long> {
    long sum = 0;
    for (int i = 0; i < rounds; ++i) {
      const int value = co_await identity(1);
      sum += value;
      meter.look();
    }
    co_return sum;
  };
  SECTION("in sync_wait") { REQUIRE(sync_wait(body()) == rounds); }
  SECTION("on a worker") {
    AsyncExecutor executor(1);
    REQUIRE(executor.submit(body).get() == rounds);
  }
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("awaiting a ready future a million times does not grow the stack", "[task][scale][R12]") {
  const int rounds = sanitized ? 300'000 : 1'000'000;
  StackMeter meter;
  AsyncExecutor executor(1);
  auto body = [&]() -> Task<long> {
    auto future = executor.submit(identity, 1);
    long sum = 0;
    for (int i = 0; i < rounds; ++i) {
      const int value = co_await future;
      sum += value;
      meter.look();
    }
    co_return sum;
  };
  REQUIRE(executor.submit(body).get() == rounds);
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("submitting and awaiting hundreds of thousands of tasks in a row does not grow the stack",
          "[task][scale][R12]") {
  const int rounds = sanitized ? 30'000 : 300'000;
  StackMeter meter;
  AsyncExecutor executor(1);
  auto body = [&]() -> Task<long> {
    long sum = 0;
    for (int i = 0; i < rounds; ++i) {
      const int value = co_await executor.submit(identity, 1);
      sum += value;
      meter.look();
    }
    co_return sum;
  };
  REQUIRE(executor.submit(body).get() == rounds);
  REQUIRE(meter.span() < flat_stack);
}

namespace {

/// Is not ready, and yet does not suspend.
struct GoesOn {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
  void await_resume() const noexcept {}
};

}  // namespace

TEST_CASE("awaits that end without waiting do not grow the stack, however many", "[task][scale][R12]") {
  const int rounds = sanitized ? 20'000 : 200'000;
  StackMeter meter;
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  const AsyncFuture<int> never = promise.get_future();
  int ended = 0;

  SECTION("since there is no time") {
    auto body = [&]() -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        try {
          co_await never.result(0ns);
        } catch (const TimeoutError&) {
          ++ended;
        }
        meter.look();
      }
    };
    executor.submit(body).get();
  }
  SECTION("since there is no time for the next of a map") {
    auto wait = [never](int) -> Task<int> { co_return co_await never; };
    auto body = [&]() -> Task<> {
      auto stream = executor.map(MapOptions{.timeout = 0ns}, wait, std::vector{1});
      for (int i = 0; i < rounds; ++i) {
        try {
          co_await stream.next();
        } catch (const TimeoutError&) {
          ++ended;
        }
        meter.look();
      }
    };
    executor.submit(body).get();
  }
  SECTION("since the task was asked to stop") {
    std::atomic<bool> started = false;
    auto body = [&]() -> Task<> {
      started = true;
      while (ended < rounds) {
        try {
          co_await never;
        } catch (const CancelledError&) {
          ++ended;
        }
        meter.look();
      }
    };
    AsyncFuture<void> future = executor.submit(body);
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    future.get();
  }
  SECTION("since what a stranger awaits goes on") {
    auto body = [&]() -> Task<> {
      for (; ended < rounds; ++ended) {
        co_await GoesOn();
        meter.look();
      }
    };
    executor.submit(body).get();
  }
  REQUIRE(ended == rounds);
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("a chain of tasks a million deep does not grow the stack", "[task][scale][R12]") {
  StackMeter meter;
  SECTION("in sync_wait") { REQUIRE(sync_wait(descend(deep, meter)) == deep); }
  SECTION("on a worker") {
    AsyncExecutor executor(1);
    REQUIRE(executor.submit(descend(deep, meter)).get() == deep);
  }
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("a chain of tasks a million deep does not grow the stack when it was suspended", "[task][scale][R12]") {
  StackMeter meter;
  SECTION("in sync_wait") { REQUIRE(sync_wait(descend_and_sleep(deep, meter)) == deep); }
  SECTION("on a worker") {
    AsyncExecutor executor(1);
    REQUIRE(executor.submit(descend_and_sleep(deep, meter)).get() == deep);
  }
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("a chain of tasks that own one another ends without growing the stack", "[task][scale][R12]") {
  std::atomic<int> alive = 0;
  StackMeter meter;
  Task<int> task = chain(deep, Counted(alive), meter);
  REQUIRE(alive == deep);
  REQUIRE(sync_wait(std::move(task)) == deep);
  REQUIRE(alive == 0);
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("a chain of tasks that own one another is destroyed without growing the stack", "[task][scale][R12]") {
  std::atomic<int> alive = 0;
  StackMeter meter;
  {
    const Task<int> never_started = chain(deep, Counted(alive), meter);
    REQUIRE(alive == deep);
  }
  REQUIRE(alive == 0);
}

TEST_CASE("a cancelled chain of tasks ends from the bottom up without growing the stack", "[task][scale][R12]") {
  const int depth = scaled(50'000);  // an exception goes through each
  StackMeter meter;
  AsyncExecutor executor(1);
  std::atomic<bool> at_the_bottom = false;
  auto bottom = [&]() -> Task<int> {
    at_the_bottom = true;
    co_await sleep_for(1h);
    co_return 0;
  };
  std::atomic<int> alive = 0;
  Task<int> task = bottom();
  for (int i = 0; i < depth; ++i) task = wrap(std::move(task), Counted(alive), meter);
  auto future = executor.submit(std::move(task));
  REQUIRE(eventually([&] { return at_the_bottom.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(future.cancelled());
  future = {};
  REQUIRE(eventually([&] { return alive == 0; }));
  REQUIRE(meter.span() < flat_stack);
}

TEST_CASE("an exception passes through a chain of tasks ten thousand deep", "[task][scale]") {
  REQUIRE(thrown_by([] { sync_wait(throw_from(10'000)); }) == "runtime_error: from the bottom");
}

// ---- The stop token ------------------------------------------------------------------------------------------------

TEST_CASE("an awaited task has the stop token of its awaiter", "[task][cancel]") {
  AsyncExecutor executor(1);
  std::optional<std::stop_token> parents;
  std::optional<std::stop_token> childs;
  std::atomic<bool> waiting = false;
  auto child = [&]() -> Task<bool> {
    childs = co_await get_stop_token();
    waiting = true;
    while (!childs->stop_requested()) co_await yield();
    co_return true;
  };
  auto parent = [&]() -> Task<bool> {
    parents = co_await get_stop_token();
    const bool stopped = co_await child();
    co_return stopped;
  };
  auto future = executor.submit(parent);
  REQUIRE(eventually([&] { return waiting.load(); }));
  REQUIRE(future.cancel());
  REQUIRE(future.get());
  REQUIRE(*parents == *childs);
  REQUIRE(parents->stop_requested());
}

TEST_CASE("nothing has asked a task to stop that nobody cancelled", "[task][cancel]") {
  auto body = []() -> Task<bool> {
    const std::stop_token token = co_await get_stop_token();
    co_return token.stop_requested();
  };
  REQUIRE_FALSE(sync_wait(body()));
  AsyncExecutor executor(1);
  REQUIRE_FALSE(executor.submit(body).get());
}

namespace {

struct DefinedLater;
Task<int> takes_incomplete(DefinedLater& object, int (&function)(int));

struct DefinedLater {
  virtual ~DefinedLater() = default;
  virtual int value() const = 0;
};
Task<int> takes_incomplete(DefinedLater& object, int (&function)(int)) { co_return function(object.value()); }

}  // namespace

TEST_CASE("a coroutine may take references to incomplete and abstract types and to functions") {
  struct Three : DefinedLater {
    int value() const override { return 3; }
  } three;
  int (*const twice)(int) = [](int value) { return 2 * value; };
  REQUIRE(sync_wait(takes_incomplete(three, *twice)) == 6);
}

TEST_CASE("arguments are destroyed at the end of their coroutine, trivial or not") {
  // Before the awaiter goes on: the frame goes with the full expression that awaits it.
  const auto count = std::make_shared<int>(0);
  const auto trivial = [](int value) -> Task<int> { co_return value; };
  const auto keeps = [](std::shared_ptr<int> kept, int) -> Task<long> { co_return kept.use_count(); };
  const auto both = [&]() -> Task<long> {
    const int one = co_await trivial(1);
    const long during = co_await keeps(count, one);
    co_return during * 10 + count.use_count();
  };
  REQUIRE(sync_wait(both()) == 21);
}
