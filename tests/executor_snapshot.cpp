#include <cohort/executor_snapshot.hpp>

#include <algorithm>  // for all_of
#include <array>      // for array
#include <atomic>     // for atomic
#include <cohort/cohort.hpp>
#include <csignal>  // for raise
#include <latch>    // for latch
#include <sstream>  // for ostringstream
#include <string>   // for string
#include <thread>   // for jthread
#include <vector>   // for vector

#include "catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using cohort::AsyncExecutor;
using cohort::AsyncFuture;
using cohort::ExecutorSnapshot;
using cohort::ManualExecutor;
using cohort::Task;
using cohort::TaskActivity;
using cohort::TaskSnapshot;
using cohort::WorkerActivity;
using test::contains;

namespace {

using Words = std::vector<std::string>;

const TaskSnapshot& find(const ExecutorSnapshot& snapshot, const std::string& name) {
  static const TaskSnapshot none{.sequence_id = 404};
  for (const TaskSnapshot& task : snapshot.tasks)
    if (task.name == name) return task;
  return none;
}

std::string page(const ExecutorSnapshot& snapshot) {
  std::ostringstream stream;
  stream << snapshot;
  return stream.str();
}

cohort::SubmitOptions named(std::string_view name) {
  cohort::SubmitOptions options;
  options.name = name;
  return options;
}

/// Takes snapshots until `wanted` says yes to one, and returns that; or the last, when it takes too long.
template <class Executor, class Wanted>
ExecutorSnapshot until(const Executor& executor, Wanted wanted) {
  ExecutorSnapshot snapshot;
  test::eventually([&] {
    snapshot = executor.snapshot();
    return wanted(snapshot);
  });
  return snapshot;
}

Task<> doze(cohort::Duration duration) { co_await cohort::sleep_for(duration); }
Task<> take(cohort::Semaphore& semaphore) { const cohort::Permit permit = co_await semaphore.acquire(); }
Task<> await_future(AsyncFuture<void> future) { co_await future; }
Task<> await_first(std::vector<AsyncFuture<void>> futures) {
  cohort::WaitOptions options;
  options.return_when = cohort::WaitStrategy::first_completed;
  const auto result = co_await cohort::wait(std::move(futures), options);
}
// What a task awaits belongs to it.
Task<> outer(cohort::Semaphore& semaphore) { co_await take(semaphore); }
Task<> both(cohort::Semaphore& semaphore) { co_await cohort::when_all(doze(1h), take(semaphore)); }
Task<> either(cohort::Semaphore& semaphore) { co_await cohort::when_any(doze(1h), take(semaphore)); }

}  // namespace

TEMPLATE_TEST_CASE("a snapshot names tasks that hang and what they wait for", "", AsyncExecutor, ManualExecutor) {
  TestType executor(2);
  cohort::Semaphore none(0);
  cohort::AsyncPromise<> promise;
  std::vector<AsyncFuture<void>> futures;
  futures.push_back(executor.submit(named("sleeper"), doze, cohort::Duration(1h)));
  futures.push_back(executor.submit(named("taker"), take, std::ref(none)));
  futures.push_back(executor.submit(named("outer"), outer, std::ref(none)));
  futures.push_back(executor.submit(named("both"), both, std::ref(none)));
  futures.push_back(executor.submit(named("either"), either, std::ref(none)));
  futures.push_back(executor.submit({.timeout = 2h, .name = "timed"}, take, std::ref(none)));
  futures.push_back(executor.submit({.semaphore = &none, .name = "first permit"}, [] {}));
  futures.push_back(executor.submit(named("reader"), await_future, promise.get_future()));
  futures.push_back(executor.submit(named("follower"), await_future, futures[1]));
  futures.push_back(executor.submit(named("chooser"), await_first, std::vector{futures[1], futures[2]}));
  if constexpr (std::is_same_v<TestType, ManualExecutor>) executor.pool().run_until_idle();
  // When all wait, and after that no worker has anything left to do, nothing moves any more.
  until(executor, [](const ExecutorSnapshot& each) {
    return std::all_of(each.tasks.begin(), each.tasks.end(),
                       [](const TaskSnapshot& task) { return task.activity == TaskActivity::waiting; });
  });
  until(executor, [](const ExecutorSnapshot& each) {
    return std::all_of(each.workers.begin(), each.workers.end(),
                       [](const auto& worker) { return worker.activity == WorkerActivity::parked; });
  });
  const ExecutorSnapshot snapshot = executor.snapshot();

  CHECK(snapshot.tasks.size() == 10);
  CHECK(snapshot.unlisted == 0);
  CHECK(snapshot.name == "cohort");
  CHECK_FALSE(snapshot.closed);
  CHECK(snapshot.timers == 4);
  CHECK(snapshot.next_timer.has_value());
  CHECK(find(snapshot, "sleeper").sequence_id == 0);
  CHECK(find(snapshot, "sleeper").activity == TaskActivity::waiting);
  CHECK(find(snapshot, "sleeper").age.has_value());
  CHECK_THAT(find(snapshot, "sleeper").waits_for.at(0), contains(" s to pass"));
  CHECK(find(snapshot, "taker").waits_for == Words{"a permit of a semaphore"});
  CHECK(find(snapshot, "outer").waits_for == Words{"a permit of a semaphore"});
  CHECK(find(snapshot, "both").waits_for.size() == 2);
  CHECK(find(snapshot, "either").waits_for.size() == 2);
  CHECK(find(snapshot, "timed").waits_for == Words{"a permit of a semaphore"});
  CHECK(find(snapshot, "first permit").waits_for == Words{"a permit of a semaphore"});
  CHECK(find(snapshot, "reader").waits_for == Words{"a promise"});
  CHECK(find(snapshot, "follower").waits_for == Words{"#1 \"taker\""});
  CHECK(find(snapshot, "chooser").waits_for == Words{"one of several futures"});

  const std::string text = page(snapshot);
  CHECK_THAT(text, contains("executor \"cohort\": 10 tasks submitted, 0 not started, 10 started and not ended\n"));
  CHECK_THAT(text, contains("worker 0: parked"));
  CHECK_THAT(text, contains("4 timers set, the first due in "));
  CHECK_THAT(text, contains("task #1 \"taker\": suspended, waiting for a permit of a semaphore; "));
  CHECK_THAT(text, contains("task #8 \"follower\": suspended, waiting for #1 \"taker\"; "));

  for (const auto& future : futures) future.cancel();
  executor.shutdown();
  const ExecutorSnapshot over = executor.snapshot();
  CHECK(over.tasks.empty());
  CHECK(over.unlisted == 0);
  CHECK(over.timers == 0);
  CHECK(over.closed);
  CHECK_THAT(page(over), contains("shut down"));
}

TEMPLATE_TEST_CASE("a snapshot lists tasks without a name when it is asked to", "", AsyncExecutor, ManualExecutor) {
  cohort::ExecutorOptions options;
  options.max_workers = 1;
  options.name = "traced";
  options.trace_tasks = true;
  cohort::Semaphore none(0);
  TestType executor(options);
  auto plain = executor.submit(take, std::ref(none));
  if constexpr (std::is_same_v<TestType, ManualExecutor>) executor.pool().run_until_idle();
  const ExecutorSnapshot snapshot = until(executor, [](const ExecutorSnapshot& each) {
    return !each.tasks.empty() && each.tasks.front().activity == TaskActivity::waiting;
  });
  CHECK(snapshot.name == "traced");
  REQUIRE(snapshot.tasks.size() == 1);
  CHECK(snapshot.tasks.front().waits_for == Words{"a permit of a semaphore"});
  plain.cancel();
}

TEST_CASE("a snapshot counts the tasks that it does not list") {
  cohort::Semaphore none(0);
  AsyncExecutor executor(1);
  auto plain = executor.submit(take, std::ref(none));
  const ExecutorSnapshot snapshot =
      until(executor, [](const ExecutorSnapshot& each) { return each.stats.running == 1 && each.tasks.empty(); });
  CHECK(snapshot.unlisted == 1);
  CHECK_THAT(page(snapshot), contains("and 1 task without a name"));
  plain.cancel();
}

TEST_CASE("a snapshot shows what the workers run and what is queued behind it") {
  AsyncExecutor executor(1);
  test::Gate gate;
  std::latch started(1);
  auto busy = executor.submit(named("busy"), [&] {
    started.count_down();
    gate.wait();
  });
  auto behind = executor.submit([] {});
  auto last = executor.submit(named("last"), [] {});
  started.wait();  // a snapshot looks at one place after the other: nothing may move meanwhile
  const ExecutorSnapshot snapshot = executor.snapshot();
  CHECK(snapshot.workers.size() == 1);
  CHECK(snapshot.workers.front().activity == WorkerActivity::running);
  CHECK(snapshot.workers.front().task == "#0 \"busy\"");
  CHECK(snapshot.shared_queue == 2);
  REQUIRE(snapshot.tasks.size() == 3);
  CHECK(snapshot.tasks[0].activity == TaskActivity::running);
  CHECK(snapshot.tasks[1].activity == TaskActivity::queued);  // found in the queue, though it has no name
  CHECK(snapshot.tasks[1].sequence_id == 1);
  CHECK(snapshot.tasks[2].activity == TaskActivity::queued);
  CHECK(snapshot.tasks[2].name == "last");
  CHECK_THAT(page(snapshot), contains("worker 0: running #0 \"busy\"\n"));
  gate.open();
  busy.wait();  // it may come to the gate only now
}

TEST_CASE("a snapshot shows what is in the deques and what the limit keeps") {
  cohort::ExecutorOptions options;
  options.max_workers = 1;
  options.max_concurrent_tasks = 1;
  AsyncExecutor limited(options);
  AsyncExecutor executor(1);
  test::Gate gate;
  std::latch started(2);
  const auto block = [&] {
    started.count_down();
    gate.wait();
  };
  auto first = limited.submit(block);
  auto second = limited.submit([] {});
  auto parent = executor.submit([&] {
    executor.submit([] {});
    executor.submit([] {});
    block();
  });
  started.wait();
  CHECK(limited.snapshot().limited == 1);
  CHECK(limited.snapshot().tasks.size() == 1);
  CHECK(executor.snapshot().workers.front().queued == 2);
  CHECK_THAT(page(executor.snapshot()), contains("worker 0: running, 2 in its queue\n"));
  CHECK_THAT(page(limited.snapshot()), contains("1 kept by max_concurrent_tasks"));
  gate.open();
  first.wait();  // they may come to the gate only now
  parent.wait();
}

TEMPLATE_TEST_CASE("a snapshot shows a task that blocks its thread", "", AsyncExecutor, ManualExecutor) {
  cohort::Semaphore none(0);
  TestType executor(1);
  auto hung = executor.submit(named("hung"), take, std::ref(none));
  ExecutorSnapshot snapshot;
  auto blocker = executor.submit(named("blocker"), [hung] { hung.wait(); });
  auto watchdog = executor.submit([&]() -> Task<> {
    while (snapshot.blocked_threads == 0) {
      snapshot = executor.snapshot();
      co_await cohort::sleep_for(1ms);
    }
    hung.cancel();
  });
  watchdog.get();
  blocker.get();
  CHECK(snapshot.blocked_threads >= 1);
  CHECK(find(snapshot, "blocker").activity == TaskActivity::blocked);
  CHECK(find(snapshot, "blocker").waits_for == Words{"#0 \"hung\""});
  CHECK_THAT(page(snapshot), contains("blocking a thread, waiting for #0 \"hung\""));
}

TEST_CASE("tracing changes neither how a result is taken nor where a task runs") {
  cohort::ExecutorOptions options;
  options.max_workers = 1;
  options.trace_tasks = true;
  AsyncExecutor executor(options);
  std::atomic<int> alive{0};
  auto future = executor.submit([&alive] { return test::Counted(alive); });
  future.wait();
  CHECK(alive == 1);
  CHECK(executor.submit([] { return std::make_unique<int>(3); }).get() != nullptr);
  const auto nested = [&executor]() -> Task<int> {
    const int one = co_await executor.submit([] { return 1; });
    co_return one + executor.submit([] { return 1; }).get();
  };
  CHECK(executor.submit(nested).get() == 2);
  for (int each = 0; each < 100; ++each) executor.submit([] {}).cancel();
  future = {};
  CHECK(alive == 0);
  executor.shutdown();
  CHECK(executor.snapshot().tasks.empty());
}

TEST_CASE("snapshots may be taken by any thread while everything moves") {
  cohort::ExecutorOptions options;
  options.max_workers = 2;
  options.trace_tasks = true;
  AsyncExecutor executor(options);
  AsyncExecutor plain(2);
  std::atomic<bool> over{false};
  std::vector<std::jthread> watchers;
  for (int each = 0; each < 2; ++each) {
    watchers.emplace_back([&] {
      while (!over) {
        for (const ExecutorSnapshot& snapshot : {executor.snapshot(), plain.snapshot()}) {
          if (page(snapshot).empty()) return;
        }
      }
    });
  }
  cohort::Semaphore two(2);
  const auto busy = [&two](auto& self, AsyncExecutor& on, int depth) -> Task<int> {
    if (depth == 0) {
      const cohort::Permit permit = co_await two.acquire();
      co_await cohort::sleep_for(10us);
      co_return 1;
    }
    auto left = on.submit({.timeout = 1h, .name = "left"}, self, std::ref(self), std::ref(on), depth - 1);
    auto right = on.submit(self, std::ref(self), std::ref(on), depth - 1);
    const int sum = co_await left;
    co_return depth % 2 == 0 ? sum + right.get() : sum + co_await right;
  };
  for (int round = 0; round < test::scaled(40); ++round) {
    auto first = executor.submit(busy, std::ref(busy), std::ref(executor), 4);
    auto second = plain.submit(busy, std::ref(busy), std::ref(plain), 4);
    CHECK(first.get() == 16);
    CHECK(second.get() == 16);
  }
  over = true;
  watchers.clear();
  executor.shutdown();
  CHECK(executor.snapshot().tasks.empty());
}

TEST_CASE("a test program that takes too long prints what its executors do and aborts") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const int code = test::in_child([&] {
    ::dup2(ends[1], STDERR_FILENO);
    std::signal(SIGABRT, SIG_DFL);
    ManualExecutor executor;
    cohort::Semaphore none(0);
    auto hung = executor.submit(named("hung"), take, std::ref(none));
    executor.pool().run_until_idle();
    ::raise(test::watchdog_signal());
    return 0;
  });
  ::close(ends[1]);
  CHECK(code == 128 + SIGABRT);
  std::array<char, 4096> text{};
  static_cast<void>(::read(ends[0], text.data(), text.size() - 1));
  ::close(ends[0]);
  CHECK_THAT(text.data(), contains("task #0 \"hung\": suspended, waiting for a permit of a semaphore"));
}
