// S7 to S11, S18, S19: one future, and those who complete it, wait for it, cancel it and let it go.

#include <cohort/async_executor.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/sleep.hpp>

#include <chrono>
#include <memory>
#include <optional>

#include "support.hpp"

namespace {

using namespace explore;

// Two callbacks are added while the future is completed. Each runs once, with the value; in the completer, those in
// the order in which they were added, or in the thread that comes too late.
const Scenario s7("S7", "complete meets add_done_callback", {"completer", "both threads", "adder"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  int calls[2] = {};
  int threads[2] = {};
  int next = 0;
  int order[2] = {};
  jthread completer([&] { promise.set_result(5); });
  for (int i = 0; i < 2; ++i) {
    future.add_done_callback([&, i](const AsyncFuture<int>& done) {
      check(done.get() == 5, "the value in a callback");
      ++calls[i];
      threads[i] = thread_number();
      order[i] = next++;
    });
  }
  completer.join();
  check(calls[0] == 1 && calls[1] == 1, "each callback runs once");
  if (threads[0] != threads[1]) {
    check(threads[1] == 0, "who comes later is served later");
    return "both threads";
  }
  check(order[0] < order[1], "callbacks run in the order in which they were added");
  return threads[0] == 0 ? "adder" : "completer";
});

// Several wait in every way there is, on one handle.
const Scenario s7_waiters("S7-waiters", "complete meets get meets wait_for meets add_done_callback", {"value"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  int calls = 0;
  jthread completer([&] { promise.set_result(5); });
  jthread waiter([&] {
    if (future.wait_for(10ms)) check(future.get() == 5, "the value");
  });
  jthread adder([&] { future.add_done_callback([&](const auto&) { ++calls; }); });
  check(future.get() == 5, "the value");
  completer.join();
  adder.join();
  check(calls == 1, "the callback runs once");
  return "value";
});

// The promise and two handles go while one thread waits: it has the value, and the state is freed once.
const Scenario s8("S8", "complete meets get and the drop of the last handle", {"value"}, [] {
  std::optional<AsyncPromise<std::shared_ptr<int>>> promise(std::in_place);
  AsyncFuture<std::shared_ptr<int>> future = promise->get_future();
  AsyncFuture<std::shared_ptr<int>> copy = future;
  jthread completer([&] {
    promise->set_result(std::make_shared<int>(5));
    promise.reset();
  });
  jthread dropper([&] { copy = {}; });
  check(*std::move(future).get() == 5, "the value");
  return "value";
});

// The same with nobody waiting, and the value unseen.
const Scenario s8_unseen("S8-unseen", "complete meets the drop of the last handle", {"dropped"}, [] {
  std::optional<AsyncPromise<std::shared_ptr<int>>> promise(std::in_place);
  AsyncFuture<std::shared_ptr<int>> future = promise->get_future();
  jthread completer([&] {
    promise->set_result(std::make_shared<int>(5));
    promise.reset();
  });
  future = {};
  return "dropped";
});

// Two wait; the first to go on destroys the promise, whose set_result() has not returned, and both handles go.
const Scenario s8_owner("S8-owner", "complete meets the promise's destruction by one who waited", {"value"}, [] {
  std::optional<AsyncPromise<int>> promise(std::in_place);
  AsyncFuture<int> future = promise->get_future();
  AsyncFuture<int> copy = future;
  jthread completer([&] { promise->set_result(5); });
  jthread waiter([&] { check(std::move(copy).get() == 5, "the value"); });
  check(std::move(future).get() == 5, "the value");
  promise.reset();
  return "value";
});

// A task ends, its waiter and another handle go, and the executor after them.
const Scenario s8_task("S8-task", "a task's end meets get and the drop of a handle", {"value"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  calm.end();
  AsyncFuture<std::shared_ptr<int>> future = executor.submit([] { return std::make_shared<int>(5); });
  AsyncFuture<std::shared_ptr<int>> copy = future;
  jthread dropper([&] { copy = {}; });
  check(*std::move(future).get() == 5, "the value");
  return "value";
});

// Exactly one wins: a value that the promise took, or a cancellation that says so. One that comes while the value is
// being set asks for a stop that nobody hears.
const Scenario s9("S9", "complete meets cancel", {"value", "value, though asked to stop", "cancelled"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  int callbacks = 0;
  future.add_done_callback([&](const auto&) { ++callbacks; });
  bool taken = false;
  jthread completer([&] { taken = explore::set(promise, 5); });
  const bool asked = future.cancel();
  completer.join();
  check(future.done() && callbacks == 1, "it is done, once");
  check(taken != future.cancelled(), "one of the two wins");
  check(asked || taken, "cancel() says no only to what is done");
  return taken && asked ? "value, though asked to stop" : outcome_of(future, 5);
});

// A task that may be queued, running or over when it is cancelled. Cancelled in the queue, its body never runs; later, a
// body that does not listen keeps its value.
const Scenario s9_task("S9-task", "a worker starts a task meets cancel",
                       {"cancelled before it started", "ran, though asked to stop", "was done"}, [] {
                         explore::Calm calm;
                         int runs = 0;
                         AsyncExecutor executor(1);
                         calm.end();
                         const AsyncFuture<int> future = executor.submit([&runs] { return ++runs; });
                         const bool asked = future.cancel();
                         if (future.done() && future.cancelled()) {
                           check(asked && runs == 0, "what is cancelled in the queue does not run");
                           executor.shutdown();
                           check(runs == 0, "what is cancelled in the queue does not run later");
                           return "cancelled before it started";
                         }
                         check(future.get() == 1 && runs == 1, "what was not cancelled runs once");
                         return asked ? "ran, though asked to stop" : "was done";
                       });

// Two threads cancel a task that waits for a promise, which is kept meanwhile: one wake-up, one end.
const Scenario s9_waiting("S9-waiting", "complete meets two cancels of a task that waits", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  const AsyncFuture<int> future =
      executor.submit([](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; }, promise.get_future());
  calm.end();
  bool asked = false;
  jthread completer([&] { promise.set_result(5); });
  jthread canceller([&] { asked = future.cancel(); });
  const bool asked_here = future.cancel();
  const char* const outcome = outcome_of(future, 5);
  canceller.join();
  check(outcome[0] != 'c' || asked || asked_here, "nothing is cancelled that nobody cancelled");
  return outcome;
});

// A task waits for a promise, at most for so long, and may be cancelled: it wakes up once, for one of the three.
const Scenario s10("S10", "complete meets timeout meets cancel", {"value", "timeout", "cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit(
      [](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited.result(10ms); }, promise.get_future());
  calm.end();
  jthread completer([&] { promise.set_result(5); });
  jthread clock([] { explore::advance(20ms); });
  future.cancel();
  return outcome_of(future, 5);
});

// The same by SubmitOptions: the attempt is stopped from outside, by a thread that watches the clock.
const Scenario s10_option("S10-option", "complete meets a task's timeout meets cancel",
                          {"value", "timeout", "cancelled"}, [] {
                            explore::Calm calm;
                            AsyncPromise<int> promise;
                            AsyncExecutor executor(1);
                            const AsyncFuture<int> future = executor.submit(
                                {.timeout = 10ms},
                                [](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; },
                                promise.get_future());
                            calm.end();
                            jthread completer([&] { promise.set_result(5); });
                            jthread clock([] { explore::advance(20ms); });
                            future.cancel();
                            return outcome_of(future, 5);
                          });

// A thread that waits for so long.
const Scenario s10_get("S10-get", "complete meets get with a timeout", {"value", "timeout"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  jthread completer([&] { promise.set_result(5); });
  jthread clock([] { explore::advance(20ms); });
  try {
    check(future.get(10ms) == 5, "the value");
    return "value";
  } catch (const cohort::TimeoutError&) {
    check(future.get() == 5, "the value, later");
    return "timeout";
  }
});

Stranger consume(AsyncFuture<int> future, int& result, int& thread) {
  result = co_await future;
  thread = thread_number();
}

// A coroutine waits; the completer resumes it, and it ends and is freed, while its await_suspend has not returned.
const Scenario s11("S11", "resumed and destroyed before await_suspend returns", {"resumed there", "went on here"}, [] {
  AsyncPromise<int> promise;
  int result = 0;
  int thread = -1;
  jthread completer([&] { promise.set_result(5); });
  consume(promise.get_future(), result, thread);
  completer.join();
  check(result == 5, "the value");
  return thread == 0 ? "went on here" : "resumed there";
});

// The same with two workers: one registers the wait, the other runs what comes after it.
const Scenario s11_task("S11-task", "a task is resumed on another worker before await_suspend returns",
                        {"moved", "stayed"}, [] {
                          explore::Calm calm;
                          AsyncPromise<int> promise;
                          AsyncExecutor executor(2);
                          int before = 0;
                          int after = 0;
                          const AsyncFuture<int> future = executor.submit(
                              [&](AsyncFuture<int> awaited) -> Task<int> {
                                before = thread_number();
                                const int value = co_await awaited;
                                after = thread_number();
                                co_return value;
                              },
                              promise.get_future());
                          calm.end();
                          promise.set_result(5);
                          check(future.get() == 5, "the value");
                          return before == after ? "stayed" : "moved";
                        });

// A coroutine moves to another executor, and ends there.
const Scenario s11_move("S11-move", "a task moves to another executor and ends there", {"value"}, [] {
  explore::Calm calm;
  AsyncExecutor home(1);
  AsyncExecutor other(1);
  calm.end();
  const AsyncFuture<int> future = home.submit([&]() -> Task<int> {
    co_await other.schedule();
    co_return 5;
  });
  check(future.get() == 5, "the value");
  return "value";
});

// A task submits another and blocks in get(): it runs it itself, or waits for the worker that has it; meanwhile a third
// takes the place of its thread.
const Scenario s18("S18", "get on a worker meets the task's end elsewhere", {"in place", "elsewhere"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  const AsyncFuture<bool> future = executor.submit([&executor] {
    const AsyncFuture<int> inner = executor.submit([] { return thread_number(); });
    const int there = inner.get();
    return there == thread_number();
  });
  return future.get() ? "in place" : "elsewhere";
});

// The pool's only worker blocks for what another thread completes, and is to run other tasks meanwhile and to have its
// place back.
const Scenario s18_promise("S18-promise", "get on the only worker meets complete", {"value"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  const AsyncFuture<int> blocked =
      executor.submit([](const AsyncFuture<int>& awaited) { return awaited.get(); }, promise.get_future());
  calm.end();
  const AsyncFuture<void> completer = executor.submit([&promise] { promise.set_result(5); });
  completer.get();
  check(blocked.get() == 5, "the value");
  return "value";
});

// With a deadline.
const Scenario s18_timeout("S18-timeout", "get with a timeout on the only worker meets complete", {"value", "timeout"},
                           [] {
                             explore::Calm calm;
                             AsyncPromise<int> promise;
                             AsyncExecutor executor(1);
                             const AsyncFuture<int> blocked =
                                 executor.submit([](const AsyncFuture<int>& awaited) { return awaited.get(10ms); },
                                                 promise.get_future());
                             calm.end();
                             jthread completer([&] { promise.set_result(5); });
                             explore::advance(20ms);
                             return outcome_of(blocked, 5);
                           });

// A callback drops the last handle to the future that it is told of, and the promise.
const Scenario s19("S19", "a handle is dropped inside its own callback", {"completer", "adder"}, [] {
  struct Shared {
    std::optional<AsyncPromise<std::shared_ptr<int>>> promise{std::in_place};
    AsyncFuture<std::shared_ptr<int>> future = promise->get_future();
  };
  auto shared = std::make_unique<Shared>();
  int thread = -1;
  jthread completer([promise = &*shared->promise] { promise->set_result(std::make_shared<int>(5)); });
  {
    const AsyncFuture<std::shared_ptr<int>> handle = shared->future;
    handle.add_done_callback([&](const AsyncFuture<std::shared_ptr<int>>& done) {
      thread = thread_number();
      shared->future = {};
      check(*done.get() == 5, "the value");
    });
  }
  completer.join();
  check(thread >= 0, "the callback has run");
  return thread == 0 ? "adder" : "completer";
});

// The same where the promise goes too, while it completes.
const Scenario s19_promise("S19-promise", "a promise is destroyed by what it completes", {"completer", "adder"}, [] {
  std::optional<AsyncPromise<std::shared_ptr<int>>> promise(std::in_place);
  AsyncFuture<std::shared_ptr<int>> future = promise->get_future();
  int thread = -1;
  jthread completer([&] { promise->set_result(std::make_shared<int>(5)); });
  {
    AsyncFuture<std::shared_ptr<int>> handle = std::move(future);
    handle.add_done_callback([&](const AsyncFuture<std::shared_ptr<int>>&) {
      thread = thread_number();
      if (thread != 0) promise.reset();
    });
  }
  completer.join();
  return thread == 0 ? "adder" : "completer";
});

}  // namespace
