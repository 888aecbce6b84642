// What each basic operation does on the thread that asks for it: the figures of the cost model in docs/performance.md,
// counted. The library is compiled with atomics and mutexes that count.

#include <cohort/cohort.hpp>

#include <atomic>   // for std::atomic
#include <cstdio>   // for std::printf
#include <utility>  // for std::move
#include <vector>   // for std::vector

#include "counted.hpp"

using costs::Counts;
using costs::counts;

namespace {

using namespace cohort;

int failures = 0;

void expect(const char* what, const Counts& counted, const Counts& expected) {
  const bool right = counted == expected;
  std::printf("%-58s %2zu locked, %2zu mutexes, %2zu system calls, %2zu allocations%s\n", what, counted.locked,
              counted.locks, counted.system_calls, counted.allocations, right ? "" : "   NOT AS EXPECTED");
  if (!right) ++failures;
}

// Of the second of two times: the first fetches memory, and numbers for tasks.
template <class Body>
Task<> in_task(const char* what, Counts expected, Body body) {
  co_await body();
  const Counts before = counts;
  co_await body();
  const Counts after = counts;
  expect(what,
         {after.locked - before.locked, after.locks - before.locks, after.system_calls - before.system_calls,
          after.allocations - before.allocations},
         expected);
}

template <class Body>
void outside(const char* what, Counts expected, Body body) {
  body();
  const Counts before = counts;
  body();
  const Counts after = counts;
  expect(what,
         {after.locked - before.locked, after.locks - before.locks, after.system_calls - before.system_calls,
          after.allocations - before.allocations},
         expected);
}

Task<int> answer() { co_return 42; }

}  // namespace

int main() {
  AsyncExecutor executor(1);

  // On the only worker: nobody steals, and nobody has to be woken.
  auto on_worker = [&executor]() -> Task<> {
    // Past the first 2^17, whose numbers are taken one by one; later ones come in blocks of 256.
    for (int i = 0; i < (1 << 17) + 10; ++i) co_await executor.submit(answer());
    co_await in_task("call: co_await of a Task", {}, []() -> Task<> { co_await answer(); });
    co_await in_task("submit, then co_await", {.locked = 3}, [&]() -> Task<> {
      AsyncFuture<int> future = executor.submit(answer());
      co_await std::move(future);
    });
    co_await in_task("co_await of a future that is done", {}, [&]() -> Task<> {
      static AsyncFuture<int> done;
      if (!done.valid()) {
        done = executor.submit(answer());
        co_await done;
      }
      co_await done;
    });
    co_await in_task("when_all of two", {.locked = 3}, []() -> Task<> {
      auto both = when_all(answer(), answer());
      co_await std::move(both);
    });
    co_await in_task("a permit that is free, taken and given back", {.locks = 2}, [&]() -> Task<> {
      static Semaphore semaphore(1);
      auto permit = co_await semaphore.acquire();
    });
  };
  executor.submit(on_worker).get();

  // The worker is busy elsewhere, so that it is not to be woken.
  std::atomic<bool> busy{false}, over{false};
  AsyncFuture<void> occupied = executor.submit([&] {
    busy = true;
    while (!over) {
    }
  });
  while (!busy) {
  }
  std::vector<Task<int>> tasks;
  for (int i = 0; i < 2; ++i) tasks.push_back(answer());
  std::vector<AsyncFuture<int>> queued;
  queued.reserve(tasks.size());
  outside("submit from outside, to a worker that is awake", {.locked = 5}, [&] {
    queued.push_back(executor.submit(std::move(tasks.back())));
    tasks.pop_back();
  });
  outside("cancel of a task in the queue, and its last handle", {.locked = 8}, [&] {
    queued.back().cancel();
    queued.pop_back();
  });
  over = true;
  occupied.get();
  return failures == 0 ? 0 : 1;
}
