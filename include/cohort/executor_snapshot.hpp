#pragma once

#include <cohort/duration.hpp>
#include <cohort/thread_pool.hpp>

#include <cstddef>   // for std::size_t
#include <cstdint>   // for std::uint64_t
#include <iosfwd>    // for std::ostream
#include <optional>  // for std::optional
#include <string>    // for std::string
#include <vector>    // for std::vector

namespace cohort {

/// What a worker does.
enum class WorkerActivity {
  running,    ///< It runs tasks.
  searching,  ///< It looks for something to do.
  parked,     ///< It sleeps: there is nothing to do.
};

/// One worker, at the moment of a snapshot.
struct WorkerSnapshot {
  WorkerActivity activity = WorkerActivity::running;
  std::string task = {};   ///< What it runs, such as `#7 "load"`, when that is a task that is listed; else empty.
  std::size_t queued = 0;  ///< What is in its own queue.
};

/// What a task does.
enum class TaskActivity {
  queued,   ///< It has not started.
  running,  ///< A worker runs it.
  blocked,  ///< It blocks a thread, in a `get()`.
  waiting,  ///< It is suspended until something comes.
  unknown,  ///< It has started, and none of these was seen: it is about to go on, or awaits what cohort does not know.
};

/// One unfinished task, at the moment of a snapshot.
struct TaskSnapshot {
  std::uint64_t sequence_id = 0;
  std::string name = {};  ///< SubmitOptions::name; may be empty.
  TaskActivity activity = TaskActivity::unknown;
  std::vector<std::string> waits_for = {};  ///< In words: "a permit of a semaphore", "#3 \"load\"".
  std::optional<Duration> age = {};         ///< Since it was submitted, when that is known.
};

/// What goes on in an executor: what a watchdog prints when nothing moves any more.
///
///     std::cerr << executor.snapshot();
///
/// Taken while everything runs, it is put together from looks at one place after the other. A stuck program does not move
/// meanwhile, and then it is exact.
///
/// Which tasks are listed: those with a name (SubmitOptions::name), or with ExecutorOptions::trace_tasks all of them, up
/// to the thousand oldest; and besides, of those that have not started, what is found in the queues that may be looked
/// into. The others are counted in `unlisted`. What a listed task waits for is known when that is a sleep, a permit, a
/// future or a stream, in the task itself or in what it awaits; not when it awaits something that is not cohort's.
struct ExecutorSnapshot {
  std::string name = {};  ///< ExecutorOptions::name.
  bool closed = false;    ///< It has been shut down.
  ExecutorStats stats = {};
  std::vector<WorkerSnapshot> workers = {};
  std::size_t blocked_threads = 0;  ///< That wait in a `get()`, their worker given away meanwhile.
  std::size_t shared_queue = 0;     ///< What came from outside and was not taken by a worker; counted up to 10000.
  std::size_t limited = 0;          ///< Of the pending tasks, those that max_concurrent_tasks keeps waiting.
  std::size_t timers = 0;           ///< That are set.
  std::optional<Duration> next_timer = {};  ///< How long until the first of them; up to a step too early.
  std::vector<TaskSnapshot> tasks = {};     ///< Those that are listed, in order of submission.
  std::size_t unlisted = 0;                 ///< How many others are unfinished.
};

/// Writes it as a page to read: the executor, its workers and queues, then a line for each task.
std::ostream& operator<<(std::ostream& stream, const ExecutorSnapshot& snapshot);

namespace detail {

/// One of each pool that is there, those of sync_wait among them. *Throws*: `std::bad_alloc`.
[[nodiscard]] std::vector<ExecutorSnapshot> snapshots_of_all();

}  // namespace detail

}  // namespace cohort
