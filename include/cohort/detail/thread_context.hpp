#pragma once

#include <cohort/detail/cache_line.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/outcome.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/work_deque.hpp>
#include <cohort/duration.hpp>

#include <atomic>     // for std::memory_order
#include <coroutine>  // for std::coroutine_handle
#include <cstdint>    // for std::uint64_t

namespace cohort::detail {

class BlockedTask;
class Scheduler;
class Scope;
struct InlineAwait;
struct PoolWorker;
struct StateBase;
struct Waiter;

/// What one worker has counted. Written by the thread that holds the worker, read by anyone: single-writer counters
/// need no locked operation.
struct alignas(cache_line_size) WorkerCounters {
  using Counter = sync::atomic<std::uint64_t>;

  std::uint64_t next_sequence_id = 0;  // numbers reserved for this worker: see ThreadPool::next_sequence_id
  std::uint64_t last_sequence_id = 0;
  std::uint64_t passed_over = 0;  // at most so many entries of its deque are of tasks that get() has started in place
  Counter submitted{0};           // tasks submitted by this worker
  Counter started{0};             // tasks whose start it claimed
  Counter succeeded{0};           // … ended with a value
  Counter failed{0};              // … with an exception
  Counter cancelled{0};           // … as cancelled
  Counter ended_early{0};         // of these, cancelled without having been started
  Counter left{0};                // … and gone: nothing of them will touch the pool again
  Counter stolen{0};              // of those it started, what another worker had submitted

  void count_start(bool was_stolen) noexcept {
    add(started);
    if (was_stolen) [[unlikely]]
      add(stolen);
  }

  void count_end(Outcome outcome) noexcept {
    add(outcome == Outcome::value ? succeeded : outcome == Outcome::cancelled ? cancelled : failed);
  }

  /// Of a task that ends as this worker's own affair, and that nobody hears of.
  void count_end_here(Outcome outcome) noexcept {
    count_end(outcome);
    add(left);  // as task_left() does
  }

  static void add(Counter& counter) noexcept {
    // relaxed load: own writes. release store: pairs with the acquire of those who sum up, so that a task counted as
    // left was counted as submitted before.
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
};

/// A pointer that its thread writes, and that others read for a snapshot: nothing hangs on it, and so all its operations
/// are relaxed, which cost no more than those of a plain pointer. A standard atomic, since no thread meets another here.
template <class T>
class Published {
 public:
  constexpr Published(T* value = nullptr) noexcept : value_(value) {}
  Published(const Published& other) noexcept : value_(other) {}
  Published& operator=(const Published& other) noexcept { return *this = static_cast<T*>(other); }
  Published& operator=(T* value) noexcept {
    value_.store(value, std::memory_order_relaxed);  // relaxed: see above
    return *this;
  }
  operator T*() const noexcept { return value_.load(std::memory_order_relaxed); }  // relaxed: see above

 private:
  std::atomic<T*> value_;
};

/// What the library knows about the calling thread. Trivially destructible, so that it may be used while the process
/// exits.
struct ThreadContext {
  static constexpr unsigned most_transfers = 64;

  Scheduler* scheduler = nullptr;        // whose worker this thread is now, null outside
  WorkDeque<Node>* deque = nullptr;      // that worker's deque
  WorkerCounters* counters = nullptr;    // that worker's counters
  PoolWorker* worker = nullptr;          // that worker, when its pool is a ThreadPool
  std::uint16_t worker_index = 0;        // that worker's; also of the wheel where timers that are made here are armed
  const Scheduler* owner = nullptr;      // the pool that this thread was made by, whatever it does now
  InlineAwait* inline_awaits = nullptr;  // the awaits whose awaited task runs on this very stack, innermost first
  Published<const Scope> current;        // the task that runs
  std::coroutine_handle<> next;          // what to resume next, from the bottom of the stack: see transfer()
  unsigned transfers_left = most_transfers;     // until the stack is left: see transfer()
  unsigned branch_runs = 0;                     // see Latch::take_branch_after
  bool finishing = false;                       // the thread is at the end of a task and returns to its loop at once
  const Scheduler* firing_timers_of = nullptr;  // what is scheduled there now is due
  // While a worker of that pool fires its timers: those that call an application's code, which the worker runs before all
  // else, back in its loop; the last on top.
  Node* alarms = nullptr;
  Node* handed_over = nullptr;     // what to run next, without queueing: only while finishing
  BlockedTask* blocked = nullptr;  // tasks further down this stack, blocked in get()
  bool in_place = false;           // what runs was started by the get() below it, which takes a thread if it suspends
  unsigned callback_depth = 0;     // done callbacks running on this stack
  Waiter* deferred_callbacks = nullptr;  // those that wait for the stack to unwind, first to run first
  Waiter* last_deferred_callback = nullptr;
  StateBase* dropped_tasks = nullptr;  // unstarted tasks to destroy, while one is being destroyed: see drop_unstarted()
  bool dropping_tasks = false;
};

extern constinit thread_local ThreadContext this_thread_context;

#if defined(__clang__) && __clang_major__ < 17
// Clang before 17 keeps the address of a thread-local across a suspension, after which the coroutine may be on another
// thread: a function it cannot see into stops that.
ThreadContext& thread_context() noexcept;
#else
inline ThreadContext& thread_context() noexcept { return this_thread_context; }
#endif

/// What time it is, for what runs on this thread: its executor's, or the steady clock's.
[[nodiscard]] TimePoint now() noexcept;

/// When `duration` from now is over; never, for a duration too long to count.
[[nodiscard]] TimePoint deadline_after(Duration duration) noexcept;

/// Symmetric transfer with a flat stack: what `await_suspend` returns to continue `next`.
///
/// Clang makes it a tail call always; GCC only when optimising and never under sanitizers. Elsewhere than in Clang,
/// every 64th transfer returns to the bottom of the stack, which goes on with the handle.
[[nodiscard]] inline std::coroutine_handle<> transfer(std::coroutine_handle<> next) noexcept {
#if !defined(__clang__)
  ThreadContext& context = thread_context();
  if (--context.transfers_left == 0) [[unlikely]] {
    context.transfers_left = ThreadContext::most_transfers;
    context.next = next;
    return std::noop_coroutine();
  }
#endif
  return next;
}

/// Resumes `handle`, and then whatever it leaves to be resumed next. The bottom of every stack of coroutines.
inline void resume_here(std::coroutine_handle<> handle) noexcept {
  handle.resume();
  for (;;) {
    ThreadContext& context = thread_context();
    const std::coroutine_handle<> next = context.next;
    if (!next) [[likely]]
      return;
    context.next = nullptr;
    next.resume();
  }
}

}  // namespace cohort::detail
