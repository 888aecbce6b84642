// What the library's atomics, mutexes and condition variables call when they are compiled for the explorer: see
// include/cohort/detail/sync.hpp here, and explore.cpp.
#pragma once

#include <chrono>      // for std::chrono::steady_clock
#include <functional>  // for std::function

namespace explore {

using TimePoint = std::chrono::steady_clock::time_point;

/// Where in the source an operation stands. Clang 14 has no std::source_location.
struct Where {
  const char* file = "";
  int line = 0;

  static constexpr Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    return {file, line};
  }
};

/// One operation that threads can see of each other.
struct Operation {
  const char* name = "";
  const void* object = nullptr;
  Where where = {};
};

/// A point of the schedule: the calling thread is about to do `operation`, and another may come first. Returns when it
/// is its turn. Outside an execution, nothing.
void point(const Operation& operation) noexcept;

/// The same for one who waits for others: they come first.
void give_way(const Operation& operation) noexcept;

/// What may happen though nothing demands it: a compare_exchange_weak that fails, a wait that ends.
[[nodiscard]] bool whim(unsigned one_in) noexcept;

/// Blocks the calling thread until another calls wake() for the same object. True unless the deadline came first, which
/// it does only when no thread can run, or when the clock has been put forward.
bool block(const Operation& operation, TimePoint deadline = TimePoint::max()) noexcept;

/// Lets one of those who are blocked on `object`, or all, go on when it is their turn.
void wake_one(const void* object) noexcept;
void wake_all(const void* object) noexcept;

/// Whether somebody is blocked on `object`.
[[nodiscard]] bool anybody_blocked_on(const void* object) noexcept;

/// The number of the calling thread in this execution.
[[nodiscard]] int thread_number() noexcept;

/// The time, which stands still but for advance() and for timed waits when nobody else can run.
[[nodiscard]] TimePoint now() noexcept;

/// A new thread, which is identified by the address of what stands for it.
struct Thread;
Thread* start(std::function<void()> body, Where where);
void join(Thread& thread) noexcept;

/// Ends the process, with what is wrong, how to get here again, and what happened last.
[[noreturn]] void fail(const char* what) noexcept;

}  // namespace explore
