#pragma once

#include <cohort/detail/cache_line.hpp>
#include <cohort/detail/injection_queue.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/detail/work_deque.hpp>
#include <cohort/thread_pool.hpp>

#include <atomic>   // for std::memory_order
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::uint64_t
#include <memory>   // for std::unique_ptr
#include <vector>   // for std::vector

#include "blocked_threads.hpp"
#include "executor_options.hpp"
#include "fork_guard.hpp"
#include "oldest_pace.hpp"
#include "parker.hpp"
#include "timer_wheels.hpp"
#include "traced_tasks.hpp"
#include "unbegun_tasks.hpp"

// What the pool is made of, for the files that have its members: thread_pool.cpp, how it begins and ends;
// thread_pool_submit.cpp, how work comes in; thread_pool_work.cpp, how workers find it, sleep and are woken;
// thread_pool_places.cpp, how they give their places away while they block; thread_pool_snapshot.cpp, what it says of itself.
//
// A *worker* is a place to work: a deque, counters, a parking spot. There are max_workers of them for as long as the
// pool lives. A *thread* holds one worker at a time, or none: when a task blocks its thread, the thread gives its
// worker to another (a spare one, or a new one) and asks for a worker back when the wait is over; a thread at a point
// between two tasks then gives up the one it holds. So there are never more than max_workers threads running tasks, and
// never fewer able to.

namespace cohort {
namespace detail {

// Held by one thread at a time; handed from one to the next under Core::mutex.
struct PoolWorker {
  explicit PoolWorker(std::size_t number)
      : index(number), random(static_cast<std::uint32_t>(number * 2654435761U + 1)) {}

  std::size_t index;
  WorkDeque<Node> deque;    // the owner's end is the holding thread's
  WorkerCounters counters;  // written by the holding thread
  Parker parker;
  bool parked = false;  // in Core::sleepers; under Core::mutex
  // For snapshots: the thread that holds it, under Core::mutex; and whether that is looking for work.
  const ThreadContext* held_by = nullptr;
  sync::atomic<bool> searching{false};
  std::uint32_t tick = 0;       // turns of the loop; the holding thread's
  std::uint32_t next_look = 1;  // the turn at which it looks elsewhere: see ThreadPool::look_elsewhere
  // What of others comes before its own: see ThreadPool::others_wait; the holding thread's.
  enum class Others : std::uint8_t { none, due, outside } others = Others::none;
  OldestPace oldest_pace;  // the holding thread's
  std::uint32_t random;    // where the next search for work begins; the holding thread's
  // What `counters.submitted` was when a thief last left the only task here.
  alignas(cache_line_size) sync::atomic<std::uint64_t> left_at{0};
};

// Takes on the part of a worker, and gives it up at the end.
inline void hold(ThreadContext& context, Scheduler& pool, PoolWorker& worker) noexcept {
  context.scheduler = &pool;
  context.deque = &worker.deque;
  context.counters = &worker.counters;
  context.worker = &worker;
  context.worker_index = static_cast<std::uint16_t>(worker.index);
}

inline void let_go(ThreadContext& context) noexcept {
  context.scheduler = nullptr;
  context.deque = nullptr;
  context.counters = nullptr;
  context.worker = nullptr;
  context.worker_index = 0;
}

// What all workers have counted of something, and those outside.
inline std::uint64_t sum(std::uint64_t outside, const std::vector<std::unique_ptr<PoolWorker>>& workers,
                         WorkerCounters::Counter WorkerCounters::*member) {
  std::uint64_t total = outside;
  for (const auto& worker : workers) {
    total += (worker->counters.*member).load(std::memory_order_acquire);  // acquire: pairs with WorkerCounters::add
  }
  return total;
}

}  // namespace detail

struct ThreadPool::Core {
  // A thread that waits for a worker to hold: a spare one, or one whose blocking wait is over.
  struct Applicant {
    Applicant* next = nullptr;
    Applicant* previous = nullptr;
    bool linked = false;
    detail::sync::condition_variable condition;
    detail::PoolWorker* worker = nullptr;  // under the mutex
  };

  explicit Core(ExecutorOptions made_with) : options(std::move(made_with)) {}

  // Read at every turn of a worker, and seldom written.
  const ExecutorOptions options;
  std::vector<std::unique_ptr<detail::PoolWorker>> workers;
  detail::TimerWheels timers{options.max_workers};
  std::uint64_t fork_generation = detail::watch_fork_generation();
  bool driven = false;                                  // no threads of its own: run_to_end() drives its one worker
  detail::sync::atomic<bool> cancel_unstarted{false};   // set by shutdown: what is found unstarted is cancelled
  detail::sync::atomic<bool> stopped{false};            // everything has ended; threads leave
  detail::sync::atomic<bool> timers_unattended{false};  // timers were armed and nobody watches the clock
  // The size of `returning`: looked at by workers between tasks, and before they sleep.
  detail::sync::atomic<std::uint32_t> applicants{0};

  detail::InjectionQueue injected;  // from outside, and what is to wait for everything else
  detail::InjectionQueue due;       // whose timers have fired: before what is in `injected`

  // Written at every submission from outside.
  alignas(detail::cache_line_size) detail::sync::atomic<std::uint64_t> references{1};
  // Accepting from outside: the top bit says closed, the rest counts what was accepted, so that one exchange decides
  // whether a task is in or out.
  static constexpr std::uint64_t closed_bit = std::uint64_t{1} << 63U;
  detail::sync::atomic<std::uint64_t> accepted{0};
  detail::sync::atomic<std::uint64_t> guests{0};  // of these, how many were visiting coroutines
  // What threads other than the workers' have to count. Locked operations; see WorkerCounters for the rest.
  detail::sync::atomic<std::uint64_t> started{0}, succeeded{0}, failed{0}, cancelled{0}, ended_early{0}, left{0};

  // max_concurrent_tasks: tasks that wait for their turn. `gated` and each state's `admitted` are under gate_mutex.
  detail::sync::mutex gate_mutex;
  detail::NodeQueue gated;
  std::size_t active = 0;

  detail::UnbegunTasks unbegun;

  // Held while a thief takes a share, which is for a moment in no queue, and while a shutdown takes all: so it misses none.
  detail::sync::mutex share_mutex;

  // Sleeping, waking and changing places: rare enough for one mutex.
  detail::sync::mutex mutex;
  std::vector<detail::PoolWorker*> sleepers;   // last to sleep is first to wake; reserved, never reallocates
  detail::PoolWorker* timekeeper = nullptr;    // the sleeper that sleeps only until the next timer
  detail::IntrusiveList<Applicant> returning;  // threads that want a worker back, first come first served
  detail::IntrusiveList<Applicant> spares;     // threads without work or worker
  detail::sync::condition_variable
      clock;               // for the clock thread, if there is one: the first timer has changed, or stopped
  bool has_clock = false;  // a thread watches the clock while all workers are busy
  detail::sync::condition_variable all_left;   // stopped
  std::vector<detail::sync::jthread> threads;  // under the mutex; emptied by the first to join
  bool detached = false;                       // the executor was destroyed on one of these threads: nobody will join
  detail::sync::mutex join_mutex;              // one joins, the others wait for it

  // For snapshots, with mutexes of their own: no two of all these are ever held at the same time.
  detail::TracedTasks tasks;
  detail::BlockedThreads blocked;
};

inline void ThreadPool::wake_if_needed() noexcept {
  // seq_cst: after the push, which is seq_cst too. A worker going to sleep first announces itself in idle_, then
  // looks at the queues: either it sees the push, or we see it.
  const std::uint64_t idle = idle_.load(std::memory_order_seq_cst);
  if (idle != 0 && idle < one_searching) [[unlikely]]
    wake_one();  // somebody sleeps and nobody is searching
}

}  // namespace cohort
