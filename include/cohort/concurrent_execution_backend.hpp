#pragma once

#include <cohort/async_executor.hpp>
#include <cohort/execution_backend.hpp>

#include <chrono>    // for std::chrono::seconds
#include <cstddef>   // for std::size_t
#include <memory>    // for std::shared_ptr
#include <optional>  // for std::optional
#include <string>    // for std::string
#include <vector>    // for std::vector

namespace cohort {

/// How a backend runs programs, and how much it remembers. Use designated initializers: `{.max_processes = 2}`.
struct BackendOptions {
  /// How many programs may run at a time, at least 1; nothing: as many as the executor has workers. Those that wait hold
  /// no worker.
  std::optional<std::size_t> max_processes = {};
  /// How long a program that is asked to stop (SIGTERM) has until it is killed (SIGKILL); at least 0.
  Duration kill_grace = std::chrono::seconds(2);
  /// How many ended tasks task_state() knows; the oldest are forgotten first.
  std::size_t history_limit = 1024;
};

/// Runs tasks by their uids on an executor: functions, and programs as child processes.
///
///     cohort::ConcurrentExecutionBackend backend(executor);
///     auto results = backend.submit_tasks({{"answer", cohort::FunctionTask(twice, 21)}});
///     cohort::TaskResult answer = results[0].get();
///
/// A task that fails is a result with `state == failed`, not an exception of its future. Each task goes from `pending`,
/// through `running` if it starts, to one of `done`, `failed` and `canceled`.
///
/// *Programs*: each runs in a process group of its own. The backend starts one thread, with the first program, that
/// waits for all of them; it installs no signal handler and takes the status of no child but its own.
/// *Cancellation*: a future that is cancelled is done at once, and its task is asked to stop as by cancel_task().
/// *Thread safety*: every member from any thread, from tasks and callbacks too; moving and destroying as for any object.
/// *Lifetime*: the destructor is shutdown(). A borrowed executor must outlive the backend. Futures may outlive both.
class ConcurrentExecutionBackend {
 public:
  /// Runs tasks on `executor`, which goes on when the backend has been shut down.
  /// *Throws*: `std::invalid_argument` for an option out of its range.
  explicit ConcurrentExecutionBackend(AsyncExecutor& executor, BackendOptions options = {});
  /// Runs tasks on an executor of its own, which is shut down with it. *Throws*: also what making that throws.
  explicit ConcurrentExecutionBackend(ExecutorOptions executor = {}, BackendOptions options = {});

  /// `co_await ConcurrentExecutionBackend::create(…)` is the same as the constructor, for code that makes any backend so.
  [[nodiscard]] static Task<ConcurrentExecutionBackend> create(AsyncExecutor& executor, BackendOptions options = {});
  [[nodiscard]] static Task<ConcurrentExecutionBackend> create(ExecutorOptions executor = {},
                                                               BackendOptions options = {});

  /// What was moved from can only be assigned to and destroyed; its other members throw InvalidStateError.
  ConcurrentExecutionBackend(ConcurrentExecutionBackend&&) noexcept = default;
  ConcurrentExecutionBackend& operator=(ConcurrentExecutionBackend&& other) noexcept;
  ConcurrentExecutionBackend(const ConcurrentExecutionBackend&) = delete;
  ~ConcurrentExecutionBackend();

  /// Takes a batch of tasks, and starts them as workers and `max_processes` allow; the futures are in the same order.
  ///
  /// The whole batch is checked first, and then nothing of it is started if anything is wrong.
  /// *Throws*: `std::invalid_argument`, naming the task, for one that has neither a function nor a program, for a uid that
  /// is twice in the batch or that of an unfinished task, and for options out of range; ExecutorShutdownError after
  /// shutdown of the backend or its executor; `std::bad_alloc`.
  std::vector<AsyncFuture<TaskResult>> submit_tasks(std::vector<TaskDescription> tasks);

  /// Asks a task to stop. *Returns* whether it was found, and unfinished, and asked.
  ///
  /// Queued: it never runs, and is `canceled` at once. A running function: its stop token. A running program: SIGTERM to
  /// its process group, SIGKILL after `kill_grace`; no process of the group is left behind. A running task is `canceled`
  /// when it has really ended; one whose completion won stays completed.
  bool cancel_task(const std::string& uid);

  /// The same for every unfinished task, the newest first: none starts because another has been stopped. *Returns* how
  /// many were asked.
  std::size_t cancel_all_tasks();

  /// Refuses new tasks, cancels all, and waits until every task has ended and its callbacks are over. An executor of its
  /// own is shut down.
  ///
  /// May be called again, and by several threads: each waits. On a worker, that goes on working meanwhile. Called by one
  /// of its own tasks or callbacks, it does all but the waiting.
  void shutdown();

  /// From now on calls `callback(result, state)` on every change of a task's state: `running` when it really starts, then
  /// exactly one of `done`, `failed` and `canceled`, always, and before the task's future is done.
  ///
  /// Any number of callbacks, called in the order registered, on the thread where the change happens; for one task one
  /// at a time and in order, for several tasks at once. An exception from one goes to
  /// ExecutorOptions::on_unhandled_exception, and the others are called all the same.
  /// *Throws*: `std::invalid_argument` for an empty function; `std::bad_alloc`.
  void register_callback(const TaskCallback& callback);

  /// Where a task is; nothing for one that is unknown or forgotten. Ended tasks are known up to `history_limit`.
  [[nodiscard]] std::optional<TaskState> task_state(const std::string& uid) const;

  /// `initialized` until the first task, `shutdown` from the call of shutdown() on, `running` between.
  [[nodiscard]] BackendState state() const;

 private:
  class Core;
  [[nodiscard]] Core& core() const;

  std::shared_ptr<Core> core_;  // its tasks', too
};

}  // namespace cohort
