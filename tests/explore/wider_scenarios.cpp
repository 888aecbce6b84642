// Further variants: what the other files' scenarios are in a program, with more of the library around them.

#include <cohort/as_completed.hpp>
#include <cohort/async_executor.hpp>
#include <cohort/async_promise.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/map.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/sleep.hpp>
#include <cohort/stop_token.hpp>
#include <cohort/sync_wait.hpp>
#include <cohort/wait.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace explore;
using cohort::Permit;
using cohort::Semaphore;

// A task comes over from another executor, which must stay open for it, or refuse it.
const Scenario s3_guest("S3-guest", "a task moves to an executor that shuts down", {"came over", "refused"}, [] {
  explore::Calm calm;
  AsyncExecutor home(1);
  AsyncExecutor other(1);
  calm.end();
  const AsyncFuture<bool> future = home.submit([&other]() -> Task<bool> {
    try {
      co_await other.schedule();
    } catch (const cohort::ExecutorShutdownError&) {
      co_return false;
    }
    co_return true;
  });
  other.shutdown();
  return future.get() ? "came over" : "refused";
});

// A task submits others to its own worker's queue while the executor shuts down and cancels: each is refused, or runs,
// or is cancelled, and all are done in the end.
const Scenario s4_inside("S4-inside", "a task's own submissions meet shutdown that cancels",
                         {"it was cancelled itself", "none ran", "some ran", "all ran"}, [] {
                           explore::Calm calm;
                           AsyncExecutor executor(2);
                           calm.end();
                           int runs = 0;
                           std::vector<AsyncFuture<int>> futures;
                           const AsyncFuture<void> parent = executor.submit([&] {
                             try {
                               for (int i = 0; i < 3; ++i)
                                 futures.push_back(executor.submit([&runs] { return ++runs; }));
                             } catch (const cohort::ExecutorShutdownError&) {
                             }
                           });
                           executor.shutdown({.cancel_futures = true});
                           check(parent.done(), "the parent is done after shutdown");
                           explore::check_all_ended(executor, 1 + futures.size());
                           int values = 0;
                           for (const AsyncFuture<int>& future : futures) {
                             check(future.done(), "its children are done after shutdown");
                             if (!future.cancelled()) ++values;
                           }
                           check(values == runs, "what ran was not cancelled");
                           if (parent.cancelled()) return "it was cancelled itself";
                           return runs == 0 ? "none ran" : runs == 3 ? "all ran" : "some ran";
                         });

// The second worker cannot start: the constructor throws, and nothing is left.
const Scenario s5_start("S5-start", "a worker that fails as it starts", {"thrown"}, [] {
  try {
    AsyncExecutor executor({.max_workers = 2, .on_worker_start = [](std::size_t worker) {
                              if (worker == 1) throw std::runtime_error("no");
                            }});
  } catch (const std::runtime_error&) {
    return "thrown";
  }
  return "started";
});

// The same when its thread cannot be started.
const Scenario s5_no_thread("S5-no-thread", "a worker whose thread cannot be started", {"thrown", "started"}, [] {
  try {
    AsyncExecutor executor({.max_workers = 2, .on_worker_start = [](std::size_t) { explore::refuse_threads(); }});
    return "started";  // the second thread was there before the first had begun
  } catch (const std::system_error&) {
    return "thrown";
  }
});

// A task makes an executor of its own, and destroys it: its worker gives its place to another thread meanwhile.
const Scenario s6_nested("S6-nested", "an executor is made and destroyed by another's task", {"value"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> nested = executor.submit([] {
    AsyncExecutor inner(1);
    const AsyncFuture<int> future = inner.submit([] { return 5; });
    inner.shutdown();
    return future.get();
  });
  const AsyncFuture<int> other = executor.submit([] { return 6; });
  check(other.get() == 6 && nested.get() == 5, "the values");
  return "value";
});

// A stop of a token that a future is to be cancelled with comes as it is completed, and as it is dropped.
const Scenario s9_token("S9-token", "complete meets the stop of a cancel_when token", {"value", "cancelled"}, [] {
  AsyncPromise<int> promise;
  AsyncFuture<int> future = promise.get_future();
  std::stop_source source;
  jthread stopper([&] { source.request_stop(); });
  bool taken = false;
  jthread completer([&] { taken = explore::set(promise, 5); });
  future.cancel_when(source.get_token());
  stopper.join();
  completer.join();
  check(future.done() && taken != future.cancelled(), "one of the two wins");
  return outcome_of(future, 5);
});

// A running task's stop token: its callback runs once, or not at all, and never after the task has ended.
const Scenario s9_stop_callback("S9-stop-callback", "a task's end meets the callback of its stop token",
                                {"called", "not called"}, [] {
                                  explore::Calm calm;
                                  AsyncPromise<int> promise;
                                  AsyncExecutor executor(1);
                                  int calls = 0;
                                  bool over = false;
                                  const AsyncFuture<int> future = executor.submit(
                                      [&](AsyncFuture<int> awaited) -> Task<int> {
                                        const std::stop_token token = co_await cohort::get_stop_token();
                                        {
                                          const std::stop_callback callback(token, [&] {
                                            check(!over, "it is called while it is registered");
                                            ++calls;
                                          });
                                          try {
                                            static_cast<void>(co_await awaited);
                                          } catch (const cohort::CancelledError&) {
                                          }
                                        }
                                        over = true;
                                        co_return 5;
                                      },
                                      promise.get_future());
                                  calm.end();
                                  jthread completer([&] { promise.set_result(5); });
                                  future.cancel();
                                  check(outcome_of(future, 5)[0] == 'v' || calls == 0,
                                        "the value, or it never started");
                                  check(calls <= 1, "it is called once");
                                  return calls == 1 ? "called" : "not called";
                                });

// wait() for the first of two, for at most so long.
const Scenario s10_wait("S10-wait", "complete meets the timeout of a wait for the first", {"none", "one", "both"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promises[2];
  const std::vector<AsyncFuture<int>> futures = {promises[0].get_future(), promises[1].get_future()};
  AsyncExecutor executor(1);
  const AsyncFuture<std::size_t> future = executor.submit([&futures]() -> Task<std::size_t> {
    auto waiting = cohort::wait(futures, {.timeout = 10ms, .return_when = cohort::WaitStrategy::first_completed});
    const auto result = co_await std::move(waiting);
    check(result.done.size() + result.not_done.size() == 2, "each is in one of the two");
    co_return result.done.size();
  });
  calm.end();
  jthread first([&] { promises[0].set_result(1); });
  jthread second([&] { promises[1].set_result(2); });
  explore::advance(20ms);
  switch (future.get()) {
    case 0:
      return "none";
    case 1:
      return "one";
    default:
      return "both";
  }
});

// The first attempt fails; cancelled, or shut down, in the pause before the second.
const Scenario s10_retry("S10-retry", "the end of a pause between attempts meets cancel meets shutdown",
                         {"value", "cancelled"}, [] {
                           explore::Calm calm;
                           AsyncExecutor executor(1);
                           int attempts = 0;
                           const AsyncFuture<int> future =
                               executor.submit({.retries = 1, .retry_delay = 10ms}, [&attempts] {
                                 if (++attempts == 1) throw std::runtime_error("again");
                                 return 5;
                               });
                           calm.end();
                           jthread clock([] { explore::advance(20ms); });
                           jthread canceller([&] { future.cancel(); });
                           executor.shutdown({.cancel_futures = true});
                           check(future.done(), "it is done after shutdown");
                           return outcome_of(future, 5);
                         });

// A map's results are read, one, and its stream destroyed while workers are at the others.
const Scenario s12_map("S12-map", "the end of a map's stream meets its elements", {"all ran", "some ran"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  int runs = 0;
  {
    auto stream = executor.map(
        {.buffer_size = 2}, [&runs](int value) { return ++runs, value; }, std::vector{5, 6, 7});
    check(*stream.begin() == 5, "the first in order");
  }
  executor.shutdown();
  return runs == 3 ? "all ran" : "some ran";
});

// A task's child is popped from its deque and run on its stack, where it suspends; or another worker has it.
const Scenario s18_await("S18-await", "a task awaits one that it submitted meets steal meets complete", {"value"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  const AsyncFuture<int> awaited = promise.get_future();
  AsyncExecutor executor(2);
  calm.end();
  const AsyncFuture<int> future = executor.submit([&]() -> Task<int> {
    auto inner = executor.submit([&]() -> Task<int> { co_return co_await awaited; });
    co_return co_await std::move(inner);
  });
  promise.set_result(5);
  check(future.get() == 5, "the value");
  return "value";
});

// A task that awaits many that it submitted, the oldest first, runs them itself, while another worker steals some of them,
// several at once.
const Scenario s18_await_many("S18-await-many", "a task awaits those that it submitted in order meets steal",
                              {"values"}, [] {
                                explore::Calm calm;
                                AsyncExecutor executor(2);
                                calm.end();
                                std::array<int, 20> runs{};
                                const AsyncFuture<int> future = executor.submit([&]() -> Task<int> {
                                  std::array<AsyncFuture<int>, 20> futures;
                                  for (std::size_t i = 0; i < futures.size(); ++i)
                                    futures[i] = executor.submit([&run = runs[i]] { return ++run; });
                                  int sum = 0;
                                  for (AsyncFuture<int>& each : futures) {
                                    const int value = co_await std::move(each);
                                    sum += value;
                                  }
                                  co_return sum;
                                });
                                check(future.get() == 20, "the values");
                                check(std::all_of(runs.begin(), runs.end(), [](int each) { return each == 1; }),
                                      "each runs once");
                                executor.shutdown();
                                explore::check_all_ended(executor, 21);
                                return "values";
                              });

// The same, cancelled as a whole.
const Scenario s18_await_cancel("S18-await-cancel", "a task that awaits one that it submitted meets cancel",
                                {"value", "cancelled"}, [] {
                                  explore::Calm calm;
                                  AsyncPromise<int> promise;
                                  const AsyncFuture<int> awaited = promise.get_future();
                                  AsyncExecutor executor(1);
                                  const AsyncFuture<int> future = executor.submit([&]() -> Task<int> {
                                    auto inner = executor.submit([&]() -> Task<int> { co_return co_await awaited; });
                                    co_return co_await std::move(inner);
                                  });
                                  calm.end();
                                  jthread canceller([&] { future.cancel(); });
                                  promise.set_result(5);
                                  return outcome_of(future, 5);
                                });

// A task awaits one that it submitted, while another thread cancels that one, and drops its handle: either it is seen
// that there is another handle, or that is gone.
template <class F>
const char* await_what_another_cancels(F function) {
  explore::Calm calm;
  AsyncExecutor executor(1);
  std::optional<jthread> canceller;
  const AsyncFuture<int> future = executor.submit([&]() -> Task<int> {
    auto inner = executor.submit(function);
    calm.end();
    canceller.emplace([shared = inner] { shared.cancel(); });
    co_return co_await std::move(inner);
  });
  const char* const outcome = outcome_of(future, 5);
  canceller->join();
  return outcome;
}
const Scenario s18_adopt("S18-adopt", "a task awaits one that it submitted meets cancel of that one",
                         {"value", "cancelled"},
                         [] { return await_what_another_cancels([]() -> Task<int> { co_return 5; }); });
const Scenario s18_adopt_call("S18-adopt-call", "a task awaits a call that it submitted meets cancel of that one",
                              {"value", "cancelled"}, [] { return await_what_another_cancels([] { return 5; }); });

// The only worker blocks, and no thread can be had to take its place: it goes on working itself until another thread, or
// a task that it runs meanwhile, completes what it waits for.
const Scenario s18_no_thread("S18-no-thread", "get on the only worker, without a thread to spare, meets complete",
                             {"values"}, [] {
                               explore::Calm calm;
                               AsyncPromise<int> promises[2];
                               AsyncExecutor executor(1);
                               calm.end();
                               jthread completer([&] { promises[0].set_result(5); });
                               explore::refuse_threads();
                               const auto block = [](const AsyncFuture<int>& awaited) { return awaited.get(); };
                               const AsyncFuture<int> first = executor.submit(block, promises[0].get_future());
                               const AsyncFuture<int> second = executor.submit(block, promises[1].get_future());
                               const AsyncFuture<void> last = executor.submit([&] { promises[1].set_result(6); });
                               check(first.get() == 5 && second.get() == 6, "the values");
                               last.get();
                               return "values";
                             });

// Permits are taken in every way there is.
const Scenario s14_try("S14-try", "release meets acquire meets try_acquire", {"tried", "not tried"}, [] {
  explore::Calm calm;
  Semaphore semaphore(1);
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> future = executor.submit([&semaphore]() -> Task<int> {
    const Permit permit = co_await semaphore.acquire();
    co_return 5;
  });
  const bool taken = semaphore.try_acquire();
  if (taken) semaphore.release();
  check(future.get() == 5, "the permit came");
  executor.shutdown();
  check(semaphore.try_acquire() && !semaphore.try_acquire(), "there is one permit in the end");
  return taken ? "tried" : "not tried";
});

// A worker that is a pool of its own for as long, inside a task.
const Scenario s20_nested("S20-nested", "complete meets the end of sync_wait on a worker", {"value"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  const AsyncFuture<int> awaited = promise.get_future();
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([&awaited] { return cohort::sync_wait(awaited); });
  const AsyncFuture<int> other = executor.submit([] { return 6; });
  calm.end();
  promise.set_result(5);
  check(other.get() == 6 && future.get() == 5, "the values");
  return "value";
});

// The pool of one that sync_wait makes keeps the time, too.
const Scenario s20_sleep("S20-sleep", "complete meets the end of a sleep in sync_wait", {"value"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> awaited = promise.get_future();
  jthread completer([&] { promise.set_result(5); });
  jthread clock([] { explore::advance(20ms); });
  const auto body = [&awaited]() -> Task<int> {
    co_await cohort::sleep_for(10ms);
    co_return co_await awaited;
  };
  check(cohort::sync_wait(body()) == 5, "the value");
  return "value";
});

// A task submits another and ends, as the executor closes: what was accepted runs, and nobody takes it for over before.
const Scenario s3_inside("S3-inside", "a task's own submission meets shutdown that drains", {"refused", "ran"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  int runs = 0;
  std::optional<AsyncFuture<int>> child;
  const AsyncFuture<void> parent = executor.submit([&] {
    try {
      child = executor.submit([&runs] { return ++runs; });
    } catch (const cohort::ExecutorShutdownError&) {
    }
  });
  executor.shutdown();
  check(parent.done() && child.has_value() == (runs == 1), "what is accepted runs before shutdown returns");
  explore::check_all_ended(executor, child.has_value() ? 2 : 1);
  return child.has_value() ? "ran" : "refused";
});

// The executor's only owner is its task, which may delete it before submit() has returned.
const Scenario s6_delete("S6-delete", "the executor is deleted by its task meets the end of submit", {"ended"}, [] {
  auto* const executor = new AsyncExecutor(1);
  executor->submit([executor] { delete executor; }).get();
  return "ended";
});

// Nothing but the cancellation can end it.
const Scenario s9_unset("S9-unset", "cancel meets the beginning of a wait", {"cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> future =
      executor.submit([](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; }, promise.get_future());
  future.cancel();
  return outcome_of(future, 5);
});

// The only worker is busy: another thread must see to it that the task is stopped in time.
const Scenario s10_busy("S10-busy", "a timeout meets a worker that is busy", {"timeout"}, [] {
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit({.timeout = 10ms}, [](std::stop_token token) {
    while (!token.stop_requested()) {
      explore::advance(20ms);
      cohort::detail::sync::yield();
    }
    return 5;
  });
  return outcome_of(future, 5);
});

// The stream has a deadline.
const Scenario s12_timeout("S12-timeout", "complete meets the timeout of a stream", {"value", "timeout"}, [] {
  AsyncPromise<int> promise;
  const std::vector<AsyncFuture<int>> futures = {promise.get_future()};
  jthread completer([&] { explore::set(promise, 5); });
  jthread clock([] { explore::advance(20ms); });
  try {
    auto stream = cohort::as_completed(futures, 10ms);
    return outcome_of(*stream.begin(), 5);
  } catch (const cohort::TimeoutError&) {
    return "timeout";
  }
});

// One worker sleeps until a later timer when another arms a sooner one.
const Scenario s15_sooner_two("S15-sooner-two", "a sooner timer meets another worker that sleeps until a later one",
                              {"in order"}, [] {
                                explore::Calm calm;
                                AsyncExecutor executor(2);
                                const cohort::TimePoint begin = explore::now();
                                const auto sleep = [](cohort::Duration duration) -> Task<cohort::TimePoint> {
                                  co_await cohort::sleep_for(duration);
                                  co_return explore::now();
                                };
                                const auto later = executor.submit(sleep, cohort::Duration(1h));
                                calm.end();
                                const auto sooner = executor.submit(sleep, cohort::Duration(10ms));
                                check(sooner.get() >= begin + 10ms && sooner.get() < begin + 1min, "it is in time");
                                check(later.get() >= begin + 1h && later.get() < begin + 61min, "it is in time");
                                return "in order";
                              });

// A worker arms a timer, and is busy from then on: another is to watch the clock.
const Scenario s15_busy("S15-busy", "a timer meets the worker that armed it, and is busy", {"in time"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  bool over = false;
  const AsyncFuture<void> sleeper = executor.submit([&over]() -> Task<> {
    co_await cohort::sleep_for(10ms);
    over = true;
  });
  const AsyncFuture<void> busy = executor.submit([&over] {
    while (!over) {
      explore::advance(20ms);
      cohort::detail::sync::yield();
    }
  });
  sleeper.get();
  busy.get();
  return "in time";
});

Task<int> go_to(AsyncExecutor& other) {
  co_await other.schedule();
  co_return 5;
}

// The submitted coroutine itself moves, and both executors end with it.
const Scenario s11_move_root("S11-move-root", "a submitted coroutine moves to another executor and ends there",
                             {"value"}, [] {
                               explore::Calm calm;
                               AsyncExecutor home(1);
                               AsyncExecutor other(1);
                               calm.end();
                               const AsyncFuture<int> future = home.submit(go_to(other));
                               check(future.get() == 5, "the value");
                               return "value";
                             });

// A task that ends only when its token tells it to.
const Scenario s9_listen("S9-listen", "cancel meets the making of a stop token", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> future = executor.submit([](std::stop_token token) {
    while (!token.stop_requested()) cohort::detail::sync::yield();
    return 5;
  });
  future.cancel();
  return outcome_of(future, 5);
});

// Nobody releases: only the shutdown can end the wait.
const Scenario s14_unbegun("S14-unbegun", "shutdown that cancels meets the wait for a first permit", {"cancelled"}, [] {
  explore::Calm calm;
  Semaphore semaphore(0);
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> future = executor.submit({.semaphore = &semaphore}, [] { return 5; });
  executor.shutdown({.cancel_futures = true});
  return outcome_of(future, 5);
});

// The end of a task continues a coroutine that awaits it; then a callback blocks for that one, on the only worker.
const Scenario s19_block("S19-block", "a callback blocks for what the same end has woken", {"values"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  const auto await = [](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; };
  const AsyncFuture<int> first = executor.submit(await, promise.get_future());
  const AsyncFuture<int> second = executor.submit(await, first);
  int seen = 0;
  first.add_done_callback([&](const auto&) { seen = second.get(); });
  calm.end();
  promise.set_result(5);
  executor.shutdown();
  check(seen == 5 && second.done(), "the callback has seen the value");
  return "values";
});

// A task submits others and runs them in place until it is refused, and then waits, with the worker free. Another worker
// that adds up what was submitted before what has left may miss the last child in the one, and have it in the other, for
// the parent: it must not take that for the end.
const Scenario s3_waits("S3-waits", "a task's children end meets shutdown that drains", {"slept"}, [] {
  explore::Calm calm;
  cohort::detail::sync::atomic<bool> go{false};
  AsyncExecutor executor(2);
  const AsyncFuture<void> parent = executor.submit([&]() -> Task<> {
    go.wait(false);
    try {
      for (int i = 0; i < 10; ++i) {
        AsyncFuture<void> child = executor.submit([] {});
        co_await std::move(child);
      }
    } catch (const cohort::ExecutorShutdownError&) {
    }
    co_await cohort::sleep_for(10ms);
  });
  calm.end();
  go.store(true);
  go.notify_one();
  executor.shutdown();
  check(parent.done() && !parent.cancelled(), "what is accepted is done after shutdown");
  return "slept";
});

explore::Stranger nap(bool& over) {
  co_await cohort::sleep_for(10ms);
  over = true;
}

// Has somebody nap when it is destroyed.
struct Napper {
  explicit Napper(bool* over) : over_(over) {}
  Napper(Napper&& other) noexcept : over_(std::exchange(other.over_, nullptr)) {}
  Napper& operator=(Napper&&) = delete;
  ~Napper() {
    if (over_ != nullptr) nap(*over_);
  }
  bool* over_;
};

// The end of a task arms a timer, where an argument is destroyed, and hands over to what keeps the worker busy. That goes
// through no queue, and wakes nobody: the worker that sleeps must be told of the clock by itself.
const Scenario s15_handed_over("S15-handed-over", "a timer meets the worker that armed it, and was handed what is next",
                               {"in time"}, [] {
                                 explore::Calm calm;
                                 AsyncPromise<int> promise;
                                 AsyncExecutor executor(2);
                                 bool over = false;
                                 const AsyncFuture<int> first =
                                     executor.submit([](AsyncFuture<int> awaited,
                                                        const Napper&) -> Task<int> { co_return co_await awaited; },
                                                     promise.get_future(), Napper(&over));
                                 const AsyncFuture<void> busy = executor.submit(
                                     [&over](AsyncFuture<int> awaited) -> Task<> {
                                       co_await awaited;
                                       while (!over) {
                                         explore::advance(20ms);
                                         cohort::detail::sync::yield();
                                       }
                                     },
                                     first);
                                 calm.end();
                                 promise.set_result(5);
                                 busy.get();
                                 return "in time";
                               });

// A thread wants its worker back from one that has just been handed what is next: that must not wait for a worker, too.
const Scenario s18_handed_over(
    "S18-handed-over", "a thread wants its place back from one that is handed what is next", {"values"}, [] {
      explore::Calm calm;
      AsyncPromise<int> promises[2];
      const auto await = [](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; };
      AsyncExecutor executor(1);
      const AsyncFuture<int> first = executor.submit(await, promises[0].get_future());
      const AsyncFuture<int> second = executor.submit(await, first);
      const AsyncFuture<int> blocked =
          executor.submit([](const AsyncFuture<int>& awaited) { return awaited.get(); }, promises[1].get_future());
      calm.end();
      jthread completer([&] { promises[1].set_result(6); });
      promises[0].set_result(5);
      check(second.get() == 5 && blocked.get() == 6, "the values");
      return "values";
    });

// A task gets two that it has submitted, above an older one, while another worker steals, perhaps the entry of one of
// them; then one above another, and keeps its worker until that has run, which only the other worker can do.
const Scenario s18_passed_over("S18-passed-over", "a task gets others out of order meets steal", {"values"}, [] {
  namespace sync = cohort::detail::sync;
  explore::Calm calm;
  sync::mutex mutex;
  sync::condition_variable condition;
  bool last_ran = false;
  AsyncExecutor executor(2);
  calm.end();
  const AsyncFuture<int> future = executor.submit([&] {
    static_cast<void>(executor.submit([] {}));
    const AsyncFuture<int> first = executor.submit([] { return 1; });
    const AsyncFuture<int> second = executor.submit([] { return 2; });
    int sum = first.get() + second.get();
    static_cast<void>(executor.submit([&] {
      std::lock_guard lock(mutex);
      last_ran = true;
      condition.notify_one();
    }));
    sum += executor.submit([] { return 3; }).get();
    std::unique_lock lock(mutex);
    condition.wait(lock, [&] { return last_ran; });
    return sum;
  });
  check(future.get() == 6, "the values");
  executor.shutdown();
  explore::check_all_ended(executor, 6);
  return "values";
});

}  // namespace
