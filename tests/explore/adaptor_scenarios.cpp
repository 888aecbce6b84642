// S12 to S14 and S20: several things awaited at once.

#include <cohort/as_completed.hpp>
#include <cohort/async_executor.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/sync_wait.hpp>
#include <cohort/when_all.hpp>
#include <cohort/when_any.hpp>

#include <optional>
#include <vector>

#include "support.hpp"

namespace {

using namespace explore;
using cohort::Permit;
using cohort::Semaphore;

// The first future to be done is taken, and the stream destroyed while the other completes: that one is done too, with
// its value or cancelled.
const Scenario s12("S12", "the last of several completes meets the end of the stream", {"both", "one is cancelled"},
                   [] {
                     AsyncPromise<int> promises[2];
                     const std::vector<AsyncFuture<int>> futures = {promises[0].get_future(), promises[1].get_future()};
                     bool taken[2] = {};
                     jthread first([&] { taken[0] = explore::set(promises[0], 5); });
                     jthread second([&] { taken[1] = explore::set(promises[1], 5); });
                     {
                       auto stream = cohort::as_completed(futures);
                       const AsyncFuture<int> done = *stream.begin();
                       check(done.get() == 5, "the value");
                     }
                     first.join();
                     second.join();
                     check(taken[0] || taken[1], "one is done with its value");
                     for (int i = 0; i < 2; ++i) {
                       check(futures[static_cast<std::size_t>(i)].cancelled() != taken[i], "each is done in one way");
                     }
                     return taken[0] && taken[1] ? "both" : "one is cancelled";
                   });

// The same in a coroutine, that is cancelled besides.
const Scenario s12_task("S12-task", "complete meets the end of a stream and cancel", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promises[2];
  const std::vector<AsyncFuture<int>> futures = {promises[0].get_future(), promises[1].get_future()};
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([&futures]() -> Task<int> {
    auto stream = cohort::as_completed(futures);
    const std::optional<AsyncFuture<int>> done = co_await stream.next();
    co_return done->get();
  });
  calm.end();
  jthread completer([&] {
    explore::set(promises[0], 5);
    explore::set(promises[1], 5);
  });
  future.cancel();
  const char* const outcome = outcome_of(future, 5);
  completer.join();
  check(futures[0].done() && futures[1].done(), "everything is done");
  return outcome;
});

Stranger first_of(AsyncFuture<int> first, AsyncFuture<int> second, std::size_t& index) {
  const auto result = co_await cohort::when_any(first, second);
  check(result.value == static_cast<int>(result.index), "the value is that of the first");
  index = result.index;
}

// No executor: the first to be done stops the other inside its completer, where the other ends, and with it the wait.
const Scenario s13("S13", "children end inside the stop that the first of them causes", {"first", "second"}, [] {
  AsyncPromise<int> promises[2];
  std::size_t index = 2;
  first_of(promises[0].get_future(), promises[1].get_future(), index);
  jthread completer([&] { explore::set(promises[1], 1); });
  explore::set(promises[0], 0);
  completer.join();
  check(index < 2, "it has ended");
  return index == 0 ? "first" : "second";
});

// On a worker; and the whole is cancelled besides.
const Scenario s13_cancel("S13-any", "when_any: one completes meets cancel of all", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promises[2];
  const AsyncFuture<int> futures[2] = {promises[0].get_future(), promises[1].get_future()};
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([&futures]() -> Task<int> {
    auto both = cohort::when_any(futures[0], futures[1]);
    const auto result = co_await std::move(both);
    co_return result.value;
  });
  calm.end();
  jthread completer([&] { explore::set(promises[0], 5); });
  future.cancel();
  const char* const outcome = outcome_of(future, 5);
  completer.join();
  return outcome;
});

const Scenario s13_all("S13-all", "when_all: its children complete meets cancel of all", {"value", "cancelled"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promises[2];
  const AsyncFuture<int> futures[2] = {promises[0].get_future(), promises[1].get_future()};
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([&futures]() -> Task<int> {
    auto both = cohort::when_all(futures[0], futures[1]);
    const auto [first, second] = co_await std::move(both);
    co_return first + second;
  });
  calm.end();
  jthread completer([&] {
    promises[0].set_result(2);
    promises[1].set_result(3);
  });
  future.cancel();
  return outcome_of(future, 5);
});

Task<int> with_permit(Semaphore& semaphore) {
  const Permit permit = co_await semaphore.acquire();
  co_return 5;
}

// One permit, two that wait for it, and the first of them is cancelled as it comes: the second gets it in any case, and
// in the end it is free.
const Scenario s14("S14", "release meets cancel of the waiter being granted", {"value", "cancelled"}, [] {
  explore::Calm calm;
  Semaphore semaphore(0);
  AsyncExecutor executor(1);
  const AsyncFuture<int> first = executor.submit([&semaphore] { return with_permit(semaphore); });
  const AsyncFuture<int> second = executor.submit([&semaphore] { return with_permit(semaphore); });
  calm.end();
  jthread releaser([&] { semaphore.release(); });
  first.cancel();
  check(second.get() == 5, "the second gets the permit");
  const char* const outcome = outcome_of(first, 5);
  releaser.join();
  executor.shutdown();
  check(semaphore.try_acquire(), "the permit is there in the end");
  check(!semaphore.try_acquire(), "and only one");
  return outcome;
});

// The wait for the permit of a task's first attempt, which a shutdown cancels.
const Scenario s14_shutdown("S14-option", "release meets shutdown that cancels those who wait for a first permit",
                            {"value", "cancelled"}, [] {
                              explore::Calm calm;
                              Semaphore semaphore(0);
                              AsyncExecutor executor(1);
                              const AsyncFuture<int> future =
                                  executor.submit({.semaphore = &semaphore}, [] { return 5; });
                              calm.end();
                              jthread releaser([&] { semaphore.release(); });
                              executor.shutdown({.cancel_futures = true});
                              check(future.done(), "it is done after shutdown");
                              releaser.join();
                              check(semaphore.try_acquire(), "the permit is there in the end");
                              check(!semaphore.try_acquire(), "and only one");
                              return outcome_of(future, 5);
                            });

Stranger sum_of(AsyncFuture<int> first, AsyncFuture<int> second, int& sum) {
  const auto [one, other] = co_await cohort::when_all(first, second);
  sum = one + other;
}

// Two complete, and the last resumes the one who owns what they meet in, which is freed at once.
const Scenario s20("S20", "the last one out, then the owner destroys", {"five"}, [] {
  AsyncPromise<int> promises[2];
  int sum = 0;
  sum_of(promises[0].get_future(), promises[1].get_future(), sum);
  jthread completer([&] { promises[0].set_result(2); });
  promises[1].set_result(3);
  completer.join();
  check(sum == 5, "both values");
  return "five";
});

// Branches on two workers.
const Scenario s20_branches("S20-branches", "branches end on two workers, then their parent", {"five"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  const AsyncFuture<int> future = executor.submit([]() -> Task<int> {
    const auto branch = [](int value) -> Task<int> { co_return value; };
    auto both = cohort::when_all(branch(2), branch(3));
    const auto [first, second] = co_await std::move(both);
    co_return first + second;
  });
  check(future.get() == 5, "both values");
  return "five";
});

// A thread that is the worker of a pool of its own for as long: the completer wakes it, and the pool goes.
const Scenario s20_sync_wait("S20-sync-wait", "complete meets the end of sync_wait", {"value"}, [] {
  AsyncPromise<int> promise;
  const AsyncFuture<int> future = promise.get_future();
  jthread completer([&] { promise.set_result(5); });
  check(cohort::sync_wait(future) == 5, "the value");
  return "value";
});

}  // namespace
