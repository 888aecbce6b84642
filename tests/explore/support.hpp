// What several files of scenarios use.
#pragma once

#include <cohort/async_executor.hpp>
#include <cohort/async_promise.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/errors.hpp>
#include <cohort/task.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <utility>

#include "explore.hpp"

namespace explore {

// What nearly all of them name.
using namespace std::chrono_literals;
using cohort::AsyncExecutor;
using cohort::AsyncFuture;
using cohort::AsyncPromise;
using cohort::Task;
using cohort::detail::sync::jthread;

/// A coroutine of no library's: it starts at once, goes on where it is resumed, and frees itself at its end.
struct Stranger {
  struct promise_type {
    Stranger get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { fail("an exception leaves a coroutine that has no one to tell"); }
  };
};

/// After shutdown(): every task that was accepted has ended, in one way.
inline void check_all_ended(const AsyncExecutor& executor, std::uint64_t accepted) {
  const cohort::ExecutorStats stats = executor.stats();
  check(stats.submitted == accepted, "stats: what was accepted");
  check(stats.succeeded + stats.failed + stats.cancelled == accepted, "stats: all have ended, once");
  check(stats.pending == 0 && stats.running == 0, "stats: none is under way");
}

/// Whether the promise took the value: not when its future has been cancelled.
template <class T>
bool set(const AsyncPromise<T>& promise, T value) {
  try {
    promise.set_result(std::move(value));
    return true;
  } catch (const cohort::InvalidStateError&) {
    return false;
  }
}

/// What came of a future: "value", "cancelled", "timeout".
template <class T>
const char* outcome_of(const AsyncFuture<T>& future, const T& expected) {
  try {
    check(future.get() == expected, "the value");
    return "value";
  } catch (const cohort::CancelledError&) {
    return "cancelled";
  } catch (const cohort::TimeoutError&) {
    return "timeout";
  }
}

}  // namespace explore
