#pragma once

#include <cohort/detail/cache_line.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/thread_context.hpp>

#include <atomic>       // for std::memory_order
#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint64_t
#include <exception>    // for std::exception_ptr
#include <functional>   // for std::function
#include <memory>       // for std::unique_ptr
#include <string>       // for std::string
#include <string_view>  // for std::string_view
#include <vector>       // for std::vector

namespace cohort {
namespace detail {
struct PoolWorker;
}

/// No limit.
inline constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

/// The number of hardware threads, at least 1.
[[nodiscard]] std::size_t default_worker_count() noexcept;

/// How an executor is made. Use designated initializers: `ExecutorOptions{.max_workers = 4, .name = "io"}`.
struct ExecutorOptions {
  /// Worker threads, at least 1.
  std::size_t max_workers = default_worker_count();
  /// Submitted tasks between start and end at any time, suspended ones included; at least 1. More wait their turn, in
  /// order.
  std::size_t max_concurrent_tasks = unlimited;
  /// The threads are named name-0, name-1, … (cut to what the system allows).
  std::string name = "cohort";
  /// Run by each worker, with its number, before anything else. An exception from it leaves the executor's constructor.
  /// Also run by a thread that takes a worker's place while that blocks; its exception then goes to
  /// `on_unhandled_exception`.
  std::function<void(std::size_t worker)> on_worker_start = {};
  /// Given the exceptions that no future can carry: those of done callbacks. Must be callable from several threads at
  /// once. When empty: one line on stderr.
  std::function<void(std::exception_ptr)> on_unhandled_exception = {};
  /// Snapshots list all tasks, not only those with a name: see ExecutorSnapshot. It costs an allocation and two turns of
  /// a lock per task.
  bool trace_tasks = false;
};

/// How an executor is shut down.
struct ShutdownOptions {
  /// Wait until everything has ended and the workers are joined.
  bool wait = true;
  /// Cancel what has not started.
  bool cancel_futures = false;
};

/// What one worker has done.
struct WorkerStats {
  std::uint64_t run = 0;     ///< Tasks it started.
  std::uint64_t stolen = 0;  ///< Of these, how many another worker had submitted.
};

/// What an executor has done. Exact when it is idle; otherwise a moment's view, put together while the numbers move.
struct ExecutorStats {
  std::uint64_t submitted = 0;  ///< All tasks ever accepted.
  std::uint64_t pending = 0;    ///< Not started.
  std::uint64_t running = 0;    ///< Started and not ended, suspended ones included.
  std::uint64_t succeeded = 0;  ///< Ended with a value.
  std::uint64_t failed = 0;     ///< Ended by an exception.
  std::uint64_t cancelled = 0;  ///< Ended as cancelled, started or not.
  std::vector<WorkerStats> workers;
};

/// A work-stealing pool of `std::jthread`: the pool of `AsyncExecutor`.
///
/// Each worker has a deque of its own, last in, first out; what comes from outside goes through one queue, first in,
/// first out; who has nothing to do takes the oldest of somebody else's, and sleeps when there is nothing anywhere.
/// Timers are watched by whichever worker sleeps, and by a thread of their own while tasks with a timeout keep all of
/// them busy. A worker that would block in a `get()` gives its place to another thread
/// for as long.
///
/// Users meet it only as the default argument of BasicAsyncExecutor; another pool has the same members, marked below as
/// the pool's part of the bargain, and implements detail::Scheduler.
///
/// *Lifetime*: reference-counted. The executor object holds a reference, each thread another, and so does whoever calls
/// in from another thread while it does: the last to leave frees it.
class ThreadPool final : public detail::Scheduler {
 public:
  /// Pool's part: makes a pool whose workers have all started and run `on_worker_start`; holds one reference.
  /// *Throws*: `std::invalid_argument` for a zero limit; what `on_worker_start` throws; `std::system_error` when a
  /// thread cannot be started. Then nothing is left running.
  [[nodiscard]] static ThreadPool* create(ExecutorOptions options);

  /// Pool's part: accepts a task that has not started; from here on the pool owns one of its references.
  /// *Throws*: ExecutorShutdownError, `std::bad_alloc`; then the task was not taken.
  void submit(detail::StateBase& task);
  /// Pool's part: the same for a task with a name, for snapshots.
  void submit(detail::StateBase& task, std::string_view name);

  /// Pool's part. *Throws*: ExecutorShutdownError after shutdown.
  void require_open() const {
    if (closed_.load(std::memory_order_relaxed)) detail::throw_shut_down();  // relaxed: a moment's view
  }

  /// Pool's part: see BasicAsyncExecutor::shutdown.
  void shutdown(ShutdownOptions options);

  /// Pool's part: the executor object goes: shuts down, waits unless on one of its own threads, and drops its
  /// reference.
  void close() noexcept;

  /// Pool's part.
  [[nodiscard]] std::size_t max_workers() const noexcept;
  /// Pool's part.
  [[nodiscard]] ExecutorStats stats() const;

  /// Runs a coroutine that has not started, and what it awaits, with the calling thread as the only worker of a new
  /// pool, until it has ended: the engine of sync_wait. On a worker, another thread takes its place meanwhile. On a
  /// thread that drives a pool, that pool runs it.
  /// *Throws*: `std::system_error` (resource_deadlock_would_occur) when such a pool has nothing left to do and the coroutine
  /// has not ended; it has been asked to stop, and has ended, then.
  static void run_to_end(detail::StateBase& task);

  void add_reference() noexcept override;
  void drop_reference() noexcept override;
  [[nodiscard]] bool try_add_reference() noexcept override;
  [[nodiscard]] bool driven() const noexcept override;
  void schedule(detail::Node& node) noexcept override;
  void schedule_all(detail::StateBase* const* tasks, std::size_t count) noexcept override;
  void schedule_last(detail::Node& node) noexcept override;
  [[nodiscard]] TimePoint now() const noexcept override { return detail::sync::now(); }
  [[nodiscard]] double random_fraction() noexcept override;
  void arm(detail::Timer& timer) noexcept override;
  bool disarm(detail::Timer& timer) noexcept override;
  void watch_clock() noexcept override;
  void guest_entered() override;
  void guest_left() noexcept override;
  void task_started() noexcept override;
  void add_unbegun(detail::Unbegun& task) noexcept override;
  void remove_unbegun(detail::Unbegun& task) noexcept override;
  void task_ended(detail::StateBase& task, bool had_started) noexcept override;
  void task_left() noexcept override;
  void block(detail::BlockingWait& wait) noexcept override;
  void report(std::exception_ptr exception) noexcept override;
  [[nodiscard]] ExecutorSnapshot snapshot() const override;

 private:
  struct Core;
  struct StartReport;

  explicit ThreadPool(ExecutorOptions options);
  ~ThreadPool();

  void submit_here(detail::StateBase& task, detail::ThreadContext& context);
  void push_new(detail::StateBase& task, detail::ThreadContext& context) noexcept;
  void submit_slowly(detail::StateBase& task, std::string_view name);
  void submit_from_outside(detail::StateBase& task);
  bool has_sequence_id(const detail::WorkerCounters& own) const noexcept;
  std::uint64_t next_sequence_id(detail::WorkerCounters& own) noexcept;
  void reserve_sequence_ids(detail::WorkerCounters& own) noexcept;
  void wake_if_needed() noexcept;

  // Making and ending.
  void start_threads();
  void start_thread(detail::PoolWorker& worker, StartReport* report);
  void run_thread(detail::PoolWorker& first, StartReport* report) noexcept;
  void run_clock() noexcept;
  void set_holder(detail::PoolWorker& worker, const detail::ThreadContext* context) noexcept;
  [[nodiscard]] bool on_own_thread() const noexcept;
  [[nodiscard]] bool drained() const noexcept;
  void stop() noexcept;
  void join() noexcept;
  void cancel_unstarted() noexcept;

  // Accepting and counting.
  bool accept() noexcept;
  void leave() noexcept;
  void admit_next(detail::StateBase& ended) noexcept;

  // Working, sleeping and waking.
  void work() noexcept;
  void run_node(detail::Node& node) noexcept;
  [[nodiscard]] detail::Node* next(detail::PoolWorker& worker) noexcept;
  [[nodiscard]] detail::Node* look_elsewhere(detail::PoolWorker& worker) noexcept;
  [[nodiscard]] detail::Node* take(detail::PoolWorker& worker) noexcept;
  [[nodiscard]] detail::Node* steal(detail::PoolWorker& thief) noexcept;
  void look_at_clock() noexcept;
  [[nodiscard]] bool others_wait() noexcept override;
  void steal_share(detail::PoolWorker& victim) noexcept;
  void push(detail::Node& node) noexcept;
  [[nodiscard]] detail::Node* search(detail::PoolWorker& worker, TimePoint until) noexcept;
  [[nodiscard]] bool has_work() const noexcept;
  void advance_timers() noexcept;
  [[nodiscard]] bool timers_need_attention() noexcept;
  void wake(detail::PoolWorker& sleeper) noexcept;
  void wake_one() noexcept;
  void wake_all() noexcept;

  // Changing places.
  [[nodiscard]] bool give_way(detail::PoolWorker& worker) noexcept;
  [[nodiscard]] bool pass_on(detail::PoolWorker& worker) noexcept;
  [[nodiscard]] bool give_place(detail::PoolWorker& worker) noexcept;
  void take_place() noexcept;
  [[nodiscard]] detail::PoolWorker* wait_as_spare() noexcept;
  void drive(detail::BlockingWait& wait) noexcept;
  void drive_until_ended(const Core& other) noexcept;

  // Submission numbers are dense and in order up to here; beyond, workers reserve them in blocks, since a shared
  // counter would be the most contended line of the program.
  static constexpr std::uint64_t dense_sequence_ids = std::uint64_t{1} << 17U;
  static constexpr std::uint64_t sequence_block = 256;

  static constexpr std::uint64_t one_parked = 1;
  static constexpr std::uint64_t one_searching = std::uint64_t{1} << 32U;

  detail::sync::atomic<std::uint64_t> idle_{0};  // parked workers in the low half, searching ones in the high half
  detail::sync::atomic<bool> closed_{false};
  bool limited_ = false;  // max_concurrent_tasks
  bool plain_ = true;     // neither limited nor traced
  std::unique_ptr<Core> core_;
  // Written at every submission from outside: not beside what workers read at every turn.
  alignas(detail::cache_line_size) detail::sync::atomic<std::uint64_t> sequence_{0};
};

}  // namespace cohort
