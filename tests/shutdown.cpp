// How executors end: by shutdown in all its forms, by destruction on any thread, by exit, and not at all after fork.
#include "catch.hpp"
#include "support.hpp"

#include <unistd.h>

#include <chrono>
#include <cohort/cohort.hpp>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
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

Task<> settled(AsyncFuture<void> future) {
  try {
    co_await future;
  } catch (const CancelledError&) {
  }
}

}  // namespace

// ---- Waiting -------------------------------------------------------------------------------------------------------

TEST_CASE("the destructor waits for everything that was submitted", "[shutdown]") {
  std::atomic<int> ended = 0;
  std::vector<AsyncFuture<void>> futures;
  {
    AsyncExecutor executor(2);
    for (int i = 0; i < 50; ++i) {
      futures.push_back(executor.submit([&]() -> Task<> {
        co_await sleep_for(5ms);
        co_await yield();
        ++ended;
      }));
      futures.push_back(executor.submit([&] {
        std::this_thread::sleep_for(100us);
        ++ended;
      }));
    }
  }
  REQUIRE(ended == 100);
  for (auto& future : futures) REQUIRE(future.done());
}

TEST_CASE("shutdown waits for tasks that wait for something outside", "[shutdown]") {
  AsyncPromise<int> promise;
  std::atomic<bool> ended = false;
  AsyncExecutor executor(1);
  auto future = executor.submit([&]() -> Task<int> {
    const int value = co_await promise.get_future();
    ended = true;
    co_return value;
  });
  const std::jthread thread([&] {
    std::this_thread::sleep_for(20ms);
    promise.set_result(7);
  });
  executor.shutdown();
  REQUIRE(ended);
  REQUIRE(future.get(0ms) == 7);
}

TEST_CASE("shutdown joins the workers", "[shutdown]") {
  const std::ptrdiff_t before = settled_thread_count();
  AsyncExecutor executor(4);
  (void)executor.submit(answer_later);
  executor.shutdown();
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("tasks that are still running at shutdown can do everything but submit", "[shutdown]") {
  AsyncExecutor executor(2);
  Gate gate;
  std::atomic<int> attempts = 0;
  std::atomic<bool> started = false;
  auto child = [](int x) -> Task<int> {
    co_await sleep_for(2ms);
    co_return x;
  };
  auto body = [&]() -> Task<std::string> {
    started = true;
    gate.wait();
    std::string refused = thrown_by([&] { return executor.submit(answer); });
    const int awaited = co_await child(1);
    co_await yield();
    const std::tuple<int, int> both = co_await when_all(child(2), child(3));
    co_await executor.schedule();
    co_await sleep_for(2ms);
    co_return refused + " " + std::to_string(awaited + std::get<0>(both) + std::get<1>(both));
  };
  auto retried = [&] {
    if (++attempts < 3) throw std::runtime_error("not yet");
    return 7;
  };
  auto future = executor.submit(body);
  auto second = executor.submit(SubmitOptions{.retries = 3, .retry_delay = 10ms}, retried);
  REQUIRE(eventually([&] { return started.load(); }));
  executor.shutdown({.wait = false});
  gate.open();
  executor.shutdown();
  REQUIRE(future.get(0ms) == "shutdown 6");
  REQUIRE(second.get(0ms) == 7);
}

TEST_CASE("whoever waits for a future is told when the executor is destroyed", "[shutdown]") {
  AsyncFuture<int> future;
  std::optional<std::jthread> reader;
  std::atomic<int> value = 0;
  {
    AsyncExecutor executor(1);
    future = executor.submit(answer_later);
    reader.emplace([&value, future] { value = future.get(); });
  }
  reader.reset();
  REQUIRE(value == 42);
}

// ---- Not waiting ---------------------------------------------------------------------------------------------------

TEST_CASE("shutdown without waiting returns at once and what was submitted still runs", "[shutdown][R5]") {
  std::atomic<int> ran = 0;
  std::vector<AsyncFuture<void>> futures;
  AsyncFuture<int> sleeping;
  {
    AsyncExecutor executor(1);
    Occupy occupied(executor);
    sleeping = executor.submit(answer_later);
    for (int i = 0; i < 10; ++i) futures.push_back(executor.submit([&] { ++ran; }));
    executor.shutdown(ShutdownOptions{.wait = false});  // would wait for ever, for the worker is busy
    REQUIRE(ran == 0);
    REQUIRE(thrown_by([&] { return executor.submit(answer); }) == "shutdown");
    occupied.release();
    SECTION("until the next shutdown") {
      executor.shutdown();
      REQUIRE(ran == 10);
      REQUIRE(sleeping.done());
    }
    SECTION("until the destructor") {}
    SECTION("while nobody waits") {
      for (auto& future : futures) future.get();
      REQUIRE(sleeping.get() == 42);
    }
  }
  REQUIRE(ran == 10);
  REQUIRE(sleeping.get(0ms) == 42);
}

// ---- Cancelling ----------------------------------------------------------------------------------------------------

TEST_CASE("shutdown cancels what has not started if asked and nothing else", "[shutdown][cancel]") {
  std::atomic<int> ran = 0;
  std::atomic<int> alive = 0;
  std::atomic<bool> started = false;
  std::atomic<bool> asked_to_stop = false;
  Gate gate;
  AsyncExecutor executor(1);
  auto running = executor.submit([&](std::stop_token token) -> Task<int> {
    started = true;
    gate.wait();
    co_await sleep_for(5ms);
    asked_to_stop = token.stop_requested();
    co_return 7;
  });
  REQUIRE(eventually([&] { return started.load(); }));
  auto body = [&]() -> Task<> {
    ++ran;
    co_return;
  };
  std::vector<AsyncFuture<void>> pending;
  for (int i = 0; i < 10; ++i) {
    pending.push_back(executor.submit([&, counted = Counted(alive)] { ++ran; }));
    pending.push_back(executor.submit(body));
    pending.push_back(executor.submit(body()));
  }
  SECTION("without waiting") {
    executor.shutdown({.wait = false, .cancel_futures = true});
    for (auto& future : pending) REQUIRE(future.cancelled());
    REQUIRE(alive == 0);
    REQUIRE(running.running());
    gate.open();
  }
  SECTION("and waits") {
    const std::jthread opener([&] {
      pending.front().wait();
      gate.open();
    });
    executor.shutdown({.cancel_futures = true});
    REQUIRE(running.done());
  }
  SECTION("in a second call") {
    executor.shutdown({.wait = false});
    REQUIRE_FALSE(pending.front().done());
    executor.shutdown({.wait = false, .cancel_futures = true});
    for (auto& future : pending) REQUIRE(future.cancelled());
    gate.open();
  }
  executor.shutdown();
  for (auto& future : pending) REQUIRE(future.cancelled());
  REQUIRE(ran == 0);
  REQUIRE(alive == 0);
  REQUIRE(running.get(0ms) == 7);
  REQUIRE_FALSE(asked_to_stop);
  REQUIRE(executor.stats().cancelled == 30);
  REQUIRE(executor.stats().succeeded == 1);
}

TEST_CASE("shutdown cancels tasks that a worker has queued or that wait for room", "[shutdown][cancel]") {
  std::atomic<int> ran = 0;
  SECTION("queued by a worker") {
    AsyncExecutor executor(1);
    std::vector<AsyncFuture<void>> pending;
    std::atomic<bool> queued = false;
    Gate gate;
    (void)executor.submit([&] {
      for (int i = 0; i < 10; ++i) pending.push_back(executor.submit([&] { ++ran; }));
      queued = true;
      gate.wait();
    });
    REQUIRE(eventually([&] { return queued.load(); }));
    executor.shutdown({.wait = false, .cancel_futures = true});
    for (auto& future : pending) REQUIRE(future.cancelled());
    gate.open();
    executor.shutdown();
  }
  SECTION("waiting for room") {
    ExecutorOptions options;
    options.max_workers = 2;
    options.max_concurrent_tasks = 1;
    AsyncExecutor executor(options);
    std::vector<AsyncFuture<void>> pending;
    Occupy occupied(executor);
    for (int i = 0; i < 10; ++i) pending.push_back(executor.submit([&] { ++ran; }));
    executor.shutdown({.wait = false, .cancel_futures = true});
    for (auto& future : pending) REQUIRE(future.cancelled());
    occupied.release();
    executor.shutdown();
  }
  SECTION("waiting for the permit of the first attempt") {
    AsyncExecutor executor(2);
    Semaphore semaphore(0);
    const SubmitOptions options{.retries = 1, .semaphore = &semaphore};
    std::vector<AsyncFuture<void>> pending;
    for (int i = 0; i < 10; ++i) pending.push_back(executor.submit(options, [&] { ++ran; }));
    REQUIRE(eventually([&] { return executor.stats().running == 10; }));
    executor.shutdown({.wait = true, .cancel_futures = true});
    for (auto& future : pending) REQUIRE(future.cancelled());
    semaphore.release();
    REQUIRE(semaphore.try_acquire());
  }
  REQUIRE(ran == 0);
}

TEST_CASE("shutdown also cancels what one worker takes from another meanwhile", "[shutdown][cancel][threads]") {
  // While it empties the long queue of worker 1, worker 0, which it has seen to, takes from worker 2: a coroutine that is
  // to go on, and perhaps some of the tasks behind it. What is among these must not begin after shutdown has returned.
  thread_local std::size_t worker = 3;
  ExecutorOptions options;
  options.max_workers = 3;
  options.on_worker_start = [](std::size_t index) { worker = index; };
  AsyncExecutor executor(options);
  Semaphore semaphore(0);
  std::vector<AsyncFuture<void>> unstarted;
  std::atomic<bool> returned = false;
  std::atomic<int> late = 0;
  auto going_on = [&]() -> Task<> {
    const Permit permit = co_await semaphore.acquire();
    while (!returned) std::this_thread::yield();
    for (const auto& future : unstarted) co_await settled(future);
  };
  auto coroutine = executor.submit(going_on);
  REQUIRE(eventually([&] { return executor.stats().running == 1; }));
  std::atomic<int> arrived = 0;
  std::atomic<int> prepared = 0;
  std::atomic<bool> thief_may_go = false;
  Gate gate;
  auto role = [&] {
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
    if (worker == 1) {
      for (int i = 0; i < scaled(1'000'000); ++i) (void)executor.submit([] {});
    } else if (worker == 2) {
      semaphore.release();
      for (int i = 0; i < 200; ++i) {
        unstarted.push_back(executor.submit([&] {
          if (returned) ++late;
        }));
      }
    }
    ++prepared;
    if (worker != 0) gate.wait();
    while (!thief_may_go) std::this_thread::yield();
  };
  for (int i = 0; i < 3; ++i) (void)executor.submit(role);
  REQUIRE(eventually([&] { return prepared == 3; }));
  thief_may_go = true;
  executor.shutdown({.wait = false, .cancel_futures = true});
  returned = true;
  REQUIRE(eventually([&] { return coroutine.done(); }));
  CHECK(late == 0);
  for (const auto& future : unstarted) REQUIRE(eventually([&] { return future.cancelled(); }));
  gate.open();
  executor.shutdown();
}

TEST_CASE("shutdown does not cancel a task that waits for the permit of another attempt", "[shutdown][cancel]") {
  AsyncExecutor executor(1);
  Semaphore semaphore(1);
  std::atomic<int> attempts = 0;
  AsyncFuture<int> future = executor.submit({.retries = 1, .retry_delay = 0s, .semaphore = &semaphore}, [&] {
    if (++attempts == 1) {
      (void)semaphore.try_acquire();  // fails: this attempt has it
      throw std::runtime_error("once more");
    }
    return 7;
  });
  executor.shutdown({.wait = true, .cancel_futures = true});
  REQUIRE((future.cancelled() ? attempts == 0 : future.get() == 7));
}

// ---- Again and from everywhere -------------------------------------------------------------------------------------

TEST_CASE("shutdown may be called again", "[shutdown][R5]") {
  AsyncExecutor executor(2);
  auto future = executor.submit(answer_later);
  executor.shutdown();
  executor.shutdown();
  executor.shutdown({.wait = false});
  executor.shutdown({.wait = true, .cancel_futures = true});
  REQUIRE(future.get(0ms) == 42);
}

TEST_CASE("of several threads that shut down each one waits", "[shutdown][threads][R5]") {
  for (int round = 0; round < scaled(50); ++round) {
    std::atomic<int> ended = 0;
    std::atomic<int> returned = 0;
    std::atomic<int> too_early = 0;
    AsyncExecutor executor(2);
    std::optional<Occupy> occupied(executor);
    for (int i = 0; i < 10; ++i) {
      (void)executor.submit([&]() -> Task<> {
        co_await sleep_for(1ms);
        ++ended;
      });
    }
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
          executor.shutdown();
          if (ended != 10) ++too_early;
          ++returned;
        });
      }
      std::this_thread::sleep_for(1ms);
      if (returned != 0) ++too_early;
      executor.shutdown({.wait = false});
      occupied.reset();
    }
    REQUIRE(returned == 3);
    REQUIRE(too_early == 0);
  }
}

TEST_CASE("a worker may shut down its own executor", "[shutdown][worker][R5]") {
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{2});
  const std::ptrdiff_t before = settled_thread_count();
  std::atomic<int> ran = 0;
  std::string refused;
  std::vector<AsyncFuture<void>> queued;
  AsyncFuture<void> first;
  {
    AsyncExecutor executor(workers);
    std::optional<Occupy> occupied;
    if (workers == 2) occupied.emplace(executor);
    Gate gate;
    SECTION("in a function") {
      first = executor.submit([&] {
        gate.wait();
        executor.shutdown();
        executor.shutdown();
        refused = thrown_by([&] { return executor.submit(answer); });
      });
    }
    SECTION("in a coroutine") {
      first = executor.submit([&]() -> Task<> {
        gate.wait();
        co_await yield();
        executor.shutdown();
        refused = thrown_by([&] { return executor.submit(answer); });
        co_await sleep_for(1ms);
      });
    }
    SECTION("without waiting") {
      first = executor.submit([&] {
        gate.wait();
        executor.shutdown({.wait = false});
        refused = thrown_by([&] { return executor.submit(answer); });
      });
    }
    for (int i = 0; i < 10; ++i) queued.push_back(executor.submit([&] { ++ran; }));
    gate.open();
    occupied.reset();
    first.get();
    for (auto& future : queued) future.get();
  }
  REQUIRE(refused == "shutdown");
  REQUIRE(ran == 10);
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("a worker may shut down and cancel what has not started", "[shutdown][worker][cancel]") {
  std::atomic<int> ran = 0;
  std::vector<AsyncFuture<void>> queued;
  AsyncExecutor executor(1);
  Gate gate;
  auto first = executor.submit([&] {
    gate.wait();
    executor.shutdown({.cancel_futures = true});
    return 7;
  });
  for (int i = 0; i < 10; ++i) queued.push_back(executor.submit([&] { ++ran; }));
  gate.open();
  REQUIRE(first.get() == 7);
  executor.shutdown();
  for (auto& future : queued) REQUIRE(future.cancelled());
  REQUIRE(ran == 0);
}

TEST_CASE("several workers and the outside may shut down at once", "[shutdown][worker][threads][R5]") {
  for (int round = 0; round < scaled(100); ++round) {
    AsyncExecutor executor(2);
    std::latch ready(3);
    auto body = [&] {
      ready.arrive_and_wait();
      executor.shutdown();
    };
    auto first = executor.submit(body);
    auto second = executor.submit(body);
    ready.arrive_and_wait();
    executor.shutdown();
    REQUIRE(first.done());
    REQUIRE(second.done());
    REQUIRE_NOTHROW(first.get());
    REQUIRE_NOTHROW(second.get());
  }
}

TEST_CASE("a callback may shut down the executor", "[shutdown][callback][R16]") {
  AsyncExecutor executor(1);
  std::atomic<bool> returned = false;
  {
    Occupy occupied(executor);
    auto future = executor.submit(answer);
    future.add_done_callback([&](AsyncFuture<int>) {
      executor.shutdown();
      returned = true;
    });
  }
  REQUIRE(eventually([&] { return returned.load(); }));
  REQUIRE(thrown_by([&] { return executor.submit(answer); }) == "shutdown");
}

// ---- Afterwards ----------------------------------------------------------------------------------------------------

TEST_CASE("after shutdown submit throws and keeps nothing", "[shutdown][R7]") {
  AsyncExecutor executor(2);
  (void)executor.submit(answer);
  executor.shutdown();
  std::atomic<int> alive = 0;
  std::atomic<int> ran = 0;
  auto function = [&](const Counted&) { ++ran; };
  auto coroutine = [&](Counted) -> Task<> {
    ++ran;
    co_return;
  };
  auto by_value = [](Counted) -> Task<> { co_return; };
  auto future_function = [&](const Counted&) { return executor.submit(answer); };
  const SubmitOptions options{.retries = 1, .timeout = 1h};
  REQUIRE_THROWS_AS(executor.submit(function, Counted(alive)), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(coroutine, Counted(alive)), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(by_value, Counted(alive)), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(future_function, Counted(alive)), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(coroutine(Counted(alive))), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(options, function, Counted(alive)), ExecutorShutdownError);
  REQUIRE_THROWS_AS(executor.submit(options, coroutine, Counted(alive)), ExecutorShutdownError);
  REQUIRE(alive == 0);
  REQUIRE(ran == 0);
  REQUIRE(executor.stats().submitted == 1);
  REQUIRE(executor.stats().succeeded == 1);
  REQUIRE(executor.max_workers() == 2);
}

TEST_CASE("a task is either accepted and ends or refused while shutdown races with submit", "[shutdown][threads][R4]") {
  for (int round = 0; round < scaled(60); ++round) {
    std::atomic<int> ran = 0;
    std::atomic<int> spawned = 0;
    std::vector<std::vector<AsyncFuture<void>>> accepted(2);
    AsyncExecutor executor(2);
    {
      std::latch ready(3);
      std::vector<std::jthread> threads;
      for (auto& mine : accepted) {
        threads.emplace_back([&] {
          ready.arrive_and_wait();
          try {
            for (int i = 0; i < 5'000; ++i) {
              mine.push_back(executor.submit([&] { ++ran; }));
              // The workers submit too.
              (void)executor.submit([&] {
                try {
                  (void)executor.submit([&] { ++spawned; });
                } catch (const ExecutorShutdownError&) {
                }
              });
            }
          } catch (const ExecutorShutdownError&) {
          }
        });
      }
      ready.arrive_and_wait();
      std::this_thread::sleep_for(std::chrono::microseconds(10 * (round % 20)));
      executor.shutdown({.wait = round % 3 != 0, .cancel_futures = round % 2 == 0});
    }
    executor.shutdown();
    int not_done = 0;
    int values = 0;
    int cancelled = 0;
    for (auto& mine : accepted) {
      for (auto& future : mine) {
        if (!future.done()) ++not_done;
        if (future.cancelled()) {
          ++cancelled;
        } else {
          ++values;
        }
      }
    }
    REQUIRE(not_done == 0);
    REQUIRE(values == ran);
    if (round % 2 != 0) REQUIRE(cancelled == 0);
    const auto stats = executor.stats();
    REQUIRE(stats.succeeded + stats.failed + stats.cancelled == stats.submitted);
    REQUIRE(stats.pending + stats.running == 0);
  }
}

// ---- Destruction on the executor's own thread ----------------------------------------------------------------------

TEST_CASE("an executor may be destroyed on its own worker by its last task", "[shutdown][worker][R5]") {
  const std::ptrdiff_t before = settled_thread_count();
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{3});
  AsyncFuture<int> future;
  std::vector<AsyncFuture<int>> queued;
  auto executor = std::make_shared<AsyncExecutor>(workers);
  AsyncExecutor& reference = *executor;
  Gate gate;
  SECTION("that owns it in a function's capture") {
    future = reference.submit([&gate, owned = executor]() mutable {
      gate.wait();
      owned.reset();
      return 7;
    });
  }
  SECTION("that drops it after it was run") {
    future = reference.submit([&gate, owned = executor] {
      gate.wait();
      return 7;
    });
  }
  SECTION("that owns it in a coroutine's argument") {
    auto coroutine = [&gate](std::shared_ptr<AsyncExecutor> owned) -> Task<int> {
      gate.wait();
      co_await owned->schedule();
      owned.reset();
      co_return 7;
    };
    future = reference.submit(coroutine, executor);
  }
  SECTION("that owns it and goes on waiting") {
    auto coroutine = [&gate](std::shared_ptr<AsyncExecutor> owned) -> Task<int> {
      gate.wait();
      owned.reset();
      co_await sleep_for(5ms);
      co_await yield();
      co_return 7;
    };
    future = reference.submit(coroutine, executor);
  }
  SECTION("with others behind it") {
    future = reference.submit([&gate, owned = executor]() mutable {
      gate.wait();
      owned.reset();
      return 7;
    });
    for (int i = 0; i < 10; ++i) {
      queued.push_back(reference.submit(answer));
      queued.push_back(reference.submit(answer_later));
    }
  }
  SECTION("in a callback") {
    auto inner = reference.submit([&gate] {
      gate.wait();
      return 7;
    });
    inner.add_done_callback([owned = executor](AsyncFuture<int>) mutable { owned.reset(); });
    future = inner;
  }
  executor.reset();
  gate.open();
  REQUIRE(future.get() == 7);
  for (auto& each : queued) REQUIRE(each.get() == 42);
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("an executor may be destroyed on the worker of another", "[shutdown][worker]") {
  AsyncExecutor other(1);
  auto executor = std::make_shared<AsyncExecutor>(2);
  auto inner = executor->submit(answer_later);
  auto outer = other.submit([owned = std::move(executor)]() mutable { owned.reset(); });
  outer.get();
  REQUIRE(inner.get(0ms) == 42);
}

TEST_CASE("an executor may be destroyed again and again on its own worker", "[shutdown][worker][scale][R5]") {
  const std::ptrdiff_t before = settled_thread_count();
  for (int i = 0; i < scaled(300); ++i) {
    auto executor = std::make_shared<AsyncExecutor>(2);
    AsyncExecutor& reference = *executor;
    (void)reference.submit([owned = std::move(executor)] {});
  }
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("done callbacks that block while other workers end tasks do not keep shutdown from its end", "[shutdown]") {
  for (int round = 0; round < scaled(60); ++round) {
    AsyncExecutor side(1);
    AsyncExecutor executor(2);
    std::atomic<int> called = 0;
    constexpr int callbacks = 200;
    for (int i = 0; i < callbacks; ++i) {
      const AsyncFuture<void> future = executor.submit([]() -> Task<> { co_await yield(); });
      future.add_done_callback([&](const AsyncFuture<void>&) {
        side.submit(answer).wait();  // its worker is somebody else's meanwhile
        ++called;
      });
      for (int k = 0; k < 30; ++k) static_cast<void>(executor.submit(answer));
    }
    executor.shutdown();
    REQUIRE(called == callbacks);
    REQUIRE(executor.stats().succeeded == 31 * callbacks);
  }
}

// ---- The end of the process ----------------------------------------------------------------------------------------

TEST_CASE("a task may end the process with an executor in a static variable", "[shutdown][process][R14]") {
  SECTION("in a function") {
    REQUIRE(in_child([] {
              static AsyncExecutor executor(2);
              (void)executor.submit([] { std::exit(7); });
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
  SECTION("in a coroutine with others in the queue") {
    REQUIRE(in_child([] {
              static AsyncExecutor executor(1);
              (void)executor.submit([]() -> Task<> {
                co_await sleep_for(5ms);
                std::exit(7);
              });
              for (int i = 0; i < 10; ++i) (void)executor.submit(answer);
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
}

TEST_CASE("an executor in a static variable finishes its work when the process exits", "[shutdown][process][R14]") {
  struct Check {
    std::atomic<int> ran = 0;
    ~Check() { ::_exit(ran == 5 ? 7 : 8); }
  };
  REQUIRE(in_child([] {
            static Check check;  // destroyed after the executor
            static AsyncExecutor executor(2);
            for (int i = 0; i < 5; ++i) {
              (void)executor.submit([]() -> Task<> {
                co_await sleep_for(10ms);
                ++check.ran;
              });
            }
            std::exit(1);
            return 2;
          }) == 7);
}

TEST_CASE("a process may be left without regard to its executors", "[shutdown][process][R14]") {
  REQUIRE(in_child([] {
            static AsyncExecutor executor(2);
            const Occupy occupied(executor);
            std::quick_exit(7);
            return 1;
          }) == 7);
}

TEST_CASE("in a forked child the executor is inert", "[shutdown][process][R14]") {
  auto executor = std::make_unique<AsyncExecutor>(2);
  auto done = executor->submit(answer);
  done.wait();
  const auto use_it = [&] {
    if (done.get() != 42) return 2;
    if (thrown_by([&] { return executor->submit(answer); }) == "none") return 3;
    executor->shutdown();
    executor.reset();  // joins nobody: there is nobody
    return 0;
  };
  SECTION("forked while it is idle") { REQUIRE(in_child(use_it) == 0); }
  SECTION("forked while it is busy") {
    Occupy occupied(*executor, 2);
    (void)executor->submit(answer_later);
    REQUIRE(in_child(use_it) == 0);
  }
  SECTION("forked by a task") {
    REQUIRE(executor->submit([&] { return in_child(use_it); }).get() == 0);
  }
  // The parent's goes on.
  REQUIRE(executor->submit(answer).get() == 42);
}
