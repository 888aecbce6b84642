// S1 to S6: submitting, sleeping, waking and shutting down.

#include <cohort/async_executor.hpp>
#include <cohort/async_promise.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/errors.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "support.hpp"

namespace {

using namespace explore;

// What a submission may come to while somebody shuts down: refused, or accepted and then resolved.
template <class F>
std::optional<AsyncFuture<int>> try_submit(AsyncExecutor& executor, F f) {
  try {
    return executor.submit(std::move(f));
  } catch (const cohort::ExecutorShutdownError&) {
    return std::nullopt;
  }
}

// The one worker is starting, searching, about to park, or parked when the task comes: it runs, and its future is
// ready; nobody sleeps for ever.
const Scenario s1("S1", "submit meets a worker that parks", {"ran"}, [] {
  AsyncExecutor executor(1);
  const AsyncFuture<int> future = executor.submit([] { return 7; });
  check(future.get() == 7, "the task's value");
  return "ran";
});

// The same with two workers, of which one must wake for each.
const Scenario s1_two("S1-two-workers", "submits meet workers that park", {"ran"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(2);
  calm.end();
  const AsyncFuture<int> first = executor.submit([] { return 1; });
  const AsyncFuture<int> second = executor.submit([] { return 2; });
  check(first.get() == 1 && second.get() == 2, "the tasks' values");
  return "ran";
});

// Two threads submit to one worker: both run, once each, in either order.
const Scenario s2("S2", "two submits meet one worker", {"first first", "second first"}, [] {
  std::string order;
  {
    explore::Calm calm;
    AsyncExecutor executor(1);
    calm.end();
    std::optional<AsyncFuture<int>> other;
    jthread submitter([&] { other = executor.submit([&order] { return order += '2', 2; }); });
    const AsyncFuture<int> own = executor.submit([&order] { return order += '1', 1; });
    submitter.join();
    check(own.get() == 1 && other->get() == 2, "the tasks' values");
  }
  check(order.size() == 2, "each task runs once");
  return order == "12" ? "first first" : "second first";
});

// One thread submits: its tasks start in that order.
const Scenario s2_order("S2-order", "submits of one thread meet the worker", {"in order"}, [] {
  std::string order;
  {
    AsyncExecutor executor(1);
    for (const char letter : {'a', 'b', 'c'}) {
      static_cast<void>(executor.submit([&order, letter] { order += letter; }));
    }
  }
  check(order == "abc", "tasks start in the order in which they were submitted");
  return "in order";
});

// A submission is refused, or its task runs before shutdown() returns.
const Scenario s3("S3", "submit meets shutdown that drains", {"refused", "ran"}, [] {
  explore::Calm calm;
  int runs = 0;
  AsyncExecutor executor(1);
  calm.end();
  std::optional<AsyncFuture<int>> future;
  jthread submitter([&] { future = try_submit(executor, [&runs] { return ++runs; }); });
  executor.shutdown();
  const int runs_at_shutdown = runs;
  submitter.join();
  check(runs == runs_at_shutdown, "nothing runs after shutdown");
  explore::check_all_ended(executor, future.has_value() ? 1 : 0);
  if (!future.has_value()) {
    check(runs == 0, "what is refused does not run");
    return "refused";
  }
  check(future->done() && future->get() == 1 && runs == 1, "what is accepted runs once");
  return "ran";
});

// A submission is refused, or its task runs, or it is cancelled and does not run; in the end it is done.
const Scenario s4("S4", "submit meets shutdown that cancels", {"refused", "ran", "cancelled"}, [] {
  explore::Calm calm;
  int runs = 0;
  AsyncExecutor executor(1);
  calm.end();
  std::optional<AsyncFuture<int>> future;
  jthread submitter([&] { future = try_submit(executor, [&runs] { return ++runs; }); });
  executor.shutdown({.cancel_futures = true});
  submitter.join();
  if (!future.has_value()) {
    check(runs == 0, "what is refused does not run");
    return "refused";
  }
  check(future->done(), "what is accepted is done after shutdown");
  explore::check_all_ended(executor, 1);
  check(future->cancelled() == (runs == 0), "cancelled, or run");
  return runs == 0 ? "cancelled" : "ran";
});

// At most one task between its start and its end: the second waits at the gate until the first has ended, or is
// cancelled there, and the executor shuts down meanwhile. The place is never taken twice, and never lost.
const Scenario s4_gate("S4-gate", "a task's end meets cancel of the one at the gate meets shutdown",
                       {"all ran", "one is cancelled"}, [] {
                         explore::Calm calm;
                         int inside = 0;
                         int runs = 0;
                         const auto body = [&inside, &runs] {
                           check(++inside == 1, "one at a time");
                           cohort::detail::sync::yield();
                           --inside;
                           return ++runs;
                         };
                         AsyncExecutor executor({.max_workers = 2, .max_concurrent_tasks = 1});
                         calm.end();
                         const AsyncFuture<int> first = executor.submit(body);
                         const AsyncFuture<int> second = executor.submit(body);
                         const AsyncFuture<int> third = executor.submit(body);
                         jthread canceller([&] { second.cancel(); });
                         executor.shutdown();
                         check(first.done() && second.done() && third.done(), "all are done after shutdown");
                         explore::check_all_ended(executor, 3);
                         check(runs == (second.cancelled() ? 2 : 3), "what was not cancelled ran");
                         return second.cancelled() ? "one is cancelled" : "all ran";
                       });

// A task's many tasks are cancelled while another worker takes several of them at once: after shutdown() has returned, only
// what a worker had just taken out to run is still to end.
const Scenario s4_share("S4-share", "steal of several meets shutdown that cancels",
                        {"all are done", "some are in hand"}, [] {
                          explore::Calm calm;
                          AsyncExecutor executor(2);
                          calm.end();
                          std::array<AsyncFuture<void>, 20> futures;
                          executor
                              .submit([&] {
                                for (AsyncFuture<void>& each : futures) each = executor.submit([] {});
                              })
                              .get();
                          executor.shutdown({.wait = false, .cancel_futures = true});
                          const auto unfinished =
                              std::count_if(futures.begin(), futures.end(),
                                            [](const AsyncFuture<void>& each) { return !each.done(); });
                          check(unfinished <= 2, "one for each worker, at most");
                          executor.shutdown();
                          explore::check_all_ended(executor, futures.size() + 1);
                          return unfinished == 0 ? "all are done" : "some are in hand";
                        });

// Two waiting calls, and a third that does not wait, with a task queued: when a waiting one returns, all has ended.
const Scenario s5("S5", "two shutdowns", {"both waited"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<int> future = executor.submit([] { return 1; });
  jthread other([&] {
    executor.shutdown({.wait = false});
    executor.shutdown();
    check(future.done(), "a shutdown returns when all has ended");
  });
  executor.shutdown();
  check(future.done(), "a shutdown returns when all has ended");
  return "both waited";
});

// Three workers sleep, and again after the shutdown has woken them, since a task is not over; the one that ends it finds
// that everything is over, and tells all others.
const Scenario s5_asleep("S5-asleep", "the end of the last task finds the other workers asleep", {"value"}, [] {
  explore::Calm calm;
  AsyncPromise<int> promise;
  AsyncExecutor executor(3);
  const AsyncFuture<int> future =
      executor.submit([](AsyncFuture<int> awaited) -> Task<int> { co_return co_await awaited; }, promise.get_future());
  executor.shutdown({.wait = false});
  calm.end();
  promise.set_result(5);
  executor.shutdown();
  check(future.get() == 5, "the value");
  return "value";
});

// A task shuts its own executor down, which does not wait; another is submitted meanwhile.
const Scenario s6("S6", "shutdown from a task", {"refused", "ran"}, [] {
  explore::Calm calm;
  AsyncExecutor executor(1);
  calm.end();
  const AsyncFuture<void> closer = executor.submit([&executor] { executor.shutdown(); });
  const std::optional<AsyncFuture<int>> late = try_submit(executor, [] { return 1; });
  closer.get();
  executor.shutdown();
  check(!late.has_value() || late->get() == 1, "what is accepted runs");
  return late.has_value() ? "ran" : "refused";
});

// The executor is destroyed by a task of its own, on its own worker: its threads end by themselves.
const Scenario s6_destroy("S6-destroy", "the executor is destroyed by its own task", {"ended"}, [] {
  explore::Calm calm;
  auto executor = std::make_shared<AsyncExecutor>(2);
  calm.end();
  AsyncFuture<int> other = executor->submit([] { return 2; });
  std::shared_ptr<AsyncExecutor> own = executor;
  const AsyncFuture<int> last = executor->submit([own = std::move(own)]() mutable {
    own.reset();
    return 1;
  });
  executor.reset();
  check(last.get() == 1 && other.get() == 2, "the tasks' values");
  return "ended";
});

}  // namespace
