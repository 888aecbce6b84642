#pragma once

#include <cohort/async_future.hpp>
#include <cohort/async_promise.hpp>
#include <cohort/detail/callback.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/scope.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/execution_backend.hpp>

#include <atomic>         // for std::memory_order
#include <cstddef>        // for std::size_t
#include <cstdint>        // for std::uint64_t
#include <memory>         // for std::shared_ptr
#include <mutex>          // for std::lock_guard
#include <optional>       // for std::optional
#include <string>         // for std::string
#include <string_view>    // for std::string_view
#include <unordered_map>  // for std::unordered_map
#include <unordered_set>  // for std::unordered_set
#include <utility>        // for std::pair
#include <vector>         // for std::vector

namespace cohort::detail {

struct TaskRecord;

/// What a backend knows of a uid. Under the registry's mutex.
///
/// That of a task that is live is in TaskRegistry::live_; that of one that is remembered is in history_, and has no record.
struct TaskEntry {
  TaskState state = TaskState::pending;
  std::shared_ptr<TaskRecord> record;
  const std::string* uid = nullptr;
  TaskEntry* next = nullptr;
  TaskEntry* previous = nullptr;
  bool linked = false;
};

/// One task of a backend, from its acceptance to its end. Kept by the registry while it is live, and by what runs it.
///
/// `result` belongs to whoever holds the task's turn: submit_tasks(), then its body, then the end of that.
struct TaskRecord {
  explicit TaskRecord(TaskDescription&& description);

  std::variant<FunctionTask, ExecutableTask> work;
  SubmitOptions options;
  TaskResult result;
  AsyncPromise<TaskResult> promise;
  /// The task that an attempt runs in, so that a shutdown() that comes from inside is known as such.
  sync::atomic<const Scope*> scope{nullptr};

  // Under the registry's mutex.
  TaskEntry* entry = nullptr;  // while it is live
  AsyncFuture<void> body;
  bool stop_asked = false;  // before there was a body
};

/// The tasks of a backend by their uids: who is live, who was, who is told of their changes.
///
/// A task is accepted, started at most once, and finished exactly once, in this order; the callers see to that. No
/// callback runs under the lock.
/// *Thread safety*: all members from any thread.
class TaskRegistry {
 public:
  /// For a backend whose tasks run at `home`; null: where it is called.
  TaskRegistry(Scheduler* home, std::size_t history_limit);
  TaskRegistry(const TaskRegistry&) = delete;
  TaskRegistry& operator=(const TaskRegistry&) = delete;
  ~TaskRegistry() = default;

  using Records = std::vector<std::shared_ptr<TaskRecord>>;

  /// Takes a whole batch, or nothing of it.
  /// *Throws*: ExecutorShutdownError; `std::invalid_argument` that names the task.
  [[nodiscard]] Records accept(std::vector<TaskDescription>&& tasks);
  /// Forgets a batch of which nothing has been started.
  void withdraw(const Records& records) noexcept;

  /// Gives a task what runs it; it is cancelled if that has been asked for meanwhile.
  void set_body(TaskRecord& record, const AsyncFuture<void>& body);

  /// It runs: tells the callbacks, the first time.
  void started(TaskRecord& record) noexcept;
  /// It has ended, in `state`: tells the callbacks, then completes its future.
  void finished(TaskRecord& record, TaskState state) noexcept;

  /// Asks a task to stop; whether it was there, and not finished.
  bool cancel(const std::string& uid);
  bool cancel(TaskRecord& record);
  std::size_t cancel_all() noexcept;

  void add_callback(const TaskCallback& callback);
  [[nodiscard]] std::optional<TaskState> task_state(const std::string& uid) const;
  [[nodiscard]] BackendState state() const;

  /// Refuses new tasks.
  void close() noexcept;
  /// After close(): waits until every task is finished and its callbacks are over. Returns at once when called by one of
  /// the tasks, or by a callback: it would wait for itself.
  void wait_until_finished();

 private:
  using Entries = std::unordered_map<std::string, TaskEntry>;
  using Uids = std::unordered_set<std::string_view>;
  using Callbacks = std::vector<TaskCallback>;

  [[nodiscard]] Uids check(const std::vector<TaskDescription>& tasks) const;
  [[nodiscard]] std::string next_uid(const Uids& taken);
  void forget(const TaskRecord& record) noexcept;
  void tell(TaskRecord& record, TaskState state) noexcept;
  [[nodiscard]] bool called_from_inside() const;
  void one_less() noexcept;

  Scheduler* const home_;
  const std::size_t history_limit_;
  AsyncPromise<void> all_finished_;

  mutable sync::mutex mutex_;  // of all that follows
  Entries entries_;
  IntrusiveList<TaskEntry> live_;     // oldest first; besides, the places of those who go through it, without a record
  IntrusiveList<TaskEntry> history_;  // oldest first
  std::size_t remembered_ = 0;        // in history_
  std::size_t unfinished_ = 0;        // tasks whose last callback is not over
  std::uint64_t numbered_ = 0;        // uids given
  bool used_ = false;
  bool closed_ = false;
  std::shared_ptr<const Callbacks> callbacks_;  // replaced, never changed: those who call them need no lock
};

}  // namespace cohort::detail
